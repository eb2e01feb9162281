// EngineReconciler: the addresses outside of pods' endpoints. An egress address is that of all pods of its
// namespace. A floating one has one endpoint: of interfaces and pods of one name (a pod and its successor may
// be there at a time) the one called eth0, and of these the one with the lowest port. Session thread, as the
// other changes of what is held: see programming.cpp.
#include <spdlog/spdlog.h>

#include <algorithm>

#include "control/state/engine_reconciler.hpp"

namespace podwire::control {
namespace {

constexpr std::size_t kPatchEndpoints = 500;  // well within a line

bool has_masquerade(const NodeObjects& node, DomainId id) {
  const auto* domain = node.find_domain(id);
  return domain != nullptr && domain->masquerade.has_value();
}

std::pair<bool, PortId> rank_of(const Attachment& a) {
  return {!a.key.is_named_port() && a.key.ifname != "eth0", a.port};
}

// Those of the families that the endpoint has.
std::vector<IpAddr> fitting(const std::vector<IpAddr>& wanted, const api::Endpoint& endpoint) {
  std::vector<IpAddr> out;
  for (const auto& address : wanted) {
    const auto& own = endpoint.addresses;
    if (std::any_of(own.begin(), own.end(), [&](const IpAddr& a) { return a.is_v4() == address.is_v4(); }))
      out.push_back(address);
  }
  return out;
}

}  // namespace

// With `joins` as if that were held already, without `leaves`.
const Attachment* EngineReconciler::floating_holder(const std::string& name, const Attachment* joins,
                                                    const Attachment* leaves) const {
  const Attachment* best = nullptr;
  const auto consider = [&](const Attachment& a) {
    const auto domain = node_.domains.find(a.domain);
    if (floating_name(a) != name || domain == node_.domains.end() || !has_masquerade(node_, domain->second))
      return;
    if (best == nullptr || rank_of(a) < rank_of(*best)) best = &a;
  };
  for (const auto& [port, held] : held_) {
    const bool counts = held.problem.empty() && !(joins != nullptr && joins->port == port) &&
                        !(leaves != nullptr && leaves->port == port);
    if (counts) consider(held.attachment);
  }
  if (joins != nullptr) consider(*joins);
  return best;
}

void EngineReconciler::add_outside(const Attachment& attachment, DomainId domain, const Attachment* leaves,
                                   std::vector<api::Endpoint>& endpoints) const {
  if (!has_masquerade(node_, domain)) return;
  const auto egress = outside_->egress.find(attachment.pod_namespace);
  if (egress != outside_->egress.end() && !attachment.key.is_named_port()) {
    for (auto& endpoint : endpoints) endpoint.egress = fitting(egress->second, endpoint);
  }
  const auto name = floating_name(attachment);
  const auto floating = outside_->floating.find(name);
  if (name.empty() || floating == outside_->floating.end()) return;
  const auto* holder = floating_holder(name, &attachment, leaves);
  if (holder != nullptr && holder->port == attachment.port)
    endpoints.front().floating = fitting(floating->second, endpoints.front());
}

// Endpoints of others, whose floating address comes or goes because `changed` does.
std::vector<api::Endpoint> EngineReconciler::reassigned(const Attachment& changed, bool leaves) const {
  const auto name = floating_name(changed);
  if (name.empty() || !outside_->floating.contains(name)) return {};
  const auto* before = floating_holder(name, nullptr, nullptr);
  const auto* after = floating_holder(name, leaves ? nullptr : &changed, leaves ? &changed : nullptr);
  const auto* other = leaves ? after : before;
  if (other == nullptr || other->port == changed.port || before == nullptr || after == nullptr ||
      before->port == after->port)
    return {};
  auto endpoints =
      completed_endpoints(*other, node_.domains.at(other->domain), *policies_, leaves ? &changed : nullptr);
  if (!leaves) endpoints.front().floating.clear();
  return endpoints;
}

Result<void> EngineReconciler::set_outside(std::shared_ptr<const OutsideAssignments> next) {
  {
    const std::lock_guard lock(mutex_);
    if (!thread_.joinable()) {
      outside_ = std::move(next);
      return {};
    }
  }
  Change change;
  change.call = [this, &next](EngineSession& session) { return change_outside(session, next); };
  return submit(std::move(change));
}

std::vector<api::Endpoint> EngineReconciler::held_endpoints() const {
  std::vector<api::Endpoint> all;
  for (const auto& [port, held] : held_) {
    const auto domain = node_.domains.find(held.attachment.domain);
    if (!held.problem.empty() || domain == node_.domains.end()) continue;
    auto endpoints = completed_endpoints(held.attachment, domain->second, *policies_);
    std::move(endpoints.begin(), endpoints.end(), std::back_inserter(all));
  }
  return all;
}

Result<void> EngineReconciler::change_outside(EngineSession& session,
                                              std::shared_ptr<const OutsideAssignments> next) {
  const auto before = held_endpoints();
  const auto exchange = [this](std::shared_ptr<const OutsideAssignments>& with) {
    const std::lock_guard lock(mutex_);
    outside_.swap(with);
  };
  exchange(next);  // `next` holds the former ones now
  auto after = held_endpoints();
  std::vector<api::Endpoint> changed;
  for (std::size_t i = 0; i < after.size(); ++i) {
    if (after[i] != before[i]) changed.push_back(std::move(after[i]));
  }
  // Nobody gets what somebody has yet.
  std::stable_sort(changed.begin(), changed.end(), [](const api::Endpoint& a, const api::Endpoint& b) {
    return a.floating.size() < b.floating.size();
  });
  bool begun = false;
  for (std::size_t at = 0; at < changed.size(); at += kPatchEndpoints) {
    api::ObjectSet put;
    const auto end = std::min(changed.size(), at + kPatchEndpoints);
    put.endpoints.assign(changed.begin() + static_cast<std::ptrdiff_t>(at),
                         changed.begin() + static_cast<std::ptrdiff_t>(end));
    const auto patched = session.patch(put, {}, {});
    if (patched) {
      set_generation(*patched);
      begun = true;
      continue;
    }
    exchange(next);
    // A broken session programs everything anew by itself.
    if (begun && session.ok()) {
      if (auto undone = program(session); !undone)
        spdlog::error("engine: putting the former addresses back failed: {}", undone.error().message);
    }
    return patched.error();
  }
  return {};
}

}  // namespace podwire::control
