// Joined domains when one of them gets something of its own for an address that it had reached in the other,
// and services of one with backends in the other as clients outside meet them.
#include "tests/eal/pipeline/join_fixture.hpp"

namespace podwire::engine::tests {
namespace {

constexpr Ipv4 kOutsideIp{{203, 0, 113, 9}};
constexpr MacAddr kOutsideMac{{0x02, 0, 0, 0, 1, 0xfe}};

TEST_F(JoinedConnections, EndWhereTheirDomainsOwnBlackholeBegins) {
  establish();
  receive(kPod1, pod1_to(kSideRemoteIp).udp(1000, 53).payload(9));
  expect_tunnel(kSideVni);
  receive(kPod1, out());
  sent_.clear();
  program(R"({"routes": [{"id": 50, "domain": 2, "prefix": "10.50.0.0/16", "blackhole": true}]})");
  receive(kPod1, ask(kAck));
  EXPECT_EQ(ports_out(), JoinedPorts{kSidePort}) << "the route into the other domain is the longer one";
  program(R"({"routes": [{"id": 51, "domain": 2, "prefix": "10.50.1.11/32", "blackhole": true},
                         {"id": 52, "domain": 2, "prefix": "10.50.2.20/32", "blackhole": true}]})");
  receive(kPod1, ask(kAck));
  receive(kPod1, pod1_to(kSideRemoteIp).udp(1000, 53).payload(9));
  EXPECT_EQ(drops(DropReason::blackhole_route), 2u);
  receive(kPod1, out());
  EXPECT_EQ(ports_out(), JoinedPorts{kPod2});
  // And goes on when it has gone.
  program("{}", R"({"routes": [51, 52]})");
  receive(kPod1, ask(kAck));
  EXPECT_EQ(ports_out(), JoinedPorts{kSidePort});
  EXPECT_TRUE(flows_.find(asked(kSide).reversed()));
}

TEST_F(JoinedConnections, EndWhereTheirDomainsOwnEndpointBegins) {
  establish();
  receive(kSidePort, reply(kAck));
  EXPECT_EQ(ports_out(), JoinedPorts{kPod1});
  program(R"({"endpoints": [{"id": 60, "name": "own", "domain": 2, "port": 12, "mac": "02:00:00:00:03:22",
              "addresses": ["10.50.1.11"]}]})");
  EXPECT_FALSE(flows_.find(asked()));
  receive(kPod1, ask(kSyn));
  EXPECT_EQ(ports_out(), JoinedPorts{kPod2});
  // What it began there is not led into the other domain behind its rules' back.
  program("{}", R"({"endpoints": [60]})");
  EXPECT_FALSE(flows_.find(asked()));
  receive(kPod1, ask(kSyn));
  EXPECT_EQ(ports_out(), JoinedPorts{kSidePort});
  EXPECT_TRUE(flows_.find(asked(kSide).reversed()));
}

TEST_F(JoinedConnections, PodsThatComeAndGoElsewhereEndNothing) {
  establish();
  const auto removed = [this] { return counters_.main().flows.removed.get(); };
  program(R"({"endpoints": [{"id": 60, "name": "more", "domain": 2, "port": 12, "mac": "02:00:00:00:03:22",
              "addresses": ["10.244.1.60"]}]})");
  program("{}", R"({"endpoints": [60]})");
  EXPECT_EQ(removed(), 0u);
  receive(kPod1, ask(kAck));
  EXPECT_EQ(ports_out(), JoinedPorts{kSidePort});
}

class JoinedService : public JoinedConnections {
 protected:
  JoinedService() {
    program(R"({"routes": [{"id": 70, "domain": 1, "prefix": "0.0.0.0/0",
                            "next_hops": [{"port": 1, "address": "192.168.100.254"}]}]})");
    set_backend(R"({"address": "10.50.1.11", "port": 8000})");
    resolve(IpAddr(Ipv4{{192, 168, 100, 254}}), kOutsideMac);
    sent_.clear();
  }
  void set_backend(const std::string& backend, const std::string& more = "") {
    program((R"({"services": [{"id": 1, "name": "web", "domain": 2,
              "frontends": [{"domain": 1, "address": "192.168.100.1", "protocol": "udp", "port": 80}],
              "backends": [)" +
             backend + "]" + more + "}]}")
                .c_str());
  }
  static Packet question() {
    return Packet().eth(kUplinkMac, kOutsideMac).ipv4(kOutsideIp, kNodeIp).udp(5000, 80).payload(9);
  }
  static Packet answer() {
    return Packet()
        .eth(kOutsideMac, kUplinkMac)
        .ipv4(kNodeIp, kOutsideIp, {.ttl = 63})
        .udp(80, 5000)
        .payload(9);
  }
};

TEST_F(JoinedService, ClientsOutsideReachABackendInTheOtherDomain) {
  for (int i = 0; i < 2; ++i) {
    receive(kUplink, question());
    expect_one(kSidePort, at_side(kOutsideIp).udp(5000, 8000).payload(9));
    receive(kSidePort, side_to(kOutsideIp).udp(8000, 5000).payload(9));
    expect_one(kUplink, answer());
  }
  EXPECT_EQ(counted().inserted.get(), 1u);
}

TEST_F(JoinedService, AHiddenClientIsTheGatewayOfTheBackendsDomain) {
  set_backend(R"({"address": "10.50.1.11", "port": 8000})", R"(, "hide_clients": true)");
  receive(kUplink, question());
  expect_one(kSidePort, at_side(Ipv4{{10, 50, 1, 1}}).udp(5000, 8000).payload(9));
  receive(kSidePort, side_to(Ipv4{{10, 50, 1, 1}}).udp(8000, 5000).payload(9));
  expect_one(kUplink, answer());
}

TEST_F(JoinedService, PartingEndsConnectionsOfClientsOutside) {
  receive(kUplink, question());
  expect_one(kSidePort, at_side(kOutsideIp).udp(5000, 8000).payload(9));
  program("{}", R"({"routes": [43, 46]})");  // of the other family
  EXPECT_EQ(counters_.main().flows.removed.get(), 0u);
  part();
  EXPECT_EQ(counters_.main().flows.removed.get(), 1u);
  receive(kUplink, question());
  for (const auto port : ports_out()) EXPECT_NE(port, kSidePort);
  expect_no_route(kSidePort, side_to(kOutsideIp).udp(8000, 5000).payload(9));
  join();
  receive(kUplink, question());
  EXPECT_EQ(ports_out(), JoinedPorts{kSidePort});
}

TEST_F(JoinedService, PartingElsewhereLeavesABackendBehindATunnel) {
  program(R"({"services": [{"id": 1, "name": "web", "domain": 2,
              "frontends": [{"domain": 2, "address": "10.96.0.10", "protocol": "udp", "port": 80}],
              "backends": [{"address": "10.50.2.20", "port": 8000}]}]})");
  receive(kPod1, pod1_to(Ipv4{{10, 96, 0, 10}}).udp(5000, 80).payload(9));
  expect_tunnel(kSideVni);
  program("{}", R"({"routes": [43, 46]})");
  EXPECT_EQ(counters_.main().flows.removed.get(), 0u);
  receive(kPod1, pod1_to(Ipv4{{10, 96, 0, 10}}).udp(5000, 80).payload(9));
  expect_tunnel(kSideVni);
}

TEST_F(JoinedService, TheRulesOfTheBackendsDomainDecide) {
  program(
      R"({"domains": [{"id": 4, "name": "side", "vni": 300, "gateway_mac": "02:70:77:00:00:01", "mtu": 1450,
              "stateful": true, "gateways": ["10.50.1.1/24", "fd00:50:1::1/64"],
              "rules": [{"action": "deny", "source": "203.0.113.0/24"}]}]})");
  receive(kUplink, question());
  expect_dropped(DropReason::policy_denied);
}

}  // namespace
}  // namespace podwire::engine::tests
