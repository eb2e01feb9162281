// Pods that are reached without tunnels: out by the underlay's routes, in by the pods' subnet, with all that
// a router owes; stateless and with connections, by the stages and by the express lane.
#include "tests/eal/pipeline/flow_fixture.hpp"

namespace podwire::engine::tests {
namespace {

constexpr MacAddr kTor1Mac{{0x02, 0, 0, 0, 5, 1}}, kTor2Mac{{0x02, 0, 0, 0, 5, 2}};
constexpr Ipv4 kTor1{{192, 168, 100, 251}}, kTor2{{192, 168, 100, 252}};
constexpr Ipv4 kFar{{203, 0, 113, 9}};

Ipv6 far6() {
  return *podwire::parse_ipv6("2001:db8::9");
}
Ipv6 pod6() {
  return *podwire::parse_ipv6("fd00:10:244:1::11");
}

class RoutedPods : public FlowSwitch {
 protected:
  RoutedPods() {
    set_routed(false);
    program(R"({"routes": [
      {"id": 20, "domain": 1, "prefix": "203.0.113.0/24", "next_hops": [{"port": 1, "address": "192.168.100.251"}]},
      {"id": 21, "domain": 1, "prefix": "2001:db8::/32", "next_hops": [{"port": 1, "address": "fd00:100::fe"}]}]})");
    resolve(IpAddr(kTor1), kTor1Mac);
    resolve(IpAddr(*podwire::parse_ipv6("fd00:100::fe")), kTor1Mac);
    sent_.clear();
  }

  void set_routed(bool stateful) { set_domain(R"(, "routed": true)", stateful ? "true" : "false"); }
  void add_second_tor() {
    program(R"({"routes": [{"id": 20, "domain": 1, "prefix": "203.0.113.0/24", "next_hops": [
      {"port": 1, "address": "192.168.100.251"}, {"port": 1, "address": "192.168.100.252"}]}]})");
    resolve(IpAddr(kTor2), kTor2Mac);
    sent_.clear();
  }

  static Packet leaving(const Ipv4& to = kFar, Ipv4Fields fields = {}) {
    return Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod1Ip, to, fields);
  }
  static Packet at_tor(const MacAddr& tor = kTor1Mac) {
    return Packet().eth(tor, kUplinkMac).ipv4(kPod1Ip, kFar, {.ttl = 63});
  }
  static Packet coming(const Ipv4& to = kPod1Ip, Ipv4Fields fields = {}) {
    return Packet().eth(kUplinkMac, kTor1Mac).ipv4(kFar, to, fields);
  }
  static Packet at_pod() { return Packet().eth(kPod1Mac, kGatewayMac).ipv4(kFar, kPod1Ip, {.ttl = 63}); }

  void expect(PortId port, const Packet& packet) {
    expect_sent(port, packet);
    sent_.clear();
  }
  std::uint64_t express_packets() const {
    return counters_.all.front()->stages[kExpressCounter].packets.get();
  }
  // The next hop's MAC of the one packet that left by the uplink.
  MacAddr next_hop() {
    MacAddr mac;
    EXPECT_EQ(sent_.size(), 1u);
    if (sent_.size() != 1) return mac;
    EXPECT_EQ(sent_[0].port, kUplink);
    std::copy_n(sent_[0].bytes.begin(), 6, mac.bytes.begin());
    sent_.clear();
    return mac;
  }
  void expect_icmp_to(PortId port, DropReason reason, std::uint8_t type, std::uint8_t code) {
    EXPECT_EQ(drops(reason), 1u);
    ASSERT_EQ(sent_.size(), 1u);
    EXPECT_EQ(sent_[0].port, port);
    EXPECT_EQ(sent_[0].bytes[34], type);
    EXPECT_EQ(sent_[0].bytes[35], code);
    sent_.clear();
  }
};

TEST_F(RoutedPods, PacketsLeaveAndArriveAsTheyAre) {
  for (const bool express : {false, true}) {
    express_ = express;
    receive(kPod1, leaving().udp(5000, 53).payload(30));
    expect(kUplink, at_tor().udp(5000, 53).payload(30));
    receive(kUplink, coming().udp(53, 5000).payload(40));
    expect(kPod1, at_pod().udp(53, 5000).payload(40));
    receive(kPod1, Packet().eth(kGatewayMac, kPod1Mac).ipv6(pod6(), far6()).tcp(1, 2).payload(9));
    expect(kUplink,
           Packet().eth(kTor1Mac, kUplinkMac).ipv6(pod6(), far6(), {.hop_limit = 63}).tcp(1, 2).payload(9));
    receive(kUplink, Packet().eth(kUplinkMac, kTor1Mac).ipv6(far6(), pod6()).tcp(2, 1).payload(9));
    expect(kPod1,
           Packet().eth(kPod1Mac, kGatewayMac).ipv6(far6(), pod6(), {.hop_limit = 63}).tcp(2, 1).payload(9));
  }
  EXPECT_EQ(express_packets(), 2u);  // IPv4 out and in
  const auto& domains = counters_.all.front()->domains;
  EXPECT_EQ(domains[kRouted.value()].sent.get(), 8u);
  EXPECT_EQ(domains[kUnderlayDomain.value()].moved_out.get(), 4u);
}

TEST_F(RoutedPods, ConnectionsAreTrackedBothWays) {
  set_routed(true);
  receive(kPod1, leaving().tcp(4000, 80, {.flags = kSyn}));
  expect(kUplink, at_tor().tcp(4000, 80, {.flags = kSyn}));
  receive(kUplink, coming().tcp(80, 4000, {.flags = kSynAck}));
  expect(kPod1, at_pod().tcp(80, 4000, {.flags = kSynAck}));
  receive(kPod1, leaving().tcp(4000, 80, {.flags = kAck}));
  expect(kUplink, at_tor().tcp(4000, 80, {.flags = kAck}));
  EXPECT_EQ(counted().inserted.get(), 1u);
  EXPECT_EQ(express_packets(), 0u);
  for (const std::size_t size : {0u, 1000u}) {
    receive(kPod1, leaving().tcp(4000, 80, {.flags = kAck}).payload(size));
    expect(kUplink, at_tor().tcp(4000, 80, {.flags = kAck}).payload(size));
    receive(kUplink, coming().tcp(80, 4000, {.flags = kAck}).payload(size));
    expect(kPod1, at_pod().tcp(80, 4000, {.flags = kAck}).payload(size));
  }
  EXPECT_EQ(express_packets(), 4u);
  // And one that begins outside.
  receive(kUplink, coming().tcp(900, 22, {.flags = kSyn}));
  expect(kPod1, at_pod().tcp(900, 22, {.flags = kSyn}));
  EXPECT_EQ(counted().inserted.get(), 2u);
}

TEST_F(RoutedPods, AnswersToConnectionsOfOtherDomainsStillFindTheirs) {
  set_domain(R"(, "routed": true, "masquerade": {"addresses": ["192.168.100.1"], "ports": [20000, 20099],
                "except": ["203.0.113.0/24"]})");
  receive(kPod1, leaving().udp(20007, 53).payload(3));  // an exception: as it is
  expect(kUplink, at_tor().udp(20007, 53).payload(3));
  receive(kUplink, Packet().eth(kUplinkMac, kTor1Mac).ipv4(kFar, kNodeIp).udp(53, 20007).payload(3));
  expect(kHost, Packet().eth(kUplinkMac, kTor1Mac).ipv4(kFar, kNodeIp).udp(53, 20007).payload(3));
}

TEST_F(RoutedPods, FramesForAnotherRouterAreNoneOfOurs) {
  for (const bool express : {false, true}) {
    express_ = express;
    const auto packet = Packet().eth(kPeerNodeMac, kTor1Mac).ipv4(kFar, kPod1Ip).udp(53, 5000).payload(40);
    receive(kUplink, packet);
    expect(kHost, packet);
  }
}

TEST_F(RoutedPods, TheNodeAndThePodsReachEachOther) {
  receive(kHost, Packet().eth(kTor1Mac, kUplinkMac).ipv4(kNodeIp, kPod1Ip).udp(7, 8).payload(5));
  expect(kPod1, Packet().eth(kPod1Mac, kGatewayMac).ipv4(kNodeIp, kPod1Ip, {.ttl = 63}).udp(7, 8).payload(5));
  receive(kPod1, leaving(kNodeIp).udp(8, 7).payload(5));
  expect(kHost,
         Packet().eth(kUplinkMac, kGatewayMac).ipv4(kPod1Ip, kNodeIp, {.ttl = 63}).udp(8, 7).payload(5));
}

TEST_F(RoutedPods, TheNodeIsToldWhereTheGatewayIs) {
  set_domain(R"(, "routed": true)", "false");
  program(R"({"routes": [{"id": 30, "domain": 1, "prefix": "192.168.100.1/32", "next_hops": [{"port": 2}]}],
              "domains": [{"id": 2, "name": "routed", "vni": 100, "gateway_mac": "02:70:77:00:00:01", "mtu": 1450,
                           "gateways": ["10.244.1.1/24", "fd00:10:244:1::1/64"], "routed": true}]})",
          R"({"routes": [4]})");
  sent_.clear();
  receive(kHost, Packet()
                     .eth(MacAddr{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}, kUplinkMac)
                     .arp(1, kUplinkMac, kNodeIp, MacAddr{}, kGateway4));
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].port, kHost);
  EXPECT_EQ(sent_[0].bytes[21], 2);  // a reply
  receive(kPod1, leaving(kNodeIp).udp(8, 7).payload(5));
  EXPECT_EQ(sent_.size(), 2u);
  EXPECT_EQ(sent_.back().port, kHost);
}

TEST_F(RoutedPods, TheGatewayAnswersPingsFromAfarByTheWayBack) {
  receive(kUplink, coming(kGateway4).icmp(8, 0, 0x12340001).payload(8));
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(next_hop(), kTor1Mac);
}

TEST_F(RoutedPods, AnswersAsARouterDoes) {
  receive(kUplink, coming(Ipv4{{10, 244, 1, 99}}).udp(1, 2).payload(9));
  expect_icmp_to(kUplink, DropReason::host_unreachable, icmp::kUnreachable, icmp::kCodeHostUnreachable);
  receive(kPod1, leaving(Ipv4{{198, 51, 100, 1}}).udp(1, 2).payload(9));
  expect_icmp_to(kPod1, DropReason::no_route, icmp::kUnreachable, icmp::kCodeNetUnreachable);
  receive(kPod1, leaving(kFar, {.ttl = 1}).udp(1, 2).payload(9));
  expect_icmp_to(kPod1, DropReason::ttl_exceeded, icmp::kTimeExceeded, 0);
  receive(kUplink, coming(kPod1Ip, {.ttl = 1}).udp(1, 2).payload(9));
  EXPECT_EQ(drops(DropReason::ttl_exceeded), 2u);
  EXPECT_EQ(next_hop(), kTor1Mac);
}

TEST_F(RoutedPods, PodsSendFromTheirOwnAddressesOnly) {
  receive(kPod1, Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod2Ip, kFar).udp(1, 2).payload(9));
  expect_dropped(DropReason::spoofed_ip);
}

TEST_F(RoutedPods, ConnectionsSpreadOverEqualPathsAndStayOnTheirs) {
  add_second_tor();
  std::map<MacAddr, int> taken;
  for (std::uint16_t port = 1000; port < 1064; ++port) {
    express_ = false;
    receive(kPod1, leaving().udp(port, 53).payload(9));
    const auto first = next_hop();
    ++taken[first];
    express_ = true;
    receive(kPod1, leaving().udp(port, 53).payload(9));
    EXPECT_EQ(next_hop(), first) << "the lane and the stages disagree";
  }
  EXPECT_EQ(taken.size(), 2u);
  EXPECT_GT(taken[kTor1Mac], 10);
  EXPECT_GT(taken[kTor2Mac], 10);
  EXPECT_EQ(express_packets(), 64u);
}

TEST_F(RoutedPods, KnownConnectionsFollowTheRoutes) {
  set_routed(true);
  receive(kPod1, leaving().udp(5000, 53).payload(9));
  receive(kPod1, leaving().udp(5000, 53).payload(9));
  sent_.clear();
  // A better route.
  program(R"({"routes": [{"id": 22, "domain": 1, "prefix": "203.0.113.9/32", "next_hops": [
    {"port": 1, "address": "192.168.100.252"}]}]})");
  resolve(IpAddr(kTor2), kTor2Mac);
  sent_.clear();
  receive(kPod1, leaving().udp(5000, 53).payload(9));
  EXPECT_EQ(next_hop(), kTor2Mac);
  program("{}", R"({"routes": [22]})");
  receive(kPod1, leaving().udp(5000, 53).payload(9));
  EXPECT_EQ(next_hop(), kTor1Mac);
  // The domain gets one of its own, and loses it.
  resolve_peer();
  program(R"({"routes": [{"id": 23, "domain": 2, "prefix": "203.0.113.0/25", "next_hops": [{"vtep": 2}]}]})");
  receive(kPod1, leaving().udp(5000, 53).payload(9));
  EXPECT_EQ(next_hop(), kPeerNodeMac);
  program("{}", R"({"routes": [23]})");
  receive(kPod1, leaving().udp(5000, 53).payload(9));
  EXPECT_EQ(next_hop(), kTor1Mac);
  // None is left.
  program("{}", R"({"routes": [20]})");
  receive(kPod1, leaving().udp(5000, 53).payload(9));
  expect_icmp_to(kPod1, DropReason::no_route, icmp::kUnreachable, icmp::kCodeNetUnreachable);
}

TEST_F(RoutedPods, ADomainThatIsRoutedNoLongerKeepsToItself) {
  set_routed(true);
  receive(kPod1, leaving().udp(5000, 53).payload(9));
  EXPECT_EQ(next_hop(), kTor1Mac);
  set_domain("");
  receive(kPod1, leaving().udp(5000, 53).payload(9));
  EXPECT_EQ(drops(DropReason::no_route), 1u);
  sent_.clear();
  const auto packet = coming().udp(53, 5000).payload(40);
  receive(kUplink, packet);
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].port, kHost);
}

TEST_F(RoutedPods, SubnetsThatOverlapAreRefused) {
  for (const char* gateway : {"10.244.1.129/25", "10.244.0.1/16", "10.244.1.2/24", "fd00:10:244::1/48"}) {
    api::ObjectSet put;
    const auto json = parse_json(R"({"domains": [{"id": 9, "name": "other", "vni": 9, "routed": true,
      "gateway_mac": "02:70:77:00:00:01", "gateways": [")" +
                                     std::string(gateway) + "\"]}]}",
                                 "test");
    ASSERT_TRUE(json);
    ASSERT_TRUE(api::read_value(*json, "put", put));
    const auto refused = programmer_->patch(put, {}, {}, now_ms_);
    ASSERT_FALSE(refused) << gateway;
    EXPECT_NE(refused.error().message.find("overlaps"), std::string::npos) << refused.error().message;
    put.domains[0].routed = false;
    EXPECT_TRUE(programmer_->patch(put, {}, {}, now_ms_)) << "apart from the underlay they may";
    api::IdSet remove;
    remove.domains = {DomainId(9)};
    EXPECT_TRUE(programmer_->patch({}, remove, {}, now_ms_));
  }
}

TEST_F(RoutedPods, SubnetsMaySwapInOneChange) {
  program(R"({"domains": [
    {"id": 2, "name": "routed", "vni": 100, "gateway_mac": "02:70:77:00:00:01", "mtu": 1450, "host_access": true,
     "gateways": ["10.99.1.1/24"], "routed": true},
    {"id": 9, "name": "other", "vni": 9, "gateway_mac": "02:70:77:00:00:01", "routed": true,
     "gateways": ["10.244.1.1/24"]}]})");
  receive(kUplink, coming().udp(53, 5000).payload(40));
  expect_icmp_to(kUplink, DropReason::host_unreachable, icmp::kUnreachable, icmp::kCodeHostUnreachable);
}

}  // namespace
}  // namespace podwire::engine::tests
