#include "bench/trafficgen/histogram.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace podwire::trafficgen {
namespace {

TEST(Histogram, IsZeroWhenNothingWasAdded) {
  const Histogram h;
  EXPECT_EQ(h.count(), 0u);
  EXPECT_EQ(h.lowest(), 0u);
  EXPECT_EQ(h.highest(), 0u);
  EXPECT_EQ(h.percentile(0.5), 0u);
}

TEST(Histogram, IsExactForSmallValues) {
  Histogram h;
  for (std::uint64_t v = 1; v <= 100; ++v) h.add(v);
  EXPECT_EQ(h.percentile(0.01), 1u);
  EXPECT_EQ(h.percentile(0.5), 50u);
  EXPECT_EQ(h.percentile(0.99), 99u);
  EXPECT_EQ(h.percentile(1), 100u);
  EXPECT_EQ(h.percentile(0), 1u);
}

TEST(Histogram, IsWithinOnePercentOfTheSortedValues) {
  Histogram h;
  std::mt19937_64 random(7);
  std::lognormal_distribution<double> values(9, 2);
  std::vector<std::uint64_t> all;
  for (int i = 0; i < 100000; ++i) {
    all.push_back(static_cast<std::uint64_t>(values(random)));
    h.add(all.back());
  }
  std::sort(all.begin(), all.end());
  for (const double share : {0.001, 0.1, 0.5, 0.9, 0.99, 0.999}) {
    const auto exact = static_cast<double>(all[static_cast<std::size_t>(share * 100000) - 1]);
    EXPECT_NEAR(static_cast<double>(h.percentile(share)), exact, exact * 0.01 + 1) << share;
  }
  EXPECT_EQ(h.lowest(), all.front());
  EXPECT_EQ(h.highest(), all.back());
  EXPECT_EQ(h.percentile(1), all.back());
}

TEST(Histogram, TakesEveryValue) {
  Histogram h;
  std::uint64_t expected = 0;
  for (unsigned bit = 0; bit < 64; ++bit) {
    for (const auto v : {std::uint64_t{1} << bit, (std::uint64_t{2} << bit) - 1}) {
      h.add(v);
      ++expected;
    }
  }
  EXPECT_EQ(h.count(), expected);
  EXPECT_EQ(h.highest(), ~std::uint64_t{0});
  h.clear();
  EXPECT_EQ(h.count(), 0u);
  EXPECT_EQ(h.percentile(0.5), 0u);
}

}  // namespace
}  // namespace podwire::trafficgen
