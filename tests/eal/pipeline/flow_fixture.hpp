// The switch of switch_fixture.hpp with the routed domain made stateful and a connection table.
#pragma once

#include <string>

#include "dataplane/tables/flow_table.hpp"
#include "tests/eal/pipeline/switch_fixture.hpp"

namespace podwire::engine::tests {

inline constexpr std::uint8_t kSyn = TcpHeader::kSyn, kSynAck = TcpHeader::kSyn | TcpHeader::kAck,
                              kAck = TcpHeader::kAck, kFinAck = TcpHeader::kFin | TcpHeader::kAck,
                              kRst = TcpHeader::kRst;

// There before the programmer is, which walks over it.
struct FlowTableHolder {
  FlowTable flows_;
};

class FlowSwitch : protected FlowTableHolder, public SwitchTest {
 protected:
  explicit FlowSwitch(std::uint32_t capacity = 1024)
      : FlowTableHolder{FlowTable(capacity, 42)}, SwitchTest(&flows_) {
    ctx_.flows = &flows_;
    ctx_.now_s = 1000;
    set_domain("");
  }

  // `more` begins with a comma: further fields of the domain.
  void set_domain(const std::string& more, const char* stateful = "true") {
    program((R"({"domains": [{"id": 2, "name": "routed", "vni": 100, "gateway_mac": "02:70:77:00:00:01",
             "mtu": 1450, "host_access": true, "gateways": ["10.244.1.1/24", "fd00:10:244:1::1/64"], "stateful": )" +
             std::string(stateful) + more + "}]}")
                .c_str());
  }

  static Packet out(std::uint16_t port = 1000) {  // pod 1 to pod 2
    return Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod1Ip, kPod2Ip).udp(port, 53).payload(20);
  }
  static Packet back(std::uint16_t port = 1000) {
    return Packet().eth(kGatewayMac, kPod2Mac).ipv4(kPod2Ip, kPod1Ip).udp(53, port).payload(20);
  }
  static Packet tcp_out(std::uint8_t flags) {
    return Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod1Ip, kPod2Ip).tcp(4000, 80, {.flags = flags});
  }
  static Packet tcp_back(std::uint8_t flags) {
    return Packet().eth(kGatewayMac, kPod2Mac).ipv4(kPod2Ip, kPod1Ip).tcp(80, 4000, {.flags = flags});
  }
  static FlowKey key(std::uint8_t protocol, std::uint16_t source, std::uint16_t destination) {
    return make_flow_key(kRouted, protocol, IpAddr(kPod1Ip), IpAddr(kPod2Ip), source, destination);
  }

  FlowView view_of(const FlowKey& wanted) {
    FlowView view;
    const auto ref = flows_.find(wanted);
    EXPECT_TRUE(ref && flows_.read(ref, view));
    return view;
  }
  FlowState state_of(const FlowKey& wanted) { return view_of(wanted).phase.state; }
  FlowState tcp_state() { return state_of(key(ip_proto::kTcp, 4000, 80)); }

  // Where the packets that left since the last call went.
  std::vector<PortId> ports_out() {
    std::vector<PortId> ports;
    for (const auto& one : sent_) ports.push_back(one.port);
    sent_.clear();
    return ports;
  }
  // How many packets forward has had to decide.
  const FlowCounters& counted() const { return counters_.all.front()->flows; }
};

}  // namespace podwire::engine::tests
