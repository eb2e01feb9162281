// Routed domain: forwarding between pods, the gateway's own answers, ICMP errors, the source guard, the host
// path.
#include "tests/eal/pipeline/switch_fixture.hpp"

namespace podwire::engine::tests {
namespace {

using RouteLocal = SwitchTest;
using Gateway = SwitchTest;
using IcmpErrors = SwitchTest;
using Guard = SwitchTest;
using HostPath = SwitchTest;

Ipv6 v6(const char* text) {
  return *podwire::parse_ipv6(text);
}

Packet pod1_to(const Ipv4& destination, Ipv4Fields fields = {}) {
  return Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod1Ip, destination, fields);
}

TEST_F(RouteLocal, RewritesMacsAndTtlBetweenPods) {
  receive(kPod1, pod1_to(kPod2Ip, {.ttl = 64}).udp(1000, 2000).payload(33));
  expect_sent(
      kPod2,
      Packet().eth(kPod2Mac, kGatewayMac).ipv4(kPod1Ip, kPod2Ip, {.ttl = 63}).udp(1000, 2000).payload(33));
}

TEST_F(RouteLocal, RoutesIpv6) {
  receive(kPod1, Packet()
                     .eth(kGatewayMac, kPod1Mac)
                     .ipv6(v6("fd00:10:244:1::11"), v6("fd00:10:244:1::12"))
                     .tcp(1, 2)
                     .payload(9));
  expect_sent(kPod2, Packet()
                         .eth(kPod2Mac, kGatewayMac)
                         .ipv6(v6("fd00:10:244:1::11"), v6("fd00:10:244:1::12"), {.hop_limit = 63})
                         .tcp(1, 2)
                         .payload(9));
}

TEST_F(RouteLocal, SwitchesFramesAddressedToThePodItself) {
  const auto packet =
      Packet().eth(kPod2Mac, kPod1Mac).ipv4(kPod1Ip, kPod2Ip, {.ttl = 64}).udp(1, 2).payload(5);
  receive(kPod1, packet);
  expect_sent(kPod2, packet);
}

TEST_F(RouteLocal, KeepsIpv4OptionsAndIpv6ExtensionHeaders) {
  receive(kPod1, pod1_to(kPod2Ip, {.ttl = 9, .options = {7, 4, 4, 0}}).udp(1, 2).payload(7));
  receive(kPod1, Packet()
                     .eth(kGatewayMac, kPod1Mac)
                     .ipv6(v6("fd00:10:244:1::11"), v6("fd00:10:244:1::12"))
                     .extension(ip_proto::kDestinationOptions, 2)
                     .udp(3, 4)
                     .payload(7));
  ASSERT_EQ(sent_.size(), 2u);
  EXPECT_EQ(difference(sent_[0].bytes, Packet()
                                           .eth(kPod2Mac, kGatewayMac)
                                           .ipv4(kPod1Ip, kPod2Ip, {.ttl = 8, .options = {7, 4, 4, 0}})
                                           .udp(1, 2)
                                           .payload(7)
                                           .bytes()),
            "");
  EXPECT_EQ(sent_[1].port, kPod2);
}

TEST_F(RouteLocal, PassesLargeSegmentsWholeToATap) {
  auto packet = pod1_to(kPod2Ip).tcp(80, 90).payload(20000);
  rte_mbuf* mbuf = to_chain(pool_.get(), packet.bytes(), {2000});
  make_tso(mbuf, meta_of(mbuf), 1398);
  receive(kPod1, mbuf);
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_TRUE(sent_[0].large);
  EXPECT_TRUE(sent_[0].partial);
}

TEST_F(RouteLocal, FragmentsWithoutDfTowardsASmallerMtu) {
  program(
      R"({"ports": [{"id": 12, "name": "pod2", "kind": "tap", "domain": 2, "mac": "02:00:00:00:03:02", "mtu": 600,
                         "descriptors": 1}]})");
  receive(kPod1, pod1_to(kPod2Ip, {.flags_fragment = 0}).udp(1, 2).payload(1200));
  EXPECT_EQ(sent_.size(), 3u);
  for (const auto& sent : sent_) EXPECT_LE(sent.bytes.size(), 614u);
  EXPECT_EQ(all_drops(), 0u);
}

TEST_F(RouteLocal, DropsToABlackhole) {
  receive(kPod1, pod1_to({{10, 99, 1, 1}}).udp(1, 2));
  expect_dropped(DropReason::blackhole_route);
  EXPECT_TRUE(sent_.empty());
}

TEST_F(RouteLocal, DoesNotRouteLinkLocalMulticastOrLoopback) {
  for (const auto& destination :
       {Ipv4{{169, 254, 1, 1}}, Ipv4{{224, 0, 0, 5}}, Ipv4{{127, 0, 0, 1}}, Ipv4{{255, 255, 255, 255}}}) {
    receive(kPod1, pod1_to(destination).udp(1, 2));
  }
  expect_dropped(DropReason::link_local_forward, 4);
  EXPECT_TRUE(sent_.empty());
}

TEST_F(Gateway, AnswersArpForItself) {
  receive(kPod1, Packet()
                     .eth({{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}, kPod1Mac)
                     .arp(1, kPod1Mac, kPod1Ip, {}, kGateway4));
  expect_sent(kPod1, Packet().eth(kPod1Mac, kGatewayMac).arp(2, kGatewayMac, kGateway4, kPod1Mac, kPod1Ip));
}

TEST_F(Gateway, AnswersArpForAnEndpointWithItsMac) {
  receive(
      kPod1,
      Packet().eth({{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}, kPod1Mac).arp(1, kPod1Mac, kPod1Ip, {}, kPod2Ip));
  expect_sent(kPod1, Packet().eth(kPod1Mac, kPod2Mac).arp(2, kPod2Mac, kPod2Ip, kPod1Mac, kPod1Ip));
}

TEST_F(Gateway, DoesNotAnswerForUnknownOrOwnAddresses) {
  const MacAddr all{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
  receive(kPod1, Packet().eth(all, kPod1Mac).arp(1, kPod1Mac, kPod1Ip, {}, {{10, 244, 1, 77}}));
  receive(kPod1,
          Packet().eth(all, kPod1Mac).arp(1, kPod1Mac, {}, {}, kPod1Ip));  // probe for its own (RFC 5227)
  receive(kPod1, Packet().eth(all, kPod1Mac).arp(1, kPod1Mac, kPod1Ip, {}, kPod1Ip));  // gratuitous
  EXPECT_TRUE(sent_.empty());
  expect_dropped(DropReason::arp_target_unknown);
}

TEST_F(Gateway, AnswersEchoOfBothFamilies) {
  receive(kPod1, pod1_to(kGateway4).icmp(8, 0, 0x12340001).payload(48));
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(difference(sent_[0].bytes, Packet()
                                           .eth(kPod1Mac, kGatewayMac)
                                           .ipv4(kGateway4, kPod1Ip)
                                           .icmp(0, 0, 0x12340001)
                                           .payload(48)
                                           .bytes()),
            "");
  receive(kPod1, Packet()
                     .eth(kGatewayMac, kPod1Mac)
                     .ipv6(v6("fd00:10:244:1::11"), v6("fd00:10:244:1::1"))
                     .icmp(128, 0, 7)
                     .payload(8));
  ASSERT_EQ(sent_.size(), 2u);
  EXPECT_EQ(difference(sent_[1].bytes, Packet()
                                           .eth(kPod1Mac, kGatewayMac)
                                           .ipv6(v6("fd00:10:244:1::1"), v6("fd00:10:244:1::11"))
                                           .icmp(129, 0, 7)
                                           .payload(8)
                                           .bytes()),
            "");
}

TEST_F(Gateway, RefusesOtherServicesWithPortUnreachable) {
  receive(kPod1, pod1_to(kGateway4).tcp(1234, 22));
  expect_dropped(DropReason::gateway_no_service);
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].bytes[34], icmp::kUnreachable);
  EXPECT_EQ(sent_[0].bytes[35], icmp::kCodePortUnreachable);
}

TEST_F(IcmpErrors, TimeExceededWhenTtlRunsOut) {
  receive(kPod1, pod1_to(kPod2Ip, {.ttl = 1}).udp(1, 2).payload(20));
  expect_dropped(DropReason::ttl_exceeded);
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].port, kPod1);
  EXPECT_EQ(sent_[0].bytes[34], icmp::kTimeExceeded);
  const auto quoted = pod1_to(kPod2Ip, {.ttl = 1}).udp(1, 2).payload(20).bytes();
  EXPECT_TRUE(std::equal(quoted.begin() + 14, quoted.end(), sent_[0].bytes.begin() + 42));
}

TEST_F(IcmpErrors, FragmentationNeededTellsTheMtuOfTheTunnel) {
  resolve_peer();
  receive(kPod1, pod1_to(kRemoteIp).udp(1, 2).payload(1460));
  expect_dropped(DropReason::too_big);
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].bytes[34], icmp::kUnreachable);
  EXPECT_EQ(sent_[0].bytes[35], icmp::kCodeFragmentationNeeded);
  EXPECT_EQ(sent_[0].bytes[40] << 8 | sent_[0].bytes[41], 1450);
}

TEST_F(IcmpErrors, PacketTooBigForIpv6) {
  resolve_peer();
  receive(kPod1, Packet()
                     .eth(kGatewayMac, kPod1Mac)
                     .ipv6(v6("fd00:10:244:1::11"), v6("fd00:10:244:2::5"))
                     .udp(1, 2)
                     .payload(1440));
  expect_dropped(DropReason::too_big);
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].bytes[54], icmp6::kPacketTooBig);
  EXPECT_EQ(sent_[0].bytes[60] << 8 | sent_[0].bytes[61], 1450);
}

TEST_F(IcmpErrors, UnreachableWithoutRouteAndForAbsentNeighbours) {
  receive(kPod1, pod1_to({{172, 16, 0, 1}}).udp(1, 2));
  receive(kPod1, pod1_to({{10, 244, 1, 99}}).udp(1, 2));
  EXPECT_EQ(drops(DropReason::no_route), 1u);
  EXPECT_EQ(drops(DropReason::host_unreachable), 1u);
  ASSERT_EQ(sent_.size(), 2u);
  EXPECT_EQ(sent_[0].bytes[35], icmp::kCodeNetUnreachable);
  EXPECT_EQ(sent_[1].bytes[35], icmp::kCodeHostUnreachable);
}

TEST_F(IcmpErrors, AreNotSentAboutErrors) {
  receive(kPod1, pod1_to({{172, 16, 0, 1}}).icmp(icmp::kUnreachable, 1).payload(28));
  EXPECT_TRUE(sent_.empty());
  expect_dropped(DropReason::no_route);
}

TEST_F(IcmpErrors, AreLimited) {
  for (int i = 0; i < 300; ++i) receive(kPod1, pod1_to({{172, 16, 0, 1}}).udp(1, 2));
  EXPECT_EQ(sent_.size(), 100u);  // the burst allowance; the clock stands still here
  EXPECT_EQ(drops(DropReason::no_route), 300u);
}

TEST_F(IcmpErrors, ThatAreNotSentDoNotCountAgainstTheLimit) {
  for (int i = 0; i < 300; ++i)
    receive(kPod1, pod1_to({{172, 16, 0, 1}}).icmp(icmp::kUnreachable, 1).payload(28));
  EXPECT_TRUE(sent_.empty());
  for (int i = 0; i < 100; ++i) receive(kPod1, pod1_to({{172, 16, 0, 1}}).udp(1, 2));
  EXPECT_EQ(sent_.size(), 100u);
}

TEST_F(Guard, DropsForeignSources) {
  receive(kPod1, Packet().eth(kGatewayMac, kPod2Mac).ipv4(kPod1Ip, kPod2Ip).udp(1, 2));
  EXPECT_EQ(drops(DropReason::spoofed_mac), 1u);
  receive(kPod1, Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod2Ip, kPod2Ip).udp(1, 2));
  receive(
      kPod1,
      Packet().eth(kGatewayMac, kPod1Mac).ipv6(v6("fd00:10:244:1::12"), v6("fd00:10:244:1::12")).udp(1, 2));
  EXPECT_EQ(drops(DropReason::spoofed_ip), 2u);
  receive(kPod1, Packet()
                     .eth({{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}, kPod1Mac)
                     .arp(1, kPod1Mac, kPod2Ip, {}, kGateway4));
  receive(kPod1, Packet().eth(kPod2Mac, kPod1Mac).arp(2, kPod2Mac, kPod1Ip, kPod2Mac, kPod2Ip));
  EXPECT_EQ(drops(DropReason::spoofed_arp), 2u);
  EXPECT_TRUE(sent_.empty());
}

TEST_F(Guard, LetsAllowedPairsPass) {
  program(R"({"endpoints": [{"id": 1, "name": "pod1", "domain": 2, "port": 11, "mac": "02:00:00:00:03:01",
                             "addresses": ["10.244.1.11"], "allowed_pairs": [{"address": "10.50.0.0/16"}]}]})");
  receive(kPod1, Packet().eth(kGatewayMac, kPod1Mac).ipv4({{10, 50, 3, 3}}, kPod2Ip).udp(1, 2));
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].port, kPod2);
}

TEST_F(HostPath, PassesTheNodesOwnTrafficBothWays) {
  const auto in = Packet().eth(kUplinkMac, kPeerNodeMac).ipv4(kPeerIp, kNodeIp).tcp(4000, 22).payload(10);
  receive(kUplink, in);
  expect_sent(kHost, in);
  sent_.clear();
  const auto out = Packet().eth(kPeerNodeMac, kUplinkMac).ipv4(kNodeIp, kPeerIp).tcp(22, 4000).payload(10);
  receive(kHost, out);
  expect_sent(kUplink, out);
}

TEST_F(HostPath, RoutesBetweenNodeAndPods) {
  receive(kHost, Packet().eth(kGatewayMac, kUplinkMac).ipv4(kNodeIp, kPod1Ip, {.ttl = 64}).tcp(5, 6));
  expect_sent(kPod1, Packet().eth(kPod1Mac, kGatewayMac).ipv4(kNodeIp, kPod1Ip, {.ttl = 63}).tcp(5, 6));
  sent_.clear();
  receive(kPod1, pod1_to(kNodeIp, {.ttl = 64}).tcp(6, 5));
  expect_sent(kHost, Packet().eth(kUplinkMac, kGatewayMac).ipv4(kPod1Ip, kNodeIp, {.ttl = 63}).tcp(6, 5));
}

TEST_F(HostPath, GatewayAnswersTheNodesArp) {
  receive(kHost, Packet()
                     .eth({{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}, kUplinkMac)
                     .arp(1, kUplinkMac, kNodeIp, {}, kGateway4));
  expect_sent(kHost,
              Packet().eth(kUplinkMac, kGatewayMac).arp(2, kGatewayMac, kGateway4, kUplinkMac, kNodeIp));
}

TEST_F(HostPath, SegmentsForAnUplinkThatCannot) {
  auto packet = Packet().eth(kPeerNodeMac, kUplinkMac).ipv4(kNodeIp, kPeerIp).tcp(22, 4000).payload(10000);
  rte_mbuf* mbuf = to_chain(pool_.get(), packet.bytes(), {2000});
  make_tso(mbuf, meta_of(mbuf), 1448);
  receive(kHost, mbuf);
  EXPECT_EQ(sent_.size(), 7u);
  for (const auto& sent : sent_) EXPECT_FALSE(sent.partial);
}

TEST_F(HostPath, TellsTheNeighbourTableWhatItOverhears) {
  receive(kUplink, Packet().eth(kUplinkMac, kPeerNodeMac).arp(2, kPeerNodeMac, kPeerIp, kUplinkMac, kNodeIp));
  ASSERT_EQ(events_.size(), 1u);
  EXPECT_EQ(events_[0].kind, Event::Kind::kNeighbor);
  EXPECT_TRUE(events_[0].solicited);
  EXPECT_EQ(events_[0].mac, kPeerNodeMac);
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].port, kHost);
}

}  // namespace
}  // namespace podwire::engine::tests
