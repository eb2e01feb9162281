// The neighbour state machine with a clock of its own.
#include "dataplane/tables/neighbors.hpp"

#include <gtest/gtest.h>

namespace podwire::engine {
namespace {

const MacAddr kMac{{2, 0, 0, 0, 0, 9}};
const MacAddr kOther{{2, 0, 0, 0, 0, 10}};
const NeighborKey kKey{PortId(1), IpAddr(Ipv4{{192, 168, 100, 2}})};

class NeighborsTest : public testing::Test, protected NeighborActions {
 protected:
  void ask(const NeighborKey&, const MacAddr& mac) override { asked.push_back(mac); }
  void changed(const NeighborKey&, const Neighbor& neighbor) override { changes.push_back(neighbor); }

  NeighborState state() const { return neighbors.find(kKey)->state; }
  // Advances in steps as the engine's main loop does.
  void run(std::uint64_t ms) {
    for (const auto end = now + ms; now < end; now += 100) neighbors.tick(now);
  }
  void make_reachable() {
    neighbors.want(kKey, now);
    neighbors.tick(now);
    neighbors.learn(kKey, kMac, true, now);
    asked.clear();
    changes.clear();
  }

  std::vector<MacAddr> asked;
  std::vector<Neighbor> changes;
  std::uint64_t now = 1'000'000;
  Neighbors neighbors{*this};
};

TEST_F(NeighborsTest, AsksByBroadcastThreeTimesASecondApartThenFails) {
  neighbors.want(kKey, now);
  EXPECT_TRUE(asked.empty());
  run(900);
  EXPECT_EQ(asked.size(), 1u);
  run(1000);
  EXPECT_EQ(asked.size(), 2u);
  run(1000);
  EXPECT_EQ(asked.size(), 3u);
  EXPECT_EQ(state(), NeighborState::kIncomplete);
  EXPECT_TRUE(changes.empty());
  run(200);
  EXPECT_EQ(state(), NeighborState::kFailed);
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_FALSE(changes[0].known());
  for (const auto& mac : asked) EXPECT_TRUE(mac.is_zero());
}

TEST_F(NeighborsTest, FailedIsAskedAgainWithBackoffUpTo30Seconds) {
  neighbors.want(kKey, now);
  run(3200);
  ASSERT_EQ(state(), NeighborState::kFailed);
  asked.clear();
  std::vector<std::uint64_t> gaps;
  auto last = now;
  while (gaps.size() < 8) {
    const auto before = asked.size();
    neighbors.tick(now);
    if (asked.size() != before) {
      gaps.push_back((now - last + 500) / 1000);
      last = now;
    }
    now += 100;
  }
  EXPECT_EQ(gaps, (std::vector<std::uint64_t>{1, 2, 4, 8, 16, 30, 30, 30}));
  EXPECT_EQ(changes.size(), 1u);  // the failure was reported once
  neighbors.learn(kKey, kMac, true, now);
  EXPECT_EQ(state(), NeighborState::kReachable);
  EXPECT_EQ(changes.back().mac, kMac);
}

TEST_F(NeighborsTest, AnswerMakesItReachable) {
  neighbors.want(kKey, now);
  neighbors.tick(now);
  neighbors.learn(kKey, kMac, true, now + 5);
  EXPECT_EQ(state(), NeighborState::kReachable);
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].mac, kMac);
}

TEST_F(NeighborsTest, ReachableIsProbedByUnicastAfter30SecondsWithoutAChange) {
  make_reachable();
  run(29'900);
  EXPECT_TRUE(asked.empty());
  run(300);
  ASSERT_EQ(asked.size(), 1u);
  EXPECT_EQ(asked[0], kMac);
  EXPECT_EQ(state(), NeighborState::kProbe);
  EXPECT_TRUE(neighbors.find(kKey)->known());  // in use meanwhile
  neighbors.learn(kKey, kMac, true, now);
  EXPECT_EQ(state(), NeighborState::kReachable);
  EXPECT_TRUE(changes.empty());
}

TEST_F(NeighborsTest, UnansweredProbesFallBackToBroadcastThenFailure) {
  make_reachable();
  run(30'000 + 3200);
  EXPECT_EQ(state(), NeighborState::kIncomplete);
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_FALSE(changes[0].known());
  ASSERT_EQ(asked.size(), 4u);
  EXPECT_EQ(asked[2], kMac);
  EXPECT_TRUE(asked[3].is_zero());
  run(3000);
  EXPECT_EQ(state(), NeighborState::kFailed);
}

TEST_F(NeighborsTest, OverheardIsIgnoredForAddressesNobodyWants) {
  neighbors.learn(kKey, kMac, false, now);
  neighbors.learn(kKey, kMac, true, now);
  EXPECT_EQ(neighbors.size(), 0u);
  EXPECT_TRUE(changes.empty());
}

TEST_F(NeighborsTest, OverheardMoveIsUsedAndVerified) {
  make_reachable();
  neighbors.learn(kKey, kOther, false, now);
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].mac, kOther);
  EXPECT_EQ(state(), NeighborState::kStale);
  neighbors.tick(now);
  EXPECT_EQ(state(), NeighborState::kProbe);
  EXPECT_EQ(asked, std::vector<MacAddr>{kOther});
}

TEST_F(NeighborsTest, OverheardConfirmationProvesNothing) {
  make_reachable();
  run(20'000);
  neighbors.learn(kKey, kMac, false, now);
  run(10'500);
  EXPECT_EQ(asked.size(), 1u);
}

TEST_F(NeighborsTest, RefusesMacsThatNoHostHas) {
  neighbors.want(kKey, now);
  neighbors.learn(kKey, MacAddr(), true, now);
  neighbors.learn(kKey, MacAddr{{1, 0, 0, 0, 0, 1}}, true, now);
  neighbors.learn(kKey, MacAddr{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}, true, now);
  EXPECT_FALSE(neighbors.find(kKey)->known());
}

TEST_F(NeighborsTest, IsForgottenWithItsLastUser) {
  neighbors.want(kKey, now);
  neighbors.want(kKey, now);
  neighbors.forget(kKey);
  EXPECT_EQ(neighbors.size(), 1u);
  neighbors.forget(kKey);
  EXPECT_EQ(neighbors.size(), 0u);
  neighbors.forget(kKey);
  EXPECT_EQ(neighbors.size(), 0u);
}

TEST_F(NeighborsTest, FixedIsKnownAtOnceAndNeverAsked) {
  neighbors.fix(kKey, kMac, now);
  neighbors.want(kKey, now);
  EXPECT_EQ(neighbors.find(kKey)->mac, kMac);
  EXPECT_EQ(state(), NeighborState::kPermanent);
  EXPECT_EQ(name_of(state()), "permanent");
  run(3'600'000);
  EXPECT_EQ(state(), NeighborState::kPermanent);
  EXPECT_TRUE(asked.empty());
  EXPECT_EQ(changes.size(), 1u);
}

TEST_F(NeighborsTest, NobodysWordCountsAgainstAFixedOne) {
  neighbors.want(kKey, now);
  neighbors.fix(kKey, kMac, now);
  changes.clear();
  for (const bool solicited : {false, true}) {
    neighbors.learn(kKey, kOther, solicited, now);
    neighbors.learn(kKey, kMac, solicited, now);
  }
  EXPECT_EQ(neighbors.find(kKey)->mac, kMac);
  EXPECT_EQ(state(), NeighborState::kPermanent);
  EXPECT_TRUE(changes.empty());
}

TEST_F(NeighborsTest, FixingIsToldWhenItChangesTheMac) {
  make_reachable();
  neighbors.fix(kKey, kMac, now);
  EXPECT_TRUE(changes.empty());
  neighbors.fix(kKey, kOther, now);
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].mac, kOther);
  EXPECT_EQ(changes[0].state, NeighborState::kPermanent);
}

TEST_F(NeighborsTest, FixedIsKeptWithoutUsersAndGoesWhenReleased) {
  neighbors.fix(kKey, kMac, now);
  neighbors.want(kKey, now);
  neighbors.forget(kKey);
  EXPECT_EQ(neighbors.size(), 1u);
  neighbors.release(kKey, now);
  EXPECT_EQ(neighbors.size(), 0u);
  neighbors.release(kKey, now);
  EXPECT_EQ(changes.size(), 2u);
}

TEST_F(NeighborsTest, ReleasedIsAskedForByEverybodyWhoWantsIt) {
  neighbors.want(kKey, now);
  run(3200);
  ASSERT_EQ(state(), NeighborState::kFailed);
  neighbors.fix(kKey, kMac, now);
  asked.clear();
  changes.clear();
  neighbors.release(kKey, now);
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_FALSE(changes[0].known());
  EXPECT_EQ(state(), NeighborState::kIncomplete);
  run(2900);
  EXPECT_EQ(asked, std::vector<MacAddr>(3));
  neighbors.learn(kKey, kOther, true, now);
  EXPECT_EQ(state(), NeighborState::kReachable);
  neighbors.release(kKey, now);  // not fixed
  EXPECT_EQ(state(), NeighborState::kReachable);
}

TEST_F(NeighborsTest, AsksABoundedNumberATickAndTheRestNext) {
  for (std::uint32_t i = 0; i < 300; ++i)
    neighbors.want({PortId(1), IpAddr(Ipv4::from_u32(0x0a000001 + i))}, now);
  neighbors.tick(now);
  EXPECT_EQ(asked.size(), Neighbors::kAsksPerTick);
  neighbors.tick(now + 100);
  neighbors.tick(now + 200);
  EXPECT_EQ(asked.size(), 300u);
}

}  // namespace
}  // namespace podwire::engine
