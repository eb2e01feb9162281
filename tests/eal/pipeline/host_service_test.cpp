// Services for the node's own programs: found by what comes from the host port, and by nobody else.
#include "tests/eal/pipeline/nat_fixture.hpp"

namespace podwire::engine::tests {
namespace {

constexpr Ipv4 kHostOwnIp{{169, 254, 112, 1}}, kHostVip{{10, 96, 0, 10}};
const char* const kOwnIp6 = "fd70:6f64:7769:7265::1";

class HostService : public NatSwitch {
 protected:
  HostService() { set_backends(R"({"address": "10.244.1.12", "port": 8000})"); }
  void set_backends(const std::string& backends, const std::string& more = "") {
    program((R"({"services": [{"id": 1, "name": "web", "domain": 2, "frontends": [
                {"domain": 2, "address": "10.96.0.10", "protocol": "udp", "port": 80},
                {"domain": 1, "address": "10.96.0.10", "protocol": "udp", "port": 80, "from_host": true},
                {"domain": 1, "address": "169.254.112.1", "protocol": "udp", "port": 8080, "from_host": true},
                {"domain": 1, "address": "169.254.112.1", "protocol": "tcp", "port": 8080, "from_host": true},
                {"domain": 1, "address": "fd70:6f64:7769:7265::1", "protocol": "udp", "port": 8080, "from_host": true},
                {"domain": 1, "protocol": "udp", "port": 8080}], "backends": [)" +
             backends + "]" + more + "}]}")
                .c_str());
  }
  // The kernel addresses its neighbour.
  static Packet from_node(const Ipv4& to) {
    return Packet().eth(MacAddr{{0x02, 0x70, 0x77, 0, 0, 2}}, kUplinkMac).ipv4(kNodeIp, to);
  }
  static Packet to_node(const Ipv4& from) {
    return Packet().eth(kUplinkMac, MacAddr()).ipv4(from, kNodeIp, {.ttl = 63});
  }
  static Packet at_pod2(const Ipv4& from = kNodeIp) {
    return Packet().eth(kPod2Mac, kGatewayMac).ipv4(from, kPod2Ip, {.ttl = 63});
  }
  static Packet from_pod2(const Ipv4& to = kNodeIp) {
    return Packet().eth(kGatewayMac, kPod2Mac).ipv4(kPod2Ip, to);
  }
};

TEST_F(HostService, LeadsTheNodesProgramsToTheBackendAndBack) {
  for (const auto& [address, port] : {std::pair{kHostVip, 80}, std::pair{kHostOwnIp, 8080}}) {
    const auto number = static_cast<std::uint16_t>(port);
    const auto client = static_cast<std::uint16_t>(5000 + port);
    for (int i = 0; i < 3; ++i) {
      receive(kHost, from_node(address).udp(client, number).payload(9));
      expect(kPod2, at_pod2().udp(client, 8000).payload(9));
      receive(kPod2, from_pod2().udp(8000, client).payload(9));
      expect(kHost, to_node(address).udp(number, client).payload(9));
    }
  }
  EXPECT_EQ(counted().inserted.get(), 2u);
}

TEST_F(HostService, ServesIpv6) {
  const auto node = ip6("fd00:100::1"), own = ip6(kOwnIp6), pod = ip6("fd00:10:244:1::12");
  set_backends(R"({"address": "fd00:10:244:1::12", "port": 8000})");
  receive(kHost, Packet()
                     .eth(MacAddr{{0x02, 0x70, 0x77, 0, 0, 2}}, kUplinkMac)
                     .ipv6(node, own)
                     .udp(5000, 8080)
                     .payload(9));
  expect(kPod2,
         Packet().eth(kPod2Mac, kGatewayMac).ipv6(node, pod, {.hop_limit = 63}).udp(5000, 8000).payload(9));
  receive(kPod2, Packet().eth(kGatewayMac, kPod2Mac).ipv6(pod, node).udp(8000, 5000).payload(9));
  expect(kHost,
         Packet().eth(kUplinkMac, MacAddr()).ipv6(own, node, {.hop_limit = 63}).udp(8080, 5000).payload(9));
}

TEST_F(HostService, IsNobodyElses) {
  for (const auto& address : {kHostVip, kHostOwnIp}) {
    const std::uint16_t port = address == kHostVip ? 80 : 8080;
    const auto packet =
        Packet().eth(kUplinkMac, kRouterMac).ipv4(kWorldIp, address).udp(5000, port).payload(9);
    receive(kUplink, packet);
    expect(kHost, packet);
  }
  // What is for everybody stays that.
  receive(kUplink, world().udp(5000, 8080).payload(9));
  expect(kPod2, at_pod2(kWorldIp).udp(5000, 8000).payload(9));
  receive(kPod1, Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod1Ip, kHostOwnIp).udp(5000, 8080).payload(9));
  EXPECT_TRUE(sent_.empty());
  EXPECT_EQ(counted().inserted.get(), 1u);
}

TEST_F(HostService, HiddenClientsAreTheGateway) {
  set_backends(R"({"address": "10.244.1.12", "port": 8000})", R"(, "hide_clients": true)");
  receive(kHost, from_node(kHostOwnIp).udp(5000, 8080).payload(9));
  expect(kPod2, at_pod2(kGateway4).udp(5000, 8000).payload(9));
  receive(kPod2, from_pod2(kGateway4).udp(8000, 5000).payload(9));
  expect(kHost, to_node(kHostOwnIp).udp(8080, 5000).payload(9));
}

TEST_F(HostService, RefusesWhatNoServiceHas) {
  // The rest of the node's own traffic goes its way.
  const auto other = from_node(kWorldIp).udp(5000, 81).payload(9);
  receive(kHost, other);
  expect(kUplink, other);
  receive(kHost, from_node(kHostVip).udp(5000, 81).payload(9));
  ASSERT_EQ(sent_.size(), 1u) << "it does not leave by the uplink";
  EXPECT_EQ(sent_[0].port, kHost);
  EXPECT_EQ(sent_[0].bytes[34], icmp::kUnreachable);
  EXPECT_EQ(sent_[0].bytes[35], icmp::kCodePortUnreachable);
  sent_.clear();
  set_backends("");
  receive(kHost, from_node(kHostOwnIp).tcp(5000, 8080, {.flags = kSyn}));
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].port, kHost);
  const auto reset =
      Packet()
          .eth(kUplinkMac, MacAddr())
          .ipv4(kHostOwnIp, kNodeIp, {.id = 0})
          .tcp(8080, 5000, {.seq = 0, .ack = 1001, .flags = TcpHeader::kRst | TcpHeader::kAck, .window = 0})
          .bytes();
  EXPECT_EQ(difference(sent_[0].bytes, reset), "");
  sent_.clear();
  EXPECT_EQ(drops(DropReason::service_no_backend), 2u);
}

TEST_F(HostService, UdpGoesToTheNextPodAtOnce) {
  receive(kHost, from_node(kHostOwnIp).udp(5000, 8080).payload(9));
  expect(kPod2, at_pod2().udp(5000, 8000).payload(9));
  set_backends(R"({"address": "10.244.1.11", "port": 8000})");
  receive(kHost, from_node(kHostOwnIp).udp(5000, 8080).payload(9));
  expect(kPod1,
         Packet().eth(kPod1Mac, kGatewayMac).ipv4(kNodeIp, kPod1Ip, {.ttl = 63}).udp(5000, 8000).payload(9));
}

}  // namespace
}  // namespace podwire::engine::tests
