#include "bench/trafficgen/search.hpp"

#include <gtest/gtest.h>

namespace podwire::trafficgen {
namespace {

// Passes up to `capacity`.
Result<SearchResult> search(const SearchRange& range, double capacity) {
  return find_rate(range, [&](double rate) -> Result<Probe> {
    return Probe{rate, rate <= capacity ? Verdict::kPassed : Verdict::kLost, {}};
  });
}

TEST(FindRate, FindsTheCapacityWithinTheResolution) {
  for (const double resolution : {0.001, 0.01, 0.1}) {
    for (double capacity = 0.05e6; capacity < 10e6; capacity *= 1.37) {
      for (const double start : {0.0, 5e6, capacity}) {
        const auto found = search({10e6, start, resolution, 1}, capacity);
        ASSERT_TRUE(found);
        EXPECT_LE(found->rate, capacity);
        EXPECT_GE(found->rate, capacity * (1 - 1.02 * resolution)) << capacity << " " << start;
        EXPECT_EQ(found->limit, Verdict::kLost);
        EXPECT_LE(found->probes.size(), 25u);
      }
    }
  }
}

TEST(FindRate, EndsAtTheUpperBoundWhenThatPasses) {
  const auto found = search({10e6, 10e6, 0.01, 1}, 50e6);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->rate, 10e6);
  EXPECT_EQ(found->probes.size(), 1u);
  EXPECT_EQ(found->limit, Verdict::kPassed);
  ASSERT_NE(found->best(), nullptr);
}

TEST(FindRate, GivesUpBelowTheLowestRate) {
  const auto found = search({10e6, 5e6, 0.01, 10e3}, 0);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->rate, 0);
  EXPECT_EQ(found->best(), nullptr);
  EXPECT_LE(found->probes.size(), 12u);
}

TEST(FindRate, SaysWhatTheNextHigherRateFailedFor) {
  const auto found = find_rate({10e6, 0, 0.01, 1}, [](double rate) -> Result<Probe> {
    const auto verdict = rate > 8e6 ? Verdict::kLost : rate > 3e6 ? Verdict::kNotOffered : Verdict::kPassed;
    return Probe{rate, verdict, {}};
  });
  ASSERT_TRUE(found);
  EXPECT_EQ(found->limit, Verdict::kNotOffered);
}

TEST(FindRate, EndsWithTheErrorOfATrial) {
  const auto found =
      find_rate({10e6, 0, 0.01, 1}, [](double) -> Result<Probe> { return unavailable("no link"); });
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().message, "no link");
}

}  // namespace
}  // namespace podwire::trafficgen
