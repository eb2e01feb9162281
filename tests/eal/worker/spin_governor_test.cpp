#include "dataplane/worker/spin_governor.hpp"

#include <gtest/gtest.h>

namespace podwire::engine {
namespace {

constexpr std::uint64_t kHz = 1'000'000'000;  // a cycle is a nanosecond
constexpr std::uint64_t kUs = 1000;

TEST(SpinGovernor, SpinsForAWhileAfterAPolledPacket) {
  SpinGovernor governor(kHz, 50);
  const std::uint64_t start = 10 * kHz;
  EXPECT_FALSE(governor.may_spin(start)) << "no packet yet";
  governor.packet_polled(start);
  for (std::uint64_t at = 1; at < 50; ++at) EXPECT_TRUE(governor.may_spin(start + at * kUs)) << at;
  EXPECT_FALSE(governor.may_spin(start + 50 * kUs));
}

TEST(SpinGovernor, ZeroNeverSpins) {
  SpinGovernor governor(kHz, 0);
  governor.packet_polled(10 * kHz);
  EXPECT_FALSE(governor.may_spin(10 * kHz));
}

TEST(SpinGovernor, PreemptionEndsItForASecond) {
  SpinGovernor governor(kHz, 1000);
  std::uint64_t now = 10 * kHz;
  governor.packet_polled(now);
  EXPECT_TRUE(governor.may_spin(now + 10 * kUs));
  now += 400 * kUs;  // gone from the core for 390 us
  EXPECT_FALSE(governor.may_spin(now));
  governor.packet_polled(now + kHz / 2);
  EXPECT_FALSE(governor.may_spin(now + kHz / 2 + kUs));
  governor.packet_polled(now + kHz);
  EXPECT_TRUE(governor.may_spin(now + kHz + kUs));
}

TEST(SpinGovernor, TimeSpentOnPacketsIsNoPreemption) {
  SpinGovernor governor(kHz, 1000);
  const std::uint64_t start = 10 * kHz;
  governor.packet_polled(start);
  EXPECT_TRUE(governor.may_spin(start + kUs));
  governor.stop_watching();  // a long burst
  governor.packet_polled(start + 500 * kUs);
  EXPECT_TRUE(governor.may_spin(start + 501 * kUs));
}

}  // namespace
}  // namespace podwire::engine
