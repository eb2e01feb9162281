// EngineReconciler: the routes between joined domains, changed while the rest of the node stays.
#include <spdlog/spdlog.h>

#include <map>

#include "control/state/engine_reconciler.hpp"

namespace podwire::control {
namespace {

constexpr std::size_t kPatchRoutes = 2000;  // in one message

// What makes the routes `from` the routes `to`, in patches that each fit a message. What goes does so first:
// a prefix may come back with another id.
std::vector<std::pair<api::ObjectSet, api::IdSet>> route_patches(const std::vector<api::Route>& from,
                                                                 const std::vector<api::Route>& to) {
  std::map<RouteId, const api::Route*> before;
  for (const auto& route : from) before[route.id] = &route;
  std::vector<const api::Route*> fresh;
  for (const auto& route : to) {
    const auto at = before.find(route.id);
    if (at == before.end() || *at->second != route) fresh.push_back(&route);
    if (at != before.end()) before.erase(at);
  }
  std::vector<std::pair<api::ObjectSet, api::IdSet>> patches;
  std::size_t members = kPatchRoutes;
  const auto patch = [&]() -> auto& {
    if (members++ % kPatchRoutes == 0) patches.emplace_back();
    return patches.back();
  };
  for (const auto& [id, route] : before) patch().second.routes.push_back(id);
  for (const auto* route : fresh) patch().first.routes.push_back(*route);
  return patches;
}

}  // namespace

Result<void> EngineReconciler::set_joins(NodeObjects next) {
  Change change;
  change.call = [this, &next](EngineSession& session) { return change_joins(session, std::move(next)); };
  return submit(std::move(change));
}

// Session thread, as the other changes of what is held: see programming.cpp.
Result<void> EngineReconciler::change_joins(EngineSession& session, NodeObjects next) {
  const auto patches = route_patches(node_.objects.routes, next.objects.routes);
  Result<std::uint64_t> patched(state().generation);
  bool begun = false;
  for (const auto& [put, gone] : patches) {
    patched = session.patch(put, gone, {});
    if (!patched) break;
    begun = true;
  }
  if (patched) {
    set_generation(*patched);
    const std::lock_guard lock(mutex_);
    node_.objects.routes = std::move(next.objects.routes);
    node_.route_sources = std::move(next.route_sources);
    node_.reaches = std::move(next.reaches);
    node_.join_problems = std::move(next.join_problems);
    return {};
  }
  // A broken session programs everything anew by itself.
  if (begun && session.ok()) {
    if (auto undone = program(session); !undone)
      spdlog::error("engine: putting the former routes back failed: {}", undone.error().message);
  }
  return patched.error();
}

}  // namespace podwire::control
