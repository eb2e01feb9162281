// How many connections one port may have begun: first packets past it are dropped before the rules are asked,
// what is established goes on, others do not notice, and what ends makes room.
#include "tests/eal/pipeline/flow_fixture.hpp"

namespace podwire::engine::tests {
namespace {

class FlowLimits : public FlowSwitch {
 protected:
  FlowLimits() { limit(3); }

  // Of pod 1's port.
  void limit(unsigned most) {
    program((R"({"ports": [{"id": 11, "name": "pod1", "kind": "tap", "domain": 2, "mac": "02:00:00:00:03:01",
             "mtu": 1450, "flow_limit": )" +
             std::to_string(most) + "}]}")
                .c_str());
  }
  void begin(std::uint16_t from, std::uint16_t to) {
    for (auto port = from; port < to; ++port) receive(kPod1, out(port));
  }
  std::uint64_t limited(PortId port) const {
    return counters_.all.front()->ports[port.value()].flows_limited.get();
  }
};

TEST_F(FlowLimits, FirstPacketsPastItAreDropped) {
  begin(1, 6);
  EXPECT_EQ(ports_out().size(), 3u);
  expect_dropped(DropReason::flow_limit, 2);
  EXPECT_EQ(flows_.begun_by(kPod1), 3u);
  EXPECT_EQ(limited(kPod1), 2u);
  EXPECT_EQ(counted().refused.get(), 0u);
}

TEST_F(FlowLimits, BeforeTheRulesAreAsked) {
  begin(1, 4);
  set_domain(R"(, "rules": [{"action": "deny", "protocol": "udp"}])");
  receive(kPod1, out(100));
  expect_dropped(DropReason::flow_limit);
}

TEST_F(FlowLimits, WithinOneBurstToo) {
  std::vector<rte_mbuf*> burst;
  for (std::uint16_t port = 1; port <= 10; ++port) burst.push_back(to_mbuf(pool_.get(), out(port).bytes()));
  receive(kPod1, burst);
  EXPECT_EQ(ports_out().size(), 3u);
  EXPECT_EQ(counted().inserted.get(), 3u);
  expect_dropped(DropReason::flow_limit, 7);
}

TEST_F(FlowLimits, WhatIsEstablishedGoesOn) {
  begin(1, 5);
  sent_.clear();
  for (std::uint16_t port = 1; port < 4; ++port) {
    receive(kPod2, back(port));
    receive(kPod1, out(port));
  }
  EXPECT_EQ(ports_out().size(), 6u);
  expect_dropped(DropReason::flow_limit, 1);
}

TEST_F(FlowLimits, OthersBeginAsBefore) {
  begin(1, 5);
  sent_.clear();
  for (std::uint16_t port = 1; port <= 20; ++port)
    receive(kPod2, Packet().eth(kGatewayMac, kPod2Mac).ipv4(kPod2Ip, kPod1Ip).udp(port, 99).payload(20));
  EXPECT_EQ(ports_out().size(), 20u);
  EXPECT_EQ(flows_.begun_by(kPod2), 20u);
  EXPECT_EQ(flows_.begun_by(kPod1), 3u);
  expect_dropped(DropReason::flow_limit, 1);
}

TEST_F(FlowLimits, WhatEndsMakesRoom) {
  begin(1, 5);
  expect_dropped(DropReason::flow_limit, 1);
  ctx_.now_s += timeout_of(FlowState::kUdpNew);
  EXPECT_EQ(flows_.age(ctx_.now_s, 1024, [](const FlowKey&, PortId) { return false; }), 3u);
  begin(5, 8);
  EXPECT_EQ(flows_.begun_by(kPod1), 3u);
  expect_dropped(DropReason::flow_limit, 1);
}

TEST_F(FlowLimits, AConnectionThatBeginsAnewIsCountedOnce) {
  limit(1);
  for (int i = 0; i < 3; ++i) {
    receive(kPod1, tcp_out(kSyn));
    receive(kPod2, tcp_back(kRst));
    EXPECT_EQ(flows_.begun_by(kPod1), 1u);
  }
  EXPECT_EQ(ports_out().size(), 6u);
}

TEST_F(FlowLimits, AHigherOneHoldsAtOnce) {
  begin(1, 5);
  limit(5);
  begin(5, 8);
  EXPECT_EQ(flows_.begun_by(kPod1), 5u);
  expect_dropped(DropReason::flow_limit, 2);
}

// FlowSwitch's table has 1,024.
TEST_F(FlowLimits, NoneSaidIsAQuarterOfTheTable) {
  limit(0);
  begin(1, 301);
  EXPECT_EQ(flows_.begun_by(kPod1), 256u);
  expect_dropped(DropReason::flow_limit, 44);
}

}  // namespace
}  // namespace podwire::engine::tests
