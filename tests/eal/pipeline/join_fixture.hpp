// The switch of flow_fixture.hpp with two more domains: one that the routed one is joined with, and one
// apart.
#pragma once

#include "tests/eal/pipeline/flow_fixture.hpp"

namespace podwire::engine::tests {

inline constexpr PortId kSidePort{31}, kThirdPort{41};
inline constexpr DomainId kSide{4};
inline constexpr Vni kSideVni{300};
inline constexpr MacAddr kSideMac{{0x02, 0, 0, 0, 5, 1}}, kThirdMac{{0x02, 0, 0, 0, 6, 1}};
inline constexpr Ipv4 kSideIp{{10, 50, 1, 11}}, kSideRemoteIp{{10, 50, 2, 20}}, kThirdIp{{10, 60, 1, 11}};
inline constexpr const char* kPart = R"({"routes": [41, 42, 43, 44, 45, 46]})";
using JoinedPorts = std::vector<PortId>;

// The routed domain of the switch (A), "side" beside it (B), and "third".
class JoinSwitch : public FlowSwitch {
 protected:
  explicit JoinSwitch(const char* stateful) {
    set_domain("", stateful);
    const std::string tail = std::string(R"(, "stateful": )") + stateful + "}";
    program((R"({"domains": [
      {"id": 4, "name": "side", "vni": 300, "gateway_mac": "02:70:77:00:00:01", "mtu": 1450,
       "gateways": ["10.50.1.1/24", "fd00:50:1::1/64"])" +
             tail + R"(,
      {"id": 5, "name": "third", "vni": 400, "gateway_mac": "02:70:77:00:00:01", "mtu": 1450,
       "gateways": ["10.60.1.1/24"])" +
             tail + R"(],
      "ports": [
      {"id": 31, "name": "side1", "kind": "tap", "domain": 4, "mac": "02:00:00:00:05:01", "mtu": 1450, "descriptors": 1},
      {"id": 41, "name": "third1", "kind": "tap", "domain": 5, "mac": "02:00:00:00:06:01", "mtu": 1450, "descriptors": 1}],
      "endpoints": [
      {"id": 31, "name": "side1", "domain": 4, "port": 31, "mac": "02:00:00:00:05:01", "addresses": ["10.50.1.11", "fd00:50:1::11"]},
      {"id": 41, "name": "third1", "domain": 5, "port": 41, "mac": "02:00:00:00:06:01", "addresses": ["10.60.1.11"]}],
      "routes": [{"id": 40, "domain": 4, "prefix": "10.50.2.0/24", "next_hops": [{"vtep": 2}]}]})")
                .c_str());
    join();
    resolve_peer();
  }
  void join() {
    program(R"({"routes": [
      {"id": 41, "domain": 2, "prefix": "10.50.1.0/24", "next_hops": [{"into": 4}]},
      {"id": 42, "domain": 2, "prefix": "10.50.2.0/24", "next_hops": [{"into": 4}]},
      {"id": 43, "domain": 2, "prefix": "fd00:50:1::/64", "next_hops": [{"into": 4}]},
      {"id": 44, "domain": 4, "prefix": "10.244.1.0/24", "next_hops": [{"into": 2}]},
      {"id": 45, "domain": 4, "prefix": "10.244.2.0/24", "next_hops": [{"into": 2}]},
      {"id": 46, "domain": 4, "prefix": "fd00:10:244:1::/64", "next_hops": [{"into": 2}]}]})");
  }
  void part() { program("{}", kPart); }

  static Packet pod1_to(const Ipv4& to, Ipv4Fields fields = {}) {
    return Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod1Ip, to, fields);
  }
  static Packet side_to(const Ipv4& to, Ipv4Fields fields = {}) {
    return Packet().eth(kGatewayMac, kSideMac).ipv4(kSideIp, to, fields);
  }
  static Packet at_side(const Ipv4& from = kPod1Ip) {
    return Packet().eth(kSideMac, kGatewayMac).ipv4(from, kSideIp, {.ttl = 63});
  }
  static Packet at_pod1(const Ipv4& from = kSideIp) {
    return Packet().eth(kPod1Mac, kGatewayMac).ipv4(from, kPod1Ip, {.ttl = 63});
  }
  // From a pod of the other node, in the domain that it is for.
  static Packet from_node(Vni vni, const Ipv4& from, const Ipv4& to) {
    return from_peer(vni).eth(kOurVtepMac, kPeerVtepMac).ipv4(from, to, {.ttl = 64});
  }
  void expect_one(PortId port, const Packet& packet) {
    expect_sent(port, packet);
    sent_.clear();
  }
  // Its one packet to the uplink is a tunnel's with this VNI.
  void expect_tunnel(Vni vni) {
    ASSERT_EQ(sent_.size(), 1u);
    EXPECT_EQ(sent_[0].port, kUplink);
    ASSERT_GT(sent_[0].bytes.size(), 50u);
    EXPECT_EQ(sent_[0].bytes[46] << 16 | sent_[0].bytes[47] << 8 | sent_[0].bytes[48],
              static_cast<int>(vni.value()));
    sent_.clear();
  }
  void expect_no_route(PortId in, const Packet& packet) {
    const auto before = drops(DropReason::no_route);
    receive(in, packet);
    EXPECT_EQ(drops(DropReason::no_route), before + 1);
    for (const auto& one : sent_) EXPECT_EQ(one.port, in) << "only the error goes back";
    sent_.clear();
  }
  const LedgerCounters& domain(DomainId id) { return counters_.worker(0).domains[id.value()]; }
  std::uint64_t taken() { return counters_.worker(0).stages[kExpressCounter].packets.get(); }
};

// Connections between the two.
class JoinedConnections : public JoinSwitch {
 protected:
  JoinedConnections() : JoinSwitch("true") {}

  static Packet ask(std::uint8_t flags) { return pod1_to(kSideIp).tcp(4000, 80, {.flags = flags}); }
  static Packet reply(std::uint8_t flags) { return side_to(kPod1Ip).tcp(80, 4000, {.flags = flags}); }
  static FlowKey asked(DomainId in = kRouted) {
    return make_flow_key(in, ip_proto::kTcp, IpAddr(kPod1Ip), IpAddr(kSideIp), 4000, 80);
  }
  void establish() {
    receive(kPod1, ask(kSyn));
    expect_one(kSidePort, at_side().tcp(4000, 80, {.flags = kSyn}));
    receive(kSidePort, reply(kSynAck));
    expect_one(kPod1, at_pod1().tcp(80, 4000, {.flags = kSynAck}));
    receive(kPod1, ask(kAck));
    EXPECT_EQ(ports_out(), JoinedPorts{kSidePort});
  }
};

}  // namespace podwire::engine::tests
