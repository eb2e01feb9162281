// Addresses outside that single endpoints have: egress and floating ones through the pipeline, and what
// becomes of connections when these, the masquerade or the rules change.
#include "tests/eal/pipeline/nat_fixture.hpp"

namespace podwire::engine::tests {
namespace {

constexpr Ipv4 kOwnIp{{192, 168, 100, 77}}, kFloatIp{{203, 0, 113, 80}};
constexpr MacAddr kToAll{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

class NatOutside : public NatSwitch {
 protected:
  // Fields of the pods' endpoints, beginning with a comma: "egress", "floating".
  void set_pods(const std::string& pod1, const std::string& pod2 = "") {
    program((R"({"endpoints": [)" + pod(1, pod1) + ", " + pod(2, pod2) + "]}").c_str());
  }
  static std::string pod(int number, const std::string& more) {
    const auto text = std::to_string(number);
    return R"({"id": )" + text + R"(, "name": "pod)" + text + R"(", "domain": 2, "port": 1)" + text +
           R"(, "mac": "02:00:00:00:03:0)" + text + R"(", "addresses": ["10.244.1.1)" + text +
           R"(", "fd00:10:244:1::1)" + text + R"("])" + more + "}";
  }
  static constexpr const char* kEgress = R"(, "egress": ["192.168.100.77", "fd00:100::77"])";
  static constexpr const char* kFloating = R"(, "floating": ["203.0.113.80", "2001:db8::80"])";

  static Packet out_as(const Ipv4& own) {
    return Packet().eth(kRouterMac, kUplinkMac).ipv4(own, kWorldIp, {.ttl = 63});
  }
  static Packet world_to(const Ipv4& own) { return Packet().eth(kUplinkMac, kRouterMac).ipv4(kWorldIp, own); }
  static Packet pod1_to(const Ipv4& to) { return Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod1Ip, to); }
  static Packet pod2_to(const Ipv4& to) { return Packet().eth(kGatewayMac, kPod2Mac).ipv4(kPod2Ip, to); }
  static Packet at_pod2(const Ipv4& from) {
    return Packet().eth(kPod2Mac, kGatewayMac).ipv4(from, kPod2Ip, {.ttl = 63});
  }
  void refused(const std::string& put, const std::string& text) {
    api::ObjectSet objects;
    ASSERT_TRUE(api::read_value(*parse_json(put, "put"), "put", objects));
    const auto applied = programmer_->patch(std::move(objects), {}, {}, now_ms_);
    ASSERT_FALSE(applied) << "accepted, expected: " << text;
    EXPECT_NE(applied.error().message.find(text), std::string::npos) << applied.error().message;
  }
};

TEST_F(NatOutside, ManyPodsShareAnEgressAddressAndItsPorts) {
  set_pods(kEgress, kEgress);
  receive(kPod1, pod1().udp(20007, 53).payload(9));
  expect(kUplink, out_as(kOwnIp).udp(20007, 53).payload(9));
  receive(kPod2, pod2().udp(20007, 53).payload(9));
  const auto other = port_out();
  EXPECT_TRUE(other != 20007 && other >= 20000 && other <= 20099) << other;
  receive(kUplink, world_to(kOwnIp).udp(53, 20007).payload(9));
  expect(kPod1, at_pod1().udp(53, 20007).payload(9));
  receive(kUplink, world_to(kOwnIp).udp(53, other).payload(9));
  expect(kPod2, at_pod2(kWorldIp).udp(53, 20007).payload(9));
  // The masquerade's own ports are not those of this address.
  set_pods(kEgress);
  receive(kPod2, pod2().udp(20007, 54).payload(9));
  expect(kUplink, outside().udp(20007, 54).payload(9));
  // What is nobody's is the node's.
  receive(kUplink, world_to(kOwnIp).udp(53, 9).payload(9));
  expect(kHost, world_to(kOwnIp).udp(53, 9).payload(9));
}

TEST_F(NatOutside, EgressOverIpv6AndForEcho) {
  set_pods(kEgress);
  const auto pod6 = ip6("fd00:10:244:1::11"), world6 = ip6("2001:db8::9"), own6 = ip6("fd00:100::77");
  receive(kPod1, Packet().eth(kGatewayMac, kPod1Mac).ipv6(pod6, world6).tcp(20007, 80, {.flags = kSyn}));
  expect(kUplink, Packet()
                      .eth(kRouterMac, kUplinkMac)
                      .ipv6(own6, world6, {.hop_limit = 63})
                      .tcp(20007, 80, {.flags = kSyn}));
  receive(kPod1, pod1().icmp(icmp::kEchoRequest, 0, 20007u << 16 | 1).payload(9));
  expect(kUplink, out_as(kOwnIp).icmp(icmp::kEchoRequest, 0, 20007u << 16 | 1).payload(9));
  receive(kUplink, world_to(kOwnIp).icmp(icmp::kEchoReply, 0, 20007u << 16 | 1).payload(9));
  expect(kPod1, at_pod1().icmp(icmp::kEchoReply, 0, 20007u << 16 | 1).payload(9));
}

TEST_F(NatOutside, AFloatingAddressLeavesEveryPortAsItIs) {
  set_pods(kFloating);
  for (const auto port : std::to_array<std::uint16_t>({53, 1000, 20007, 65535})) {
    receive(kPod1, pod1().udp(port, 7).payload(9));
    expect(kUplink, out_as(kFloatIp).udp(port, 7).payload(9));
    receive(kUplink, world_to(kFloatIp).udp(7, port).payload(9));
    expect(kPod1, at_pod1().udp(7, port).payload(9));
  }
  const auto pod6 = ip6("fd00:10:244:1::11"), world6 = ip6("2001:db8::9"), own6 = ip6("2001:db8::80");
  receive(kPod1, Packet().eth(kGatewayMac, kPod1Mac).ipv6(pod6, world6).udp(22, 7).payload(9));
  expect(kUplink,
         Packet().eth(kRouterMac, kUplinkMac).ipv6(own6, world6, {.hop_limit = 63}).udp(22, 7).payload(9));
}

TEST_F(NatOutside, WhatIsForAFloatingAddressReachesItsPod) {
  set_pods(kFloating);
  for (int i = 0; i < 2; ++i) {
    receive(kUplink, world_to(kFloatIp).tcp(5000, 22, {.flags = kSyn}));
    expect(kPod1, at_pod1().tcp(5000, 22, {.flags = kSyn}));
    receive(kPod1, pod1().tcp(22, 5000, {.flags = kSynAck}));
    expect(kUplink, out_as(kFloatIp).tcp(22, 5000, {.flags = kSynAck}));
  }
  receive(kUplink, world_to(kFloatIp).icmp(icmp::kEchoRequest, 0, 7u << 16 | 1).payload(9));
  expect(kPod1, at_pod1().icmp(icmp::kEchoRequest, 0, 7u << 16 | 1).payload(9));
  receive(kPod1, pod1().icmp(icmp::kEchoReply, 0, 7u << 16 | 1).payload(9));
  expect(kUplink, out_as(kFloatIp).icmp(icmp::kEchoReply, 0, 7u << 16 | 1).payload(9));
  const auto pod6 = ip6("fd00:10:244:1::11"), world6 = ip6("2001:db8::9"), own6 = ip6("2001:db8::80");
  receive(kUplink, Packet().eth(kUplinkMac, kRouterMac).ipv6(world6, own6).udp(7, 22).payload(9));
  expect(kPod1,
         Packet().eth(kPod1Mac, kGatewayMac).ipv6(world6, pod6, {.hop_limit = 63}).udp(7, 22).payload(9));
  // Protocols without ports.
  auto gre = world_to(kFloatIp).payload(30).bytes();
  gre[23] = 47;
  set_ipv4_checksum(reinterpret_cast<Ipv4Header*>(gre.data() + 14));
  receive(kUplink, to_mbuf(pool_.get(), gre));
  EXPECT_EQ(ports_out(), std::vector<PortId>{kPod1});
}

TEST_F(NatOutside, ErrorsAndFragmentsOfAFloatingAddress) {
  set_pods(kFloating);
  receive(kPod1, pod1().udp(7, 33434).payload(9));
  sent_.clear();
  const Ipv4 hop{{198, 51, 100, 1}};
  const auto quote = [](const Ipv4& from) {
    return Packet().ipv4(from, kWorldIp, {.ttl = 1}).udp(7, 33434).payload(9).bytes();
  };
  receive(kUplink, Packet()
                       .eth(kUplinkMac, kRouterMac)
                       .ipv4(hop, kFloatIp)
                       .icmp(icmp::kTimeExceeded, 0)
                       .payload(quote(kFloatIp)));
  expect(kPod1, at_pod1(hop).icmp(icmp::kTimeExceeded, 0).payload(quote(kPod1Ip)));
  const auto piece = [](const Ipv4& to, const Ipv4Fields& fields) {
    return Packet()
        .eth(kUplinkMac, kRouterMac)
        .ipv4(kWorldIp, to, fields)
        .udp_without_checksum(7, 8)
        .payload(24);
  };
  receive(kUplink, piece(kFloatIp, {.flags_fragment = Ipv4Header::kMoreFragments}));
  receive(kUplink, piece(kFloatIp, {.flags_fragment = 4}));
  EXPECT_EQ(ports_out(), (std::vector<PortId>{kPod1, kPod1}));
}

TEST_F(NatOutside, WhatBeginsNothingDoesNotReachTheNode) {
  set_pods(kFloating);
  receive(kUplink, world_to(kFloatIp).tcp(5000, 22, {.flags = kRst}));
  expect_dropped(DropReason::flow_invalid);
  receive(kUplink, world_to(kFloatIp)
                       .icmp(icmp::kUnreachable, 3)
                       .payload(Packet().ipv4(kFloatIp, kWorldIp).udp(9, 9).bytes()));
  expect_dropped(DropReason::flow_invalid, 2);
  receive(kUplink,
          Packet().eth(kUplinkMac, kRouterMac).ipv4(kWorldIp, kFloatIp, {.flags_fragment = 9}).udp(1, 1));
  EXPECT_EQ(drops(DropReason::fragment_unmatched), 1u);
  EXPECT_TRUE(sent_.empty());
}

TEST_F(NatOutside, PodsAndTheNodeReachAFloatingAddress) {
  set_pods(kFloating);
  // From the same domain the client is who it is; the pod itself meets the gateway.
  receive(kPod2, pod2_to(kFloatIp).udp(5000, 53).payload(9));
  expect(kPod1, at_pod1(kPod2Ip).udp(5000, 53).payload(9));
  receive(kPod1, pod1_to(kPod2Ip).udp(53, 5000).payload(9));
  expect(kPod2, at_pod2(kFloatIp).udp(53, 5000).payload(9));
  receive(kPod1, pod1_to(kFloatIp).udp(5000, 53).payload(9));
  expect(kPod1, at_pod1(kGateway4).udp(5000, 53).payload(9));
  receive(kPod1, pod1_to(kGateway4).udp(53, 5000).payload(9));
  expect(kPod1, at_pod1(kFloatIp).udp(53, 5000).payload(9));
  // The node's own program.
  receive(kHost, Packet().eth(kUplinkMac, kUplinkMac).ipv4(kNodeIp, kFloatIp).udp(5001, 53).payload(9));
  expect(kPod1, at_pod1(kNodeIp).udp(5001, 53).payload(9));
  receive(kPod1, pod1_to(kNodeIp).udp(53, 5001).payload(9));
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].port, kHost);
  const auto answer = Packet().ipv4(kFloatIp, kNodeIp, {.ttl = 63}).udp(53, 5001).payload(9).bytes();
  EXPECT_TRUE(std::equal(answer.begin(), answer.end(), sent_[0].bytes.begin() + 14, sent_[0].bytes.end()));
}

TEST_F(NatOutside, APodOfAnotherDomainIsAStranger) {
  program(
      R"({"domains": [{"id": 3, "name": "bridged", "vni": 200, "mode": "l2", "mtu": 1450, "stateful": true,
              "gateway_mac": "02:70:77:00:00:01", "gateways": ["10.9.0.254/24"],
              "masquerade": {"addresses": ["192.168.100.1"], "ports": [21000, 21099]}}]})");
  set_pods(kFloating);
  const auto from = [] { return Packet().eth(kGatewayMac, kBridge1Mac).ipv4(Ipv4{{10, 9, 0, 1}}, kFloatIp); };
  receive(kBridge1, from().udp(21007, 53).payload(9));
  expect(kPod1, at_pod1(kNodeIp).udp(21007, 53).payload(9));
  receive(kPod1, pod1_to(kNodeIp).udp(53, 21007).payload(9));
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].port, kBridge1);
  sent_.clear();
  // With an address of its own it is seen by that.
  program(R"({"endpoints": [{"id": 3, "name": "bridge1", "domain": 3, "port": 21, "mac": "02:00:00:00:04:01",
              "addresses": ["10.9.0.1"], "floating": ["203.0.113.81"]}]})");
  receive(kBridge1, from().udp(80, 53).payload(9));
  expect(kPod1, at_pod1(Ipv4{{203, 0, 113, 81}}).udp(80, 53).payload(9));
}

TEST_F(NatOutside, QuestionsForAFloatingAddressAreAnswered) {
  set_pods(kFloating);
  for (const auto port : {kUplink, kHost}) {
    receive(port, Packet().eth(kToAll, kRouterMac).arp(1, kRouterMac, kRouterIp, MacAddr(), kFloatIp));
    expect(port, Packet().eth(kRouterMac, kUplinkMac).arp(2, kUplinkMac, kFloatIp, kRouterMac, kRouterIp));
  }
  const auto other = Packet().eth(kToAll, kRouterMac).arp(1, kRouterMac, kRouterIp, MacAddr(), kOwnIp);
  receive(kUplink, other);
  expect(kHost, other);
}

TEST_F(NatOutside, AServicesPortComesFirst) {
  set_pods(kFloating);
  program(R"({"services": [{"id": 1, "name": "web", "domain": 2,
              "frontends": [{"domain": 1, "address": "203.0.113.80", "protocol": "tcp", "port": 80}],
              "backends": [{"address": "10.244.1.12", "port": 8000}]}]})");
  receive(kUplink, world_to(kFloatIp).tcp(5000, 80, {.flags = kSyn}));
  expect(kPod2, at_pod2(kWorldIp).tcp(5000, 8000, {.flags = kSyn}));
  receive(kUplink, world_to(kFloatIp).tcp(5000, 81, {.flags = kSyn}));
  expect(kPod1, at_pod1().tcp(5000, 81, {.flags = kSyn}));
}

TEST_F(NatOutside, PoliciesApply) {
  program((R"({"policies": [{"id": 1, "name": "closed", "ingress": {"rules": []}}], "endpoints": [)" +
           pod(1, std::string(kFloating) + R"(, "policy": 1)") + "]}")
              .c_str());
  receive(kPod1, pod1().udp(7, 53).payload(9));
  expect(kUplink, out_as(kFloatIp).udp(7, 53).payload(9));
  receive(kUplink, world_to(kFloatIp).tcp(5000, 22, {.flags = kSyn}));
  expect_dropped(DropReason::policy_denied);
}

TEST_F(NatOutside, TakingAnAddressAwayEndsWhatUsesItAndNothingElse) {
  set_pods(kFloating, kEgress);
  receive(kPod1, pod1().udp(7, 53).payload(9));
  receive(kUplink, world_to(kFloatIp).udp(5000, 22).payload(9));
  receive(kPod2, pod2().udp(20007, 53).payload(9));
  ports_out();
  const auto removed = [this] { return counters_.main().flows.removed.get(); };
  set_pods(kFloating, kEgress + std::string(R"(, "hostname": "pod2")"));
  EXPECT_EQ(removed(), 0u);
  set_pods("", kEgress);
  EXPECT_EQ(removed(), 2u);
  receive(kUplink, world_to(kFloatIp).udp(5000, 22).payload(9));
  EXPECT_EQ(ports_out(), std::vector<PortId>{kHost});  // an address like any other
  receive(kPod1, pod1().udp(20009, 53).payload(9));
  expect(kUplink, outside().udp(20009, 53).payload(9));
  // From one pod to the other.
  set_pods("", kFloating);
  EXPECT_EQ(removed(), 3u);
  receive(kUplink, world_to(kFloatIp).udp(5000, 22).payload(9));
  EXPECT_EQ(ports_out(), std::vector<PortId>{kPod2});
  set_pods(kFloating);
  EXPECT_EQ(removed(), 4u);
  receive(kUplink, world_to(kFloatIp).udp(5000, 22).payload(9));
  EXPECT_EQ(ports_out(), std::vector<PortId>{kPod1});
  // What began as the node's goes on as that.
  receive(kPod1, pod1().udp(20009, 53).payload(9));
  expect(kUplink, outside().udp(20009, 53).payload(9));
}

TEST_F(NatOutside, ChangingTheMasqueradeEndsWhatUsesIt) {
  const auto removed = [this] { return counters_.main().flows.removed.get(); };
  const auto begin = [this] {
    receive(kPod1, pod1().udp(20007, 53).payload(9));
    receive(kPod1, pod1().tcp(20008, 80, {.flags = kSyn}));
    sent_.clear();
  };
  begin();
  set_ports(20000, 20050);
  EXPECT_EQ(removed(), 0u);  // they are in the range yet
  set_ports(20020, 20050);
  EXPECT_EQ(removed(), 2u);
  receive(kUplink, world().udp(53, 20007).payload(9));
  expect(kHost, world().udp(53, 20007).payload(9));
  receive(kPod1, pod1().udp(20007, 53).payload(9));
  EXPECT_GE(port_out(), 20020);
  set_domain(R"(, "masquerade": {"addresses": ["192.168.100.1", "fd00:100::1"], "ports": [20000, 20099]})");
  EXPECT_EQ(removed(), 2u);
  receive(kPod1, pod1().tcp(20008, 80, {.flags = kSyn}));
  sent_.clear();
  set_domain("");  // off
  EXPECT_EQ(removed(), 4u);
  receive(kPod1, pod1().tcp(20008, 80, {.flags = kAck}));
  EXPECT_EQ(drops(DropReason::no_route), 1u);
}

TEST_F(NatOutside, WhatCannotBeIsRefused) {
  set_pods(kFloating, kEgress);
  const auto one = [](const std::string& endpoint) { return R"({"endpoints": [)" + endpoint + "]}"; };
  refused(
      one(pod(2, kFloating)),
      "endpoint 2 \"pod2\": floating address 203.0.113.80 is the floating address of endpoint 1 \"pod1\"");
  refused(one(pod(1, R"(, "floating": ["192.168.100.77"])")), "is the egress address of endpoint 2 \"pod2\"");
  refused(one(pod(2, R"(, "egress": ["203.0.113.80"])")), "is the floating address of endpoint 1 \"pod1\"");
  refused(one(pod(2, R"(, "egress": ["192.0.2.1"], "floating": ["192.0.2.1"])")),
          "both its egress and its floating address");
  refused(one(pod(1, R"(, "floating": ["192.168.100.1"])")), "the node's own; choose another");
  refused(one(R"({"id": 3, "name": "bridge1", "domain": 3, "port": 21, "mac": "02:00:00:00:04:01",
                  "addresses": ["10.9.0.1"], "egress": ["192.0.2.1"]})"),
          "domain 3 \"bridged\" has no masquerade");
  refused(
      R"({"domains": [{"id": 2, "name": "routed", "vni": 100, "gateway_mac": "02:70:77:00:00:01", "stateful": true,
              "host_access": true, "gateways": ["10.244.1.1/24", "fd00:10:244:1::1/64"]}]})",
      "domain 2 \"routed\" has no masquerade");
  refused(
      R"({"vteps": [{"id": 9, "name": "own", "local": true, "address": "203.0.113.80", "mac": "02:00:00:00:02:09"}]})",
      "address 203.0.113.80 is the floating address of endpoint 1 \"pod1\"");
  // In one change they may swap.
  set_pods(kEgress, kFloating);
}

TEST_F(NatOutside, ARuleThatForbidsOneDirectionCutsBoth) {
  receive(kPod1, tcp_out(kSyn));
  receive(kPod2, tcp_back(kSynAck));
  receive(kPod1, tcp_out(kAck));
  ports_out();
  const std::string masquerade = R"(, "masquerade": {"addresses": ["192.168.100.1"]})";
  set_domain(masquerade + R"(, "rules": [{"action": "deny", "source": "10.244.1.11/32"}])");
  // Pod 2 may connect to pod 1, but this is no connection of its own.
  receive(kPod2, tcp_back(kAck));
  receive(kPod1, tcp_out(kAck));
  receive(kPod2, tcp_back(kAck));
  expect_dropped(DropReason::policy_denied, 3);
  EXPECT_EQ(tcp_state(), FlowState::kCut);
  // A SYN that is denied does not make it forgotten, one that is allowed begins another.
  receive(kPod1, tcp_out(kSyn));
  expect_dropped(DropReason::policy_denied, 4);
  EXPECT_EQ(tcp_state(), FlowState::kCut);
  receive(kPod2, tcp_back(kSyn));
  EXPECT_EQ(ports_out(), std::vector<PortId>{kPod1});
}

TEST_F(NatOutside, WhatRulesHaveCutGoesOnWhenTheyAllowIt) {
  const std::string deny = R"(, "rules": [{"action": "deny", "protocol": "udp"}])";
  receive(kPod1, out());
  set_domain(deny);
  receive(kPod1, out());
  receive(kPod2, back());
  EXPECT_EQ(drops(DropReason::policy_denied), 2u);
  ports_out();
  // Policies that come and go do not know better.
  program(
      (R"({"policies": [{"id": 1, "name": "p", "ingress": {"rules": [{"any_peer": true}]}}], "endpoints": [)" +
       pod(2, R"(, "policy": 1)") + "]}")
          .c_str());
  set_pods("", "");
  receive(kPod1, out());
  EXPECT_EQ(drops(DropReason::policy_denied), 3u);
  set_domain("");
  receive(kPod1, out());
  receive(kPod2, back());
  EXPECT_EQ(ports_out(), (std::vector<PortId>{kPod2, kPod1}));
}

}  // namespace
}  // namespace podwire::engine::tests
