// EngineReconciler: the kernel's permanent neighbours, beside the node's objects like the kernel's routes.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <span>

#include "control/state/engine_reconciler.hpp"

namespace podwire::control {
namespace {

constexpr std::size_t kMostMirroredNeighbors = 4096;  // that the engine takes
constexpr std::size_t kNeighborsAtOnce = 1000;        // that surely fit a message

template <class T>
std::vector<std::span<const T>> in_pieces(const std::vector<T>& all) {
  std::vector<std::span<const T>> out;
  for (std::size_t begin = 0; begin < all.size(); begin += kNeighborsAtOnce)
    out.push_back(std::span(all).subspan(begin, std::min(kNeighborsAtOnce, all.size() - begin)));
  return out;
}

}  // namespace

Result<void> EngineReconciler::change_neighbors(const std::vector<api::Endpoint>& put,
                                                const std::vector<EndpointId>& remove) {
  std::vector<api::Endpoint> taken;
  {
    const std::lock_guard lock(mutex_);
    for (const auto id : remove) neighbors_.erase(id);
    for (const auto& neighbor : put) {
      if (neighbors_.size() >= kMostMirroredNeighbors && !neighbors_.contains(neighbor.id)) continue;
      neighbors_[neighbor.id] = neighbor;
      taken.push_back(neighbor);
    }
  }
  Change change;
  change.call = [&](EngineSession& session) { return patch_neighbors(session, taken, remove); };
  auto done = submit(std::move(change));
  // Without an engine the next full replace has them.
  if (!done && done.error().code != ErrorCode::kUnavailable) return done;
  if (taken.size() == put.size()) return {};
  return Error{ErrorCode::kExhausted,
               "the kernel has more than " + std::to_string(kMostMirroredNeighbors) +
                   " permanent neighbours on the host interface, the most that are followed; " +
                   std::to_string(put.size() - taken.size()) +
                   " are left out: delete some (ip neigh show nud permanent) and restart podwired"};
}

std::size_t EngineReconciler::mirrored_neighbors() const {
  const std::lock_guard lock(mutex_);
  return neighbors_.size();
}

// What goes makes room and may leave its id, so it goes first. One that the engine refuses must not keep the
// others from it.
Result<void> EngineReconciler::patch_neighbors(EngineSession& session, const std::vector<api::Endpoint>& put,
                                               const std::vector<EndpointId>& remove) {
  for (const auto some : in_pieces(remove)) {
    api::IdSet ids;
    ids.endpoints.assign(some.begin(), some.end());
    PODWIRE_TRY(const auto generation, session.patch({}, ids, {}));
    set_generation(generation);
  }
  for (const auto some : in_pieces(put)) {
    api::ObjectSet set;
    set.endpoints.assign(some.begin(), some.end());
    auto patched = session.patch(set, {}, {});
    if (patched) set_generation(*patched);
    if (patched || !session.ok()) continue;
    for (const auto& neighbor : some) {
      set.endpoints = {neighbor};
      if (patched = session.patch(set, {}, {}); patched) {
        set_generation(*patched);
        continue;
      }
      if (!session.ok()) break;
      spdlog::warn("the engine refused the kernel's {}: {}", neighbor.name, patched.error().message);
      const std::lock_guard lock(mutex_);
      neighbors_.erase(neighbor.id);
    }
  }
  return session.ok() ? Result<void>() : unavailable("the connection to the engine broke");
}

}  // namespace podwire::control
