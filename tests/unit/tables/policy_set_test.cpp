// What a compiled policy says: by hand, and against a plain evaluation of its rules over random policies and
// questions.
#include "dataplane/tables/policy_set.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "dataplane/headers/headers.hpp"

namespace podwire::engine {
namespace {

using enum PolicyDirection;
constexpr std::uint8_t kGre = 47;

api::Policy policy(const std::string& json) {
  const auto value = parse_json(json, "policy");
  EXPECT_TRUE(value) << (value ? "" : value.error().message);
  api::Policy read;
  const auto result = value ? api::read_value(*value, "policy", read) : Result<void>(value.error());
  EXPECT_TRUE(result) << (result ? "" : result.error().message);
  return read;
}

// The rules of its ingress side.
PolicySet ingress(const std::string& rules) {
  return PolicySet(policy(R"({"id": 1, "name": "p", "ingress": {"rules": [)" + rules + "]}}"));
}

PolicyQuestion from(const char* address, std::uint8_t protocol, std::uint16_t port,
                    std::uint32_t identity = 0) {
  return {IdentityId(identity), *parse_ip(address), protocol, port};
}

TEST(PolicySet, ASideThatIsNotThereAllowsEverything) {
  const PolicySet set(policy(R"({"id": 7, "name": "p", "ingress": {"rules": []}})"));
  EXPECT_EQ(set.id(), PolicyId(7));
  EXPECT_FALSE(set.allows(kIngress, from("10.0.0.1", ip_proto::kTcp, 80, 5)));
  EXPECT_TRUE(set.allows(kEgress, from("10.0.0.1", ip_proto::kTcp, 80, 5)));
}

TEST(PolicySet, ARuleWithoutPeersAllowsNobody) {
  const auto set = ingress("{}");
  EXPECT_FALSE(set.allows(kIngress, from("10.0.0.1", ip_proto::kTcp, 80, 5)));
}

TEST(PolicySet, TheFormsOfARule) {
  struct Case {
    const char* rules;
    PolicyQuestion question;
    bool allowed;
  };
  const Case cases[] = {
      {R"({"any_peer": true})", from("10.0.0.1", kGre, 0), true},
      {R"({"any_peer": true, "protocol": "tcp"})", from("10.0.0.1", ip_proto::kTcp, 9), true},
      {R"({"any_peer": true, "protocol": "tcp"})", from("fd00::1", ip_proto::kTcp, 9, 4), true},
      {R"({"any_peer": true, "protocol": "tcp"})", from("10.0.0.1", ip_proto::kUdp, 9), false},
      {R"({"any_peer": true, "protocol": "sctp", "ports": [5, 6]})", from("10.0.0.1", ip_proto::kSctp, 6),
       true},
      {R"({"any_peer": true, "protocol": "icmp"})", from("10.0.0.1", ip_proto::kIcmp, 0), true},
      {R"({"any_peer": true, "protocol": "icmp"})", from("fd00::1", ip_proto::kIcmpv6, 0), false},
      {R"({"any_peer": true, "protocol": "icmpv6"})", from("fd00::1", ip_proto::kIcmpv6, 0), true},
      {R"({"identities": [3, 5]})", from("10.0.0.1", kGre, 0, 5), true},
      {R"({"identities": [3, 5]})", from("10.0.0.1", kGre, 0, 4), false},
      {R"({"identities": [3, 5]})", from("10.0.0.1", kGre, 0), false},
      {R"({"identities": [3], "protocol": "tcp", "ports": [80, 90]})", from("1.1.1.1", ip_proto::kTcp, 79, 3),
       false},
      {R"({"identities": [3], "protocol": "tcp", "ports": [80, 90]})", from("1.1.1.1", ip_proto::kTcp, 80, 3),
       true},
      {R"({"identities": [3], "protocol": "tcp", "ports": [80, 90]})", from("1.1.1.1", ip_proto::kTcp, 90, 3),
       true},
      {R"({"identities": [3], "protocol": "tcp", "ports": [80, 90]})", from("1.1.1.1", ip_proto::kTcp, 91, 3),
       false},
      {R"({"identities": [3], "protocol": "tcp", "ports": [80, 90]})", from("1.1.1.1", ip_proto::kUdp, 85, 3),
       false},
      {R"({"blocks": [{"prefix": "10.0.0.0/8"}]})", from("10.255.255.255", kGre, 0), true},
      {R"({"blocks": [{"prefix": "10.0.0.0/8"}]})", from("11.0.0.0", kGre, 0), false},
      {R"({"blocks": [{"prefix": "10.0.0.0/8"}]})", from("9.255.255.255", kGre, 0, 3), false},
      {R"({"blocks": [{"prefix": "0.0.0.0/0"}]})", from("255.255.255.255", kGre, 0), true},
      {R"({"blocks": [{"prefix": "0.0.0.0/0"}]})", from("fd00::1", kGre, 0), false},
      {R"({"blocks": [{"prefix": "::/0"}]})", from("ffff::ffff", kGre, 0), true},
      {R"({"blocks": [{"prefix": "::/0"}]})", from("1.2.3.4", kGre, 0), false},
      {R"({"blocks": [{"prefix": "10.0.0.0/8", "except": ["10.1.0.0/16"]}]})", from("10.0.255.255", kGre, 0),
       true},
      {R"({"blocks": [{"prefix": "10.0.0.0/8", "except": ["10.1.0.0/16"]}]})", from("10.1.0.0", kGre, 0),
       false},
      {R"({"blocks": [{"prefix": "10.0.0.0/8", "except": ["10.1.0.0/16"]}]})", from("10.1.255.255", kGre, 0),
       false},
      {R"({"blocks": [{"prefix": "10.0.0.0/8", "except": ["10.1.0.0/16"]}]})", from("10.2.0.0", kGre, 0),
       true},
      {R"({"blocks": [{"prefix": "10.0.0.0/8", "except": ["10.0.0.0/8"]}]})", from("10.2.0.0", kGre, 0),
       false},
      {R"({"blocks": [{"prefix": "0.0.0.0/0", "except": ["128.0.0.0/1", "0.0.0.0/8"]}]})",
       from("255.255.255.255", kGre, 0), false},
      {R"({"blocks": [{"prefix": "fd00::/16", "except": ["fd00:1::/32"]}]})", from("fd00:1::9", kGre, 0),
       false},
      {R"({"blocks": [{"prefix": "fd00::/16", "except": ["fd00:1::/32"]}]})", from("fd00:2::9", kGre, 0),
       true},
      // What one block leaves out another may have.
      {R"({"blocks": [{"prefix": "10.0.0.0/8", "except": ["10.1.0.0/16"]}, {"prefix": "10.1.1.0/24"}]})",
       from("10.1.1.7", kGre, 0), true},
      {R"({"blocks": [{"prefix": "10.0.0.0/8"}], "protocol": "udp", "ports": [1, 65534]})",
       from("10.0.0.1", ip_proto::kUdp, 65534), true},
      {R"({"blocks": [{"prefix": "10.0.0.0/8"}], "protocol": "udp", "ports": [1, 65534]})",
       from("10.0.0.1", ip_proto::kUdp, 65535), false},
      {R"({"blocks": [{"prefix": "10.0.0.0/8"}], "protocol": "udp", "ports": [1, 65534]})",
       from("10.0.0.1", ip_proto::kUdp, 0), false},
      // A second rule adds to the first.
      {R"({"identities": [3], "protocol": "tcp"}, {"blocks": [{"prefix": "10.0.0.0/8"}]})",
       from("10.0.0.1", ip_proto::kUdp, 1, 3), true},
  };
  for (const auto& one : cases) {
    EXPECT_EQ(ingress(one.rules).allows(kIngress, one.question), one.allowed)
        << one.rules << " " << to_string(one.question.address) << " identity "
        << one.question.identity.value() << " protocol " << int{one.question.protocol} << " port "
        << one.question.port;
  }
}

bool matches(const api::PolicyBlock& block, const IpAddr& address) {
  return block.prefix.contains(address) &&
         std::none_of(block.except.begin(), block.except.end(),
                      [&](const IpPrefix& hole) { return hole.contains(address); });
}

bool matches(const api::PolicyRule& rule, const PolicyQuestion& q) {
  static constexpr int kNumbers[] = {
      -1, ip_proto::kTcp, ip_proto::kUdp, ip_proto::kSctp, ip_proto::kIcmp, ip_proto::kIcmpv6};
  const auto number = kNumbers[static_cast<std::size_t>(rule.protocol)];
  if (number >= 0 && number != q.protocol) return false;
  if (q.port < rule.ports.first || q.port > rule.ports.last) return false;
  return rule.any_peer ||
         std::find(rule.identities.begin(), rule.identities.end(), q.identity) != rule.identities.end() ||
         std::any_of(rule.blocks.begin(), rule.blocks.end(),
                     [&](const api::PolicyBlock& block) { return matches(block, q.address); });
}

bool plainly_allowed(const std::optional<api::PolicySide>& side, const PolicyQuestion& q) {
  return !side || std::any_of(side->rules.begin(), side->rules.end(),
                              [&](const api::PolicyRule& rule) { return matches(rule, q); });
}

// Everything from a small world, so that rules meet, overlap and touch.
class Random {
 public:
  explicit Random(std::uint32_t seed) : engine_(seed) {}
  std::uint32_t below(std::uint32_t n) { return static_cast<std::uint32_t>(engine_() % n); }
  bool one_in(std::uint32_t n) { return below(n) == 0; }

  IpAddr address() {
    if (one_in(2)) return IpAddr(Ipv4::from_u32(0x0a000000 + below(64) * 8 + below(3)));
    Ipv6 ip;
    ip.bytes[0] = 0xfd;
    ip.bytes[7] = static_cast<std::uint8_t>(below(4));
    ip.bytes[8] = static_cast<std::uint8_t>(below(4));
    ip.bytes[15] = static_cast<std::uint8_t>(below(8));
    return IpAddr(ip);
  }
  IpPrefix prefix(const IpAddr& in, int at_least) {
    const int bits = in.bits();
    const int longest = std::max(at_least, bits == 32 ? 22 : 60);
    const int length =
        one_in(8) ? at_least : longest + static_cast<int>(below(static_cast<unsigned>(bits - longest + 1)));
    return IpPrefix{in, length}.network();
  }
  api::PolicyBlock block() {
    api::PolicyBlock block;
    block.prefix = prefix(address(), 0);
    for (auto holes = below(4); holes != 0; --holes) {
      const auto in = address();
      if (block.prefix.contains(in)) block.except.push_back(prefix(in, block.prefix.length));
    }
    return block;
  }
  api::PolicyRule rule() {
    api::PolicyRule rule;
    rule.protocol = static_cast<api::RuleProtocol>(below(6));
    if (api::has_ports(rule.protocol) && !one_in(3)) {
      rule.ports.first = port();
      rule.ports.last = one_in(2) ? rule.ports.first : std::max(rule.ports.first, port());
    }
    if (one_in(12)) {
      rule.any_peer = true;
      return rule;
    }
    for (auto peers = below(4); peers != 0; --peers) rule.identities.push_back(IdentityId(1 + below(12)));
    for (auto blocks = below(3); blocks != 0; --blocks) rule.blocks.push_back(block());
    return rule;
  }
  std::uint16_t port() { return static_cast<std::uint16_t>(one_in(6) ? 65535 - below(3) : below(40)); }
  PolicyQuestion question() {
    static constexpr std::uint8_t kProtocols[] = {ip_proto::kTcp,  ip_proto::kUdp,    ip_proto::kSctp,
                                                  ip_proto::kIcmp, ip_proto::kIcmpv6, kGre};
    PolicyQuestion q;
    q.identity = IdentityId(below(14));
    q.address = address();
    q.protocol = kProtocols[below(6)];
    if (q.protocol == ip_proto::kTcp || q.protocol == ip_proto::kUdp || q.protocol == ip_proto::kSctp)
      q.port = port();
    return q;
  }

 private:
  std::mt19937 engine_;
};

TEST(PolicySet, SaysWhatItsRulesSay) {
  std::size_t allowed = 0, denied = 0;
  for (std::uint32_t seed = 1; seed <= 400; ++seed) {
    Random random(seed);
    api::Policy policy;
    policy.id = PolicyId(1);
    if (!random.one_in(5)) policy.ingress.emplace();
    if (!random.one_in(5)) policy.egress.emplace();
    for (auto* side : {&policy.ingress, &policy.egress}) {
      if (!*side) continue;
      for (auto rules = random.below(random.one_in(4) ? 40 : 5); rules != 0; --rules)
        (*side)->rules.push_back(random.rule());
    }
    const PolicySet set(policy);
    for (int i = 0; i < 200; ++i) {
      const auto q = random.question();
      const bool in = plainly_allowed(policy.ingress, q), out = plainly_allowed(policy.egress, q);
      ASSERT_EQ(set.allows(kIngress, q), in)
          << "seed " << seed << " " << to_string(q.address) << " " << q.port;
      ASSERT_EQ(set.allows(kEgress, q), out)
          << "seed " << seed << " " << to_string(q.address) << " " << q.port;
      (in ? allowed : denied) += 1;
    }
  }
  EXPECT_GT(allowed, 10'000u);
  EXPECT_GT(denied, 10'000u);
}

TEST(PolicySet, TenThousandRulesAreSmall) {
  api::Policy policy;
  policy.id = PolicyId(1);
  policy.ingress.emplace();
  for (std::uint32_t i = 0; i < 10'000; ++i) {
    api::PolicyRule rule;
    rule.protocol = api::RuleProtocol::kTcp;
    rule.ports.first = rule.ports.last = static_cast<std::uint16_t>(i);
    if (i % 2 == 0) {
      rule.identities.push_back(IdentityId(i + 1));
    } else {
      rule.blocks.push_back({{IpAddr(Ipv4::from_u32(0x0b000000 + i * 256)), 24}, {}});
    }
    policy.ingress->rules.push_back(rule);
  }
  const PolicySet set(policy);
  EXPECT_LT(set.bytes(), 1u << 20);
  EXPECT_TRUE(set.allows(kIngress, from("1.1.1.1", ip_proto::kTcp, 9998, 9999)));
  EXPECT_FALSE(set.allows(kIngress, from("1.1.1.1", ip_proto::kTcp, 9997, 9999)));
  EXPECT_TRUE(set.allows(kIngress, from("11.39.15.9", ip_proto::kTcp, 9999)));
  EXPECT_FALSE(set.allows(kIngress, from("11.39.15.9", ip_proto::kTcp, 9998)));
}

}  // namespace
}  // namespace podwire::engine
