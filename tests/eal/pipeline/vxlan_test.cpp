// VXLAN as RFC 7348 has it: decapsulation rules, what encapsulation produces, packets that wait for the next
// hop.
#include <set>

#include "tests/eal/pipeline/switch_fixture.hpp"

namespace podwire::engine::tests {
namespace {

using Decap = SwitchTest;
using Encap = SwitchTest;
using Merge = SwitchTest;
using Parking = SwitchTest;

Packet inner_to_pod1(Packet outer) {
  return outer.eth(kOurVtepMac, kPeerVtepMac).ipv4(kRemoteIp, kPod1Ip, {.ttl = 63}).udp(53, 5353).payload(40);
}
Packet delivered_to_pod1() {
  return Packet().eth(kPod1Mac, kGatewayMac).ipv4(kRemoteIp, kPod1Ip, {.ttl = 62}).udp(53, 5353).payload(40);
}

Packet pod1_to_remote(std::uint16_t source_port = 1000) {
  return Packet()
      .eth(kGatewayMac, kPod1Mac)
      .ipv4(kPod1Ip, kRemoteIp, {.ttl = 64})
      .udp(source_port, 80)
      .payload(60);
}

TEST_F(Decap, RoutesToThePodWhenAddressedToOurVtepMac) {
  receive(kUplink, inner_to_pod1(from_peer(kRoutedVni)));
  expect_sent(kPod1, delivered_to_pod1());
}

TEST_F(Decap, AcceptsTheGatewayMacToo) {
  receive(kUplink, from_peer(kRoutedVni)
                       .eth(kGatewayMac, kGatewayMac)
                       .ipv4(kRemoteIp, kPod1Ip, {.ttl = 63})
                       .udp(53, 5353)
                       .payload(40));
  expect_sent(kPod1, delivered_to_pod1());
}

TEST_F(Decap, ReturnsASwitchedFrameByteForByte) {
  const auto inner = Packet()
                         .eth(kBridge1Mac, kMacA)
                         .ipv4({{10, 9, 0, 7}}, {{10, 9, 0, 1}}, {.ttl = 1, .options = {7, 4, 4, 0}})
                         .udp(1, 2)
                         .payload(33);
  receive(kUplink, from_peer(kBridgedVni)
                       .eth(kBridge1Mac, kMacA)
                       .ipv4({{10, 9, 0, 7}}, {{10, 9, 0, 1}}, {.ttl = 1, .options = {7, 4, 4, 0}})
                       .udp(1, 2)
                       .payload(33));
  expect_sent(kBridge1, inner);
}

TEST_F(Decap, AcceptsARightOuterChecksumAndDropsAWrongOne) {
  auto bytes =
      inner_to_pod1(
          Packet().eth(kUplinkMac, kPeerNodeMac).ipv4(kPeerIp, kNodeIp).udp(50000, 4789).vxlan(kRoutedVni))
          .bytes();
  receive(kUplink, to_mbuf(pool_.get(), bytes));
  ASSERT_EQ(sent_.size(), 1u);
  bytes[40] ^= 1;
  receive(kUplink, to_mbuf(pool_.get(), bytes));
  EXPECT_EQ(sent_.size(), 1u);
  expect_dropped(DropReason::bad_outer_checksum);
}

TEST_F(Decap, IgnoresReservedBitsButWantsTheVniFlag) {
  auto bytes = inner_to_pod1(from_peer(kRoutedVni)).bytes();
  bytes[42] = 0xff;                                      // all flags, ours among them
  bytes[43] = bytes[44] = bytes[45] = bytes[49] = 0xff;  // reserved
  receive(kUplink, to_mbuf(pool_.get(), bytes));
  EXPECT_EQ(sent_.size(), 1u);
  bytes[42] = 0xf7;
  receive(kUplink, to_mbuf(pool_.get(), bytes));
  EXPECT_EQ(sent_.size(), 1u);
  expect_dropped(DropReason::bad_vxlan_header);
}

TEST_F(Decap, DropsWhenVniUnknown) {
  for (const std::uint32_t vni : {0u, 101u, 0x800064u, Vni::kMax})
    receive(kUplink, inner_to_pod1(from_peer(Vni(vni))));
  expect_dropped(DropReason::vni_unknown, 4);
}

TEST_F(Decap, DropsFromUnknownVtepUnlessTheDomainLearns) {
  const Ipv4 stranger{{192, 168, 100, 66}};
  receive(kUplink, inner_to_pod1(Packet()
                                     .eth(kUplinkMac, kPeerNodeMac)
                                     .ipv4(stranger, kNodeIp)
                                     .udp_without_checksum(50000, 4789)
                                     .vxlan(kRoutedVni)));
  expect_dropped(DropReason::vtep_unknown);
  receive(kUplink, Packet()
                       .eth(kUplinkMac, kPeerNodeMac)
                       .ipv4(stranger, kNodeIp)
                       .udp_without_checksum(50000, 4789)
                       .vxlan(kBridgedVni)
                       .eth(kBridge1Mac, kMacA)
                       .ipv4({{10, 9, 0, 7}}, {{10, 9, 0, 1}})
                       .udp(1, 2));
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].port, kBridge1);
}

TEST_F(Decap, LeavesAnotherUdpPortToTheHost) {
  receive(kUplink, inner_to_pod1(from_peer(kRoutedVni, 8472)));
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].port, kHost);
}

TEST_F(Decap, ServesAFurtherUdpPortWhenConfigured) {
  program(R"({"vteps": [
      {"id": 3, "name": "self-8472", "local": true, "address": "192.168.100.1", "udp_port": 8472, "mac": "02:00:00:00:02:01"},
      {"id": 4, "name": "flannel", "address": "192.168.100.2", "udp_port": 8472, "mac": "02:00:00:00:02:02"}]})");
  receive(kUplink, inner_to_pod1(from_peer(kRoutedVni, 8472)));
  expect_sent(kPod1, delivered_to_pod1());
}

TEST_F(Decap, DoesNotOpenVxlanThatAPodSendsToTheNode) {
  receive(kPod1, Packet()
                     .eth(kGatewayMac, kPod1Mac)
                     .ipv4(kPod1Ip, kNodeIp)
                     .udp_without_checksum(50000, 4789)
                     .vxlan(kRoutedVni)
                     .eth(kOurVtepMac, kPod1Mac)
                     .ipv4(kRemoteIp, kPod2Ip)
                     .udp(1, 2));
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].port, kHost);
}

TEST_F(Decap, NeverSendsBackIntoATunnel) {
  resolve_peer();
  receive(kUplink, from_peer(kRoutedVni)
                       .eth(kOurVtepMac, kPeerVtepMac)
                       .ipv4(kRemoteIp, {{10, 244, 2, 99}}, {.ttl = 63})
                       .udp(1, 2));
  expect_dropped(DropReason::back_to_tunnel);
  EXPECT_TRUE(sent_.empty());
}

TEST_F(Decap, CarriesCongestionInwards) {
  receive(kUplink, Packet()
                       .eth(kUplinkMac, kPeerNodeMac)
                       .ipv4(kPeerIp, kNodeIp, {.tos = 3})
                       .udp_without_checksum(50000, 4789)
                       .vxlan(kRoutedVni)
                       .eth(kOurVtepMac, kPeerVtepMac)
                       .ipv4(kRemoteIp, kPod1Ip, {.ttl = 63, .tos = 2})
                       .udp(53, 5353)
                       .payload(40));
  expect_sent(kPod1, Packet()
                         .eth(kPod1Mac, kGatewayMac)
                         .ipv4(kRemoteIp, kPod1Ip, {.ttl = 62, .tos = 3})
                         .udp(53, 5353)
                         .payload(40));
}

TEST_F(Decap, StripsPaddingBehindTheUdpDatagram) {
  receive(kUplink, inner_to_pod1(from_peer(kRoutedVni)).padding(6));
  expect_sent(kPod1, delivered_to_pod1());
}

TEST_F(Encap, PutsOuterHeadersOn) {
  resolve_peer();
  receive(kPod1, pod1_to_remote());
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].port, kUplink);
  const auto source_port = static_cast<std::uint16_t>(sent_[0].bytes[34] << 8 | sent_[0].bytes[35]);
  EXPECT_GE(source_port, 49152);
  const auto expected = Packet()
                            .eth(kPeerNodeMac, kUplinkMac)
                            .ipv4(kNodeIp, kPeerIp, {.id = 0})
                            .udp_without_checksum(source_port, 4789)
                            .vxlan(kRoutedVni)
                            .eth(kPeerVtepMac, kGatewayMac)
                            .ipv4(kPod1Ip, kRemoteIp, {.ttl = 63})
                            .udp(1000, 80)
                            .payload(60);
  EXPECT_EQ(difference(sent_[0].bytes, expected.bytes()), "");
}

TEST_F(Encap, KeepsAFlowOnOneSourcePortAndSpreadsFlows) {
  resolve_peer();
  std::set<int> ports;
  for (std::uint16_t flow = 0; flow < 200; ++flow) {
    for (int repeat = 0; repeat < 2; ++repeat)
      receive(kPod1, pod1_to_remote(static_cast<std::uint16_t>(1000 + flow)));
  }
  ASSERT_EQ(sent_.size(), 400u);
  for (std::size_t i = 0; i < 400; i += 2) {
    const auto port = [&](std::size_t at) { return sent_[at].bytes[34] << 8 | sent_[at].bytes[35]; };
    EXPECT_EQ(port(i), port(i + 1));
    ports.insert(port(i));
  }
  EXPECT_GT(ports.size(), 190u);
}

TEST_F(Encap, FinishesChecksumsAndSegmentsInside) {
  resolve_peer();
  auto packet = Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod1Ip, kRemoteIp).tcp(80, 90).payload(5000);
  rte_mbuf* mbuf = to_chain(pool_.get(), packet.bytes(), {2000});
  make_tso(mbuf, meta_of(mbuf), 1398);
  receive(kPod1, mbuf);
  ASSERT_EQ(sent_.size(), 4u);
  for (const auto& sent : sent_) {
    EXPECT_FALSE(sent.partial);
    rte_mbuf* inner = to_mbuf(pool_.get(), Bytes(sent.bytes.begin() + 50, sent.bytes.end()));
    EXPECT_TRUE(verify_l4(inner, 14, 34, ip_proto::kTcp));
    rte_pktmbuf_free(inner);
  }
}

TEST_F(Encap, OverIpv6SendsAnOuterChecksum) {
  program(R"({
      "vteps": [{"id": 5, "name": "self6", "local": true, "address": "fd00:100::1", "mac": "02:00:00:00:02:01"},
                {"id": 6, "name": "peer6", "address": "fd00:100::2", "mac": "02:00:00:00:02:02"}],
      "routes": [{"id": 9, "domain": 1, "prefix": "fd00:100::/64", "next_hops": [{"port": 1}]},
                 {"id": 10, "domain": 2, "prefix": "10.244.6.0/24", "next_hops": [{"vtep": 6}]}]})");
  Event event;
  event.kind = Event::Kind::kNeighbor;
  event.solicited = true;
  event.port = kUplink;
  event.mac = kPeerNodeMac;
  event.address = *parse_ip("fd00:100::2");
  now_ms_ += 200;
  programmer_->tick(now_ms_);
  programmer_->on_event(event, now_ms_);
  resolve_peer();
  receive(kPod1, Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod1Ip, {{10, 244, 6, 1}}).udp(1, 2).payload(31));
  ASSERT_EQ(sent_.size(), 1u);
  rte_mbuf* outer = to_mbuf(pool_.get(), sent_[0].bytes);
  EXPECT_NE(header_unchecked<UdpHeader>(outer, 54)->checksum.raw(), 0);
  EXPECT_TRUE(verify_l4(outer, 14, 54, ip_proto::kUdp));
  rte_pktmbuf_free(outer);
}

TEST_F(Merge, JoinsSegmentsFromATunnelForATap) {
  std::vector<rte_mbuf*> burst;
  for (std::uint32_t i = 0; i < 10; ++i) {
    burst.push_back(
        to_mbuf(pool_.get(), from_peer(kRoutedVni)
                                 .eth(kOurVtepMac, kPeerVtepMac)
                                 .ipv4(kRemoteIp, kPod1Ip, {.ttl = 63, .id = static_cast<std::uint16_t>(i)})
                                 .tcp(80, 90, {.seq = 1 + i * 1000})
                                 .payload(1000)
                                 .bytes()));
  }
  receive(kUplink, burst);
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_TRUE(sent_[0].large);
  EXPECT_EQ(sent_[0].bytes.size(), 14u + 20 + 20 + 10000);
  EXPECT_EQ(counters_.worker(0).engine.merged.get(), 9u);
}

TEST_F(Parking, HoldsPacketsUntilThePeerAnswers) {
  receive(kPod1, pod1_to_remote());
  EXPECT_EQ(all_drops(), 0u);
  EXPECT_TRUE(sent_.empty());
  Event event;
  event.kind = Event::Kind::kNeighbor;
  event.solicited = true;
  event.port = kUplink;
  event.mac = kPeerNodeMac;
  event.address = IpAddr(kPeerIp);
  programmer_->on_event(event, now_ms_);
  receive(kPod1, pod1_to_remote());
  ASSERT_EQ(sent_.size(), 2u);  // the one that waited, the new one
  EXPECT_EQ(difference(sent_[0].bytes, sent_[1].bytes), "");
}

TEST_F(Parking, DropsWhenNobodyAnswers) {
  receive(kPod1, pod1_to_remote());
  for (int i = 0; i < 60; ++i) {
    now_ms_ += 100;
    programmer_->tick(now_ms_);
  }
  expect_dropped(DropReason::neighbor_unresolved);
}

TEST_F(Parking, IsBounded) {
  for (int i = 0; i < 100; ++i) receive(kPod1, pod1_to_remote());
  EXPECT_EQ(drops(DropReason::neighbor_queue_full), 36u);
  events_full_ = true;
  receive(kPod1, pod1_to_remote());
  EXPECT_EQ(drops(DropReason::neighbor_queue_full), 37u);
  EXPECT_EQ(counters_.worker(0).events_lost.get(), 0u) << "losses are the sink's to count";
}

}  // namespace
}  // namespace podwire::engine::tests
