#include "dataplane/tables/rule_set.hpp"

#include <rte_acl.h>
#include <rte_errno.h>
#include <rte_memory.h>

#include <algorithm>
#include <array>
#include <atomic>

#include "dataplane/headers/headers.hpp"

namespace podwire::engine {
namespace {

// What a match says; rte_acl's 0 is "no match".
constexpr std::uint32_t kAllowed = 1, kDenied = 2;

// Protocol, addresses in words of 32 bits, both ports.
constexpr std::size_t kFields4 = 5, kFields6 = 11;
RTE_ACL_RULE_DEF(AclRule4, kFields4);
RTE_ACL_RULE_DEF(AclRule6, kFields6);

std::uint8_t number_of(api::RuleProtocol protocol) {
  static constexpr std::uint8_t kNumbers[] = {
      0, ip_proto::kTcp, ip_proto::kUdp, ip_proto::kSctp, ip_proto::kIcmp, ip_proto::kIcmpv6};
  return kNumbers[static_cast<std::size_t>(protocol)];
}

bool is_about(const api::Rule& rule, bool v4) {
  const auto of_family = [v4](const std::optional<IpPrefix>& prefix) {
    return !prefix || prefix->address.is_v4() == v4;
  };
  return of_family(rule.source) && of_family(rule.destination);
}

// rte_acl looks at the FlowKey itself, four bytes at a time after the first field.
rte_acl_config make_config(bool v4) {
  rte_acl_config config{};
  const std::uint8_t words = v4 ? 1 : 4;  // of an address
  config.num_categories = 1;
  config.num_fields = static_cast<std::uint32_t>(v4 ? kFields4 : kFields6);
  std::uint8_t field = 0;
  const auto add = [&](std::uint8_t type, std::uint8_t size, std::uint8_t input, std::size_t offset) {
    config.defs[field] = {type, size, field, input, static_cast<std::uint32_t>(offset)};
    ++field;
  };
  add(RTE_ACL_FIELD_TYPE_BITMASK, 1, 0, FlowKey::kProtocolAt);
  std::uint8_t input = 1;
  for (std::size_t word = 0; word < 2u * words; ++word)
    add(RTE_ACL_FIELD_TYPE_MASK, 4, input++, FlowKey::kAddressesAt + word * 4);
  add(RTE_ACL_FIELD_TYPE_RANGE, 2, input, FlowKey::kSourcePortAt);
  add(RTE_ACL_FIELD_TYPE_RANGE, 2, input, FlowKey::kDestinationPortAt);
  return config;
}

void put_prefix(rte_acl_field* fields, const std::optional<IpPrefix>& prefix, std::size_t words) {
  for (std::size_t word = 0; word < words; ++word) {
    auto& field = fields[word];
    if (!prefix) continue;  // value and length zero: any
    const auto* bytes = prefix->address.bytes().data() + word * 4;
    field.value.u32 = std::uint32_t{bytes[0]} << 24 | std::uint32_t{bytes[1]} << 16 |
                      std::uint32_t{bytes[2]} << 8 | bytes[3];
    field.mask_range.u32 =
        static_cast<std::uint32_t>(std::clamp(prefix->length - static_cast<int>(word) * 32, 0, 32));
  }
}

void put_range(rte_acl_field& field, const api::PortRange& range) {
  field.value.u16 = range.first;
  field.mask_range.u16 = range.last;
}

template <class AclRule>
AclRule make_rule(const api::Rule& rule, std::size_t place, std::size_t words) {
  AclRule acl{};
  acl.data.category_mask = 1;
  acl.data.priority = static_cast<std::int32_t>(api::kMaxRules - place);  // the first match wins
  acl.data.userdata = rule.action == api::RuleAction::kAllow ? kAllowed : kDenied;
  acl.field[0].value.u8 = number_of(rule.protocol);
  acl.field[0].mask_range.u8 = rule.protocol == api::RuleProtocol::kAny ? 0 : 0xff;
  put_prefix(&acl.field[1], rule.source, words);
  put_prefix(&acl.field[1 + words], rule.destination, words);
  put_range(acl.field[1 + 2 * words], rule.source_ports);
  put_range(acl.field[2 + 2 * words], rule.destination_ports);
  return acl;
}

Error no_memory(const char* step, std::size_t count, int error) {
  return Error{ErrorCode::kExhausted, "the engine cannot compile " + std::to_string(count) + " rules (" +
                                          step + ": " + rte_strerror(error) +
                                          "); use fewer, or raise memory_mib in the engine's configuration"};
}

// rte_acl gives a context that exists to whoever asks for its name.
std::string unused_name() {
  static std::atomic<std::uint64_t> number{0};
  return "podwire-" + std::to_string(number.fetch_add(1));
}

// Null when no rule is about the family.
template <class AclRule>
Result<rte_acl_ctx*> build(const std::vector<api::Rule>& rules, bool v4) {
  std::vector<AclRule> acl;
  for (std::size_t i = 0; i < rules.size(); ++i) {
    if (is_about(rules[i], v4)) acl.push_back(make_rule<AclRule>(rules[i], i, v4 ? 1 : 4));
  }
  if (acl.empty()) return nullptr;
  const auto name = unused_name();
  const rte_acl_param parameters{name.c_str(), SOCKET_ID_ANY, sizeof(AclRule),
                                 static_cast<std::uint32_t>(acl.size())};
  rte_acl_ctx* context = rte_acl_create(&parameters);
  if (context == nullptr) return no_memory("rte_acl_create", acl.size(), rte_errno);
  const auto config = make_config(v4);
  const char* step = "rte_acl_add_rules";
  int error = rte_acl_add_rules(context, reinterpret_cast<const rte_acl_rule*>(acl.data()),
                                static_cast<std::uint32_t>(acl.size()));
  if (error == 0) {
    step = "rte_acl_build";
    error = rte_acl_build(context, &config);
  }
  if (error == 0) return context;
  rte_acl_free(context);
  return no_memory(step, acl.size(), -error);
}

}  // namespace

Result<std::shared_ptr<const RuleSet>> RuleSet::compile(const std::vector<api::Rule>& rules,
                                                        std::uint32_t generation) {
  std::shared_ptr<RuleSet> set(new RuleSet(generation));
  const bool denies = std::any_of(rules.begin(), rules.end(), [](const api::Rule& rule) {
    return rule.action == api::RuleAction::kDeny;
  });
  if (denies) {
    PODWIRE_TRY(set->v4_, build<AclRule4>(rules, true));
    PODWIRE_TRY(set->v6_, build<AclRule6>(rules, false));
  }
  return std::shared_ptr<const RuleSet>(std::move(set));
}

RuleSet::~RuleSet() {
  rte_acl_free(v4_);
  rte_acl_free(v6_);
}

void RuleSet::classify_family(rte_acl_ctx* context, bool v4, std::span<const FlowKey* const> keys,
                              std::span<bool> allowed) const noexcept {
  const std::uint8_t* data[kBurst];
  std::uint32_t places[kBurst];
  std::uint32_t results[kBurst];
  std::uint32_t count = 0;
  for (std::uint32_t i = 0; i < keys.size(); ++i) {
    if (keys[i]->is_v4() != v4) continue;
    data[count] = reinterpret_cast<const std::uint8_t*>(keys[i]->words);
    places[count++] = i;
  }
  if (count == 0) return;
  // Fails for wrong arguments only. Then nothing passes.
  if (rte_acl_classify(context, data, results, count, 1) != 0) std::fill_n(results, count, kDenied);
  for (std::uint32_t i = 0; i < count; ++i) allowed[places[i]] = results[i] != kDenied;
}

void RuleSet::classify(std::span<const FlowKey* const> keys, std::span<bool> allowed) const noexcept {
  std::fill(allowed.begin(), allowed.end(), true);
  if (v4_ != nullptr) classify_family(v4_, true, keys, allowed);
  if (v6_ != nullptr) classify_family(v6_, false, keys, allowed);
}

bool RuleSet::allows(const FlowKey& key) const noexcept {
  if (allows_all()) return true;
  const FlowKey* const one[] = {&key};
  bool allowed[] = {true};
  classify(one, allowed);
  return allowed[0];
}

}  // namespace podwire::engine
