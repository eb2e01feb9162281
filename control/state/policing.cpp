// EngineReconciler: policies, and the policy and identity of pods' endpoints.
#include <spdlog/spdlog.h>

#include <algorithm>

#include "control/state/engine_reconciler.hpp"

namespace podwire::control {
namespace {

// Well below what a line holds, so that what surrounds the objects never matters.
constexpr std::size_t kPatchBytes = kMaxLineBytes / 2;

// Patches of as many objects as a line holds; policies go before the endpoints that name them.
std::vector<api::ObjectSet> split(std::vector<api::Policy> policies, std::vector<api::Endpoint> endpoints) {
  std::vector<api::ObjectSet> patches;
  std::size_t bytes = kPatchBytes;
  const auto room_for = [&](const Json& object) -> api::ObjectSet& {
    const auto size = object.dump(-1, ' ', false, Json::error_handler_t::replace).size() + 1;
    if (bytes + size > kPatchBytes) {
      patches.emplace_back();
      bytes = 0;
    }
    bytes += size;
    return patches.back();
  };
  for (auto& policy : policies) room_for(api::to_json(policy)).policies.push_back(std::move(policy));
  for (auto& endpoint : endpoints) room_for(api::to_json(endpoint)).endpoints.push_back(std::move(endpoint));
  return patches;
}

bool tracks(const NodeObjects& node, DomainId id) {
  const auto* domain = node.find_domain(id);
  return domain != nullptr && domain->stateful;
}

}  // namespace

std::vector<api::Endpoint> EngineReconciler::completed_endpoints(const Attachment& attachment,
                                                                 DomainId domain,
                                                                 const PolicySnapshot& policies,
                                                                 const Attachment* leaves) const {
  auto endpoints = endpoints_of(attachment, domain);
  if (!tracks(node_, domain)) return endpoints;
  const auto marks = policies.marks_of({attachment.pod_namespace, attachment.pod_name}, attachment.pod_uid);
  const bool isolates = node_.isolating.contains(domain);
  for (auto& endpoint : endpoints) {
    if (endpoint.addresses.empty()) continue;  // nothing is sent from or to it that policy could know
    endpoint.policy = isolates ? policies.isolating(marks.policy) : marks.policy;
    endpoint.identity = marks.identity;
  }
  add_outside(attachment, domain, leaves, endpoints);
  return endpoints;
}

Result<void> EngineReconciler::set_policies(std::shared_ptr<const PolicySnapshot> policies) {
  return give_policies(std::move(policies), false);
}

Result<void> EngineReconciler::follow_policies(std::shared_ptr<const PolicySnapshot> policies) {
  return give_policies(std::move(policies), true);
}

Result<void> EngineReconciler::give_policies(std::shared_ptr<const PolicySnapshot> policies,
                                             bool kept_without_engine) {
  {
    const std::lock_guard lock(mutex_);
    if (!thread_.joinable()) {
      policies_ = std::move(policies);
      return {};
    }
  }
  Change change;
  change.call = [this, &policies](EngineSession& session) { return change_policies(session, policies); };
  if (kept_without_engine) change.without_engine = [this, &policies] { policies_ = policies; };
  return submit(std::move(change));
}

// Session thread, as the other changes of what is held: see programming.cpp.
Result<void> EngineReconciler::change_policies(EngineSession& session,
                                               std::shared_ptr<const PolicySnapshot> next) {
  std::vector<api::Policy> policies;
  api::IdSet gone;
  for (const auto& [id, policy] : next->policies) {
    const auto before = policies_->policies.find(id);
    const bool known = before != policies_->policies.end();
    if (!known || (before->second != policy && *before->second != *policy)) policies.push_back(*policy);
  }
  for (const auto& [id, policy] : policies_->policies) {
    if (!next->policies.contains(id)) gone.policies.push_back(id);
  }
  std::vector<api::Endpoint> endpoints;
  for (const auto& [port, held] : held_) {
    const auto domain = node_.domains.find(held.attachment.domain);
    if (!held.problem.empty() || domain == node_.domains.end()) continue;
    auto after = completed_endpoints(held.attachment, domain->second, *next);
    if (after == completed_endpoints(held.attachment, domain->second, *policies_)) continue;
    endpoints.insert(endpoints.end(), after.begin(), after.end());
  }
  auto patches = split(std::move(policies), std::move(endpoints));
  if (patches.empty() && !gone.policies.empty()) patches.emplace_back();
  Result<std::uint64_t> patched(state().generation);
  bool begun = false;
  for (std::size_t i = 0; i < patches.size() && patched; ++i) {
    // What nobody names any more goes with the last.
    const bool last = i + 1 == patches.size();
    patched = session.patch(patches[i], last ? gone : api::IdSet{}, {});
    begun |= static_cast<bool>(patched);
  }
  if (patched) {
    set_generation(*patched);
    const std::lock_guard lock(mutex_);
    policies_ = std::move(next);
    return {};
  }
  // A broken session programs everything anew by itself.
  if (begun && session.ok()) {
    if (auto undone = program(session); !undone)
      spdlog::error("engine: putting the former policies back failed: {}", undone.error().message);
  }
  return patched.error();
}

}  // namespace podwire::control
