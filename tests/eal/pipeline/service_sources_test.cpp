// Services that are for some clients only (a load balancer's source ranges), and who is refused as one of the
// node's own from outside.
#include "tests/eal/pipeline/nat_fixture.hpp"

namespace podwire::engine::tests {
namespace {

constexpr Ipv4 kBalancerIp{{192, 168, 100, 50}}, kClusterIp{{10, 96, 0, 10}};

// "web" at the load balancer's addresses for `sources`, at the cluster's and the node's for everybody.
class ServiceSources : public NatSwitch {
 protected:
  void allow(const std::string& v4, const std::string& v6 = R"("2001:db8::/64")") {
    const auto balancer = [&](const char* domain, const char* protocol) {
      const auto frontend = [&](const char* address, const std::string& sources) {
        return std::string(R"({"domain": )") + domain + R"(, "address": ")" + address +
               R"(", "protocol": ")" + protocol + R"(", "port": 80, "sources": [)" + sources + "]}, ";
      };
      return frontend("192.168.100.50", v4) + frontend("fd00:100::50", v6);
    };
    program((R"({"services": [{"id": 1, "name": "web", "domain": 2, "frontends": [)" + balancer("1", "tcp") +
             balancer("1", "udp") + balancer("2", "udp") +
             R"({"domain": 2, "address": "10.96.0.10", "protocol": "udp", "port": 80},
                {"domain": 1, "protocol": "udp", "port": 8080}],
                "backends": [{"address": "10.244.1.12", "port": 8000},
                             {"address": "fd00:10:244:1::12", "port": 8000}]}]})")
                .c_str());
  }
  static Packet to_balancer(const Ipv4& from) {
    return Packet().eth(kUplinkMac, kRouterMac).ipv4(from, kBalancerIp);
  }
  static Packet syn(const Ipv4& from, std::uint8_t flags = kSyn) {
    return to_balancer(from).tcp(5000, 80, {.flags = flags});
  }
  static Packet answer(const Ipv4& to, std::uint8_t flags) {
    return Packet().eth(kGatewayMac, kPod2Mac).ipv4(kPod2Ip, to).tcp(8000, 5000, {.flags = flags});
  }
  void passes(PortId from, const Packet& packet, PortId to = kPod2) {
    receive(from, packet);
    EXPECT_EQ(ports_out(), std::vector<PortId>{to});
  }
  void refused(PortId from, const Packet& packet) {
    const auto before = drops(DropReason::service_source_refused);
    receive(from, packet);
    EXPECT_EQ(drops(DropReason::service_source_refused), before + 1);
    EXPECT_TRUE(ports_out().empty()) << "nobody is told";
  }
};

TEST_F(ServiceSources, RefuseOthersAtTheBalancersAddressesOnly) {
  allow(R"("203.0.113.9/32", "198.51.100.0/24")");
  passes(kUplink, syn(kWorldIp));
  refused(kUplink, syn(kWorld2Ip));
  passes(kUplink, to_balancer(Ipv4{{198, 51, 100, 7}}).udp(1, 80));
  refused(kUplink, to_balancer(Ipv4{{198, 51, 101, 7}}).udp(1, 80));
  passes(kUplink, world(kWorld2Ip).udp(5000, 8080).payload(9));  // the node port
  // Pods are clients as others are, but not at the cluster's address.
  const auto from_pod = [](const Ipv4& to) {
    return Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod1Ip, to).udp(5000, 80).payload(9);
  };
  refused(kPod1, from_pod(kBalancerIp));
  passes(kPod1, from_pod(kClusterIp));
  EXPECT_EQ(counted().inserted.get(), 4u);
}

TEST_F(ServiceSources, OfIpv6Too) {
  allow(R"("203.0.113.9/32")");
  const auto from = [](const char* address) {
    return Packet()
        .eth(kUplinkMac, kRouterMac)
        .ipv6(ip6(address), ip6("fd00:100::50"))
        .udp(5000, 80)
        .payload(9);
  };
  passes(kUplink, from("2001:db8::9"));
  refused(kUplink, from("2001:db8:1::9"));
  allow(R"("203.0.113.9/32")", "");  // none of that family: all
  passes(kUplink, from("2001:db8:1::9"));
}

TEST_F(ServiceSources, AChangeCutsWhoMayNotAnyMoreAndLetsThemGoOn) {
  allow(R"("203.0.113.0/24")");
  for (const auto& client : {kWorldIp, kWorld2Ip}) {
    passes(kUplink, syn(client));
    passes(kPod2, answer(client, kSynAck), kUplink);
    passes(kUplink, syn(client, kAck));
  }
  allow(R"("203.0.113.10/32")");
  EXPECT_EQ(counters_.main().flows.cut.get(), 1u);
  refused(kUplink, syn(kWorldIp, kAck));
  refused(kPod2, answer(kWorldIp, kAck));
  refused(kUplink, syn(kWorldIp));
  passes(kUplink, syn(kWorld2Ip, kAck));
  // Rules and policies that come and go do not know better.
  set_domain(R"(, "masquerade": {"addresses": ["192.168.100.1", "fd00:100::1"], "ports": [20000, 20099]},
                  "rules": [{"action": "deny", "protocol": "sctp"}])");
  program(R"({"policies": [{"id": 1, "name": "p", "ingress": {"rules": [{"any_peer": true}]}}],
              "endpoints": [{"id": 2, "name": "pod2", "domain": 2, "port": 12, "mac": "02:00:00:00:03:02",
              "policy": 1, "addresses": ["10.244.1.12", "fd00:10:244:1::12"]}]})");
  refused(kUplink, syn(kWorldIp, kAck));
  allow(R"("203.0.113.0/24")");
  passes(kUplink, syn(kWorldIp, kAck));
  passes(kPod2, answer(kWorldIp, kAck), kUplink);
}

TEST_F(ServiceSources, RangesThatComeCutAndOtherChangesDoNot) {
  allow("");
  for (const auto& client : {kWorldIp, kWorld2Ip}) passes(kUplink, syn(client));
  allow(R"("203.0.113.10/32")");
  EXPECT_EQ(counters_.main().flows.cut.get(), 1u);
  program(R"({"services": [{"id": 2, "name": "other", "domain": 2,
              "frontends": [{"domain": 2, "address": "10.96.0.11", "protocol": "tcp", "port": 80}],
              "backends": [{"address": "10.244.1.11", "port": 8000}]}]})");
  EXPECT_EQ(counters_.main().flows.cut.get(), 1u);
  refused(kUplink, syn(kWorldIp));
  passes(kUplink, syn(kWorld2Ip));
}

TEST_F(ServiceSources, WhoWasCutDoesNotGoOnWithoutTheService) {
  allow(R"("203.0.113.0/24")");
  passes(kUplink, syn(kWorldIp));
  passes(kPod2, answer(kWorldIp, kSynAck), kUplink);
  passes(kUplink, syn(kWorldIp, kAck));
  allow(R"("198.51.100.0/24")");
  refused(kUplink, syn(kWorldIp, kAck));
  const auto denied = [&] {
    const auto before = drops(DropReason::policy_denied);
    receive(kUplink, syn(kWorldIp, kAck));
    EXPECT_EQ(drops(DropReason::policy_denied), before + 1);
    EXPECT_TRUE(ports_out().empty());
  };
  program("{}", R"({"services": [1]})");
  denied();
  set_domain(R"(, "masquerade": {"addresses": ["192.168.100.1", "fd00:100::1"], "ports": [20000, 20099]},
                  "rules": [{"action": "deny", "protocol": "sctp"}])");
  denied();
  allow(R"("203.0.113.0/24")");
  passes(kUplink, syn(kWorldIp, kAck));
  passes(kPod2, answer(kWorldIp, kAck), kUplink);
}

TEST_F(ServiceSources, WithTheServiceTheyAreGone) {
  allow(R"("198.51.100.0/24")");
  refused(kUplink, syn(kWorldIp));
  program("{}", R"({"services": [1]})");
  passes(kUplink, syn(kWorldIp), kHost);
}

TEST_F(ServiceSources, NobodyOutsideIsTheNode) {
  allow(R"("192.168.100.0/24")");
  const auto martian = [&](const Packet& packet) {
    const auto before = drops(DropReason::martian_source);
    receive(kUplink, packet);
    EXPECT_EQ(drops(DropReason::martian_source), before + 1);
    EXPECT_TRUE(ports_out().empty());
  };
  const auto from_outside = [](const Ipv4& from, const Ipv4& to) {
    return Packet().eth(kUplinkMac, kRouterMac).ipv4(from, to);
  };
  // One of the node's own programs has such a connection.
  receive(kHost, Packet()
                     .eth(MacAddr{{0x02, 0x70, 0x77, 0, 0, 2}}, kUplinkMac)
                     .ipv4(kNodeIp, kBalancerIp)
                     .udp(5000, 80)
                     .payload(9));
  EXPECT_EQ(ports_out(), std::vector<PortId>{kPod2});
  for (const bool express : {true, false}) {
    express_ = express;
    martian(from_outside(kNodeIp, kBalancerIp).udp(5000, 80).payload(9));
    martian(from_outside(kNodeIp, kNodeIp).udp(5000, 8080).payload(9));
    martian(from_outside(kNodeIp, kNodeIp).icmp(icmp::kEchoRequest, 0, 7).payload(9));
    passes(kUplink, from_outside(Ipv4{{192, 168, 100, 3}}, kBalancerIp).udp(5000, 80).payload(9));
  }
  martian(Packet().eth(kUplinkMac, kRouterMac).ipv6(ip6("fd00:100::1"), ip6("fd00:100::50")).udp(1, 80));
  receive(kUplink, world().udp(7, 7));
  EXPECT_EQ(ports_out(), std::vector<PortId>{kHost});
}

}  // namespace
}  // namespace podwire::engine::tests
