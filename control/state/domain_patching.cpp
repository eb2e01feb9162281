// EngineReconciler: domains and the routes in and between them, changed while the rest of the node stays.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <map>

#include "control/state/engine_reconciler.hpp"

namespace podwire::control {
namespace {

// In one message; a domain has a few hundred bytes, a list of exceptions from its masquerade more.
constexpr std::size_t kPatchRoutes = 2000, kPatchDomains = 200;

// As many domains as it takes the room of.
std::size_t weight_of(const api::Domain& domain) {
  constexpr std::size_t kPrefixes = 20;
  return 1 + (domain.masquerade ? domain.masquerade->except.size() / kPrefixes : 0);
}

// What of `to` is new or another in comparison with `from`; `gone` gets what is not in it any more.
template <class Object, class Id>
std::vector<const Object*> differing(const std::vector<Object>& from, const std::vector<Object>& to,
                                     std::vector<Id>& gone) {
  std::map<Id, const Object*> before;
  for (const auto& object : from) before[object.id] = &object;
  std::vector<const Object*> fresh;
  for (const auto& object : to) {
    const auto at = before.find(object.id);
    if (at == before.end() || *at->second != object) fresh.push_back(&object);
    if (at != before.end()) before.erase(at);
  }
  for (const auto& [id, object] : before) gone.push_back(id);
  return fresh;
}

using Patch = std::pair<api::ObjectSet, api::IdSet>;

// The last of `patches`, or a new one behind it when `members` says that it has no room for `more`.
Patch& patch_with_room(std::vector<Patch>& patches, std::size_t& members, std::size_t most,
                       std::size_t more = 1) {
  if (members == 0 || members + more > most) {
    patches.emplace_back();
    members = 0;
  }
  members += more;
  return patches.back();
}

}  // namespace

// What makes the former node the next one, in patches that each fit a message. What goes does so first: a
// prefix or a VNI may come back with another id.
std::vector<Patch> EngineReconciler::domain_patches(const NodeObjects& next) const {
  std::vector<RouteId> gone_routes;
  std::vector<DomainId> gone_domains;
  const auto routes = differing(node_.objects.routes, next.objects.routes, gone_routes);
  const auto domains = differing(node_.objects.domains, next.objects.domains, gone_domains);
  std::vector<Patch> patches;
  std::size_t members = 0;
  for (const auto id : gone_routes)
    patch_with_room(patches, members, kPatchRoutes).second.routes.push_back(id);
  members = 0;
  for (const auto id : gone_domains)
    patch_with_room(patches, members, kPatchDomains).second.domains.push_back(id);
  members = 0;
  for (const auto* domain : domains) {
    auto& put = patch_with_room(patches, members, kPatchDomains, weight_of(*domain)).first;
    put.domains.push_back(programmed_domain(*domain));
    remote_.complete(put.domains.back());
  }
  members = 0;
  for (const auto* route : routes) {
    const bool by_host = !host_problem_.empty() &&
                         std::any_of(route->next_hops.begin(), route->next_hops.end(),
                                     [&](const api::NextHop& hop) { return hop.port == node_.host; });
    if (!by_host) patch_with_room(patches, members, kPatchRoutes).first.routes.push_back(*route);
  }
  return patches;
}

Result<void> EngineReconciler::set_domains(NodeObjects next) {
  Change change;
  change.call = [this, &next](EngineSession& session) { return change_domains(session, std::move(next)); };
  return submit(std::move(change));
}

// Session thread, as the other changes of what is held: see programming.cpp.
Result<void> EngineReconciler::change_domains(EngineSession& session, NodeObjects next) {
  const auto patches = domain_patches(next);
  Result<std::uint64_t> patched(state().generation);
  bool begun = false;
  for (const auto& [put, gone] : patches) {
    patched = session.patch(put, gone, {});
    if (!patched) break;
    begun = true;
  }
  if (patched) {
    set_generation(*patched);
    take_domains(std::move(next));
    // Pods of a domain that has come back.
    const bool stranded = std::any_of(held_.begin(), held_.end(), [this](const auto& held) {
      return !held.second.problem.empty() && node_.domains.contains(held.second.attachment.domain);
    });
    return stranded ? program(session) : Result<void>();
  }
  // A broken session programs everything anew by itself.
  if (begun && session.ok()) {
    if (auto undone = program(session); !undone)
      spdlog::error("engine: putting the former domains back failed: {}", undone.error().message);
  }
  return patched.error();
}

void EngineReconciler::take_domains(NodeObjects next) {
  const std::lock_guard lock(mutex_);
  if (node_.domains != next.domains) ++node_version_;
  node_.objects.domains = std::move(next.objects.domains);
  node_.objects.routes = std::move(next.objects.routes);
  node_.domains = std::move(next.domains);
  node_.flow_limits = std::move(next.flow_limits);
  node_.isolating = std::move(next.isolating);
  node_.route_sources = std::move(next.route_sources);
  node_.reaches = std::move(next.reaches);
  node_.join_problems = std::move(next.join_problems);
}

}  // namespace podwire::control
