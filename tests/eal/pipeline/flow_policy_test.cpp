// Rules of a stateful domain: the first match of a connection's first packet decides; what is established is
// checked once after a change.
#include "dataplane/tables/rule_set.hpp"
#include "tests/eal/pipeline/flow_fixture.hpp"

namespace podwire::engine::tests {
namespace {

using Policy = FlowSwitch;

constexpr const char* kDenyDns =
    R"(, "rules": [{"action": "deny", "protocol": "udp", "destination_ports": [53, 53]}])";

TEST_F(Policy, DeniesAndAllowsFirstPackets) {
  set_domain(kDenyDns);
  receive(kPod1, out());
  expect_dropped(DropReason::policy_denied);
  receive(kPod1, tcp_out(kSyn));
  EXPECT_EQ(ports_out(), std::vector<PortId>{kPod2});
  EXPECT_EQ(counted().inserted.get(), 1u);
}

TEST_F(Policy, TheReplyOfAnAllowedConnectionPasses) {
  // Pod 2 may begin nothing.
  set_domain(R"(, "rules": [{"action": "deny", "source": "10.244.1.12/32"}])");
  receive(kPod2, back());
  expect_dropped(DropReason::policy_denied);
  receive(kPod1, out());
  receive(kPod2, back());
  EXPECT_EQ(ports_out(), (std::vector<PortId>{kPod2, kPod1}));
}

TEST_F(Policy, AChangeCutsWhatItForbidsAndSparesTheRest) {
  receive(kPod1, out());
  receive(kPod2, back());
  receive(kPod1, tcp_out(kSyn));
  ports_out();
  set_domain(kDenyDns);
  receive(kPod2, back());  // the reply of what is forbidden now
  EXPECT_EQ(drops(DropReason::policy_denied), 1u);
  receive(kPod1, out());
  EXPECT_EQ(drops(DropReason::policy_denied), 2u);
  receive(kPod2, tcp_back(kSynAck));
  receive(kPod1, tcp_out(kAck));
  EXPECT_EQ(ports_out(), (std::vector<PortId>{kPod1, kPod2}));
  EXPECT_EQ(counted().rechecked.get(), 2u);  // each connection once
  EXPECT_EQ(counted().cut.get(), 1u);
  EXPECT_EQ(counted().removed.get(), 0u);
  EXPECT_EQ(tcp_state(), FlowState::kEstablished);
}

TEST_F(Policy, AChangeOfSomethingElseChecksNothing) {
  set_domain(kDenyDns);
  receive(kPod1, tcp_out(kSyn));
  std::string more = kDenyDns;
  more += R"(, "dns_servers": ["10.0.0.1"])";
  set_domain(more);
  receive(kPod1, tcp_out(kSyn));
  EXPECT_EQ(counted().rechecked.get(), 0u);
}

TEST_F(Policy, MulticastIsAskedPacketByPacket) {
  program(
      R"({"domains": [{"id": 3, "name": "bridged", "vni": 200, "mode": "l2", "stateful": true, "mtu": 1450,
              "gateway_mac": "02:70:77:00:00:01", "learning": true,
              "rules": [{"action": "deny", "protocol": "udp", "destination_ports": [5353, 5353]}]}]})");
  const auto to_many = [](std::uint16_t port) {
    return Packet()
        .eth(MacAddr{{1, 0, 0x5e, 0, 0, 0xfb}}, kBridge2Mac)
        .ipv4(Ipv4{{10, 9, 0, 2}}, Ipv4{{224, 0, 0, 251}})
        .udp(port, port)
        .payload(9);
  };
  receive(kBridge2, to_many(5353));
  EXPECT_EQ(drops(DropReason::policy_denied), 1u);
  receive(kBridge2, to_many(5354));
  EXPECT_EQ(ports_out(), std::vector<PortId>{kBridge1});
  EXPECT_EQ(counted().inserted.get(), 0u);
}

api::Rule rule(const char* json) {
  auto value = parse_json(json, "rule");
  api::Rule read;
  auto result = value ? api::read_value(*value, "rule", read) : Result<void>(value.error());
  EXPECT_TRUE(result) << (result ? "" : result.error().message);
  return read;
}

std::shared_ptr<const RuleSet> compiled(std::initializer_list<const char*> rules) {
  std::vector<api::Rule> list;
  for (const auto* text : rules) list.push_back(rule(text));
  auto set = RuleSet::compile(list, 1);
  EXPECT_TRUE(set) << (set ? "" : set.error().message);
  return *set;
}

FlowKey packet(std::uint8_t protocol, const char* source, const char* destination,
               std::uint16_t source_port = 1, std::uint16_t destination_port = 2) {
  return make_flow_key(kRouted, protocol, *parse_ip(source), *parse_ip(destination), source_port,
                       destination_port);
}

TEST(RuleSetTest, TheFirstMatchWins) {
  const auto set = compiled({R"({"action": "allow", "source": "10.1.1.0/24", "protocol": "tcp"})",
                             R"({"action": "deny", "source": "10.1.0.0/16"})"});
  EXPECT_TRUE(set->allows(packet(6, "10.1.1.9", "1.1.1.1")));
  EXPECT_FALSE(set->allows(packet(17, "10.1.1.9", "1.1.1.1")));
  EXPECT_FALSE(set->allows(packet(6, "10.1.2.9", "1.1.1.1")));
  EXPECT_TRUE(set->allows(packet(6, "10.2.2.9", "1.1.1.1")));  // nothing matches
}

TEST(RuleSetTest, MatchesEveryField) {
  const auto set = compiled({R"({"action": "deny", "protocol": "tcp", "source": "10.0.0.0/9",
      "destination": "192.168.7.1/32", "source_ports": [1000, 2000], "destination_ports": [443, 443]})"});
  EXPECT_FALSE(set->allows(packet(6, "10.127.255.255", "192.168.7.1", 1000, 443)));
  EXPECT_FALSE(set->allows(packet(6, "10.0.0.0", "192.168.7.1", 2000, 443)));
  EXPECT_TRUE(set->allows(packet(6, "10.128.0.0", "192.168.7.1", 1000, 443)));
  EXPECT_TRUE(set->allows(packet(6, "10.0.0.0", "192.168.7.2", 1000, 443)));
  EXPECT_TRUE(set->allows(packet(6, "10.0.0.0", "192.168.7.1", 999, 443)));
  EXPECT_TRUE(set->allows(packet(6, "10.0.0.0", "192.168.7.1", 2001, 443)));
  EXPECT_TRUE(set->allows(packet(6, "10.0.0.0", "192.168.7.1", 1000, 444)));
  EXPECT_TRUE(set->allows(packet(17, "10.0.0.0", "192.168.7.1", 1000, 443)));
}

TEST(RuleSetTest, MatchesIpv6AndKeepsTheFamiliesApart) {
  const auto set = compiled(
      {R"({"action": "deny", "source": "fd00:1:2:3:8::/77", "destination_ports": [80, 90],
                                 "protocol": "udp"})",
       R"({"action": "deny", "destination": "10.0.0.0/8"})", R"({"action": "deny", "protocol": "icmpv6"})"});
  EXPECT_FALSE(set->allows(packet(17, "fd00:1:2:3:f::1", "fd00::1", 1, 85)));
  EXPECT_TRUE(set->allows(packet(17, "fd00:1:2:3:10::1", "fd00::1", 1, 85)));
  EXPECT_TRUE(set->allows(packet(17, "fd00:1:2:3:f::1", "fd00::1", 1, 91)));
  EXPECT_FALSE(set->allows(packet(17, "1.2.3.4", "10.0.0.1")));
  EXPECT_FALSE(set->allows(packet(58, "fd00::1", "fd00::2")));
  EXPECT_TRUE(set->allows(packet(6, "fd00::1", "fd00::2")));
}

TEST(RuleSetTest, ARuleWithoutAddressesIsForBothFamilies) {
  const auto set = compiled({R"({"action": "deny"})"});
  EXPECT_FALSE(set->allows(packet(6, "1.2.3.4", "5.6.7.8")));
  EXPECT_FALSE(set->allows(packet(6, "fd00::1", "fd00::2")));
}

TEST(RuleSetTest, AnswersABurstInOrder) {
  const auto set = compiled({R"({"action": "deny", "protocol": "udp"})"});
  std::vector<FlowKey> keys;
  for (int i = 0; i < 64; ++i)
    keys.push_back(i % 4 == 0 ? packet(i % 3 == 0 ? 17 : 6, "fd00::1", "fd00::2")
                              : packet(i % 3 == 0 ? 17 : 6, "1.1.1.1", "2.2.2.2"));
  std::vector<const FlowKey*> asked;
  for (const auto& one : keys) asked.push_back(&one);
  std::array<bool, 64> allowed{};
  set->classify(asked, allowed);
  for (std::size_t i = 0; i < 64; ++i) EXPECT_EQ(allowed[i], i % 3 != 0) << i;
}

TEST(RuleSetTest, CompilesAsManyAsThereMayBe) {
  std::vector<api::Rule> rules;
  for (std::size_t i = 0; i < 1000; ++i) {
    auto one = rule(R"({"action": "deny", "protocol": "tcp", "destination_ports": [1, 1]})");
    one.source = IpPrefix{IpAddr(Ipv4::from_u32(0x0a000000 + static_cast<std::uint32_t>(i) * 256)), 24};
    one.destination_ports = {static_cast<std::uint16_t>(i), static_cast<std::uint16_t>(i + 10)};
    rules.push_back(one);
  }
  const auto set = RuleSet::compile(rules, 1);
  ASSERT_TRUE(set) << set.error().message;
  EXPECT_FALSE((*set)->allows(packet(6, "10.3.231.1", "1.1.1.1", 9, 1000)));
  EXPECT_TRUE((*set)->allows(packet(6, "10.3.231.1", "1.1.1.1", 9, 998)));
}

}  // namespace
}  // namespace podwire::engine::tests
