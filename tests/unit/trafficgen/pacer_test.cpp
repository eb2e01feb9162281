#include "bench/trafficgen/pacer.hpp"

#include <gtest/gtest.h>

namespace podwire::trafficgen {
namespace {

constexpr double kHz = 1e9;
constexpr double kPatience = 100e-6;

TEST(Pacer, SendsAtTheRateWhateverTheTurnsTake) {
  for (const double rate : {1e3, 1e6, 7.3e6, 14.88e6}) {
    Pacer pacer(rate, kHz, kPatience, 32);
    const std::uint64_t start = 5'000'000'000;
    pacer.start(start);
    std::uint64_t sent = 0, now = start;
    for (unsigned turn = 0; now < start + 100'000'000; ++turn) {
      now += 200 + turn % 7 * 150;
      sent += pacer.take(now);
    }
    const double due = rate * static_cast<double>(now - start) / kHz;
    EXPECT_NEAR(static_cast<double>(sent), due, 33) << rate;
    EXPECT_EQ(pacer.behind(), 0) << rate;
  }
}

TEST(Pacer, SendsSingleFramesWhenThereIsTime) {
  Pacer pacer(1e6, kHz, kPatience, 32);
  pacer.start(0);
  for (std::uint64_t now = 100; now < 1'000'000; now += 100) EXPECT_LE(pacer.take(now), 1u);
}

TEST(Pacer, CatchesUpWithAShortPauseByBursts) {
  Pacer pacer(1e6, kHz, kPatience, 16);
  pacer.start(0);
  EXPECT_EQ(pacer.take(50'000), 16u);  // 50 are due
  EXPECT_EQ(pacer.take(50'000), 16u);
  EXPECT_EQ(pacer.take(50'000), 16u);
  EXPECT_EQ(pacer.take(50'000), 2u);
  EXPECT_EQ(pacer.take(50'000), 0u);
}

TEST(Pacer, StrikesOffWhatALongPauseLeft) {
  Pacer pacer(1e6, kHz, kPatience, 16);
  pacer.start(0);
  EXPECT_EQ(pacer.take(10'000'000), 16u);  // 10,000 were due
  EXPECT_EQ(pacer.take(10'000'000), 0u);
  EXPECT_EQ(pacer.take(10'001'000), 1u);
}

TEST(Pacer, KeepsTheRateOverTheTimeThatIsNotSkipped) {
  Pacer pacer(2e5, kHz, kPatience, 16);
  pacer.start(0);
  std::uint64_t sent = 0, now = 0, skipped = 0;
  for (unsigned turn = 1; turn <= 100'000; ++turn) {
    now += 500;
    sent += pacer.take(now);
    if (turn % 100 == 0) {  // every 50 us for 150 us
      now += 150'000;
      skipped += 150'000;
      pacer.skip(150'000);
    }
  }
  EXPECT_NEAR(static_cast<double>(sent), 2e5 * static_cast<double>(now - skipped) / kHz, 2);
  EXPECT_EQ(pacer.behind(), 0);
}

TEST(Pacer, SaysThatItIsBehind) {
  Pacer pacer(100e6, kHz, kPatience, 16);
  pacer.start(0);
  // Every turn takes the time of 50 frames and sends 16.
  for (std::uint64_t now = 500; now < 10'000'000; now += 500) pacer.take(now);
  EXPECT_GT(pacer.behind(), 0.9);
}

TEST(Pacer, AlwaysSendsWithoutARate) {
  Pacer pacer(std::numeric_limits<double>::infinity(), kHz, kPatience, 16);
  pacer.start(100);
  EXPECT_EQ(pacer.take(100), 16u);
  EXPECT_EQ(pacer.take(100), 16u);
}

}  // namespace
}  // namespace podwire::trafficgen
