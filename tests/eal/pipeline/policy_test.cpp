// Policies of endpoints: first packets on both sides, v4 and v6, on one node, from and into the tunnel; what
// a change cuts and what it spares, in the express lane too.
#include "dataplane/pipeline/policy.hpp"

#include "tests/eal/pipeline/flow_fixture.hpp"

namespace podwire::engine::tests {
namespace {

using Ports = std::vector<PortId>;

constexpr Ipv6 kPod1Ip6{{0xfd, 0, 0, 0x10, 2, 0x44, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x11}};
constexpr Ipv6 kPod2Ip6{{0xfd, 0, 0, 0x10, 2, 0x44, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x12}};
constexpr const char* kNobody = R"({"rules": []})";

class PolicyTest : public FlowSwitch {
 protected:
  PolicyTest() {
    resolve_peer();
    program(R"({"endpoints": [{"id": 9, "name": "remote", "domain": 2, "vtep": 2, "mac": "02:00:00:00:02:09",
                "addresses": ["10.244.2.20"], "identity": 30}]})");
  }

  // Pod 1 has identity 10 and policy 1, pod 2 identity 20 and policy 2. Empty: no policy.
  void apply(const std::string& pod1, const std::string& pod2) {
    Json put;
    put["policies"] = Json::array();
    for (const auto& [id, sides] : {std::pair(1, pod1), std::pair(2, pod2)}) {
      if (sides.empty()) continue;
      auto policy = *parse_json(sides, "policy");
      policy["id"] = id;
      policy["name"] = "policy" + std::to_string(id);
      put["policies"].push_back(policy);
    }
    put["endpoints"] = {pod(1, !pod1.empty()), pod(2, !pod2.empty())};
    program(put.dump().c_str());
  }
  // Ingress of pod 2 only.
  void apply(const std::string& rules) { apply("", R"({"ingress": {"rules": [)" + rules + "]}}"); }
  static Json pod(int number, bool with_policy) {
    const auto text = std::to_string(number);
    Json j{{"id", number},
           {"name", "pod" + text},
           {"domain", 2},
           {"port", 10 + number},
           {"mac", "02:00:00:00:03:0" + text},
           {"addresses", {"10.244.1.1" + text, "fd00:10:244:1::1" + text}},
           {"identity", number * 10}};
    if (with_policy) j["policy"] = number;
    return j;
  }

  static Packet syn(std::uint16_t port, std::uint8_t flags = kSyn) {
    return Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod1Ip, kPod2Ip).tcp(4000, port, {.flags = flags});
  }
  static Packet syn6(std::uint16_t port) {
    return Packet().eth(kGatewayMac, kPod1Mac).ipv6(kPod1Ip6, kPod2Ip6).tcp(4000, port, {.flags = kSyn});
  }
  static Packet from_remote(std::uint16_t port) {
    return from_peer(kRoutedVni)
        .eth(kOurVtepMac, kPeerVtepMac)
        .ipv4(kRemoteIp, kPod2Ip, {.ttl = 63})
        .udp(7, port)
        .payload(40);
  }
  void passes(PortId in, const Packet& packet, PortId out) {
    const auto before = all_drops();
    sent_.clear();
    receive(in, packet);
    EXPECT_EQ(ports_out(), Ports{out});
    EXPECT_EQ(all_drops(), before);
  }
  void is_denied(PortId in, const Packet& packet) {
    const auto before = drops(DropReason::policy_denied);
    sent_.clear();
    receive(in, packet);
    EXPECT_EQ(ports_out(), Ports{});
    EXPECT_EQ(drops(DropReason::policy_denied), before + 1);
  }
  const PolicyCounters& denials(std::uint32_t policy) {
    return counters_.worker(0).policies[programmer_->policy_slot(PolicyId(policy))];
  }
  std::uint64_t cut() { return counters_.main().flows.cut.get(); }
  std::uint64_t taken() { return counters_.worker(0).stages[kExpressCounter].packets.get(); }
};

TEST_F(PolicyTest, WithoutOneEverythingIsAllowed) {
  apply("", R"({"egress": {"rules": []}})");
  passes(kPod1, syn(80), kPod2);
  passes(kPod1, syn6(80), kPod2);
}

TEST_F(PolicyTest, IngressByIdentityAndPort) {
  apply(R"({"identities": [10], "protocol": "tcp", "ports": [80, 81]})");
  passes(kPod1, syn(80), kPod2);
  passes(kPod1, syn6(81), kPod2);
  is_denied(kPod1, syn(82));
  is_denied(kPod1, syn6(82));
  is_denied(kPod1, out());
  EXPECT_EQ(denials(2).denied_ingress.get(), 3u);
  EXPECT_EQ(denials(2).denied_egress.get(), 0u);
}

TEST_F(PolicyTest, EgressByBlock) {
  apply(R"({"egress": {"rules": [{"blocks": [{"prefix": "10.244.0.0/16", "except": ["10.244.1.12/32"]},
            {"prefix": "fd00:10:244:1::12/128"}]}]}})",
        "");
  is_denied(kPod1, syn(80));
  passes(kPod1, syn6(80), kPod2);
  EXPECT_EQ(denials(1).denied_egress.get(), 1u);
  passes(kPod1, Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod1Ip, kRemoteIp).udp(1, 2).payload(4), kUplink);
}

TEST_F(PolicyTest, BothEndsAreAsked) {
  const std::string to_pod2 = R"({"egress": {"rules": [{"identities": [20]}]}})";
  apply(to_pod2, R"({"ingress": {"rules": [{"identities": [10]}]}})");
  passes(kPod1, syn(80), kPod2);
  apply(to_pod2, R"({"ingress": {"rules": [{"identities": [11]}]}})");
  is_denied(kPod1, syn(81));
  apply(R"({"egress": {"rules": [{"identities": [21]}]}})",
        R"({"ingress": {"rules": [{"identities": [10]}]}})");
  is_denied(kPod1, syn(82));
}

TEST_F(PolicyTest, RepliesBelongToTheConnection) {
  apply(R"({"ingress": {"rules": []}})",
        R"({"ingress": {"rules": [{"identities": [10]}]}, "egress": {"rules": []}})");
  passes(kPod1, out(), kPod2);
  passes(kPod2, back(), kPod1);
  is_denied(kPod2, back(1001));  // of no connection
}

TEST_F(PolicyTest, FromTheTunnel) {
  apply(R"({"identities": [30], "protocol": "udp", "ports": [53, 53]})");
  passes(kUplink, from_remote(53), kPod2);
  is_denied(kUplink, from_remote(54));
  apply(R"({"blocks": [{"prefix": "10.244.2.0/24"}], "protocol": "udp", "ports": [54, 54]})");
  is_denied(kUplink, from_remote(53));
  passes(kUplink, from_remote(54), kPod2);
}

TEST_F(PolicyTest, TheNodeReachesItsEndpoints) {
  apply("");
  const auto probe = [](std::uint8_t flags) {
    return Packet().eth(kGatewayMac, kUplinkMac).ipv4(kNodeIp, kPod2Ip).tcp(5000, 80, {.flags = flags});
  };
  passes(kHost, probe(kSyn), kPod2);
  apply(R"({"identities": [77]})");  // the walk over the connections spares it
  EXPECT_EQ(cut(), 0u);
  passes(kPod2, Packet().eth(kGatewayMac, kPod2Mac).ipv4(kPod2Ip, kNodeIp).tcp(80, 5000, {.flags = kSynAck}),
         kHost);
  passes(kHost, probe(kAck), kPod2);
}

TEST_F(PolicyTest, TheGatewaysAddressIsTheNode) {
  apply("");
  passes(kUplink,
         from_peer(kRoutedVni)
             .eth(kOurVtepMac, kPeerVtepMac)
             .ipv4(kGateway4, kPod2Ip, {.ttl = 63})
             .udp(7, 8)
             .payload(40),
         kPod2);
  is_denied(kUplink, from_remote(8));
}

TEST_F(PolicyTest, ItselfIsAlwaysAllowed) {
  const std::string nothing = R"({"ingress": {"rules": []}, "egress": {"rules": []}})";
  apply(nothing, nothing);
  passes(kPod1, Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod1Ip, kPod1Ip).udp(7, 8).payload(40), kPod1);
  is_denied(kPod1, syn(80));
}

TEST_F(PolicyTest, LinkLocalAddressesAreTheirOwners) {
  apply(R"({"identities": [10], "protocol": "udp", "ports": [7, 7]})");
  const auto direct = [](const Ipv6& source, std::uint16_t port) {
    return Packet()
        .eth(kPod2Mac, kPod1Mac)
        .ipv6(source, Ipv6::link_local_of(kPod2Mac))
        .udp(1, port)
        .payload(4);
  };
  passes(kPod1, direct(Ipv6::link_local_of(kPod1Mac), 7), kPod2);
  is_denied(kPod1, direct(Ipv6::link_local_of(kPod1Mac), 8));
  is_denied(kPod1, direct(Ipv6{}, 7));  // nobody's
}

TEST_F(PolicyTest, AllowedPairsAreTheEndpoints) {
  auto pod1 = pod(1, true);
  pod1["allowed_pairs"] = {{{"address", "10.244.1.100/32"}}, {{"address", "10.50.0.0/16"}}};
  apply(R"({"egress": {"rules": [{"any_peer": true, "protocol": "udp"}]}})", "");
  program(Json{{"endpoints", {pod1}}}.dump().c_str());
  for (const Ipv4 source : {Ipv4{{10, 244, 1, 100}}, Ipv4{{10, 50, 3, 4}}}) {
    is_denied(kPod1, Packet().eth(kGatewayMac, kPod1Mac).ipv4(source, kPod2Ip).tcp(1, 2, {.flags = kSyn}));
    passes(kPod1, Packet().eth(kGatewayMac, kPod1Mac).ipv4(source, kPod2Ip).udp(1, 2).payload(3), kPod2);
  }
  apply("", R"({"ingress": {"rules": [{"identities": [10]}]}})");
  program(Json{{"endpoints", {pod(1, false)}}}.dump().c_str());
  passes(kPod1, out(), kPod2);
}

TEST_F(PolicyTest, AnAddressOfAPairIsItsOwnersWhileItHasOne) {
  auto pod1 = pod(1, true);
  pod1["allowed_pairs"] = {{{"address", "10.244.1.100/32"}}};
  apply(R"({"egress": {"rules": [{"any_peer": true, "protocol": "udp"}]}})", "");
  program(Json{{"endpoints", {pod1}}}.dump().c_str());
  const auto from_pair = [](std::uint16_t port) {
    return Packet()
        .eth(kGatewayMac, kPod1Mac)
        .ipv4(Ipv4{{10, 244, 1, 100}}, kPod2Ip)
        .tcp(port, 2, {.flags = kSyn});
  };
  is_denied(kPod1, from_pair(1));
  // Somebody without a policy has it, who is in no table of members.
  program(R"({"endpoints": [{"id": 8, "name": "owner", "domain": 2, "vtep": 2, "mac": "02:00:00:00:02:08",
              "addresses": ["10.244.1.100"]}]})");
  passes(kPod1, from_pair(2), kPod2);
  program("{}", R"({"endpoints": [8]})");
  is_denied(kPod1, from_pair(3));
}

TEST_F(PolicyTest, AChangeCutsWhatItForbidsAndSparesTheRest) {
  apply(R"({"any_peer": true})");
  receive(kPod1, out());
  receive(kPod2, back());
  receive(kPod1, out(1001));
  receive(kUplink, from_remote(53));
  EXPECT_EQ(ports_out().size(), 4u);
  const auto lane = taken();
  passes(kPod1, out(), kPod2);
  EXPECT_EQ(taken(), lane + 1);
  apply(R"({"identities": [30]})");
  EXPECT_EQ(cut(), 2u);
  is_denied(kPod1, out());
  is_denied(kPod2, back());
  EXPECT_EQ(taken(), lane + 1);
  passes(kUplink, from_remote(53), kPod2);
  EXPECT_EQ(counted().inserted.get(), 3u);
}

TEST_F(PolicyTest, WhatWasCutIsNotPickedUpFromTheOtherSide) {
  apply(R"({"any_peer": true})");
  receive(kPod1, tcp_out(kSyn));
  receive(kPod2, tcp_back(kSynAck));
  receive(kPod1, tcp_out(kAck));
  passes(kPod1, tcp_out(kAck), kPod2);
  apply(R"({"identities": [11]})");
  EXPECT_EQ(tcp_state(), FlowState::kCut);
  is_denied(kPod2, tcp_back(kAck));  // pod 2 may connect to pod 1
  is_denied(kPod1, tcp_out(kAck));
  is_denied(kPod1, tcp_out(kSyn));
  EXPECT_EQ(tcp_state(), FlowState::kCut) << "a SYN that is denied opens no way for the other side's ACK";
  is_denied(kPod2, tcp_back(kAck));
  apply(R"({"identities": [10]})");
  passes(kPod1, tcp_out(kSyn), kPod2);
  EXPECT_EQ(tcp_state(), FlowState::kSynReceived);
}

TEST_F(PolicyTest, WhatIsAllowedAgainGoesOn) {
  apply(R"({"any_peer": true})");
  receive(kPod1, tcp_out(kSyn));
  receive(kPod2, tcp_back(kSynAck));
  receive(kPod1, tcp_out(kAck));
  apply(R"({"identities": [11]})");
  is_denied(kPod1, tcp_out(kAck));
  apply(R"({"identities": [10]})");
  passes(kPod1, tcp_out(kAck), kPod2);
  passes(kPod2, tcp_back(kAck), kPod1);
}

TEST_F(PolicyTest, AnotherIdentityOrAddressCuts) {
  apply(R"({"identities": [10]})");
  passes(kPod1, out(), kPod2);
  auto changed = pod(1, false);
  changed["identity"] = 11;
  program(Json{{"endpoints", {changed}}}.dump().c_str());
  EXPECT_EQ(cut(), 1u);
  is_denied(kPod1, out());
  program(Json{{"endpoints", {pod(1, false)}}}.dump().c_str());
  passes(kPod1, out(), kPod2);
  // Pod 2's address goes to a pod that allows nothing.
  auto heir = pod(1, false);
  heir["addresses"] = {"10.244.1.12"};
  auto former = pod(2, true);
  former["addresses"] = {"10.244.1.33"};
  heir["policy"] = 3;
  program(Json{{"endpoints", {heir, former}},
               {"policies", {{{"id", 3}, {"name", "none"}, {"ingress", *parse_json(kNobody, "side")}}}}}
              .dump()
              .c_str());
  EXPECT_EQ(cut(), 2u);
}

TEST_F(PolicyTest, AChangeForOthersTouchesNothing) {
  apply(R"({"identities": [10]})");
  passes(kPod1, out(), kPod2);
  program(R"({"policies": [{"id": 5, "name": "other", "ingress": {"rules": []}}],
              "endpoints": [{"id": 9, "name": "remote", "domain": 2, "vtep": 2, "mac": "02:00:00:00:02:09",
                             "addresses": ["10.244.2.21"], "identity": 31}]})");
  EXPECT_EQ(cut(), 0u);
  const auto lane = taken();
  receive(kPod2, back());
  passes(kPod1, out(), kPod2);
  EXPECT_EQ(taken(), lane + 1);
}

TEST_F(PolicyTest, WithoutPoliciesWhatWasCutMayGoOn) {
  apply("");
  program(R"({"policies": [{"id": 2, "name": "policy2"}]})");
  passes(kPod1, out(), kPod2);
  apply("");
  is_denied(kPod1, out());
  program(Json{{"endpoints", {pod(2, false)}}}.dump().c_str(), R"({"policies": [2]})");
  passes(kPod1, out(), kPod2);
}

TEST_F(PolicyTest, ErrorsAboutAConnectionPass) {
  apply(R"({"ingress": {"rules": []}})", R"({"egress": {"rules": []}})");
  passes(kPod1, out(), kPod2);
  const auto quoted = Packet().ipv4(kPod1Ip, kPod2Ip).udp(1000, 53).payload(20).bytes();
  passes(
      kPod2,
      Packet().eth(kGatewayMac, kPod2Mac).ipv4(kPod2Ip, kPod1Ip).icmp(icmp::kUnreachable, 3).payload(quoted),
      kPod1);
}

TEST_F(PolicyTest, ManyDenialsAreFewEvents) {
  apply("");
  events_.clear();
  for (std::uint16_t port = 1; port <= 100; ++port) receive(kPod1, out(port));
  EXPECT_EQ(denials(2).denied_ingress.get(), 100u);
  ASSERT_EQ(events_.size(), 5u);
  const auto& event = events_.front();
  EXPECT_EQ(event.kind, Event::Kind::kDenied);
  EXPECT_EQ(event.policy, PolicyId(2));
  EXPECT_TRUE(event.ingress);
  EXPECT_EQ(event.address, IpAddr(kPod1Ip));
  EXPECT_EQ(event.peer, IpAddr(kPod2Ip));
  EXPECT_EQ(event.source_port, 1u);
  EXPECT_EQ(event.destination_port, 53u);
  ctx_.now_tsc += ctx_.tsc_hz;
  receive(kPod1, out(200));
  EXPECT_EQ(events_.back().left_out, 95u);
}

TEST_F(PolicyTest, MulticastIsASendersEgress) {
  program(
      R"({"policies": [{"id": 4, "name": "quiet", "egress": {"rules": [{"blocks": [{"prefix": "224.0.0.0/24"}]}]}}],
    "domains": [{"id": 3, "name": "bridged", "vni": 200, "mode": "l2", "stateful": true, "mtu": 1450,
                 "gateway_mac": "02:70:77:00:00:01", "learning": true}],
    "endpoints": [{"id": 3, "name": "bridge1", "domain": 3, "port": 21, "mac": "02:00:00:00:04:01",
                   "addresses": ["10.9.0.1"], "policy": 4}]})");
  const auto to_many = [](const Ipv4& group) {
    return Packet()
        .eth(MacAddr{{1, 0, 0x5e, 0, 0, 0xfb}}, kBridge1Mac)
        .ipv4(Ipv4{{10, 9, 0, 1}}, group)
        .udp(1, 2)
        .payload(9);
  };
  passes(kBridge1, to_many({{224, 0, 0, 251}}), kBridge2);
  is_denied(kBridge1, to_many({{239, 0, 0, 251}}));
}

}  // namespace
}  // namespace podwire::engine::tests
