// Joined domains: two that reach each other's pods on one node and over VXLAN, a third that neither reaches;
// stateless, stateful and with policies; and what is left of connections when they are parted.
#include "tests/eal/pipeline/join_fixture.hpp"

namespace podwire::engine::tests {
namespace {

class Joined : public JoinSwitch {
 protected:
  Joined() : JoinSwitch("false") {}
};

TEST_F(Joined, ReachEachOtherOnOneNode) {
  receive(kPod1, pod1_to(kSideIp).udp(1000, 53).payload(9));
  expect_one(kSidePort, at_side().udp(1000, 53).payload(9));
  EXPECT_EQ(domain(kRouted).moved_out.get(), 1u);
  EXPECT_EQ(domain(kSide).received.get(), 1u);
  EXPECT_EQ(domain(kSide).sent.get(), 1u);
  receive(kSidePort, side_to(kPod1Ip).udp(53, 1000).payload(9));
  expect_one(kPod1, at_pod1().udp(53, 1000).payload(9));
  EXPECT_EQ(domain(kSide).moved_out.get(), 1u);
  EXPECT_EQ(domain(kRouted).sent.get(), 1u);
  const auto a = *podwire::parse_ipv6("fd00:10:244:1::11"), b = *podwire::parse_ipv6("fd00:50:1::11");
  receive(kPod1, Packet().eth(kGatewayMac, kPod1Mac).ipv6(a, b).udp(7, 8).payload(9));
  expect_one(kSidePort,
             Packet().eth(kSideMac, kGatewayMac).ipv6(a, b, {.hop_limit = 63}).udp(7, 8).payload(9));
}

TEST_F(Joined, ReachEachOtherOverVxlanWithTheVniOfWhoIsMeant) {
  receive(kPod1, pod1_to(kSideRemoteIp).udp(1000, 53).payload(9));
  expect_tunnel(kSideVni);
  receive(kSidePort, side_to(kRemoteIp).udp(1000, 53).payload(9));
  expect_tunnel(kRoutedVni);
  receive(kUplink, from_node(kRoutedVni, kSideRemoteIp, kPod1Ip).udp(53, 1000).payload(9));
  expect_one(kPod1, at_pod1(kSideRemoteIp).udp(53, 1000).payload(9));
  receive(kUplink, from_node(kSideVni, kRemoteIp, kSideIp).udp(53, 1000).payload(9));
  expect_one(kSidePort, at_side(kRemoteIp).udp(53, 1000).payload(9));
}

TEST_F(Joined, AThirdDomainIsApart) {
  expect_no_route(kPod1, pod1_to(kThirdIp).udp(1, 2));
  expect_no_route(kSidePort, side_to(kThirdIp).udp(1, 2));
  for (const auto& to : {kPod1Ip, kSideIp, kRemoteIp, kSideRemoteIp})
    expect_no_route(kThirdPort, Packet().eth(kGatewayMac, kThirdMac).ipv4(kThirdIp, to).udp(1, 2));
}

TEST_F(Joined, NothingGoesFromATunnelIntoTheOtherDomain) {
  receive(kUplink, from_node(kRoutedVni, kRemoteIp, kSideIp).udp(1, 2));
  expect_dropped(DropReason::joined_from_tunnel);
  EXPECT_TRUE(sent_.empty());
}

TEST_F(Joined, OnlyTheOwnSourcesPassTheGuard) {
  receive(kPod1, Packet().eth(kGatewayMac, kPod1Mac).ipv4(kSideIp, kPod2Ip).udp(1, 2));
  expect_dropped(DropReason::spoofed_ip);
}

TEST_F(Joined, ErrorsFindTheWayBack) {
  receive(kPod1, pod1_to(kSideIp, {.ttl = 1}).udp(1, 2));
  EXPECT_EQ(drops(DropReason::ttl_exceeded), 1u);
  EXPECT_EQ(ports_out(), JoinedPorts{kPod1});
  receive(kPod1, pod1_to({{10, 50, 1, 99}}).udp(1, 2));  // nobody there
  EXPECT_EQ(drops(DropReason::host_unreachable), 1u);
  EXPECT_EQ(ports_out(), JoinedPorts{kPod1});
  receive(kPod1, pod1_to({{10, 50, 1, 1}}).udp(1, 2));  // the other domain's gateway
  EXPECT_EQ(drops(DropReason::gateway_no_service), 1u);
  EXPECT_EQ(ports_out(), JoinedPorts{kPod1});
  // To the other node by the domain of the packet's sender.
  receive(kUplink, from_node(kSideVni, kRemoteIp, {{10, 50, 1, 99}}).udp(1, 2));
  EXPECT_EQ(drops(DropReason::host_unreachable), 2u);
  expect_tunnel(kRoutedVni);
}

TEST_F(Joined, OthersKeepTheExpressLane) {
  receive(kPod1, pod1_to(kPod2Ip).udp(1000, 53).payload(20));
  EXPECT_EQ(taken(), 1u);
  std::vector<rte_mbuf*> burst;
  for (std::uint16_t i = 0; i < 32; ++i) {
    const auto to = i % 2 == 0 ? kPod2Ip : kSideIp;
    burst.push_back(to_mbuf(pool_.get(), pod1_to(to, {.id = i}).udp(1000, 53).payload(20).bytes()));
  }
  sent_.clear();
  receive(kPod1, burst);
  ASSERT_EQ(sent_.size(), 32u);
  for (const auto& one : sent_) EXPECT_EQ(one.port, one.bytes[19] % 2 == 0 ? kPod2 : kSidePort);
  EXPECT_EQ(all_drops(), 0u);
}

TEST_F(Joined, ArePartedAtOnce) {
  part();
  expect_no_route(kPod1, pod1_to(kSideIp).udp(1, 2));
  expect_no_route(kPod1, pod1_to(kSideRemoteIp).udp(1, 2));
  expect_no_route(kSidePort, side_to(kPod1Ip).udp(1, 2));
  join();
  receive(kPod1, pod1_to(kSideIp).udp(1, 2));
  EXPECT_EQ(ports_out(), JoinedPorts{kSidePort});
}

TEST_F(JoinedConnections, AreOneWithAKeyInEachDomain) {
  establish();
  EXPECT_EQ(counted().inserted.get(), 1u);
  EXPECT_EQ(state_of(asked()), FlowState::kEstablished);
  EXPECT_EQ(state_of(asked(kSide).reversed()), FlowState::kEstablished);
  EXPECT_FALSE(flows_.find(asked(kSide)));
  EXPECT_EQ(all_drops(), 0u);
  const auto before = taken();
  receive(kPod1, ask(kAck));
  receive(kSidePort, reply(kAck));
  EXPECT_EQ(ports_out(), (JoinedPorts{kSidePort, kPod1}));
  EXPECT_EQ(taken(), before + 2) << "known ones take the express lane";
  EXPECT_EQ(domain(kSide).sent.get() + domain(kRouted).sent.get(), 5u);
}

TEST_F(JoinedConnections, OverVxlanBothDirectionsAreTheLocalEndsDomains) {
  for (int i = 0; i < 3; ++i) {
    receive(kPod1, pod1_to(kSideRemoteIp).udp(1000, 53).payload(9));
    expect_tunnel(kSideVni);
    receive(kUplink, from_node(kRoutedVni, kSideRemoteIp, kPod1Ip).udp(53, 1000).payload(9));
    expect_one(kPod1, at_pod1(kSideRemoteIp).udp(53, 1000).payload(9));
    receive(kUplink, from_node(kSideVni, kRemoteIp, kSideIp).udp(7000, 53).payload(9));
    expect_one(kSidePort, at_side(kRemoteIp).udp(7000, 53).payload(9));
    receive(kSidePort, side_to(kRemoteIp).udp(53, 7000).payload(9));
    expect_tunnel(kRoutedVni);
  }
  EXPECT_EQ(counted().inserted.get(), 2u);
  EXPECT_EQ(
      state_of(make_flow_key(kRouted, ip_proto::kUdp, IpAddr(kPod1Ip), IpAddr(kSideRemoteIp), 1000, 53)),
      FlowState::kUdpReplied);
  EXPECT_EQ(all_drops(), 0u);
}

TEST_F(JoinedConnections, TheirIcmpErrorsArrive) {
  receive(kPod1, pod1_to(kSideIp).udp(1000, 53).payload(20));
  sent_.clear();
  const auto quoted = Packet().ipv4(kPod1Ip, kSideIp, {.ttl = 63}).udp(1000, 53).payload(20).bytes();
  receive(kSidePort, side_to(kPod1Ip).icmp(icmp::kUnreachable, icmp::kCodePortUnreachable).payload(quoted));
  EXPECT_EQ(ports_out(), JoinedPorts{kPod1});
  receive(kPod1, pod1_to(kSideIp, {.ttl = 1}).udp(1001, 53));
  EXPECT_EQ(drops(DropReason::ttl_exceeded), 1u);
  EXPECT_EQ(ports_out(), JoinedPorts{kPod1});
}

TEST_F(JoinedConnections, EndWhenTheDomainsAreParted) {
  establish();
  receive(kPod1, pod1_to(kSideRemoteIp).udp(1000, 53).payload(9));
  receive(kPod1, out());
  receive(kPod2, back());
  sent_.clear();
  part();
  EXPECT_EQ(counters_.main().flows.removed.get(), 2u);
  EXPECT_FALSE(flows_.find(asked()));
  expect_no_route(kPod1, ask(kAck));
  expect_no_route(kSidePort, reply(kAck));
  expect_no_route(kPod1, pod1_to(kSideRemoteIp).udp(1000, 53).payload(9));
  receive(kPod1, out());  // within the domain nothing has changed
  EXPECT_EQ(ports_out(), JoinedPorts{kPod2});
  EXPECT_EQ(counted().inserted.get(), 3u);
}

TEST_F(JoinedConnections, AreNotMasqueraded) {
  set_domain(R"(, "masquerade": {"addresses": ["192.168.100.1"], "ports": [20000, 20099]})");
  establish();
  receive(kPod1, pod1_to(kSideRemoteIp).udp(1000, 53).payload(9));
  expect_tunnel(kSideVni);
}

TEST_F(JoinedConnections, ObeyTheRulesOfBothDomains) {
  const auto rules = [](const char* domain, const char* list) {
    return std::string(R"({"domains": [)") + domain + list + "}]}";
  };
  constexpr const char* kSideDomain =
      R"({"id": 4, "name": "side", "vni": 300, "gateway_mac": "02:70:77:00:00:01", "mtu": 1450, "stateful": true,
          "gateways": ["10.50.1.1/24", "fd00:50:1::1/64"])";
  constexpr const char* kNoWeb =
      R"(, "rules": [{"action": "deny", "protocol": "tcp", "destination_ports": [80, 80]}])";
  establish();
  program(rules(kSideDomain, kNoWeb).c_str());
  receive(kPod1, ask(kAck));  // asked once more
  expect_dropped(DropReason::policy_denied);
  receive(kPod1, ask(kSyn));
  expect_dropped(DropReason::policy_denied, 2);
  program(rules(kSideDomain, "").c_str());
  receive(kPod1, ask(kSyn));
  EXPECT_EQ(ports_out(), JoinedPorts{kSidePort});
  set_domain(kNoWeb);
  receive(kPod1, pod1_to(kSideIp).tcp(4001, 80, {.flags = kSyn}));
  expect_dropped(DropReason::policy_denied, 3);
}

TEST_F(JoinedConnections, AServiceMayHaveItsBackendsThere) {
  program(R"({"services": [{"id": 1, "name": "web", "domain": 2,
    "frontends": [{"domain": 2, "address": "10.96.0.10", "protocol": "udp", "port": 80},
                  {"domain": 2, "address": "10.96.0.11", "protocol": "udp", "port": 80}],
    "backends": [{"address": "10.50.1.11", "port": 8000}]}]})");
  constexpr Ipv4 kVirtual{{10, 96, 0, 10}};
  for (int i = 0; i < 2; ++i) {
    receive(kPod1, pod1_to(kVirtual).udp(5000, 80).payload(9));
    expect_one(kSidePort, at_side().udp(5000, 8000).payload(9));
    receive(kSidePort, side_to(kPod1Ip).udp(8000, 5000).payload(9));
    expect_one(kPod1, at_pod1(kVirtual).udp(80, 5000).payload(9));
  }
  program(R"({"services": [{"id": 1, "name": "web", "domain": 2,
    "frontends": [{"domain": 2, "address": "10.96.0.11", "protocol": "udp", "port": 80}],
    "backends": [{"address": "10.50.2.20", "port": 8000}]}]})");
  for (int i = 0; i < 2; ++i) {
    receive(kPod1, pod1_to({{10, 96, 0, 11}}).udp(5000, 80).payload(9));
    expect_tunnel(kSideVni);
    receive(kUplink, from_node(kRoutedVni, kSideRemoteIp, kPod1Ip).udp(8000, 5000).payload(9));
    expect_one(kPod1, at_pod1({{10, 96, 0, 11}}).udp(80, 5000).payload(9));
  }
}

// Pod 1 has identity 10, pod 2 has 20, the routed domain's pod of the other node has 30; side1 allows some.
class JoinedPolicies : public JoinedConnections {
 protected:
  void allow(const std::string& identities, int remote_identity = 30) {
    program((R"({"policies": [{"id": 1, "name": "p", "ingress": {"rules": [{"identities": [)" + identities +
             R"(]}]}}],
      "endpoints": [
      {"id": 1, "name": "pod1", "domain": 2, "port": 11, "mac": "02:00:00:00:03:01", "identity": 10,
       "addresses": ["10.244.1.11", "fd00:10:244:1::11"]},
      {"id": 2, "name": "pod2", "domain": 2, "port": 12, "mac": "02:00:00:00:03:02", "identity": 20,
       "addresses": ["10.244.1.12", "fd00:10:244:1::12"]},
      {"id": 9, "name": "remote", "domain": 2, "vtep": 2, "mac": "02:00:00:00:02:09",
       "addresses": ["10.244.2.20"], "identity": )" +
             std::to_string(remote_identity) + R"(},
      {"id": 31, "name": "side1", "domain": 4, "port": 31, "mac": "02:00:00:00:05:01", "identity": 40,
       "policy": 1, "addresses": ["10.50.1.11", "fd00:50:1::11"]}]})")
                .c_str());
  }
  static Packet from_remote() { return from_node(kSideVni, kRemoteIp, kSideIp).udp(7000, 53).payload(9); }
  static Packet from_pod2() {
    return Packet().eth(kGatewayMac, kPod2Mac).ipv4(kPod2Ip, kSideIp).udp(9, 53).payload(9);
  }
};

TEST_F(JoinedPolicies, KnowWhoComesFromTheOtherDomain) {
  allow("10, 30");
  receive(kPod1, ask(kSyn));
  receive(kUplink, from_remote());
  EXPECT_EQ(ports_out(), (JoinedPorts{kSidePort, kSidePort}));
  receive(kPod2, from_pod2());
  expect_dropped(DropReason::policy_denied);
}

TEST_F(JoinedPolicies, CutWhatTheyNoLongerAllow) {
  allow("10, 20, 30");
  receive(kPod1, ask(kSyn));
  receive(kUplink, from_remote());
  sent_.clear();
  allow("20, 30");
  EXPECT_EQ(counters_.main().flows.cut.get(), 1u);
  receive(kPod1, ask(kSyn));
  expect_dropped(DropReason::policy_denied);
  allow("20, 30", 31);  // the one behind the tunnel becomes somebody else
  EXPECT_EQ(counters_.main().flows.cut.get(), 2u);
  receive(kUplink, from_remote());
  expect_dropped(DropReason::policy_denied, 2);
  receive(kPod2, from_pod2());
  EXPECT_EQ(ports_out(), JoinedPorts{kSidePort});
}

}  // namespace
}  // namespace podwire::engine::tests
