// Bridged domain: flooding, split horizon, learning; isolation between domains.
#include <algorithm>

#include "tests/eal/pipeline/switch_fixture.hpp"

namespace podwire::engine::tests {
namespace {

using Flood = SwitchTest;
using Learning = SwitchTest;
using Isolation = SwitchTest;

constexpr MacAddr kAll{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
constexpr Ipv4 kBridge1Ip{{10, 9, 0, 1}}, kFarIp{{10, 9, 0, 7}};

std::vector<PortId> ports_of(const std::vector<Sent>& sent) {
  std::vector<PortId> ports;
  for (const auto& s : sent) ports.push_back(s.port);
  std::sort(ports.begin(), ports.end());
  return ports;
}

TEST_F(Flood, ReachesEveryMemberAndVtepButNotTheSender) {
  resolve_peer();
  receive(kBridge1, Packet().eth(kAll, kBridge1Mac).ipv4(kBridge1Ip, {{10, 9, 0, 255}}).udp(1, 2).payload(9));
  EXPECT_EQ(ports_of(sent_), (std::vector<PortId>{kUplink, kBridge2}));
  EXPECT_EQ(counters_.worker(0).engine.clones.get(), 1u);
}

TEST_F(Flood, FromATunnelStaysOnTheNode) {
  resolve_peer();
  receive(kUplink, from_peer(kBridgedVni).eth(kAll, kMacA).ipv4(kFarIp, {{10, 9, 0, 255}}).udp(1, 2));
  EXPECT_EQ(ports_of(sent_), (std::vector<PortId>{kBridge1, kBridge2}));
}

TEST_F(Flood, UnknownUnicastInL2OnlyAndWithoutMembersIsCounted) {
  receive(kPod1, Packet().eth(kMacA, kPod1Mac).ipv4(kPod1Ip, kPod2Ip).udp(1, 2));
  EXPECT_EQ(drops(DropReason::mac_unknown), 1u);
  receive(kPod1, Packet().eth(kAll, kPod1Mac).ipv4(kPod1Ip, {{255, 255, 255, 255}}).udp(1, 2));
  EXPECT_EQ(drops(DropReason::multicast_unsupported), 1u);
  program(
      R"({"domains": [{"id": 3, "name": "bridged", "vni": 200, "mode": "l2", "gateway_mac": "02:70:77:00:00:01",
                           "mtu": 1450}]})",
      R"({"ports": [22]})");
  receive(kBridge1, Packet().eth(kMacA, kBridge1Mac).ipv4(kBridge1Ip, kFarIp).udp(1, 2));
  EXPECT_EQ(drops(DropReason::flood_no_members), 1u);
  EXPECT_TRUE(sent_.empty());
}

TEST_F(Learning, FromATunnelStopsTheFlooding) {
  resolve_peer();
  receive(kUplink, from_peer(kBridgedVni).eth(kBridge1Mac, kMacA).ipv4(kFarIp, kBridge1Ip).udp(1, 2));
  sent_.clear();
  receive(kBridge1, Packet().eth(kMacA, kBridge1Mac).ipv4(kBridge1Ip, kFarIp).udp(2, 1).payload(3));
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].port, kUplink);
  EXPECT_EQ(sent_[0].bytes[48], 200);
}

TEST_F(Learning, FollowsAStationThatMoves) {
  resolve_peer();
  receive(kUplink, from_peer(kBridgedVni).eth(kBridge1Mac, kMacA).ipv4(kFarIp, kBridge1Ip).udp(1, 2));
  receive(kBridge2, Packet().eth(kBridge1Mac, kMacA).ipv4(kFarIp, kBridge1Ip).udp(1, 2));
  sent_.clear();
  receive(kBridge1, Packet().eth(kMacA, kBridge1Mac).ipv4(kBridge1Ip, kFarIp).udp(2, 1));
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].port, kBridge2);
}

TEST_F(Learning, NeverOverridesAConfiguredEndpoint) {
  receive(kBridge2, Packet().eth(kMacA, kBridge1Mac).ipv4(kFarIp, kBridge1Ip).udp(1, 2));
  sent_.clear();
  receive(kBridge2, Packet().eth(kBridge1Mac, kMacA).ipv4(kFarIp, kBridge1Ip).udp(1, 2));
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].port, kBridge1);
}

TEST_F(Isolation, DomainsDoNotSeeEachOther) {
  receive(kPod1, Packet().eth(kBridge1Mac, kPod1Mac).ipv4(kPod1Ip, kBridge1Ip).udp(1, 2));
  receive(kPod1, Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod1Ip, kBridge1Ip).icmp(8, 0));
  EXPECT_EQ(drops(DropReason::mac_unknown), 1u);
  EXPECT_EQ(drops(DropReason::no_route), 1u);
  for (const auto& sent : sent_) EXPECT_EQ(sent.port, kPod1);  // the unreachable message only
}

}  // namespace
}  // namespace podwire::engine::tests
