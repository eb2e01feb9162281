// EngineReconciler: what other nodes have, as patches.
#include <algorithm>

#include "control/state/engine_reconciler.hpp"

namespace podwire::control {
namespace {

// What certainly fits a message: an object has some 250 bytes, a domain with its flooding is counted apart.
constexpr std::size_t kPatchObjects = 1500;
constexpr std::size_t kPatchFloods = 5000;

}  // namespace

Result<void> EngineReconciler::change_remote(RemoteChange change) {
  {
    const std::lock_guard lock(mutex_);
    if (!thread_.joinable()) {
      remote_.apply(change);
      return {};
    }
  }
  Change work;
  work.action = Action::kRemote;
  work.remote = std::move(change);
  return submit(std::move(work));
}

RemoteObjects EngineReconciler::remote() const {
  const std::lock_guard lock(mutex_);
  return remote_.without_endpoints();
}

std::vector<EndpointId> EngineReconciler::returnable_endpoints() const {
  const std::lock_guard lock(mutex_);
  if (remote_.displaced().empty()) return {};
  std::set<MacKey> macs;
  std::set<AddressKey> addresses;
  for (const auto& [port, held] : held_) {
    const auto domain = node_.domains.find(held.attachment.domain);
    if (domain == node_.domains.end()) continue;
    for (const auto& endpoint : endpoints_of(held.attachment, domain->second)) {
      macs.emplace(endpoint.domain, endpoint.mac);
      for (const auto& address : endpoint.addresses) addresses.emplace(endpoint.domain, address);
    }
  }
  std::vector<EndpointId> out;
  for (const auto& [id, endpoint] : remote_.displaced()) {
    const bool taken =
        macs.contains({endpoint->domain, endpoint->mac}) ||
        std::any_of(endpoint->addresses.begin(), endpoint->addresses.end(), [&](const IpAddr& address) {
          return addresses.contains({endpoint->domain, address});
        });
    if (!taken) out.push_back(id);
  }
  return out;
}

// Half of it in force would be neither the old nor the new cluster, so a refused change is taken back whole.
Result<void> EngineReconciler::patch_remote(EngineSession& session, const RemoteChange& change) {
  RemoteChange undo;
  api::ObjectSet put;
  api::IdSet remove;
  std::size_t floods = 0, reordered = 0;
  put.vteps = change.vteps;
  put.routes = change.routes;
  for (const auto& endpoint : change.endpoints) put.endpoints.push_back(endpoint->object());
  remove.vteps.assign(change.gone_vteps.begin(), change.gone_vteps.end());
  remove.routes.assign(change.gone_routes.begin(), change.gone_routes.end());
  {
    const std::lock_guard lock(mutex_);
    undo = remote_.apply(change);
    reordered = reorder_mirrored(change, undo, put, remove);
    for (const auto& endpoint : undo.endpoints) {
      if (!remote_.endpoints().contains(endpoint->id)) remove.endpoints.push_back(endpoint->id);
    }
    std::set<DomainId> flooding;
    for (const auto& [domain, vtep] : change.flooded) flooding.insert(domain);
    for (const auto& [domain, vtep] : change.unflooded) flooding.insert(domain);
    for (const auto& domain : node_.objects.domains) {
      if (!flooding.contains(domain.id)) continue;
      put.domains.push_back(programmed_domain(domain));
      remote_.complete(put.domains.back());
      floods += put.domains.back().flood.size();
    }
  }
  if (put.empty() && remove.endpoints.empty() && remove.vteps.empty() && remove.routes.empty()) return {};
  // Larger ones go as a full replace, which is sent in pieces and applied as a difference, or not at all.
  const bool fits =
      change.size() + reordered + remove.endpoints.size() <= kPatchObjects && floods <= kPatchFloods;
  const auto send = [&]() -> Result<void> {
    if (!fits) return program(session, Refusal::kIsTheCallers);
    PODWIRE_TRY(const auto generation, session.patch(put, remove, {}));
    set_generation(generation);
    return {};
  };
  auto sent = send();
  // A connection that broke is followed by a full replace, of the new.
  if (sent || !session.ok()) return {};
  const std::lock_guard lock(mutex_);
  remote_.apply(undo);
  return sent;
}

// As desired_objects() has it: without a host interface nobody talks through it.
api::Domain EngineReconciler::programmed_domain(api::Domain domain) const {
  if (!host_problem_.empty()) domain.host_access = false;
  return domain;
}

}  // namespace podwire::control
