// Masquerade through the pipeline: ends outside, ways out of the underlay, errors about translated
// connections, and what is left alone.
#include "tests/eal/pipeline/nat_fixture.hpp"

namespace podwire::engine::tests {
namespace {

using Nat = NatSwitch;

TEST_F(Nat, AConnectionLeavesAsTheNodesAndItsAnswersComeBack) {
  for (int i = 0; i < 3; ++i) {
    receive(kPod1, pod1().udp(20007, 53).payload(20));
    expect(kUplink, outside().udp(20007, 53).payload(20));  // its own port is free
    receive(kUplink, world().udp(53, 20007).payload(30));
    expect(kPod1, at_pod1().udp(53, 20007).payload(30));
  }
  EXPECT_EQ(counted().inserted.get(), 1u);
  EXPECT_EQ(counted().reresolved.get(), 0u);
  const auto original = make_flow_key(kRouted, ip_proto::kUdp, IpAddr(kPod1Ip), IpAddr(kWorldIp), 20007, 53);
  EXPECT_EQ(state_of(original), FlowState::kUdpReplied);
  EXPECT_TRUE(view_of(original).decision.translated);
  EXPECT_NE(view_of(original).decision.adjacency, 0u);
  const auto reply =
      make_flow_key(kUnderlayDomain, ip_proto::kUdp, IpAddr(kWorldIp), IpAddr(kNodeIp), 53, 20007);
  EXPECT_TRUE(view_of(reply).decision.translated);
  EXPECT_NE(view_of(reply).decision.adjacency, 0u);
}

TEST_F(Nat, TcpWithPartialChecksumsFromAndToATap) {
  auto* mbuf = to_mbuf(pool_.get(), pod1().tcp(20007, 80, {.flags = kSyn}).bytes());
  make_partial(mbuf, meta_of(mbuf));
  receive(kPod1, mbuf);
  expect(kUplink, outside().tcp(20007, 80, {.flags = kSyn}));
  receive(kUplink, world().tcp(80, 20007, {.flags = kSynAck}));
  expect(kPod1, at_pod1().tcp(80, 20007, {.flags = kSynAck}));
}

TEST_F(Nat, LargeTcpIsSegmentedAfterTranslation) {
  receive(kPod1, pod1().tcp(20007, 80, {.flags = kAck}).payload(3000));
  // Too large for the uplink and without segmentation work: the pod is told.
  EXPECT_EQ(drops(DropReason::too_big), 1u);
  sent_.clear();
  auto* mbuf = to_chain(pool_.get(), pod1().tcp(20007, 80, {.flags = kAck}).payload(2800).bytes(), {});
  make_tso(mbuf, meta_of(mbuf), 1400);
  receive(kPod1, mbuf);
  ASSERT_EQ(sent_.size(), 2u);
  EXPECT_EQ(difference(sent_[0].bytes, outside().tcp(20007, 80, {.flags = kAck}).payload(1400).bytes()), "");
}

TEST_F(Nat, PodsPacketsOfKnownConnectionsTakeTheExpressLane) {
  const auto taken = [this] { return counters_.all.front()->stages[kExpressCounter].packets.get(); };
  receive(kPod1, pod1().tcp(5000, 80, {.flags = kSyn}));
  const auto port = port_out();
  receive(kUplink, world().tcp(80, port, {.flags = kSynAck}));
  receive(kPod1, pod1().tcp(5000, 80, {.flags = kAck}));
  sent_.clear();
  EXPECT_EQ(taken(), 0u);
  for (const std::size_t size : {0u, 1u, 1000u}) {
    receive(kPod1, pod1().tcp(5000, 80, {.flags = kAck}).payload(size));
    expect(kUplink, outside().tcp(port, 80, {.flags = kAck}).payload(size));
  }
  EXPECT_EQ(taken(), 3u);
  for (const std::size_t size : {0u, 1u, 1000u}) {
    receive(kUplink, world().tcp(80, port, {.flags = kAck}).payload(size));
    expect(kPod1, at_pod1().tcp(80, 5000, {.flags = kAck}).payload(size));
  }
  EXPECT_EQ(taken(), 6u);
  // Mixed with others, in one burst.
  std::vector<rte_mbuf*> burst;
  for (int i = 0; i < 3; ++i) {
    burst.push_back(to_mbuf(pool_.get(), pod1().tcp(5000, 80, {.flags = kAck}).payload(9).bytes()));
    burst.push_back(to_mbuf(pool_.get(), out().bytes()));
  }
  receive(kPod1, burst);
  const auto ports = ports_out();
  EXPECT_EQ(std::count(ports.begin(), ports.end(), kUplink), 3);
  EXPECT_EQ(std::count(ports.begin(), ports.end(), kPod2), 3);
}

TEST_F(Nat, EndsOutsideAreTheSameForAllDestinationsWherePossible) {
  receive(kPod1, pod1().udp(5000, 53).payload(9));
  const auto mapped = port_out();
  EXPECT_TRUE(mapped >= 20000 && mapped <= 20099);
  for (std::uint8_t last = 20; last < 40; ++last) {
    receive(kPod1, Packet()
                       .eth(kGatewayMac, kPod1Mac)
                       .ipv4(kPod1Ip, Ipv4{{203, 0, 113, last}})
                       .udp(5000, static_cast<std::uint16_t>(last))
                       .payload(9));
    EXPECT_EQ(port_out(), mapped);
  }
}

TEST_F(Nat, TwoPodsWithOnePortGetTwo) {
  receive(kPod1, pod1().udp(20007, 53).payload(9));
  EXPECT_EQ(port_out(), 20007);
  receive(kPod2, pod2().udp(20007, 53).payload(9));
  const auto other = port_out();
  EXPECT_NE(other, 20007);
  receive(kUplink, world().udp(53, other).payload(9));
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].port, kPod2);
}

TEST_F(Nat, PacketsOfOneBurstThatBeginTheSameConnectionsAgree) {
  std::vector<rte_mbuf*> burst;
  for (int i = 0; i < 20; ++i) burst.push_back(to_mbuf(pool_.get(), pod1().udp(7, 53).payload(9).bytes()));
  receive(kPod1, burst);
  ASSERT_EQ(sent_.size(), 20u);
  for (const auto& one : sent_) EXPECT_EQ(one.bytes, sent_[0].bytes);
  EXPECT_EQ(counted().inserted.get(), 1u);
}

TEST_F(Nat, PortsRunOutAndComeBack) {
  set_ports(20000, 20003);
  for (std::uint16_t port = 0; port < 4; ++port) receive(kPod1, pod1().udp(port, 53).payload(9));
  EXPECT_EQ(ports_out(), std::vector<PortId>(4, kUplink));
  receive(kPod1, pod1().udp(9, 53).payload(9));
  EXPECT_EQ(drops(DropReason::nat_ports_exhausted), 1u);
  // Another destination has all of them yet.
  receive(kPod1, Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod1Ip, kWorld2Ip).udp(9, 53).payload(9));
  EXPECT_EQ(ports_out(), std::vector<PortId>{kUplink});
  EXPECT_TRUE(flows_.remove(
      flows_.find(make_flow_key(kRouted, ip_proto::kUdp, IpAddr(kPod1Ip), IpAddr(kWorldIp), 2, 53))));
  receive(kPod1, pod1().udp(9, 53).payload(9));
  EXPECT_EQ(ports_out(), std::vector<PortId>{kUplink});
}

TEST_F(Nat, EchoByItsIdentifier) {
  receive(kPod1, pod1().icmp(icmp::kEchoRequest, 0, 20007u << 16 | 1).payload(9));
  expect(kUplink, outside().icmp(icmp::kEchoRequest, 0, 20007u << 16 | 1).payload(9));
  receive(kPod2, pod2().icmp(icmp::kEchoRequest, 0, 20007u << 16 | 1).payload(9));
  ASSERT_EQ(sent_.size(), 1u);
  const auto id = static_cast<std::uint16_t>(sent_[0].bytes[38] << 8 | sent_[0].bytes[39]);
  EXPECT_NE(id, 20007);
  sent_.clear();
  receive(kUplink, world().icmp(icmp::kEchoReply, 0, std::uint32_t{id} << 16 | 1).payload(9));
  expect(kPod2, Packet()
                    .eth(kPod2Mac, kGatewayMac)
                    .ipv4(kWorldIp, kPod2Ip, {.ttl = 63})
                    .icmp(icmp::kEchoReply, 0, 20007u << 16 | 1)
                    .payload(9));
}

TEST_F(Nat, ProtocolsWithoutPortsForOnePodAtATime) {
  const auto gre = [](const MacAddr& mac, const Ipv4& from) {
    auto bytes = Packet().eth(kGatewayMac, mac).ipv4(from, kWorldIp).payload(30).bytes();
    bytes[23] = 47;
    auto* ip = reinterpret_cast<Ipv4Header*>(bytes.data() + 14);
    set_ipv4_checksum(ip);
    return bytes;
  };
  receive(kPod1, to_mbuf(pool_.get(), gre(kPod1Mac, kPod1Ip)));
  receive(kPod1, to_mbuf(pool_.get(), gre(kPod1Mac, kPod1Ip)));
  EXPECT_EQ(ports_out(), (std::vector<PortId>{kUplink, kUplink}));
  receive(kPod2, to_mbuf(pool_.get(), gre(kPod2Mac, kPod2Ip)));
  expect_dropped(DropReason::nat_ports_exhausted);
}

TEST_F(Nat, FragmentsFollowTheirFirstBothWays) {
  const auto first = [](Packet packet, std::uint16_t a, std::uint16_t b) {
    return packet.udp_without_checksum(a, b).payload(24);
  };
  const Ipv4Fields head{.flags_fragment = Ipv4Header::kMoreFragments}, tail{.flags_fragment = 4};
  const Ipv4Fields routed_head{.ttl = 63, .flags_fragment = Ipv4Header::kMoreFragments},
      routed_tail{.ttl = 63, .flags_fragment = 4};
  const auto pod = [] { return Packet().eth(kGatewayMac, kPod1Mac); };
  receive(kPod1, first(pod().ipv4(kPod1Ip, kWorldIp, head), 20007, 53));
  expect(kUplink,
         first(Packet().eth(kRouterMac, kUplinkMac).ipv4(kNodeIp, kWorldIp, routed_head), 20007, 53));
  // The builder does not number a fragment without a header: UDP it is in either.
  receive(kPod1, first(pod().ipv4(kPod1Ip, kWorldIp, tail), 1, 2));
  expect(kUplink, first(Packet().eth(kRouterMac, kUplinkMac).ipv4(kNodeIp, kWorldIp, routed_tail), 1, 2));
  const auto up = [] { return Packet().eth(kUplinkMac, kRouterMac); };
  receive(kUplink, first(up().ipv4(kWorldIp, kNodeIp, head), 53, 20007));
  expect(kPod1, first(Packet().eth(kPod1Mac, kGatewayMac).ipv4(kWorldIp, kPod1Ip, routed_head), 53, 20007));
  receive(kUplink, first(up().ipv4(kWorldIp, kNodeIp, tail), 3, 4));
  expect(kPod1, first(Packet().eth(kPod1Mac, kGatewayMac).ipv4(kWorldIp, kPod1Ip, routed_tail), 3, 4));
}

TEST_F(Nat, Ipv6AsIpv4) {
  const auto pod = ip6("fd00:10:244:1::11"), world6 = ip6("2001:db8::9"), node = ip6("fd00:100::1");
  receive(kPod1, Packet().eth(kGatewayMac, kPod1Mac).ipv6(pod, world6).tcp(20007, 80, {.flags = kSyn}));
  expect(kUplink, Packet()
                      .eth(kRouterMac, kUplinkMac)
                      .ipv6(node, world6, {.hop_limit = 63})
                      .tcp(20007, 80, {.flags = kSyn}));
  receive(kUplink,
          Packet().eth(kUplinkMac, kRouterMac).ipv6(world6, node).tcp(80, 20007, {.flags = kSynAck}));
  expect(kPod1, Packet()
                    .eth(kPod1Mac, kGatewayMac)
                    .ipv6(world6, pod, {.hop_limit = 63})
                    .tcp(80, 20007, {.flags = kSynAck}));
  const auto quote = [&](const Ipv6& from) {
    return Packet().ipv6(from, world6, {.hop_limit = 1}).tcp(20007, 80, {.flags = kSyn}).bytes();
  };
  receive(kUplink, Packet()
                       .eth(kUplinkMac, kRouterMac)
                       .ipv6(ip6("2001:db8:1::1"), node)
                       .icmp(icmp6::kTimeExceeded, 0)
                       .payload(quote(node)));
  expect(kPod1, Packet()
                    .eth(kPod1Mac, kGatewayMac)
                    .ipv6(ip6("2001:db8:1::1"), pod, {.hop_limit = 63})
                    .icmp(icmp6::kTimeExceeded, 0)
                    .payload(quote(pod)));
}

TEST_F(Nat, ErrorsFromOutsideReachThePod) {
  receive(kPod1, pod1().udp(20007, 33434).payload(9));
  sent_.clear();
  const Ipv4 hop{{198, 51, 100, 1}};
  const auto quote = [](const Ipv4& from) {
    return Packet().ipv4(from, kWorldIp, {.ttl = 1}).udp(20007, 33434).payload(9).bytes();
  };
  receive(kUplink, world(hop).icmp(icmp::kTimeExceeded, 0).payload(quote(kNodeIp)));
  expect(kPod1, at_pod1(hop).icmp(icmp::kTimeExceeded, 0).payload(quote(kPod1Ip)));
  receive(kUplink, world().icmp(icmp::kUnreachable, 3).payload(quote(kNodeIp)));
  expect(kPod1, at_pod1().icmp(icmp::kUnreachable, 3).payload(quote(kPod1Ip)));
}

TEST_F(Nat, APodsErrorsLeaveAsTheNodes) {
  receive(kPod1, pod1().udp(20007, 53).payload(9));
  receive(kUplink, world().udp(53, 20007).payload(9));
  sent_.clear();
  const auto quote = [](const Ipv4& to) {
    return Packet().ipv4(kWorldIp, to, {.ttl = 63}).udp(53, 20007).payload(9).bytes();
  };
  receive(kPod1, pod1().icmp(icmp::kUnreachable, 3).payload(quote(kPod1Ip)));
  expect(kUplink, outside().icmp(icmp::kUnreachable, 3).payload(quote(kNodeIp)));
}

TEST_F(Nat, TheEnginesOwnErrorsAreAboutWhatTheSenderSent) {
  // On the way out: TTL and size, before and after the connection is known.
  for (int i = 0; i < 2; ++i) {
    const auto dying =
        Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod1Ip, kWorldIp, {.ttl = 1}).udp(7, 53).payload(9);
    receive(kPod1, dying);
    ASSERT_EQ(sent_.size(), 1u);
    EXPECT_EQ(sent_[0].port, kPod1);
    const auto ip = dying.bytes();
    EXPECT_TRUE(std::equal(ip.begin() + 14, ip.end(), sent_[0].bytes.begin() + 14 + 28));
    sent_.clear();
    EXPECT_EQ(drops(DropReason::ttl_exceeded), static_cast<std::uint64_t>(i + 1));
    receive(kPod1, pod1().udp(7, 53).payload(9));
    port_out();
  }
  // On the way in: larger than the pod's MTU.
  receive(kPod1, pod1().udp(20007, 53).payload(9));
  sent_.clear();
  receive(kUplink, world().udp(53, 20007).payload(1440));
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].port, kUplink);
  const auto error = sent_[0].bytes;
  auto* mbuf = to_mbuf(pool_.get(), error);
  const auto meta = meta_of(mbuf);
  EXPECT_TRUE(verify_l4(mbuf, meta.l3_offset, meta.l4_offset, ip_proto::kIcmp));
  rte_pktmbuf_free(mbuf);
  const auto expected = Packet().ipv4(kNodeIp, kWorldIp).bytes();
  EXPECT_TRUE(std::equal(expected.begin() + 12, expected.begin() + 20, error.begin() + 26));  // node to world
  EXPECT_EQ(error[34], icmp::kUnreachable);
  EXPECT_EQ(error[40] << 8 | error[41], 1450);
  const auto quoted = Packet().ipv4(kWorldIp, kNodeIp).bytes();
  EXPECT_TRUE(std::equal(quoted.begin() + 12, quoted.begin() + 20, error.begin() + 42 + 12));  // as it came
}

TEST_F(Nat, HostsOnLinkAreAskedForOneByOne) {
  const auto near = [](std::uint8_t last) {
    return Packet()
        .eth(kGatewayMac, kPod1Mac)
        .ipv4(kPod1Ip, Ipv4{{192, 168, 100, last}})
        .udp(20007, 53)
        .payload(9);
  };
  receive(kPod1, near(9));
  receive(kPod1, near(9));
  receive(kPod1, near(10));
  EXPECT_TRUE(sent_.empty());  // they wait
  resolve(IpAddr(kNeighborIp), kNeighborMac);
  std::size_t udp = 0;
  for (const auto& one : sent_) udp += one.bytes[12] == 0x08 && one.bytes[13] == 0 ? 1 : 0;
  EXPECT_EQ(udp, 2u);
  sent_.clear();
  receive(kPod1, near(9));
  expect(kUplink, Packet()
                      .eth(kNeighborMac, kUplinkMac)
                      .ipv4(kNodeIp, kNeighborIp, {.ttl = 63})
                      .udp(20007, 53)
                      .payload(9));
  receive(kPod1, near(9));
  EXPECT_EQ(ports_out(), std::vector<PortId>{kUplink});
  resolve(IpAddr(Ipv4{{192, 168, 100, 10}}), kNeighborMac);
}

TEST_F(Nat, AChangedRouteIsFollowedInMidConnection) {
  receive(kPod1, pod1().udp(20007, 53).payload(9));
  EXPECT_EQ(port_out(), 20007);
  program(R"({"routes": [{"id": 30, "domain": 1, "prefix": "203.0.113.0/24",
              "next_hops": [{"port": 1, "address": "192.168.100.9"}]}]})");
  resolve(IpAddr(kNeighborIp), kNeighborMac);
  sent_.clear();
  receive(kPod1, pod1().udp(20007, 53).payload(9));
  expect(
      kUplink,
      Packet().eth(kNeighborMac, kUplinkMac).ipv4(kNodeIp, kWorldIp, {.ttl = 63}).udp(20007, 53).payload(9));
  program("{}", R"({"routes": [30]})");
  receive(kPod1, pod1().udp(20007, 53).payload(9));
  expect(kUplink, outside().udp(20007, 53).payload(9));
}

TEST_F(Nat, TheUplinksTagIsPutOn) {
  program(R"({"ports": [{"id": 1, "name": "uplink", "kind": "physical", "role": "uplink", "vlan": 7,
              "mac": "02:00:00:00:01:01", "mtu": 1500, "devargs": "net_null0"}]})");
  receive(kPod1, pod1().udp(20007, 53).payload(9));
  expect(kUplink, Packet()
                      .eth(kRouterMac, kUplinkMac)
                      .vlan(7)
                      .ipv4(kNodeIp, kWorldIp, {.ttl = 63})
                      .udp(20007, 53)
                      .payload(9));
  receive(kUplink,
          Packet().eth(kUplinkMac, kRouterMac).vlan(7).ipv4(kWorldIp, kNodeIp).udp(53, 20007).payload(9));
  expect(kPod1, at_pod1().udp(53, 20007).payload(9));
}

TEST_F(Nat, TheNodesOwnTrafficGoesItsWay) {
  receive(kPod1, pod1().udp(20007, 53).payload(9));
  sent_.clear();
  const std::vector<Packet> to_node{
      world().udp(53, 20008).payload(9),
      world().udp(54, 20007).payload(9),
      world().tcp(53, 20007),
      world().icmp(icmp::kEchoRequest, 0, 1),
      world().icmp(icmp::kUnreachable, 3).payload(Packet().ipv4(kNodeIp, kWorldIp).udp(9, 9).bytes()),
      Packet().eth(kUplinkMac, kRouterMac).ipv4(kWorldIp, kNodeIp, {.flags_fragment = 4}).udp(1, 1)};
  for (const auto& packet : to_node) {
    receive(kUplink, packet);
    expect(kHost, packet);
  }
  const auto from_node = Packet().eth(kRouterMac, kUplinkMac).ipv4(kNodeIp, kWorldIp).udp(53, 53).payload(9);
  receive(kHost, from_node);
  expect(kUplink, from_node);
}

TEST_F(Nat, WhatIsNotForOutsideIsLeftAlone) {
  receive(kPod1, out());
  expect(kPod2,
         Packet().eth(kPod2Mac, kGatewayMac).ipv4(kPod1Ip, kPod2Ip, {.ttl = 63}).udp(1000, 53).payload(20));
  // An exception has no route either.
  receive(kPod1,
          Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod1Ip, Ipv4{{198, 51, 100, 7}}).udp(1, 53).payload(9));
  EXPECT_EQ(drops(DropReason::no_route), 1u);
  receive(kPod1,
          Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod1Ip, Ipv4{{10, 99, 1, 1}}).udp(1, 53).payload(9));
  EXPECT_EQ(drops(DropReason::blackhole_route), 1u);
}

TEST_F(Nat, RulesAreAskedAboutThePodsAddress) {
  set_domain(
      R"(, "masquerade": {"addresses": ["192.168.100.1"]}, "rules": [{"action": "deny", "source": "10.244.1.11/32"}])");
  receive(kPod1, pod1().udp(20007, 53).payload(9));
  expect_dropped(DropReason::policy_denied);
  set_domain(R"(, "masquerade": {"addresses": ["192.168.100.1"]})");
  receive(kPod1, pod1().udp(20007, 53).payload(9));
  EXPECT_EQ(port_out(), 20007);
  set_domain(
      R"(, "masquerade": {"addresses": ["192.168.100.1"]}, "rules": [{"action": "deny", "destination": "203.0.113.9/32"}])");
  receive(kUplink, world().udp(53, 20007).payload(9));
  EXPECT_EQ(drops(DropReason::policy_denied), 2u);
}

TEST_F(Nat, AClosedConnectionsPortIsFreeAgain) {
  set_ports(20000, 20000);
  receive(kPod1, pod1().tcp(20000, 80, {.flags = kSyn}));
  receive(kUplink, world().tcp(80, 20000, {.flags = kRst}));
  EXPECT_EQ(ports_out(), (std::vector<PortId>{kUplink, kPod1}));
  receive(kPod1, pod1().tcp(20000, 80, {.flags = kSyn}));  // again, from the same port
  EXPECT_EQ(ports_out(), std::vector<PortId>{kUplink});
  EXPECT_EQ(counted().inserted.get(), 2u);
}

}  // namespace
}  // namespace podwire::engine::tests
