// Intent's rules about policies and the endpoints that carry them.
#include "dataplane/tables/intent.hpp"
#include "dataplane/telemetry/counters.hpp"

namespace podwire::engine {
namespace {

std::size_t entries_of(const std::optional<api::PolicySide>& side) {
  if (!side) return 0;
  std::size_t entries = side->rules.size();
  for (const auto& rule : side->rules) {
    entries += rule.identities.size() + rule.blocks.size();
    for (const auto& block : rule.blocks) entries += block.except.size();
  }
  return entries;
}

std::size_t entries_of(const api::Policy& policy) {
  return entries_of(policy.ingress) + entries_of(policy.egress);
}

Error too_many(const api::Policy& policy, std::size_t most, const char* what) {
  return Error{ErrorCode::kExhausted, label(policy) + ": there can be " + std::to_string(most) + " " + what +
                                          "; delete policies that no endpoint has"};
}

}  // namespace

void Intent::insert(const api::Policy& policy) {
  policies_[policy.id] = policy;
  policy_entries_ += entries_of(policy);
}

void Intent::erase(const api::Policy& policy) {
  policies_.erase(policy.id);
  policy_entries_ -= entries_of(policy);
}

Result<void> Intent::check_unique(const api::Policy& policy) const {
  if (policies_.size() >= kMaxPolicies) return too_many(policy, kMaxPolicies, "policies");
  if (policy_entries_ + entries_of(policy) > kMaxPolicyEntries)
    return too_many(policy, kMaxPolicyEntries, "rules, identities and blocks in all policies together");
  return {};
}

// `endpoint` names a policy and its domain exists.
Result<void> Intent::check_policy_of(const api::Endpoint& endpoint) const {
  if (policy(endpoint.policy) == nullptr) {
    return not_found(label(endpoint) + ": policy " + std::to_string(endpoint.policy.value()) +
                     " does not exist; add it in the same change or before");
  }
  const auto& home = domains_.at(endpoint.domain);
  if (!home.stateful) {
    return invalid(label(endpoint) + ": has " + label(policies_.at(endpoint.policy)) + ", but " +
                   label(home) + " is not stateful and knows no connections; set stateful to true there");
  }
  if (endpoint.addresses.empty()) {
    return invalid(label(endpoint) + ": has " + label(policies_.at(endpoint.policy)) +
                   ", but no addresses that it could apply to; add them");
  }
  return {};
}

Result<void> Intent::check_referrers(const Change<api::Policy>& change) const {
  if (change.after) return {};
  const auto& users = endpoints_with(change.before->id);
  if (users.empty()) return {};
  return conflict(label(*change.before) + " cannot be deleted: " + label(endpoints_.at(*users.begin())) +
                  " has it; give that another policy, or none");
}

}  // namespace podwire::engine
