// A pod that reaches one of another domain by its floating address: what the rules and policies of both sides
// are asked, and what becomes of the connection when they change.
#include "tests/eal/pipeline/nat_fixture.hpp"

namespace podwire::engine::tests {
namespace {

constexpr Ipv4 kSenderIp{{10, 9, 0, 1}}, kFloatingIp{{203, 0, 113, 80}};

// Bridge 1 of the bridged domain connects to pod 1 of the routed one.
class Foreign : public NatSwitch {
 protected:
  Foreign() {
    set_bridged("");
    set_pods("", "");
  }
  void set_bridged(const std::string& more) {
    program(
        (R"({"domains": [{"id": 3, "name": "bridged", "vni": 200, "mode": "l2", "mtu": 1450, "stateful": true,
              "gateway_mac": "02:70:77:00:00:01", "gateways": ["10.9.0.254/24"],
              "masquerade": {"addresses": ["192.168.100.1"], "ports": [21000, 21099]})" +
         more + "}]}")
            .c_str());
  }
  // Fields of the endpoints, beginning with a comma.
  void set_pods(const std::string& sender, const std::string& receiver, const std::string& policies = "") {
    program(("{" + policies + R"("endpoints": [
      {"id": 3, "name": "bridge1", "domain": 3, "port": 21, "mac": "02:00:00:00:04:01", "identity": 30,
       "addresses": ["10.9.0.1"])" +
             sender + R"(},
      {"id": 1, "name": "pod1", "domain": 2, "port": 11, "mac": "02:00:00:00:03:01", "identity": 10,
       "addresses": ["10.244.1.11", "fd00:10:244:1::11"], "floating": ["203.0.113.80"])" +
             receiver + "}]}")
                .c_str());
  }
  static std::string policy(const std::string& sides) {
    return R"("policies": [{"id": 1, "name": "p", )" + sides + "}], ";
  }
  static constexpr const char* kWithPolicy = R"(, "policy": 1)";

  static Packet ask(std::uint16_t port = 21007) {
    return Packet().eth(kGatewayMac, kBridge1Mac).ipv4(kSenderIp, kFloatingIp).udp(port, 53).payload(9);
  }
  void passes(std::uint16_t port = 21007) {
    receive(kBridge1, ask(port));
    EXPECT_EQ(ports_out(), std::vector<PortId>{kPod1});
  }
  void denied(std::uint16_t port = 21007) {
    const auto before = drops(DropReason::policy_denied);
    receive(kBridge1, ask(port));
    EXPECT_EQ(drops(DropReason::policy_denied), before + 1);
    EXPECT_TRUE(ports_out().empty());
  }
  static std::string deny_source(const char* prefix) {
    return std::string(R"(, "rules": [{"action": "deny", "source": ")") + prefix + "\"}]";
  }
  static constexpr const char* kMasquerade =
      R"(, "masquerade": {"addresses": ["192.168.100.1", "fd00:100::1"], "ports": [20000, 20099]})";
};

TEST_F(Foreign, TheRulesOfTheSendersDomainAreAskedAboutWhatItSent) {
  passes();
  set_bridged(R"(, "rules": [{"action": "deny", "destination": "203.0.113.80/32"}])");
  denied(21008);
  set_bridged(R"(, "rules": [{"action": "deny", "destination": "10.244.1.11/32"}])");
  passes(21009);  // it knows no such address
}

TEST_F(Foreign, TheRulesOfTheSendersDomainAreAskedAgainWhenTheyChange) {
  passes();
  set_bridged(R"(, "rules": [{"action": "deny", "destination": "10.244.1.11/32"}])");
  EXPECT_EQ(counters_.main().flows.cut.get(), 0u);
  passes();
  set_bridged(R"(, "rules": [{"action": "deny", "destination": "203.0.113.80/32"}])");
  EXPECT_EQ(counters_.main().flows.cut.get(), 1u);
  denied();
  set_domain(kMasquerade + deny_source("10.9.0.0/24"));  // those of the receiver's do not know better
  denied();
  set_bridged("");
  passes();
}

TEST_F(Foreign, TheRulesOfTheReceiversDomainSeeTheAddressOutside) {
  set_domain(kMasquerade + deny_source("10.9.0.0/24"));
  passes();
  set_domain(kMasquerade + deny_source("192.168.100.1/32"));
  denied();  // was there already, and was asked about again
  denied(21008);
  set_domain(kMasquerade);
  passes();
}

TEST_F(Foreign, TheReceiversPolicySeesTheAddressOutsideAndNobodyKnown) {
  set_pods("", kWithPolicy, policy(R"("ingress": {"rules": [{"identities": [30]}]})"));
  denied();
  set_pods("", kWithPolicy, policy(R"("ingress": {"rules": [{"blocks": [{"prefix": "10.9.0.0/24"}]}]})"));
  denied();
  set_pods("", kWithPolicy,
           policy(R"("ingress": {"rules": [{"blocks": [{"prefix": "192.168.100.1/32"}]}]})"));
  passes();
  // What it does not allow any more is cut.
  set_pods("", kWithPolicy, policy(R"("ingress": {"rules": [{"identities": [30]}]})"));
  EXPECT_EQ(counters_.main().flows.cut.get(), 1u);
  denied();
}

TEST_F(Foreign, TheSourceRangesOfAServiceSeeTheAddressOutside) {
  const auto allow = [this](const std::string& prefix) {
    program((R"({"services": [{"id": 1, "name": "web", "domain": 2, "frontends": [{"domain": 1,
      "address": "192.168.100.1", "protocol": "udp", "port": 80, "sources": [")" +
             prefix + R"("]}], "backends": [{"address": "10.244.1.11", "port": 8000}]}]})")
                .c_str());
  };
  const auto question = [] {
    return Packet().eth(kGatewayMac, kBridge1Mac).ipv4(kSenderIp, kNodeIp).udp(21007, 80).payload(9);
  };
  const auto refused = [&] {
    const auto before = drops(DropReason::service_source_refused);
    receive(kBridge1, question());
    EXPECT_EQ(drops(DropReason::service_source_refused), before + 1);
    EXPECT_TRUE(ports_out().empty());
  };
  const auto admitted = [&] {
    receive(kBridge1, question());
    EXPECT_EQ(ports_out(), std::vector<PortId>{kPod1});
  };
  allow("10.9.0.0/24");
  refused();
  allow("192.168.100.1/32");
  admitted();
  allow("192.168.100.0/24");
  EXPECT_EQ(counters_.main().flows.cut.get(), 0u);
  admitted();
  allow("10.9.0.0/24");
  EXPECT_EQ(counters_.main().flows.cut.get(), 1u);
  refused();
  allow("192.168.100.1/32");
  admitted();
}

TEST_F(Foreign, TheSendersPolicyKnowsWhoIsBehindTheAddress) {
  set_pods(kWithPolicy, "", policy(R"("egress": {"rules": [{"identities": [10]}]})"));
  passes();
  set_pods(kWithPolicy, "", policy(R"("egress": {"rules": [{"identities": [11]}]})"));
  denied();
  denied(21008);
}

}  // namespace
}  // namespace podwire::engine::tests
