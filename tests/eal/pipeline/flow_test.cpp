// Connections of a stateful domain through the pipeline: states, the way that is remembered, what makes it be
// looked up again, fragments, ICMP errors, a full table.
#include "tests/eal/pipeline/flow_fixture.hpp"

namespace podwire::engine::tests {
namespace {

using Flow = FlowSwitch;
using Ports = std::vector<PortId>;

TEST_F(Flow, RemembersAConnectionAndItsWayBothWays) {
  receive(kPod1, out());
  receive(kPod2, back());
  receive(kPod1, out());
  EXPECT_EQ(ports_out(), (Ports{kPod2, kPod1, kPod2}));
  const auto udp = key(ip_proto::kUdp, 1000, 53);
  EXPECT_EQ(state_of(udp), FlowState::kUdpReplied);
  EXPECT_NE(view_of(udp).decision.adjacency, 0u);
  EXPECT_TRUE(view_of(udp).decision.routed);
  EXPECT_NE(view_of(udp.reversed()).decision.adjacency, 0u);
  EXPECT_EQ(counted().inserted.get(), 1u);
  EXPECT_EQ(counted().reresolved.get(), 0u);
}

TEST_F(Flow, AnEstablishedPacketLooksAsTheFirstDid) {
  for (int i = 0; i < 3; ++i) {
    receive(kPod1, out());
    expect_sent(
        kPod2,
        Packet().eth(kPod2Mac, kGatewayMac).ipv4(kPod1Ip, kPod2Ip, {.ttl = 63}).udp(1000, 53).payload(20));
    sent_.clear();
  }
}

TEST_F(Flow, OfOneBurstIsOneConnection) {
  std::vector<rte_mbuf*> burst;
  for (int i = 0; i < 40; ++i) burst.push_back(to_mbuf(pool_.get(), out().bytes()));
  receive(kPod1, burst);
  EXPECT_EQ(ports_out().size(), 40u);
  EXPECT_EQ(counted().inserted.get(), 1u);
}

TEST_F(Flow, StatelessDomainsHaveNone) {
  set_domain("", "false");
  receive(kPod1, out());
  EXPECT_EQ(ports_out(), Ports{kPod2});
  EXPECT_EQ(counted().inserted.get(), 0u);
}

TEST_F(Flow, FollowsATcpConnectionThroughItsLife) {
  const std::vector<std::tuple<bool, std::uint8_t, FlowState>> packets{
      {true, kSyn, FlowState::kSynSent},     {false, kSynAck, FlowState::kSynReceived},
      {true, kAck, FlowState::kEstablished}, {false, kAck, FlowState::kEstablished},
      {true, kFinAck, FlowState::kFinWait},  {false, kAck, FlowState::kCloseWait},
      {false, kFinAck, FlowState::kLastAck}, {true, kAck, FlowState::kTimeWait},
      {true, kSyn, FlowState::kSynSent},     {false, kRst, FlowState::kClose}};
  for (const auto& [forth, flags, state] : packets) {
    receive(forth ? kPod1 : kPod2, forth ? tcp_out(flags) : tcp_back(flags));
    EXPECT_EQ(tcp_state(), state);
  }
  EXPECT_EQ(ports_out().size(), packets.size());
  EXPECT_EQ(counted().inserted.get(), 2u);  // the port was used again in TIME_WAIT
  EXPECT_EQ(counted().removed.get(), 1u);
}

TEST_F(Flow, DropsTcpThatNothingLedUpTo) {
  receive(kPod1, tcp_out(kSynAck));
  receive(kPod1, tcp_out(kRst));
  receive(kPod1, tcp_out(0));
  receive(kPod1, tcp_out(kSyn));
  receive(kPod1, tcp_out(kAck));  // before the SYN-ACK
  EXPECT_EQ(drops(DropReason::flow_invalid), 4u);
  EXPECT_EQ(tcp_state(), FlowState::kSynSent);
}

TEST_F(Flow, PicksUpTcpUnderWayUnlessStrict) {
  receive(kPod1, tcp_out(kAck));
  EXPECT_EQ(tcp_state(), FlowState::kEstablished);
  EXPECT_TRUE(flows_.remove(flows_.find(key(ip_proto::kTcp, 4000, 80))));
  set_domain(R"(, "strict_tcp": true)");
  receive(kPod1, tcp_out(kAck));
  expect_dropped(DropReason::flow_invalid);
}

TEST_F(Flow, FollowsIpv6) {
  const auto one = *podwire::parse_ipv6("fd00:10:244:1::11"), two = *podwire::parse_ipv6("fd00:10:244:1::12");
  for (int i = 0; i < 2; ++i) {
    receive(kPod1, Packet().eth(kGatewayMac, kPod1Mac).ipv6(one, two).tcp(1, 2, {.flags = kSyn}));
    receive(kPod2, Packet().eth(kGatewayMac, kPod2Mac).ipv6(two, one).tcp(2, 1, {.flags = kSynAck}));
  }
  EXPECT_EQ(ports_out(), (Ports{kPod2, kPod1, kPod2, kPod1}));
  EXPECT_EQ(state_of(make_flow_key(kRouted, ip_proto::kTcp, IpAddr(one), IpAddr(two), 1, 2)),
            FlowState::kSynReceived);
}

TEST_F(Flow, FollowsEchoByItsIdentifier) {
  const auto echo = [](bool request, std::uint32_t id) {
    auto packet = request ? Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod1Ip, kPod2Ip)
                          : Packet().eth(kGatewayMac, kPod2Mac).ipv4(kPod2Ip, kPod1Ip);
    return packet.icmp(request ? icmp::kEchoRequest : icmp::kEchoReply, 0, id << 16 | 1).payload(8);
  };
  receive(kPod1, echo(true, 7));
  receive(kPod2, echo(false, 7));
  EXPECT_EQ(ports_out(), (Ports{kPod2, kPod1}));
  receive(kPod2, echo(false, 8));
  expect_dropped(DropReason::flow_invalid);
}

TEST_F(Flow, LetsIcmpErrorsOfConnectionsPassAndNoOthers) {
  receive(kPod1, out());
  const auto error = [](std::uint16_t port) {
    const auto quoted = Packet().ipv4(kPod1Ip, kPod2Ip).udp(port, 53).payload(8).bytes();
    return Packet()
        .eth(kGatewayMac, kPod2Mac)
        .ipv4(kPod2Ip, kPod1Ip)
        .icmp(icmp::kUnreachable, icmp::kCodePortUnreachable)
        .payload(quoted);
  };
  receive(kPod2, error(1000));
  EXPECT_EQ(ports_out(), (Ports{kPod2, kPod1}));
  receive(kPod2, error(1001));
  expect_dropped(DropReason::flow_invalid);
}

TEST_F(Flow, LaterFragmentsFollowTheFirst) {
  // What is the UDP header of the first is data of the later ones.
  const auto fragment = [](std::uint16_t id, std::uint16_t flags_fragment) {
    return Packet()
        .eth(kGatewayMac, kPod1Mac)
        .ipv4(kPod1Ip, kPod2Ip, {.id = id, .flags_fragment = flags_fragment})
        .udp_without_checksum(static_cast<std::uint16_t>(9 + flags_fragment % 8), 53)
        .payload(24);
  };
  receive(kPod1, fragment(1, Ipv4Header::kMoreFragments));
  receive(kPod1, fragment(1, 4));
  EXPECT_EQ(ports_out(), (Ports{kPod2, kPod2}));
  EXPECT_EQ(counted().inserted.get(), 1u);
  receive(kPod1, fragment(2, 4));
  expect_dropped(DropReason::fragment_unmatched);
}

TEST_F(Flow, FragmentsThatOverlapAreDropped) {
  const auto fragment4 = [](std::uint16_t flags_fragment, std::uint16_t port) {
    return Packet()
        .eth(kGatewayMac, kPod1Mac)
        .ipv4(kPod1Ip, kPod2Ip, {.id = 3, .flags_fragment = flags_fragment})
        .udp_without_checksum(9, port)
        .payload(24);
  };
  receive(kPod1, fragment4(Ipv4Header::kMoreFragments, 53));
  EXPECT_EQ(ports_out(), Ports{kPod2});
  receive(kPod1, fragment4(Ipv4Header::kMoreFragments, 80));  // another header for the same datagram
  expect_dropped(DropReason::fragment_invalid);
  receive(kPod1, fragment4(4, 53));
  EXPECT_EQ(ports_out(), Ports{kPod2});
  // IPv6: offset 3, of what the first (32 bytes, as the builder's UDP header and payload are) covers already.
  const auto fragment6 = [](std::uint16_t offset_flags) {
    return Packet()
        .eth(kGatewayMac, kPod1Mac)
        .ipv6(parse_ip("fd00:10:244:1::11")->v6(), parse_ip("fd00:10:244:1::12")->v6())
        .fragment6(offset_flags, 7)
        .udp_without_checksum(9, 53)
        .payload(24);
  };
  receive(kPod1, fragment6(1));
  EXPECT_EQ(ports_out(), Ports{kPod2});
  receive(kPod1, fragment6(3 << 3));
  expect_dropped(DropReason::fragment_invalid, 2);
}

TEST_F(Flow, AMovedEndpointIsFollowedAndOthersAreLeftAlone) {
  resolve_peer();
  receive(kPod1, out());
  receive(kPod2, back());
  ports_out();
  // Pod 2 is on the other node from now on.
  program(R"({"endpoints": [{"id": 2, "name": "pod2", "domain": 2, "vtep": 2, "mac": "02:00:00:00:03:02",
              "addresses": ["10.244.1.12", "fd00:10:244:1::12"]}]})");
  receive(kPod1, out());
  EXPECT_EQ(ports_out(), Ports{kUplink});
  EXPECT_EQ(counted().reresolved.get(), 1u);
  receive(kPod1, out());
  EXPECT_EQ(ports_out(), Ports{kUplink});
  EXPECT_EQ(counted().reresolved.get(), 1u);  // remembered again
}

TEST_F(Flow, AMoreSpecificRouteTakesItsConnectionsOver) {
  resolve_peer();
  const auto away = Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod1Ip, kRemoteIp).udp(1, 2).payload(9);
  receive(kPod1, away);
  receive(kPod1, away);
  receive(kPod1, out());
  EXPECT_EQ(ports_out(), (Ports{kUplink, kUplink, kPod2}));
  program(R"({"routes": [{"id": 9, "domain": 2, "prefix": "10.244.2.20/32", "next_hops": [{"port": 12}]}]})");
  receive(kPod1, away);
  receive(kPod1, out());
  EXPECT_EQ(ports_out(), (Ports{kPod2, kPod2}));
  EXPECT_EQ(counted().reresolved.get(), 1u);  // not the other connection
  program("{}", R"({"routes": [9]})");
  receive(kPod1, away);
  EXPECT_EQ(ports_out(), Ports{kUplink});
}

TEST_F(Flow, ARemovedRouteEndsTheWay) {
  resolve_peer();
  const auto away = Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod1Ip, kRemoteIp).udp(1, 2).payload(9);
  receive(kPod1, away);
  EXPECT_EQ(ports_out(), Ports{kUplink});
  program("{}", R"({"routes": [2]})");
  receive(kPod1, away);
  EXPECT_EQ(drops(DropReason::no_route), 1u);
}

TEST_F(Flow, AnotherDestinationMacIsNotTheRememberedWay) {
  receive(kPod1, out());
  const auto direct = Packet().eth(kPod2Mac, kPod1Mac).ipv4(kPod1Ip, kPod2Ip).udp(1000, 53).payload(20);
  sent_.clear();
  receive(kPod1, direct);
  expect_sent(kPod2, direct);  // switched: TTL and MACs as they are
}

TEST_F(Flow, ConnectionsComeOutOfTheTunnelToo) {
  resolve_peer();
  receive(kPod1, Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod1Ip, kRemoteIp).udp(7, 8).payload(9));
  const auto reply = [] {
    return from_peer(kRoutedVni).eth(kOurVtepMac, kPeerVtepMac).ipv4(kRemoteIp, kPod1Ip).udp(8, 7).payload(9);
  };
  receive(kUplink, reply());
  receive(kUplink, reply());
  EXPECT_EQ(ports_out(), (Ports{kUplink, kPod1, kPod1}));
  EXPECT_EQ(counted().inserted.get(), 1u);
  EXPECT_EQ(counted().reresolved.get(), 0u);
}

TEST_F(Flow, LearningDomainsAreDecidedByForwardAlways) {
  program(
      R"({"domains": [{"id": 3, "name": "bridged", "vni": 200, "mode": "l2", "stateful": true, "mtu": 1450,
              "gateway_mac": "02:70:77:00:00:01", "learning": true, "flood": [2]}]})");
  const auto frame = Packet()
                         .eth(kBridge1Mac, kBridge2Mac)
                         .ipv4(Ipv4{{10, 9, 0, 2}}, Ipv4{{10, 9, 0, 1}})
                         .udp(1, 2)
                         .payload(9);
  receive(kBridge2, frame);
  receive(kBridge2, frame);
  EXPECT_EQ(ports_out(), (Ports{kBridge1, kBridge1}));
  EXPECT_EQ(counted().inserted.get(), 1u);
  const auto known =
      make_flow_key(kBridged, ip_proto::kUdp, IpAddr(Ipv4{{10, 9, 0, 2}}), IpAddr(Ipv4{{10, 9, 0, 1}}), 1, 2);
  EXPECT_EQ(view_of(known).decision.adjacency, 0u);
}

TEST_F(Flow, ArpAndNeighbourDiscoveryAreNoConnections) {
  receive(kPod1, Packet()
                     .eth(MacAddr{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}, kPod1Mac)
                     .arp(ArpHeader::kRequest, kPod1Mac, kPod1Ip, {}, kGateway4));
  EXPECT_EQ(ports_out(), Ports{kPod1});
  EXPECT_EQ(counted().inserted.get(), 0u);
}

TEST_F(Flow, AnUnreachableDestinationIsNoConnection) {
  receive(kPod1, Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod1Ip, Ipv4{{10, 244, 1, 99}}).udp(1, 2));
  EXPECT_EQ(drops(DropReason::host_unreachable), 1u);
  EXPECT_EQ(counted().inserted.get(), 0u);
}

class FullFlowTable : public FlowSwitch {
 protected:
  FullFlowTable() : FlowSwitch(4) {}
};

TEST_F(FullFlowTable, RefusesBesideEstablishedConnectionsAndCounts) {
  for (std::uint16_t port = 1; port <= 4; ++port) {
    receive(kPod1, out(port));
    receive(kPod2, back(port));
  }
  const auto held = counted().inserted.get() - counted().evicted.get();
  receive(kPod1, out(100));
  EXPECT_EQ(held, 4u);
  expect_dropped(DropReason::flow_table_full);
  EXPECT_EQ(counted().refused.get(), 1u);
}

TEST_F(FullFlowTable, UnansweredConnectionsMakeRoom) {
  for (std::uint16_t port = 1; port <= 200; ++port) receive(kPod1, out(port));
  EXPECT_GT(counted().evicted.get(), 100u);
  EXPECT_EQ(counted().inserted.get() + counted().refused.get(), 200u);
}

}  // namespace
}  // namespace podwire::engine::tests
