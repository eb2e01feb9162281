// Services through the pipeline: published ports, cluster addresses, hairpin, hidden clients, refusals.
#include "tests/eal/pipeline/nat_fixture.hpp"

namespace podwire::engine::tests {
namespace {

constexpr Ipv4 kVip{{10, 96, 0, 10}};

class Service : public NatSwitch {
 protected:
  // One service "web": the cluster address's port 80 and the node's port 8080 to port 8000 of `backends`.
  void set_service(const std::string& backends, const std::string& more = "") {
    program((R"({"services": [{"id": 1, "name": "web", "domain": 2, "frontends": [
                {"domain": 2, "address": "10.96.0.10", "protocol": "tcp", "port": 80},
                {"domain": 2, "address": "10.96.0.10", "protocol": "udp", "port": 80},
                {"domain": 1, "address": "10.96.0.10", "protocol": "udp", "port": 80},
                {"domain": 1, "protocol": "tcp", "port": 8080}, {"domain": 1, "protocol": "udp", "port": 8080}],
                "backends": [)" +
             backends + "]" + more + "}]}")
                .c_str());
  }
  static constexpr const char* kOnPod1 = R"({"address": "10.244.1.11", "port": 8000})";
  static constexpr const char* kOnPod2 = R"({"address": "10.244.1.12", "port": 8000})";

  static Packet to_pod2(const Ipv4& from) {
    return Packet().eth(kPod2Mac, kGatewayMac).ipv4(from, kPod2Ip, {.ttl = 63});
  }
  // As pod 2 answers.
  static Packet pod2_to(const Ipv4& to) { return Packet().eth(kGatewayMac, kPod2Mac).ipv4(kPod2Ip, to); }
  static Packet pod1_to(const Ipv4& to) { return Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod1Ip, to); }
};

TEST_F(Service, APublishedPortIsReachedFromOutside) {
  set_service(kOnPod2);
  for (int i = 0; i < 2; ++i) {
    receive(kUplink, world().tcp(5000, 8080, {.flags = kSyn}));
    expect(kPod2, to_pod2(kWorldIp).tcp(5000, 8000, {.flags = kSyn}));
    receive(kPod2, pod2_to(kWorldIp).tcp(8000, 5000, {.flags = kSynAck}));
    expect(kUplink, outside().tcp(8080, 5000, {.flags = kSynAck}));
  }
  EXPECT_EQ(counted().inserted.get(), 1u);
  receive(kUplink, world().udp(5000, 8081));
  expect(kHost, world().udp(5000, 8081));
}

TEST_F(Service, APodReachesAClusterAddress) {
  set_service(kOnPod2);
  receive(kPod1, pod1_to(kVip).tcp(5000, 80, {.flags = kSyn}));
  expect(kPod2, to_pod2(kPod1Ip).tcp(5000, 8000, {.flags = kSyn}));
  // Straight to the client's MAC, which ARP told it.
  receive(kPod2, Packet().eth(kPod1Mac, kPod2Mac).ipv4(kPod2Ip, kPod1Ip).tcp(8000, 5000, {.flags = kSynAck}));
  expect(
      kPod1,
      Packet().eth(kPod1Mac, kGatewayMac).ipv4(kVip, kPod1Ip, {.ttl = 63}).tcp(80, 5000, {.flags = kSynAck}));
}

TEST_F(Service, KnownConnectionsTakeTheExpressLaneBothWays) {
  set_service(kOnPod2);
  const auto taken = [this] { return counters_.all.front()->stages[kExpressCounter].packets.get(); };
  for (int i = 0; i < 3; ++i) {
    receive(kPod1, pod1_to(kVip).udp(5000, 80).payload(9));
    expect(kPod2, to_pod2(kPod1Ip).udp(5000, 8000).payload(9));
    receive(kPod2, pod2_to(kPod1Ip).udp(8000, 5000).payload(9));
    expect(kPod1,
           Packet().eth(kPod1Mac, kGatewayMac).ipv4(kVip, kPod1Ip, {.ttl = 63}).udp(80, 5000).payload(9));
  }
  EXPECT_EQ(taken(), 4u);
}

// Behind a VXLAN peer.
TEST_F(Service, ARemoteBackendIsReachedByTheExpressLaneBothWays) {
  resolve_peer();
  set_service(R"({"address": "10.244.2.20", "port": 8000})");
  const auto taken = [this] { return counters_.all.front()->stages[kExpressCounter].packets.get(); };
  for (int i = 0; i < 3; ++i) {
    for (const bool tcp : {false, true}) {
      const auto out = pod1_to(kVip), back = from_peer(kRoutedVni).eth(kOurVtepMac, kPeerVtepMac);
      const Ipv4Fields far{.ttl = 63};
      const TcpFields flags{.flags = i == 0 ? kSyn : kAck}, answer{.flags = i == 0 ? kSynAck : kAck};
      const auto before = taken();
      receive(kPod1,
              tcp ? Packet(out).tcp(5000, 80, flags).payload(9) : Packet(out).udp(5000, 80).payload(9));
      ASSERT_EQ(sent_.size(), 1u);
      EXPECT_EQ(sent_[0].port, kUplink);
      const auto inner = Packet().eth(kPeerVtepMac, kGatewayMac).ipv4(kPod1Ip, kRemoteIp, {.ttl = 63});
      const auto wanted = tcp ? Packet(inner).tcp(5000, 8000, flags).payload(9).bytes()
                              : Packet(inner).udp(5000, 8000).payload(9).bytes();
      EXPECT_EQ(std::vector(sent_[0].bytes.begin() + 50, sent_[0].bytes.end()), wanted) << i << tcp;
      sent_.clear();
      receive(kUplink, tcp ? Packet(back).ipv4(kRemoteIp, kPod1Ip, far).tcp(8000, 5000, answer).payload(9)
                           : Packet(back).ipv4(kRemoteIp, kPod1Ip, far).udp(8000, 5000).payload(9));
      const auto at_pod = Packet().eth(kPod1Mac, kGatewayMac).ipv4(kVip, kPod1Ip, {.ttl = 62});
      expect(kPod1,
             tcp ? Packet(at_pod).tcp(80, 5000, answer).payload(9) : Packet(at_pod).udp(80, 5000).payload(9));
      // TCP from tunnels is for the merge stage, where a tap takes it joined.
      if (i == 2) {
        EXPECT_EQ(taken() - before, tcp ? 1u : 2u);
      }
    }
  }
  EXPECT_EQ(all_drops(), 0u);
}

TEST_F(Service, UdpGoesToTheNewBackendAtOnceAndTcpStays) {
  set_service(kOnPod2);
  receive(kUplink, world().udp(5000, 8080).payload(9));
  expect(kPod2, to_pod2(kWorldIp).udp(5000, 8000).payload(9));
  receive(kUplink, world().tcp(5000, 8080, {.flags = kSyn}));
  expect(kPod2, to_pod2(kWorldIp).tcp(5000, 8000, {.flags = kSyn}));
  receive(kPod1, pod1_to(kPod2Ip).udp(7, 8).payload(9));
  expect(kPod2, to_pod2(kPod1Ip).udp(7, 8).payload(9));
  const auto before = counted().inserted.get();
  set_service(std::string(R"({"address": "10.244.1.12", "port": 8000, "draining": true}, )") + kOnPod1);
  receive(kUplink, world().udp(5000, 8080).payload(9));
  expect(kPod2, to_pod2(kWorldIp).udp(5000, 8000).payload(9));  // still a backend
  set_service(kOnPod1);
  receive(kUplink, world().udp(5000, 8080).payload(9));
  expect(kPod1,
         Packet().eth(kPod1Mac, kGatewayMac).ipv4(kWorldIp, kPod1Ip, {.ttl = 63}).udp(5000, 8000).payload(9));
  receive(kUplink, world().tcp(5000, 8080, {.flags = kSyn}));
  expect(kPod2, to_pod2(kWorldIp).tcp(5000, 8000, {.flags = kSyn}));
  receive(kPod1, pod1_to(kPod2Ip).udp(7, 8).payload(9));
  expect(kPod2, to_pod2(kPod1Ip).udp(7, 8).payload(9));
  EXPECT_EQ(counted().inserted.get(), before + 1);
}

TEST_F(Service, AConnectionToTheBackendItselfMayHaveTheSamePort) {
  set_service(kOnPod2);
  receive(kPod1, pod1_to(kVip).udp(5000, 80).payload(9));
  expect(kPod2, to_pod2(kPod1Ip).udp(5000, 8000).payload(9));
  receive(kPod1, pod1_to(kPod2Ip).udp(5000, 8000).payload(9));
  ASSERT_EQ(sent_.size(), 1u);
  const auto port = static_cast<std::uint16_t>(sent_[0].bytes[34] << 8 | sent_[0].bytes[35]);
  EXPECT_NE(port, 5000);
  sent_.clear();
  receive(kPod2, pod2_to(kPod1Ip).udp(8000, port).payload(9));
  expect(kPod1,
         Packet().eth(kPod1Mac, kGatewayMac).ipv4(kPod2Ip, kPod1Ip, {.ttl = 63}).udp(8000, 5000).payload(9));
  receive(kPod2, pod2_to(kPod1Ip).udp(8000, 5000).payload(9));
  expect(kPod1,
         Packet().eth(kPod1Mac, kGatewayMac).ipv4(kVip, kPod1Ip, {.ttl = 63}).udp(80, 5000).payload(9));
}

TEST_F(Service, APodThatReachesItselfMeetsTheGateway) {
  set_service(kOnPod1);
  receive(kPod1, pod1_to(kVip).udp(5000, 80).payload(9));
  expect(
      kPod1,
      Packet().eth(kPod1Mac, kGatewayMac).ipv4(kGateway4, kPod1Ip, {.ttl = 63}).udp(5000, 8000).payload(9));
  receive(kPod1, pod1_to(kGateway4).udp(8000, 5000).payload(9));
  expect(kPod1,
         Packet().eth(kPod1Mac, kGatewayMac).ipv4(kVip, kPod1Ip, {.ttl = 63}).udp(80, 5000).payload(9));
}

TEST_F(Service, PodsReachPublishedPortsUnderTheNodesAddress) {
  set_service(kOnPod2);
  receive(kPod1, pod1_to(kNodeIp).udp(5000, 8080).payload(9));
  expect(kPod2, to_pod2(kPod1Ip).udp(5000, 8000).payload(9));
  receive(kPod2, pod2_to(kPod1Ip).udp(8000, 5000).payload(9));
  expect(kPod1,
         Packet().eth(kPod1Mac, kGatewayMac).ipv4(kNodeIp, kPod1Ip, {.ttl = 63}).udp(8080, 5000).payload(9));
  // And the pod behind the port itself.
  receive(kPod2, pod2_to(kNodeIp).udp(5000, 8080).payload(9));
  expect(kPod2, to_pod2(kGateway4).udp(5000, 8000).payload(9));
}

TEST_F(Service, HiddenClientsAreTheGateway) {
  set_service(kOnPod2, R"(, "hide_clients": true)");
  receive(kUplink, world().udp(5000, 8080).payload(9));
  expect(kPod2, to_pod2(kGateway4).udp(5000, 8000).payload(9));
  receive(kPod2, pod2_to(kGateway4).udp(8000, 5000).payload(9));
  expect(kUplink, outside().udp(8080, 5000).payload(9));
  // The same port of another client.
  receive(kUplink, world(kWorld2Ip).udp(5000, 8080).payload(9));
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_NE(sent_[0].bytes[34] << 8 | sent_[0].bytes[35], 5000);
  sent_.clear();
  // Pods are not hidden.
  receive(kPod1, pod1_to(kVip).udp(5001, 80).payload(9));
  expect(kPod2, to_pod2(kPod1Ip).udp(5001, 8000).payload(9));
}

TEST_F(Service, BackendsOnOtherNodesAnswerThroughTheTunnel) {
  resolve_peer();
  set_service(R"({"address": "10.244.2.20", "port": 8000})", R"(, "hide_clients": true)");
  receive(kUplink, world().udp(5000, 8080).payload(9));
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].port, kUplink);
  sent_.clear();
  receive(kUplink, from_peer(kRoutedVni)
                       .eth(kOurVtepMac, kPeerVtepMac)
                       .ipv4(kRemoteIp, kGateway4)
                       .udp(8000, 5000)
                       .payload(9));
  expect(kUplink, outside().udp(8080, 5000).payload(9));
}

TEST_F(Service, TheNodesOwnClientsAreServedThroughTheHostPort) {
  set_service(kOnPod2);
  const auto from_node = [](const Ipv4& to) {
    return Packet().eth(kRouterMac, kUplinkMac).ipv4(kNodeIp, to);
  };
  receive(kHost, from_node(kVip).udp(5000, 80).payload(9));
  expect(kPod2, to_pod2(kNodeIp).udp(5000, 8000).payload(9));
  receive(kPod2, pod2_to(kNodeIp).udp(8000, 5000).payload(9));
  expect(kHost,
         Packet().eth(kUplinkMac, MacAddr()).ipv4(kVip, kNodeIp, {.ttl = 63}).udp(80, 5000).payload(9));
}

TEST_F(Service, NoBackendIsARefusal) {
  set_service("");
  receive(kPod1, pod1_to(kVip).tcp(5000, 80, {.flags = kSyn}));
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].port, kPod1);
  const auto reset =
      Packet()
          .eth(kPod1Mac, kGatewayMac)
          .ipv4(kVip, kPod1Ip, {.id = 0})
          .tcp(80, 5000, {.seq = 0, .ack = 1001, .flags = TcpHeader::kRst | TcpHeader::kAck, .window = 0})
          .bytes();
  EXPECT_EQ(difference(sent_[0].bytes, reset), "");
  sent_.clear();
  receive(kUplink, world().tcp(5000, 8080, {.flags = kSyn}));
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].port, kUplink);
  const auto outside_reset =
      Packet()
          .eth(kRouterMac, kUplinkMac)
          .ipv4(kNodeIp, kWorldIp, {.id = 0})
          .tcp(8080, 5000, {.seq = 0, .ack = 1001, .flags = TcpHeader::kRst | TcpHeader::kAck, .window = 0})
          .bytes();
  EXPECT_EQ(difference(sent_[0].bytes, outside_reset), "");
  sent_.clear();
  receive(kPod1, pod1_to(kVip).udp(5000, 80).payload(9));
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].port, kPod1);
  EXPECT_EQ(sent_[0].bytes[34], icmp::kUnreachable);
  EXPECT_EQ(sent_[0].bytes[35], icmp::kCodePortUnreachable);
  EXPECT_EQ(drops(DropReason::service_no_backend), 3u);
  EXPECT_EQ(counted().inserted.get(), 0u);
}

TEST_F(Service, RulesSeeTheClientAndTheBackend) {
  set_service(kOnPod2);
  set_domain(R"(, "masquerade": {"addresses": ["192.168.100.1"]},
                 "rules": [{"action": "allow", "source": "203.0.113.9/32", "destination": "10.244.1.12/32",
                            "protocol": "udp", "destination_ports": [8000, 8000]}, {"action": "deny"}])");
  receive(kUplink, world().udp(5000, 8080).payload(9));
  expect(kPod2, to_pod2(kWorldIp).udp(5000, 8000).payload(9));
  receive(kUplink, world(kWorld2Ip).udp(5000, 8080).payload(9));
  expect_dropped(DropReason::policy_denied);
}

TEST_F(Service, ABackendsErrorsAreTheServices) {
  set_service(kOnPod2);
  receive(kPod1, pod1_to(kVip).udp(5000, 80).payload(9));
  sent_.clear();
  receive(kPod2,
          pod2_to(kPod1Ip)
              .icmp(icmp::kUnreachable, 3)
              .payload(Packet().ipv4(kPod1Ip, kPod2Ip, {.ttl = 63}).udp(5000, 8000).payload(9).bytes()));
  expect(kPod1, Packet()
                    .eth(kPod1Mac, kGatewayMac)
                    .ipv4(kVip, kPod1Ip, {.ttl = 63})
                    .icmp(icmp::kUnreachable, 3)
                    .payload(Packet().ipv4(kPod1Ip, kVip, {.ttl = 63}).udp(5000, 80).payload(9).bytes()));
}

}  // namespace
}  // namespace podwire::engine::tests
