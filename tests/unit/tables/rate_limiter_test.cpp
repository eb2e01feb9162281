#include "dataplane/tables/rate_limiter.hpp"

#include <gtest/gtest.h>

namespace podwire::engine {
namespace {

constexpr std::uint64_t kHz = 2'000'000'000;

// Bytes that pass in `seconds` when somebody always wants to send packets of `size` and looks every `step`.
std::uint64_t passed(RateLimiter& limiter, std::uint64_t begin, double seconds, std::uint32_t size,
                     std::uint64_t step) {
  std::uint64_t bytes = 0;
  const auto end = begin + static_cast<std::uint64_t>(seconds * static_cast<double>(kHz));
  for (std::uint64_t now = begin; now < end; now += step) {
    while (limiter.may_pass(now)) {
      limiter.charge(now, size);
      bytes += size;
    }
  }
  return bytes;
}

TEST(RateLimiter, KeepsItsRateWhateverTheSizeAndTheLateness) {
  for (const std::uint64_t rate_bps : {1'000'000ull, 100'000'000ull, 10'000'000'000ull}) {
    for (const std::uint32_t size : {64u, 1514u, 65'550u}) {
      for (const std::uint64_t late_us : {10u, 1'000u, 4'000u}) {
        RateLimiter limiter({rate_bps, 0}, kHz);
        const std::uint64_t begin = 100 * kHz;
        while (limiter.may_pass(begin)) limiter.charge(begin, size);  // the burst
        const double rate = static_cast<double>(rate_bps) / 8;
        const double seconds = std::min(10.0, 100'000.0 * size / rate);
        const auto bytes = passed(limiter, begin, seconds, size, kHz / 1'000'000 * late_us);
        const double wanted = rate * seconds;
        const double packet = size;
        EXPECT_NEAR(static_cast<double>(bytes), wanted,
                    wanted * 0.001 + 2 * packet + rate * static_cast<double>(late_us) / 1e6)
            << rate_bps << " " << size << " " << late_us;
      }
    }
  }
}

TEST(RateLimiter, APauseEarnsTheBurstAndNoMore) {
  RateLimiter limiter({8'000'000, 200'000}, kHz);
  EXPECT_EQ(limiter.burst_bytes(), 200'000u);
  std::uint64_t now = 50 * kHz;
  for (int round = 0; round < 3; ++round) {
    EXPECT_NEAR(static_cast<double>(limiter.credit_bytes(now)), 200'000, 1);
    std::uint64_t bytes = 0;
    for (; limiter.may_pass(now); bytes += 1'000) limiter.charge(now, 1'000);
    EXPECT_NEAR(static_cast<double>(bytes), 200'000, 1'001);
    EXPECT_EQ(limiter.credit_bytes(now), 0u);
    now += 3600 * kHz;
  }
}

TEST(RateLimiter, DebtIsPaidBeforeTheNextPacket) {
  RateLimiter limiter({8'000, 0}, kHz);  // 1,000 bytes a second
  const std::uint64_t now = 500 * kHz;
  while (limiter.may_pass(now)) limiter.charge(now, 65'000);
  const auto due = limiter.due();
  EXPECT_GT(due, now);
  EXPECT_FALSE(limiter.may_pass(due - 1));
  EXPECT_TRUE(limiter.may_pass(due));
}

TEST(RateLimiter, SmallBurstsAreRaisedToWhatASleepingThreadNeeds) {
  EXPECT_EQ(RateLimiter({1'000'000, 1}, kHz).burst_bytes(), RateLimiter::kLeastBurstBytes);
  EXPECT_EQ(RateLimiter({8'000'000'000, 1}, kHz).burst_bytes(), 5'000'000u);
}

}  // namespace
}  // namespace podwire::engine
