// What the connection table does when it fills: how much it holds, who makes room for whom, and how many one
// port may begin.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "dataplane/tables/flow_table.hpp"

namespace podwire::engine {
namespace {

using Outcome = FlowTable::Insertion::Outcome;
constexpr FlowPhase kUdpNew{FlowState::kUdpNew}, kEstablished{FlowState::kEstablished},
    kHalfOpen{FlowState::kSynSent};
constexpr PortId kPodA{11}, kPodB{12};

// As a client has them: one address, port after port.
FlowKey key(std::uint32_t n, std::uint16_t domain = 7) {
  return make_flow_key(DomainId(domain), ip_proto::kTcp, IpAddr(Ipv4::from_u32(0x0a000000 + n / 50000)),
                       IpAddr(Ipv4::from_u32(0x0b000001)), static_cast<std::uint16_t>(1024 + n % 50000), 80);
}

Outcome put(FlowTable& table, std::uint32_t n, FlowPhase phase, std::uint32_t now = 100,
            FlowOwner owner = {}) {
  return table.insert(key(n), key(n).reversed(), phase, 1, now, owner).outcome;
}

std::uint32_t count_found(const FlowTable& table, std::uint32_t from, std::uint32_t to) {
  std::uint32_t found = 0;
  for (auto n = from; n < to; ++n) found += table.find(key(n)) ? 1 : 0;
  return found;
}

TEST(FlowRoom, HoldsItsCapacityOfClientsPortsWhateverTheSeed) {
  constexpr std::uint32_t kCapacity = 1u << 16;
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    FlowTable table(kCapacity, seed);
    std::uint32_t refused = 0;
    for (std::uint32_t n = 0; n < kCapacity; ++n)
      refused += put(table, n, kEstablished) == Outcome::kNew ? 0 : 1;
    EXPECT_LE(refused, 2u) << "seed " << seed;
    EXPECT_EQ(count_found(table, 0, kCapacity), kCapacity - refused);
  }
}

TEST(FlowRoom, RefusesBesideEstablishedOnesOnly) {
  FlowTable table(4096, 99);
  for (std::uint32_t n = 0; n < 4096; ++n) EXPECT_EQ(put(table, n, kEstablished), Outcome::kNew);
  for (std::uint32_t n = 5000; n < 5100; ++n) EXPECT_EQ(put(table, n, kEstablished), Outcome::kFull);
  EXPECT_EQ(count_found(table, 0, 4096), 4096u);
  EXPECT_TRUE(table.remove(table.find(key(17))));
  EXPECT_EQ(put(table, 5200, kEstablished), Outcome::kNew);
}

TEST(FlowRoom, OneReplaceableOneAmongEstablishedOnesIsFound) {
  FlowTable table(4096, 3);
  for (std::uint32_t n = 0; n < 4096; ++n) put(table, n, n == 3000 ? kHalfOpen : kEstablished);
  // The hand looks at a part of the table each time.
  int tries = 0;
  while (put(table, 5000, kEstablished) != Outcome::kNew && tries < 8) ++tries;
  EXPECT_FALSE(table.find(key(3000)));
  EXPECT_TRUE(table.find(key(5000)));
  EXPECT_EQ(count_found(table, 0, 4096), 4095u);
}

TEST(FlowRoom, AFloodReplacesItselfInTurn) {
  constexpr std::uint32_t kCapacity = 1024;
  FlowTable table(kCapacity, 5);
  for (std::uint32_t n = 0; n < 512; ++n) put(table, n, kEstablished);
  for (std::uint32_t n = 512; n < kCapacity; ++n) put(table, n, kHalfOpen);
  for (std::uint32_t n = 2000; n < 22000; ++n) {
    const auto one = table.insert(key(n), key(n).reversed(), kHalfOpen, 1, 100);
    ASSERT_EQ(one.outcome, Outcome::kNew);
    EXPECT_EQ(one.evicted, 1u);
    // Has as long to be answered as it takes to replace all that may be replaced.
    if (n % 1000 == 0) {
      EXPECT_EQ(count_found(table, n - 511, n + 1), std::min(n - 1999, 512u));
    }
  }
  EXPECT_EQ(count_found(table, 0, 512), 512u);
}

TEST(FlowRoom, WhatIsAnsweredInTimeStays) {
  FlowTable table(1024, 5);
  for (std::uint32_t n = 0; n < 1024; ++n) put(table, n, kHalfOpen);
  std::uint32_t answered = 0;
  for (std::uint32_t n = 2000; n < 6000; ++n) {
    put(table, n, kHalfOpen);
    if (n % 100 != 0) continue;
    const auto step = table.update(table.find(key(n)), [](FlowPhase) {
      return FlowStep{FlowStep::Outcome::kPass, {FlowState::kEstablished}};
    });
    answered += step.outcome == FlowStep::Outcome::kPass ? 1 : 0;
  }
  EXPECT_EQ(answered, 40u);
  for (std::uint32_t n = 2000; n < 6000; n += 100) EXPECT_TRUE(table.find(key(n))) << n;
}

TEST(FlowRoom, WhatClosesMakesRoomAgain) {
  FlowTable table(256, 5);
  for (std::uint32_t n = 0; n < 256; ++n) put(table, n, kEstablished);
  EXPECT_EQ(put(table, 1000, kEstablished), Outcome::kFull);
  table.update(table.find(key(9)), [](FlowPhase) {
    return FlowStep{FlowStep::Outcome::kPass, {FlowState::kTimeWait}};
  });
  EXPECT_EQ(put(table, 1000, kEstablished), Outcome::kNew);
  EXPECT_FALSE(table.find(key(9)));
}

// A stream that is never answered (syslog, sFlow) is replaceable, but in use.
TEST(FlowRoom, SparesWhatWasSeenSince) {
  FlowTable table(64, 5);
  for (std::uint32_t n = 0; n < 64; ++n) put(table, n, kUdpNew, 100);
  table.touch(table.find(key(0)), 107);
  EXPECT_EQ(put(table, 1000, kUdpNew, 107), Outcome::kNew);
  EXPECT_TRUE(table.find(key(0)));
  EXPECT_FALSE(table.find(key(1)));
  // Marked anew, it goes when the hand comes again.
  for (std::uint32_t n = 1001; n < 1064; ++n) put(table, n, kUdpNew, 107);
  EXPECT_FALSE(table.find(key(0)));
}

TEST(FlowRoom, SparesAFewAndThenTakesOneAllTheSame) {
  FlowTable table(64, 5);
  for (std::uint32_t n = 0; n < 64; ++n) put(table, n, kUdpNew, 100);
  for (std::uint32_t n = 0; n < 64; ++n) table.touch(table.find(key(n)), 109);
  EXPECT_EQ(put(table, 1000, kUdpNew, 109), Outcome::kNew);
  EXPECT_EQ(count_found(table, 0, 64), 63u);
}

TEST(FlowRoom, KeepsTheTableWholeWhenItIsSmallerThanAPair) {
  FlowTable table(1, 5);
  for (std::uint32_t n = 0; n < 100; ++n) {
    EXPECT_EQ(put(table, n, kHalfOpen), Outcome::kNew);
    EXPECT_TRUE(table.find(key(n)) && table.find(key(n).reversed()));
    EXPECT_FALSE(n > 0 && table.find(key(n - 1)));
  }
}

TEST(FlowRoom, TakesNoMoreThan256BytesAConnection) {
  const auto bytes = [](std::uint32_t capacity) {
    return static_cast<double>(FlowTable(capacity, 1).bytes_reserved()) / capacity;
  };
  EXPECT_LE(bytes(1u << 20), 196);
  for (std::uint32_t capacity = 1u << 18; capacity < 1u << 22; capacity += capacity / 7)
    EXPECT_LE(bytes(capacity), 245) << capacity;
}

TEST(FlowLimit, CountsWhatAPortBeganUntilItIsGone) {
  FlowTable table(64, 1);
  for (std::uint32_t n = 0; n < 5; ++n) put(table, n, kEstablished, 100, {kPodA});
  for (std::uint32_t n = 5; n < 8; ++n) put(table, n, kEstablished, 100, {kPodB});
  put(table, 8, kEstablished, 100);
  EXPECT_EQ(table.begun_by(kPodA), 5u);
  EXPECT_EQ(table.begun_by(kPodB), 3u);
  EXPECT_EQ(table.owner_of(table.find(key(0).reversed())), kPodA);
  table.remove(table.find(key(0)));
  EXPECT_EQ(table.begun_by(kPodA), 4u);
  table.age(100 + timeout_of(FlowState::kEstablished), 1000, [](const FlowKey&, PortId) { return false; });
  EXPECT_EQ(table.begun_by(kPodA), 0u);
  EXPECT_EQ(table.begun_by(kPodB), 0u);
}

TEST(FlowLimit, RefusesPastItAndEvictsNobodyForIt) {
  FlowTable table(64, 1);
  for (std::uint32_t n = 0; n < 61; ++n) put(table, n, kHalfOpen, 100, {kPodB});
  for (std::uint32_t n = 100; n < 103; ++n)
    EXPECT_EQ(put(table, n, kHalfOpen, 100, {kPodA, 3}), Outcome::kNew);
  const auto refused = table.insert(key(103), key(103).reversed(), kHalfOpen, 1, 100, {kPodA, 3});
  EXPECT_EQ(refused.outcome, Outcome::kLimit);
  EXPECT_EQ(refused.evicted, 0u);
  EXPECT_FALSE(refused.ref);
  EXPECT_EQ(table.begun_by(kPodA), 3u);
  EXPECT_EQ(count_found(table, 0, 61), 61u);
  // One that is there is no new one.
  EXPECT_EQ(put(table, 100, kHalfOpen, 100, {kPodA, 3}), Outcome::kThere);
  EXPECT_EQ(table.begun_by(kPodA), 3u);
}

TEST(FlowLimit, WhatIsEvictedIsNoLongerItsOwners) {
  FlowTable table(64, 1);
  for (std::uint32_t n = 0; n < 64; ++n) put(table, n, kHalfOpen, 100, {kPodA});
  for (std::uint32_t n = 100; n < 120; ++n) put(table, n, kEstablished, 100, {kPodB});
  EXPECT_EQ(table.begun_by(kPodA), 44u);
  EXPECT_EQ(table.begun_by(kPodB), 20u);
}

TEST(FlowLimit, RefusedInsertionsAreNotCounted) {
  FlowTable table(16, 1);
  for (std::uint32_t n = 0; n < 16; ++n) put(table, n, kEstablished, 100, {kPodB});
  EXPECT_EQ(put(table, 100, kEstablished, 100, {kPodA}), Outcome::kFull);
  EXPECT_EQ(table.begun_by(kPodA), 0u);
}

TEST(FlowLimit, DefaultsToAQuarterOfTheTableAndAtMostAClientsPorts) {
  EXPECT_EQ(FlowTable(1u << 20, 1).default_limit(), 65536u);
  EXPECT_EQ(FlowTable(100'000, 1).default_limit(), 25'000u);
  EXPECT_EQ(FlowTable(1024, 1).default_limit(), 256u);
}

TEST(FlowLimit, WhatAGonePortBeganIsForgotten) {
  FlowTable table(64, 1);
  put(table, 1, kEstablished, 100, {kPodA});
  put(table, 2, kEstablished, 100, {kPodB});
  EXPECT_EQ(table.age(100, 1000, [](const FlowKey&, PortId owner) { return owner == kPodA; }), 1u);
  EXPECT_TRUE(table.find(key(2)));
}

}  // namespace
}  // namespace podwire::engine
