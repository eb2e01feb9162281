// DSCP and ECN: domains that mark or do not trust, what tunnels make of it, on the express lane and in the
// stages.
#include <algorithm>
#include <array>

#include "tests/eal/pipeline/flow_fixture.hpp"

namespace podwire::engine::tests {
namespace {

constexpr std::uint8_t kExpedited = 46;

class DscpTest : public SwitchTest {
 protected:
  void set_routed(const std::string& more) {
    program((R"({"domains": [{"id": 2, "name": "routed", "vni": 100, "gateway_mac": "02:70:77:00:00:01",
             "mtu": 1450, "host_access": true, "gateways": ["10.244.1.1/24", "fd00:10:244:1::1/64"])" +
             more + "}]}")
                .c_str());
  }
  std::uint64_t taken() { return counters_.worker(0).stages[kExpressCounter].packets.get(); }

  static Packet ipv4(std::uint8_t tos, const Ipv4& to = kPod2Ip) {
    return Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod1Ip, to, {.tos = tos}).udp(1000, 80).payload(40);
  }
  static Packet delivered(std::uint8_t tos) {
    return Packet()
        .eth(kPod2Mac, kGatewayMac)
        .ipv4(kPod1Ip, kPod2Ip, {.ttl = 63, .tos = tos})
        .udp(1000, 80)
        .payload(40);
  }
  // What pod 2 gets of a packet with `sent`, from the lane and from the stages.
  void expect_marked(std::uint8_t sent, std::uint8_t expected) {
    for (const bool lane : {true, false}) {
      SCOPED_TRACE(lane ? "express" : "stages");
      express_ = lane;
      sent_.clear();
      receive(kPod1, ipv4(sent));
      expect_sent(kPod2, delivered(expected));
    }
  }
  static Packet from_tunnel(std::uint8_t outer, std::uint8_t inner) {
    return Packet()
        .eth(kUplinkMac, kPeerNodeMac)
        .ipv4(kPeerIp, kNodeIp, {.tos = outer})
        .udp_without_checksum(50000, 4789)
        .vxlan(kRoutedVni)
        .eth(kOurVtepMac, kPeerVtepMac)
        .ipv4(kRemoteIp, kPod1Ip, {.ttl = 63, .tos = inner})
        .udp(53, 5353)
        .payload(40);
  }
};

TEST_F(DscpTest, ATrustedDomainKeepsWhatItsPodsSay) {
  for (const auto tos : std::to_array<std::uint8_t>({0x00, 0xb8, 0xba, 0xff})) expect_marked(tos, tos);
}

TEST_F(DscpTest, AMarkReplacesDscpAndLeavesEcn) {
  set_routed(R"(, "dscp": 46)");
  for (std::uint8_t ecn = 0; ecn < 4; ++ecn) {
    expect_marked(ecn, static_cast<std::uint8_t>(kExpedited << 2 | ecn));
    expect_marked(static_cast<std::uint8_t>(0xfc | ecn), static_cast<std::uint8_t>(kExpedited << 2 | ecn));
  }
  EXPECT_EQ(taken(), 8u) << "marked packets are as plain as others";
}

TEST_F(DscpTest, WithoutTrustItIsZero) {
  set_routed(R"(, "trust_dscp": false)");
  expect_marked(0xba, 0x02);
  set_routed("");
  expect_marked(0xba, 0xba);
}

TEST_F(DscpTest, Ipv6HasItInItsTrafficClass) {
  const Ipv6 pod1 = parse_ip("fd00:10:244:1::11")->v6(), pod2 = parse_ip("fd00:10:244:1::12")->v6();
  set_routed(R"(, "dscp": 46)");
  receive(kPod1, Packet()
                     .eth(kGatewayMac, kPod1Mac)
                     .ipv6(pod1, pod2, {.traffic_class = 0x0a, .flow_label = 0xfffff})
                     .udp(1, 2)
                     .payload(8));
  expect_sent(kPod2, Packet()
                         .eth(kPod2Mac, kGatewayMac)
                         .ipv6(pod1, pod2, {.hop_limit = 63, .traffic_class = 0xba, .flow_label = 0xfffff})
                         .udp(1, 2)
                         .payload(8));
}

TEST_F(DscpTest, BridgedDomainsMarkToo) {
  program(R"({"domains": [{"id": 3, "name": "bridged", "vni": 200, "mode": "l2", "dscp": 10, "mtu": 1450,
      "gateway_mac": "02:70:77:00:00:01", "learning": true, "flood": [2]}],
      "endpoints": [{"id": 4, "name": "b2", "domain": 3, "port": 22, "mac": "02:00:00:00:04:02",
                     "addresses": ["10.9.0.2"]}]})");
  const auto frame = [](std::uint8_t tos) {
    return Packet()
        .eth(kBridge2Mac, kBridge1Mac)
        .ipv4({{10, 9, 0, 1}}, {{10, 9, 0, 2}}, {.tos = tos})
        .udp(1, 2);
  };
  receive(kBridge1, frame(0x01));
  expect_sent(kBridge2, frame(10 << 2 | 1));
}

TEST_F(DscpTest, WhatComesFromElsewhereKeepsItsOwn) {
  set_routed(R"(, "dscp": 46)");
  receive(kUplink, from_tunnel(0, 0x28));
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].bytes[15], 0x28);
  sent_.clear();
  receive(kHost, Packet().eth(kUplinkMac, kUplinkMac).ipv4(kNodeIp, kPod1Ip, {.tos = 0x28}).udp(1, 2));
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].bytes[15], 0x28);
}

TEST_F(DscpTest, TheTunnelHasWhatThePacketHas) {
  resolve_peer();
  set_routed(R"(, "dscp": 46)");
  for (const bool lane : {true, false}) {
    express_ = lane;
    sent_.clear();
    receive(kPod1, ipv4(0x01, kRemoteIp));
    ASSERT_EQ(sent_.size(), 1u);
    const auto& frame = sent_[0].bytes;
    EXPECT_EQ(frame[15], 0xb9);
    EXPECT_EQ(frame[50 + 15], 0xb9);
    EXPECT_EQ(slow_checksum(frame, 14, 20), 0);
    EXPECT_EQ(slow_checksum(frame, 64, 20), 0);
  }
  EXPECT_EQ(taken(), 1u);
}

TEST_F(DscpTest, AnArpInATunnelHasNone) {
  resolve_peer();
  receive(kBridge1, Packet()
                        .eth(MacAddr{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}, kBridge1Mac)
                        .arp(ArpHeader::kRequest, kBridge1Mac, {{10, 9, 0, 1}}, MacAddr(), {{10, 9, 0, 9}}));
  const auto tunnelled =
      std::find_if(sent_.begin(), sent_.end(), [](const Sent& s) { return s.port == kUplink; });
  ASSERT_NE(tunnelled, sent_.end());
  EXPECT_EQ(tunnelled->bytes[15], 0);
}

// RFC 6040, figure 4: columns are the outer's Not-ECT, ECT(1), ECT(0), CE as they are numbered.
TEST_F(DscpTest, CongestionComesOutOfTheTunnel) {
  constexpr std::uint8_t kInner[4][4] = {{0, 0, 0, 0}, {1, 1, 1, 3}, {2, 1, 2, 3}, {3, 3, 3, 3}};
  for (const bool lane : {true, false}) {
    express_ = lane;
    for (std::uint8_t inner = 0; inner < 4; ++inner) {
      for (std::uint8_t outer = 0; outer < 4; ++outer) {
        if (inner == kNotEct && outer == kCongestion) continue;  // below
        SCOPED_TRACE(std::to_string(inner) + " in " + std::to_string(outer) + (lane ? "" : ", stages"));
        sent_.clear();
        receive(kUplink, from_tunnel(static_cast<std::uint8_t>(0x50 | outer),
                                     static_cast<std::uint8_t>(0xb8 | inner)));
        const auto tos = static_cast<std::uint8_t>(0xb8 | kInner[inner][outer]);
        expect_sent(kPod1, Packet()
                               .eth(kPod1Mac, kGatewayMac)
                               .ipv4(kRemoteIp, kPod1Ip, {.ttl = 62, .tos = tos})
                               .udp(53, 5353)
                               .payload(40));
      }
    }
  }
}

TEST_F(DscpTest, CongestionThatASenderWouldNotUnderstandIsALoss) {
  receive(kUplink, from_tunnel(3, 0));
  express_ = false;
  receive(kUplink, from_tunnel(3, 0));
  EXPECT_TRUE(sent_.empty());
  expect_dropped(DropReason::ecn_not_capable, 2);
}

class DscpConnections : public FlowSwitch {
 protected:
  std::uint64_t taken() { return counters_.worker(0).stages[kExpressCounter].packets.get(); }
};

TEST_F(DscpConnections, OfAStatefulDomainAreMarkedOnTheLaneToo) {
  set_domain(R"(, "dscp": 46)");
  receive(kPod1, out());
  receive(kPod2, back());
  const auto before = taken();
  sent_.clear();
  receive(kPod1, out());
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].bytes[15], kExpedited << 2);
  EXPECT_EQ(slow_checksum(sent_[0].bytes, 14, 20), 0);
  EXPECT_EQ(taken() - before, 1u);
}

}  // namespace
}  // namespace podwire::engine::tests
