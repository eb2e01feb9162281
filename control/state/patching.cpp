// EngineReconciler: waiting changes as patches, as many in one as have gathered. Session thread.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <set>

#include "control/state/engine_reconciler.hpp"

namespace podwire::control {
namespace {

constexpr std::size_t kBatchMembers = 256;

std::vector<int> borrow(const std::vector<UniqueFd>& fds) {
  std::vector<int> out;
  for (const auto& fd : fds) out.push_back(fd.get());
  return out;
}

// The extra endpoints of `before` that `after` has no more.
std::vector<EndpointId> lost_endpoints(const Attachment& after, const Attachment& before) {
  std::vector<EndpointId> lost;
  for (const auto& e : before.extra_endpoints) {
    const auto& kept = after.extra_endpoints;
    if (std::none_of(kept.begin(), kept.end(), [&](const ExtraEndpoint& k) { return k.id == e.id; }))
      lost.push_back(e.id);
  }
  return lost;
}

}  // namespace

EngineReconciler::Batch EngineReconciler::take_batch(std::deque<Change>& changes) const {
  Batch batch;
  std::set<PortId> ports;
  std::size_t fds = 0;
  while (!changes.empty() && batch.size() < kBatchMembers) {
    auto& next = changes.front();
    // A patch deletes before it puts, so two changes of one port cannot share one.
    // And who gets a floating address depends on the one before.
    const bool alone = next.action == Action::kCall || next.action == Action::kServices ||
                       next.action == Action::kRemote ||
                       outside_->floating.contains(floating_name(next.attachment));
    const bool fits =
        !alone && !ports.contains(next.attachment.port) && fds + next.queues.size() <= kMaxLineFds;
    if (!fits && !batch.empty()) break;
    ports.insert(next.attachment.port);
    fds += next.queues.size();
    batch.push_back(std::move(next));
    changes.pop_front();
    if (!fits) break;
  }
  return batch;
}

void EngineReconciler::process(EngineSession* session) {
  std::deque<Change> changes;
  {
    const std::lock_guard lock(mutex_);
    changes.swap(changes_);
  }
  while (!changes.empty()) {
    auto batch = take_batch(changes);
    if (session == nullptr || !session->ok()) {
      for (auto& change : batch) finish_without_engine(std::move(change));
    } else if (batch.front().action == Action::kCall) {
      batch.front().done.set_value(batch.front().call(*session));
    } else if (batch.front().action == Action::kRemote) {
      batch.front().done.set_value(patch_remote(*session, batch.front().remote));
    } else if (batch.front().action == Action::kServices) {
      auto patched = patch_services(*session, batch.front().services);
      if (patched) {
        finish(std::move(batch.front()));
      } else if (session->ok()) {
        batch.front().done.set_value(patched.error());
      } else {
        // Whether the engine survives them is not known: they must not come back with the next one.
        batch.front().done.set_value(
            unavailable("the connection to the engine broke while it was given the "
                        "services; nothing was kept, try again"));
      }
    } else {
      apply(*session, std::move(batch));
    }
  }
}

void EngineReconciler::finish_without_engine(Change change) {
  if (change.without_engine) {
    {
      const std::lock_guard lock(mutex_);
      change.without_engine();
    }
    change.done.set_value({});
    return;
  }
  const bool losing = change.action == Action::kUpdate && only_loses_endpoints(change.attachment);
  const bool kept = change.action == Action::kServices || change.action == Action::kRemote;
  if (change.action == Action::kDetach || kept || losing) {
    finish(std::move(change));  // the next full replace leaves it out
    return;
  }
  const auto reason = state().last_error;
  change.done.set_value(unavailable("the engine is not connected" +
                                    (reason.empty() ? "" : " (" + reason + ")") +
                                    "; check that podwire-engine runs, then try again"));
}

void EngineReconciler::finish(Change change) {
  {
    const std::lock_guard lock(mutex_);
    const bool comes = change.action == Action::kAttach || change.action == Action::kUpdate;
    const auto domain = node_.domains.find(change.attachment.domain);
    if (comes && domain != node_.domains.end()) {
      for (const auto& endpoint : endpoints_of(change.attachment, domain->second)) remote_.displace(endpoint);
    }
    if (change.action == Action::kAttach) {
      held_[change.attachment.port] = {std::move(change.attachment), std::move(change.queues), ""};
    } else if (change.action == Action::kUpdate) {
      const auto held = held_.find(change.attachment.port);
      if (held != held_.end()) held->second.attachment = std::move(change.attachment);
    } else if (change.action == Action::kServices) {
      take_services(std::move(change.services));
    } else if (change.action == Action::kRemote) {
      remote_.apply(change.remote);
    } else {
      held_.erase(change.attachment.port);
    }
  }
  change.done.set_value({});
}

bool EngineReconciler::only_loses_endpoints(const Attachment& after) const {
  const std::lock_guard lock(mutex_);
  const auto held = held_.find(after.port);
  if (held == held_.end()) return true;
  const auto before = lost_endpoints({}, held->second.attachment);
  const auto& now = after.extra_endpoints;
  return std::all_of(now.begin(), now.end(), [&](const ExtraEndpoint& e) {
    return std::find(before.begin(), before.end(), e.id) != before.end();
  });
}

bool EngineReconciler::add_to_patch(const Change& change, api::ObjectSet& put, api::IdSet& remove,
                                    PortQueues& queues) const {
  const auto& a = change.attachment;
  const auto held = held_.find(a.port);
  if (change.action != Action::kAttach) {
    if (held == held_.end() || !held->second.problem.empty()) return true;  // the engine does not have it
    const auto& before = held->second.attachment;
    const auto lost = lost_endpoints(change.action == Action::kUpdate ? a : Attachment{}, before);
    remove.endpoints.insert(remove.endpoints.end(), lost.begin(), lost.end());
    if (change.action == Action::kDetach) {
      remove.ports.push_back(before.port);
      remove.endpoints.push_back(before.endpoint);
      for (const auto& port : before.published_ports) remove.services.push_back(port.service);
      const auto heirs = reassigned(before, true);
      put.endpoints.insert(put.endpoints.end(), heirs.begin(), heirs.end());
      return true;
    }
  }
  const auto domain = node_.domains.find(a.domain);
  if (domain == node_.domains.end()) return false;
  const auto endpoints = completed_endpoints(a, domain->second, *policies_);
  put.endpoints.insert(put.endpoints.end(), endpoints.begin(), endpoints.end());
  // Who is here is known better here than by what other nodes tell.
  for (const auto& endpoint : endpoints) {
    const auto displaced = remote_.displaced_by(endpoint);
    remove.endpoints.insert(remove.endpoints.end(), displaced.begin(), displaced.end());
  }
  if (change.action == Action::kUpdate) return true;
  const auto displaced = reassigned(a, false);
  put.endpoints.insert(put.endpoints.end(), displaced.begin(), displaced.end());
  put.ports.push_back(port_of(a, domain->second, node_.flow_limit(domain->second)));
  const auto services = services_of(a, node_);
  put.services.insert(put.services.end(), services.begin(), services.end());
  queues[a.port] = borrow(change.queues);
  return true;
}

void EngineReconciler::apply(EngineSession& session, Batch batch) {
  api::ObjectSet put;
  api::IdSet remove;
  PortQueues queues;
  Batch sent;
  {
    const std::lock_guard lock(mutex_);
    for (auto& change : batch) {
      if (add_to_patch(change, put, remove, queues)) {
        sent.push_back(std::move(change));
      } else {
        change.done.set_value(
            not_found("domain \"" + change.attachment.domain + "\" is not configured on this node"));
      }
    }
  }
  const bool needed =
      !put.empty() || !remove.ports.empty() || !remove.endpoints.empty() || !remove.services.empty();
  auto patched = needed ? session.patch(put, remove, queues) : Result<std::uint64_t>(state().generation);
  if (patched) {
    set_generation(*patched);
    for (auto& change : sent) finish(std::move(change));
    return;
  }
  if (!session.ok()) {
    set_error(patched.error().message, false);
    for (auto& change : sent) finish_without_engine(std::move(change));
    return;
  }
  if (sent.size() == 1) {
    spdlog::warn("engine refused {}: {}", port_name(sent.front().attachment), patched.error().message);
    sent.front().done.set_value(patched.error());
    return;
  }
  // One bad member must not fail its neighbours.
  for (auto& change : sent) {
    Batch single;
    single.push_back(std::move(change));
    if (session.ok()) {
      apply(session, std::move(single));
    } else {
      finish_without_engine(std::move(single.front()));
    }
  }
}

}  // namespace podwire::control
