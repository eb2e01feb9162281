// The express lane: takes plain frames, and decides nothing otherwise than the stages. The same bursts, well
// formed and mutilated, go through a switch with the lane and through one without.
#include <algorithm>
#include <random>

#include "tests/eal/pipeline/flow_fixture.hpp"

namespace podwire::engine::tests {
namespace {

class ExpressTest : public SwitchTest {
 protected:
  std::uint64_t taken() { return counters_.worker(0).stages[kExpressCounter].packets.get(); }
};

Packet from_pod1(const Ipv4& to, std::uint16_t port = 80, const Ipv4Fields& fields = {}) {
  return Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod1Ip, to, fields).udp(1000, port).payload(40);
}
Packet from_remote(Packet outer, const Ipv4& to = kPod1Ip) {
  return outer.eth(kOurVtepMac, kPeerVtepMac).ipv4(kRemoteIp, to, {.ttl = 63}).udp(53, 5353).payload(40);
}
Packet tcp_from_remote(Packet outer) {
  return outer.eth(kOurVtepMac, kPeerVtepMac).ipv4(kRemoteIp, kPod1Ip).tcp(80, 5000).payload(40);
}

TEST_F(ExpressTest, TakesWhatIsPlainInEveryDirection) {
  resolve_peer();
  receive(kPod1, from_pod1(kPod2Ip));
  EXPECT_EQ(taken(), 1u);
  receive(kPod1, from_pod1(kRemoteIp));
  EXPECT_EQ(taken(), 2u);
  receive(kUplink, from_remote(from_peer(kRoutedVni)));
  EXPECT_EQ(taken(), 3u);
  receive(kPod1, Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod1Ip, kPod2Ip).tcp(1, 2).payload(4));
  EXPECT_EQ(taken(), 4u);
  EXPECT_EQ(sent_.size(), 4u);
  EXPECT_EQ(all_drops(), 0u);
}

TEST_F(ExpressTest, LeavesTheRestToTheStages) {
  receive(kPod1, from_pod1(kRemoteIp));  // the peer's MAC is not known: parked
  resolve_peer();
  receive(kPod1, from_pod1(kPod2Ip, 67));              // DHCP
  receive(kPod1, from_pod1(kPod2Ip, 80, {.ttl = 1}));  // ICMP error
  receive(kPod1, from_pod1(kPod2Ip, 80, {.flags_fragment = Ipv4Header::kMoreFragments}));
  receive(kPod1, from_pod1(kPod2Ip, 80, {.options = {7, 4, 4, 0}}));
  receive(kPod1, from_pod1({{10, 99, 0, 1}}));               // blackhole
  receive(kPod1, from_pod1(kGateway4));                      // ours
  receive(kUplink, tcp_from_remote(from_peer(kRoutedVni)));  // to be merged for a tap
  EXPECT_EQ(taken(), 0u);
}

TEST_F(ExpressTest, KeepsTheOrderOfABurst) {
  std::vector<rte_mbuf*> burst;
  for (std::uint16_t i = 0; i < 40; ++i) {
    // Every third is a fragment, which is for the stages.
    const std::uint16_t flags = i % 3 == 2 ? Ipv4Header::kMoreFragments : 0;
    burst.push_back(to_mbuf(pool_.get(), from_pod1(kPod2Ip, 80, {.id = i, .flags_fragment = flags}).bytes()));
  }
  receive(kPod1, burst);
  ASSERT_EQ(sent_.size(), 40u);
  for (std::uint16_t i = 0; i < 40; ++i) EXPECT_EQ(sent_[i].bytes[19], i);
  EXPECT_GT(taken(), 2u);
  EXPECT_LT(taken(), 40u);
}

// What is looked up next has the address as far as the last length went: a longer prefix may begin there.
TEST_F(ExpressTest, AShorterMatchIsShorter) {
  program(R"({"routes": [{"id": 6, "domain": 2, "prefix": "10.80.0.0/12", "next_hops": [{"vtep": 2}]},
                         {"id": 7, "domain": 2, "prefix": "10.80.0.0/30", "blackhole": true}]})");
  receive(kPod1, from_pod1(kPod2Ip));  // the worker has the new tables
  const auto& domain = *ctx_.tables->domain(kRouted);
  const auto found = shorter_match(*ctx_.tables, domain, fib4_key(kRouted, 0x0a500000, 16).word);
  ASSERT_NE(found, 0u);
  EXPECT_EQ(found, find_route(*ctx_.tables, domain, Ipv4{{10, 80, 77, 1}}));
  EXPECT_NE(found, find_route(*ctx_.tables, domain, Ipv4{{10, 80, 0, 1}}));
  EXPECT_EQ(shorter_match(*ctx_.tables, domain, fib4_key(kRouted, 0x0a500000, 12).word), 0u);
}

TEST_F(ExpressTest, BooksTunnelPacketsOnTheirDomain) {
  receive(kUplink, from_remote(from_peer(kRoutedVni)));
  EXPECT_EQ(taken(), 1u);
  const auto& domains = counters_.worker(0).domains;
  EXPECT_EQ(domains[kUnderlayDomain.value()].moved_out.get(), 1u);
  EXPECT_EQ(domains[kRouted.value()].received.get(), 1u);
  EXPECT_EQ(domains[kRouted.value()].sent.get(), 1u);
}

class ExpressConnections : public FlowSwitch {
 protected:
  ExpressConnections() {
    receive(kPod1, tcp_out(kSyn));
    receive(kPod2, tcp_back(kSynAck));
    receive(kPod1, tcp_out(kAck));
    EXPECT_EQ(tcp_state(), FlowState::kEstablished);
    EXPECT_EQ(taken(), 0u);
  }
  std::uint64_t taken() { return counters_.worker(0).stages[kExpressCounter].packets.get(); }
  // One packet of the connection, taken by the lane.
  void expect_taken(bool wanted = true) {
    const auto before = taken();
    receive(kPod1, tcp_out(kAck));
    EXPECT_EQ(taken() - before, wanted ? 1u : 0u);
  }
};

TEST_F(ExpressConnections, TakesWhatChangesNothing) {
  expect_taken();
  receive(kPod2, tcp_back(kAck));
  EXPECT_EQ(taken(), 2u);
  EXPECT_EQ(all_drops(), 0u);
}

TEST_F(ExpressConnections, NotesWhenAPacketWasSeen) {
  ctx_.now_s = 1234;
  expect_taken();
  EXPECT_EQ(view_of(key(ip_proto::kTcp, 4000, 80)).last_seen, 1234u);
}

TEST_F(ExpressConnections, LeavesNewConnectionsAndChangesOfState) {
  receive(kPod1, out());  // UDP, new
  receive(kPod2, back());
  EXPECT_EQ(taken(), 0u);
  receive(kPod1, tcp_out(kFinAck));
  EXPECT_EQ(taken(), 0u);
  EXPECT_EQ(tcp_state(), FlowState::kFinWait);
}

TEST_F(ExpressConnections, WhatFollowsAChangeOfStateInABurstIsJudgedAfterIt) {
  const auto frame = [&](std::uint8_t flags) { return to_mbuf(pool_.get(), tcp_out(flags).bytes()); };
  receive(kPod1, std::vector<rte_mbuf*>{frame(kAck), frame(kRst), frame(kAck), frame(kAck)});
  EXPECT_EQ(taken(), 1u);
  EXPECT_EQ(tcp_state(), FlowState::kClose);
}

TEST_F(ExpressConnections, AChangeOfRulesIsCheckedByTheStagesFirst) {
  set_domain(R"(, "rules": [{"action": "allow", "protocol": "tcp"}])");
  expect_taken(false);
  expect_taken();
  set_domain(R"(, "rules": [{"action": "deny", "protocol": "tcp"}])");
  expect_taken(false);
  EXPECT_EQ(drops(DropReason::policy_denied), 1u);
}

TEST_F(ExpressConnections, AMovedEndpointIsLookedUpByTheStagesFirst) {
  expect_taken();
  program(R"({"endpoints": [{"id": 2, "name": "pod2", "domain": 2, "port": 12, "mac": "02:00:00:00:03:07",
              "addresses": ["10.244.1.12"]}]})");
  sent_.clear();
  expect_taken(false);
  expect_taken();
  ASSERT_EQ(sent_.size(), 2u);
  EXPECT_EQ(sent_[1].bytes, sent_[0].bytes);
  EXPECT_EQ(sent_[1].bytes[5], 7);
}

TEST_F(ExpressConnections, WithoutATableTheStagesDecide) {
  ctx_.flows = nullptr;
  expect_taken(false);
}

// What a burst did: what left by each port in its order, and what was dropped why.
struct Outcome {
  std::vector<Sent> sent;
  std::vector<std::uint64_t> drops;
  std::uint64_t consumed = 0;
};

class ExpressAgainstStages : public ExpressTest {
 protected:
  ExpressAgainstStages() { resolve_peer(); }

  Outcome run(PortId port, const std::vector<Bytes>& frames, bool express) {
    const auto before = drops_now();
    const auto consumed = counters_.worker(0).engine.consumed.get();
    sent_.clear();
    express_ = express;
    ctx_.icmp = {};
    std::vector<rte_mbuf*> mbufs;
    for (const auto& frame : frames) mbufs.push_back(to_mbuf(pool_.get(), frame));
    receive(port, mbufs);
    Outcome outcome{std::move(sent_), drops_now(), counters_.worker(0).engine.consumed.get() - consumed};
    std::stable_sort(outcome.sent.begin(), outcome.sent.end(),
                     [](const Sent& a, const Sent& b) { return a.port < b.port; });
    for (std::size_t i = 0; i < before.size(); ++i) outcome.drops[i] -= before[i];
    return outcome;
  }

  void compare(PortId port, const std::vector<Bytes>& frames) {
    const auto with = run(port, frames, true);
    const auto without = run(port, frames, false);
    EXPECT_EQ(with.drops, without.drops);
    EXPECT_EQ(with.consumed, without.consumed);
    ASSERT_EQ(with.sent.size(), without.sent.size());
    for (std::size_t i = 0; i < with.sent.size(); ++i) {
      ASSERT_EQ(with.sent[i].port, without.sent[i].port);
      ASSERT_EQ(difference(with.sent[i].bytes, without.sent[i].bytes), "");
      ASSERT_EQ(with.sent[i].partial, without.sent[i].partial);
    }
  }

  void compare_from_a_pod();
  void compare_from_a_tunnel();

  // A valid frame, or one with some bytes of its headers changed, or cut, or lengthened.
  Bytes mutilated(const Packet& packet, std::size_t headers) {
    Bytes bytes = packet.bytes();
    switch (random_() % 6) {
      case 0:
      case 1:
        break;
      case 2:
        bytes.resize(random_() % bytes.size() + 1);
        break;
      case 3:
        bytes.resize(bytes.size() + random_() % 20, 0xee);
        break;
      default:
        for (auto n = random_() % 3 + 1; n != 0; --n)
          bytes[random_() % std::min(headers, bytes.size())] ^=
              static_cast<std::uint8_t>(1u << random_() % 8);
    }
    return bytes;
  }

  std::mt19937 random_{4711};
  std::vector<Ipv4> more_targets_;

 private:
  std::vector<std::uint64_t> drops_now() const {
    std::vector<std::uint64_t> all;
    for (std::size_t i = 0; i < kDropReasonCount; ++i) all.push_back(drops(static_cast<DropReason>(i)));
    return all;
  }
};

void ExpressAgainstStages::compare_from_a_pod() {
  std::vector<Ipv4> targets = {kPod2Ip,          kRemoteIp,        kGateway4,
                               kPod1Ip,          {{10, 99, 0, 1}}, {{10, 244, 1, 99}},
                               {{224, 0, 0, 5}}, {{127, 0, 0, 1}}, {{8, 8, 8, 8}}};
  targets.insert(targets.end(), more_targets_.begin(), more_targets_.end());
  for (int round = 0; round < 1500; ++round) {
    std::vector<Bytes> frames;
    for (auto n = random_() % 12 + 1; n != 0; --n) {
      auto packet = Packet()
                        .eth(random_() % 8 == 0 ? kPod2Mac : kGatewayMac, kPod1Mac)
                        .ipv4(kPod1Ip, targets[random_() % targets.size()],
                              {.ttl = static_cast<std::uint8_t>(random_() % 4),
                               .tos = static_cast<std::uint8_t>(random_()),
                               .id = static_cast<std::uint16_t>(random_())});
      if (random_() % 2 == 0)
        packet.udp(static_cast<std::uint16_t>(random_()), random_() % 9 == 0 ? 67 : 53);
      else
        packet.tcp(static_cast<std::uint16_t>(random_()), 80);
      frames.push_back(mutilated(packet.payload(random_() % 16 == 0 ? 1500 : random_() % 60), 50));
    }
    compare(kPod1, frames);
    if (HasFatalFailure()) FAIL() << "round " << round;
  }
  EXPECT_GT(taken(), 500u);
}

void ExpressAgainstStages::compare_from_a_tunnel() {
  const auto before = taken();
  for (int round = 0; round < 1500; ++round) {
    std::vector<Bytes> frames;
    for (auto n = random_() % 12 + 1; n != 0; --n) {
      const Vni vni = random_() % 8 == 0 ? kBridgedVni : kRoutedVni;
      // Congestion here and there.
      const auto tos = static_cast<std::uint8_t>(random_() % 2 == 0 ? 0 : random_());
      auto packet = Packet().eth(kUplinkMac, kPeerNodeMac).ipv4(kPeerIp, kNodeIp, {.tos = tos});
      packet.udp_without_checksum(50000, 4789)
          .vxlan(vni)
          .eth(random_() % 4 == 0 ? kPod1Mac : kOurVtepMac, kPeerVtepMac)
          .ipv4(kRemoteIp, random_() % 4 == 0 ? kRemoteIp : kPod1Ip,
                {.ttl = static_cast<std::uint8_t>(random_() % 4),
                 .tos = random_() % 2 == 0 ? tos : static_cast<std::uint8_t>(random_())});
      if (random_() % 2 == 0)
        packet.udp(static_cast<std::uint16_t>(random_()), 53);
      else
        packet.tcp(static_cast<std::uint16_t>(random_()), 80);
      frames.push_back(mutilated(packet.payload(random_() % 60), 100));
    }
    compare(kUplink, frames);
    if (HasFatalFailure()) FAIL() << "round " << round;
  }
  EXPECT_GT(taken() - before, 500u);
}

TEST_F(ExpressAgainstStages, FromAPod) {
  compare_from_a_pod();
}

TEST_F(ExpressAgainstStages, FromAPodOfADomainThatMarks) {
  program(
      R"({"domains": [{"id": 2, "name": "routed", "vni": 100, "gateway_mac": "02:70:77:00:00:01", "mtu": 1450,
      "host_access": true, "gateways": ["10.244.1.1/24", "fd00:10:244:1::1/64"], "dscp": 46}]})");
  compare_from_a_pod();
}

// From one to the other within a burst.
TEST_F(ExpressAgainstStages, ToSeveralPeers) {
  program(R"({"vteps": [{"id": 3, "name": "third", "address": "192.168.100.3", "mac": "02:00:00:00:02:03"},
                        {"id": 4, "name": "fourth", "address": "192.168.100.4", "mac": "02:00:00:00:02:04"}],
              "routes": [{"id": 30, "domain": 2, "prefix": "10.244.3.0/24", "next_hops": [{"vtep": 3}]},
                         {"id": 31, "domain": 2, "prefix": "10.244.4.0/24", "next_hops": [{"vtep": 4}]}]})");
  resolve(IpAddr(Ipv4{{192, 168, 100, 3}}), MacAddr{{0x02, 0, 0, 0, 1, 3}});
  resolve(IpAddr(Ipv4{{192, 168, 100, 4}}), MacAddr{{0x02, 0, 0, 0, 1, 4}});
  more_targets_ = {{{10, 244, 3, 1}}, {{10, 244, 4, 1}}, {{10, 244, 3, 2}}, {{10, 244, 4, 2}}};
  compare_from_a_pod();
}

// So many endpoints that the lane fetches the tables' lines ahead.
TEST_F(ExpressAgainstStages, WithTablesThatNoCacheHolds) {
  std::string endpoints;
  for (unsigned i = 0; i < 5000; ++i) {
    char mac[18], address[16];
    std::snprintf(mac, sizeof mac, "02:00:00:09:%02x:%02x", i / 256, i % 256);
    std::snprintf(address, sizeof address, "10.250.%u.%u", i / 250, i % 250 + 1);
    endpoints += std::string(i == 0 ? "" : ",") + R"({"id": )" + std::to_string(1000 + i) +
                 R"(, "name": "far)" + std::to_string(i) + R"(", "domain": 2, "vtep": 2, "mac": ")" + mac +
                 R"(", "addresses": [")" + address + R"("]})";
  }
  program((R"({"endpoints": [)" + endpoints + "]}").c_str());
  compare_from_a_pod();
  ASSERT_GT(ctx_.tables->fdb->bytes() + ctx_.tables->fib4->bytes(), 128u * 1024);
  compare_from_a_tunnel();
}

TEST_F(ExpressAgainstStages, FromATunnel) {
  compare_from_a_tunnel();
}

}  // namespace
}  // namespace podwire::engine::tests
