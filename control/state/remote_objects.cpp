#include "control/state/remote_objects.hpp"

#include <utility>

namespace podwire::control {
namespace {

template <class Id, class Object>
void put_all(std::map<Id, Object>& kept, const std::vector<Object>& objects, std::vector<Object>& before,
             std::set<Id>& fresh) {
  for (const auto& object : objects) {
    const auto [at, is_new] = kept.try_emplace(object.id, object);
    if (is_new) {
      fresh.insert(object.id);
    } else {
      before.push_back(std::exchange(at->second, object));
    }
  }
}

template <class Id, class Object>
void erase_all(std::map<Id, Object>& kept, const std::set<Id>& ids, std::vector<Object>& before) {
  for (const auto id : ids) {
    if (auto node = kept.extract(id)) before.push_back(std::move(node.mapped()));
  }
}

}  // namespace

RemoteChange RemoteObjects::apply(const RemoteChange& change) {
  RemoteChange undo;
  erase_all(vteps_, change.gone_vteps, undo.vteps);
  erase_all(routes_, change.gone_routes, undo.routes);
  put_all(vteps_, change.vteps, undo.vteps, undo.gone_vteps);
  put_all(routes_, change.routes, undo.routes, undo.gone_routes);
  for (const auto& route : undo.routes) {
    if (route.domain == kUnderlayDomain) plain_.erase(route.prefix);
  }
  for (const auto& route : change.routes) {
    if (route.domain == kUnderlayDomain) plain_.insert(route.prefix);
  }
  for (const auto& [domain, vtep] : change.unflooded) {
    if (flood_[domain].erase(vtep) != 0) undo.flooded.insert({domain, vtep});
  }
  for (const auto& [domain, vtep] : change.flooded) {
    if (flood_[domain].insert(vtep).second) undo.unflooded.insert({domain, vtep});
  }
  return undo;
}

void RemoteObjects::add_to(api::ObjectSet& set) const {
  for (const auto& [id, vtep] : vteps_) set.vteps.push_back(vtep);
  for (const auto& [id, route] : routes_) set.routes.push_back(route);
  for (auto& domain : set.domains) complete(domain);
}

void RemoteObjects::complete(api::Domain& domain) const {
  const auto at = flood_.find(domain.id);
  if (at != flood_.end()) domain.flood.insert(domain.flood.end(), at->second.begin(), at->second.end());
}

}  // namespace podwire::control
