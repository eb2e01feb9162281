// EngineReconciler: the kernel's routes in the underlay. They are many and come in bursts, so they are kept
// beside the node's objects and sent as they change.
#include <spdlog/spdlog.h>

#include <set>
#include <span>

#include "control/state/engine_reconciler.hpp"

namespace podwire::control {
namespace {

// Of the engine's 262,144; the rest is for the node's own.
constexpr std::size_t kMostMirroredRoutes = 200'000;
// Well below what a line holds: a route's text is shorter than this, plus so much for each next hop.
constexpr std::size_t kRoutePatchBytes = kMaxLineBytes / 2, kRouteBytes = 128, kHopBytes = 96;
constexpr std::size_t kRemovedAtOnce = 20'000;

// The node's own routes of the underlay come first.
std::set<IpPrefix> node_prefixes(const NodeObjects& node) {
  std::set<IpPrefix> out;
  for (const auto& route : node.objects.routes) {
    if (route.domain == kUnderlayDomain) out.insert(route.prefix);
  }
  return out;
}

}  // namespace

Result<void> EngineReconciler::change_routes(const std::vector<api::Route>& put,
                                             const std::vector<RouteId>& remove) {
  std::vector<api::Route> some;  // in place of `put`, where not all of them find room
  bool all = true;
  {
    const std::lock_guard lock(mutex_);
    for (const auto id : remove) mirrored_.erase(id);
    for (const auto& route : put) {
      const bool room = mirrored_.size() < kMostMirroredRoutes || mirrored_.contains(route.id);
      if (all && !room) some.assign(put.begin(), put.begin() + (&route - put.data()));
      all = all && room;
      if (!room) continue;
      mirrored_[route.id] = route;
      if (!all) some.push_back(route);
    }
  }
  const auto& taken = all ? put : some;
  Change change;
  change.call = [&](EngineSession& session) { return patch_routes(session, taken, remove); };
  auto done = submit(std::move(change));
  // Without an engine the next full replace has them.
  if (!done && done.error().code != ErrorCode::kUnavailable) return done;
  if (taken.size() == put.size()) return {};
  return Error{ErrorCode::kExhausted, "the kernel has more than " + std::to_string(kMostMirroredRoutes) +
                                          " routes over the host interface, the most that are followed; " +
                                          std::to_string(put.size() - taken.size()) +
                                          " are left out: let the routing daemon import fewer"};
}

std::vector<api::Route> EngineReconciler::mirrored_routes() const {
  const std::lock_guard lock(mutex_);
  const auto own = node_prefixes(node_);
  std::vector<api::Route> out;
  for (const auto& [id, route] : mirrored_) {
    if (!own.contains(route.prefix) && !remote_.reaches_plainly(route.prefix)) out.push_back(route);
  }
  return out;
}

Result<void> EngineReconciler::patch_routes(EngineSession& session, const std::vector<api::Route>& put,
                                            const std::vector<RouteId>& remove) {
  const auto own = node_prefixes(node_);
  std::vector<api::Route> some;
  std::size_t bytes = 0;
  const auto send = [&]() -> Result<void> {
    bytes = 0;
    return put_routes(session, std::exchange(some, {}));
  };
  for (const auto& route : put) {
    if (own.contains(route.prefix) || remote_.reaches_plainly(route.prefix)) continue;
    bytes += kRouteBytes + route.next_hops.size() * kHopBytes;
    some.push_back(route);
    if (bytes > kRoutePatchBytes) PODWIRE_CHECK(send());
  }
  PODWIRE_CHECK(send());
  for (std::size_t begin = 0; begin < remove.size(); begin += kRemovedAtOnce) {
    const auto end = std::min(remove.size(), begin + kRemovedAtOnce);
    api::IdSet ids;
    ids.routes.assign(remove.begin() + static_cast<std::ptrdiff_t>(begin),
                      remove.begin() + static_cast<std::ptrdiff_t>(end));
    PODWIRE_TRY(const auto generation, session.patch({}, ids, {}));
    set_generation(generation);
  }
  return {};
}

// With what other nodes have, changed (and how to undo that), some of the kernel's routes go behind theirs,
// and others come back. Returns how many. Under the mutex.
std::size_t EngineReconciler::reorder_mirrored(const RemoteChange& change, const RemoteChange& undo,
                                               api::ObjectSet& put, api::IdSet& remove) const {
  const auto prefixes = [](const std::vector<api::Route>& routes) {
    std::set<IpPrefix> out;
    for (const auto& route : routes) {
      if (route.domain == kUnderlayDomain) out.insert(route.prefix);
    }
    return out;
  };
  const auto before = prefixes(undo.routes), after = prefixes(change.routes);
  if (before == after) return 0;
  const auto own = node_prefixes(node_);
  std::size_t found = 0;
  for (const auto& [id, route] : mirrored_) {
    const bool was = before.contains(route.prefix), is = after.contains(route.prefix);
    if (was == is || own.contains(route.prefix)) continue;
    if (is) remove.routes.push_back(id);
    if (was) put.routes.push_back(route);
    ++found;
  }
  return found;
}

// One that the engine refuses must not keep the others from it.
Result<void> EngineReconciler::put_routes(EngineSession& session, std::vector<api::Route> routes) {
  if (routes.empty()) return {};
  api::ObjectSet put;
  put.routes = std::move(routes);
  auto patched = session.patch(put, {}, {});
  if (patched) {
    set_generation(*patched);
    return {};
  }
  if (!session.ok()) return patched.error();
  if (put.routes.size() == 1) {
    spdlog::warn("the engine refused the kernel's route to {}: {}", to_string(put.routes.front().prefix),
                 patched.error().message);
    const std::lock_guard lock(mutex_);
    mirrored_.erase(put.routes.front().id);
    return {};
  }
  const auto half = put.routes.begin() + static_cast<std::ptrdiff_t>(put.routes.size() / 2);
  PODWIRE_CHECK(put_routes(session, {put.routes.begin(), half}));
  return put_routes(session, {half, put.routes.end()});
}

}  // namespace podwire::control
