// The stateful switch of flow_fixture.hpp with a way out: the routed domain masquerades, the underlay has a
// default gateway of each family.
#pragma once

#include "tests/eal/pipeline/flow_fixture.hpp"

namespace podwire::engine::tests {

inline constexpr MacAddr kRouterMac{{0x02, 0, 0, 0, 1, 0xfe}}, kNeighborMac{{0x02, 0, 0, 0, 1, 0x09}};
inline constexpr Ipv4 kRouterIp{{192, 168, 100, 254}}, kNeighborIp{{192, 168, 100, 9}};
inline constexpr Ipv4 kWorldIp{{203, 0, 113, 9}}, kWorld2Ip{{203, 0, 113, 10}};
inline constexpr std::uint16_t kFirstPort = 20000;

inline Ipv6 ip6(const char* text) {
  return *podwire::parse_ipv6(text);
}

class NatSwitch : public FlowSwitch {
 protected:
  NatSwitch() {
    program(R"({"routes": [
      {"id": 20, "domain": 1, "prefix": "0.0.0.0/0", "next_hops": [{"port": 1, "address": "192.168.100.254"}]},
      {"id": 21, "domain": 1, "prefix": "fd00:100::/64", "next_hops": [{"port": 1}]},
      {"id": 22, "domain": 1, "prefix": "::/0", "next_hops": [{"port": 1, "address": "fd00:100::fe"}]}]})");
    set_ports(20000, 20099);
    resolve(IpAddr(kRouterIp), kRouterMac);
    resolve(IpAddr(ip6("fd00:100::fe")), kRouterMac);
    sent_.clear();
  }

  void set_ports(int first, int last) {
    set_domain(
        R"(, "masquerade": {"addresses": ["192.168.100.1", "fd00:100::1"], "except": ["198.51.100.0/24"],
                  "ports": [)" +
        std::to_string(first) + ", " + std::to_string(last) + "]}");
  }

  // From pod 1 to the world, and as it arrives there; from the world to the node, and as it arrives at pod 1.
  static Packet pod1() { return Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod1Ip, kWorldIp); }
  static Packet pod2() { return Packet().eth(kGatewayMac, kPod2Mac).ipv4(kPod2Ip, kWorldIp); }
  static Packet outside(std::uint8_t ttl = 63) {
    return Packet().eth(kRouterMac, kUplinkMac).ipv4(kNodeIp, kWorldIp, {.ttl = ttl});
  }
  static Packet world(const Ipv4& from = kWorldIp) {
    return Packet().eth(kUplinkMac, kRouterMac).ipv4(from, kNodeIp);
  }
  static Packet at_pod1(const Ipv4& from = kWorldIp) {
    return Packet().eth(kPod1Mac, kGatewayMac).ipv4(from, kPod1Ip, {.ttl = 63});
  }
  // Its one packet to the uplink had this source port.
  std::uint16_t port_out() {
    EXPECT_EQ(sent_.size(), 1u);
    if (sent_.size() != 1 || sent_[0].bytes.size() < 36) return 0;
    EXPECT_EQ(sent_[0].port, kUplink);
    const auto port = static_cast<std::uint16_t>(sent_[0].bytes[34] << 8 | sent_[0].bytes[35]);
    sent_.clear();
    return port;
  }
  void expect(PortId port, const Packet& packet) {
    expect_sent(port, packet);
    sent_.clear();
  }
};

}  // namespace podwire::engine::tests
