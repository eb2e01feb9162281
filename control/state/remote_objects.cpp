#include "control/state/remote_objects.hpp"

#include <utility>

namespace podwire::control {
namespace {

template <class Object>
auto id_of(const Object& object) {
  return object.id;
}
EndpointId id_of(const SharedEndpoint& endpoint) {
  return endpoint->id;
}

template <class Id, class Object>
void put_all(std::map<Id, Object>& kept, const std::vector<Object>& objects, std::vector<Object>& before,
             std::set<Id>& fresh) {
  for (const auto& object : objects) {
    const auto [at, is_new] = kept.try_emplace(id_of(object), object);
    if (is_new) {
      fresh.insert(fresh.end(), id_of(object));
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

api::Endpoint RemoteEndpoint::object() const {
  api::Endpoint out;
  out.id = id;
  out.name = name;
  out.domain = domain;
  out.vtep = vtep;
  out.mac = mac;
  out.addresses = addresses;
  return out;
}

RemoteChange RemoteObjects::apply(const RemoteChange& change) {
  RemoteChange undo;
  auto gone_endpoints = change.gone_endpoints;
  for (const auto vtep : change.gone_vteps) {
    const auto at = behind_.find(vtep);
    if (at != behind_.end()) gone_endpoints.insert(at->second.begin(), at->second.end());
  }
  for (const auto& endpoint : change.endpoints) displaced_.erase(endpoint->id);
  std::erase_if(displaced_, [&](const auto& one) {
    return change.gone_endpoints.contains(one.first) || change.gone_vteps.contains(one.second->vtep);
  });
  for (const auto id : gone_endpoints) {
    if (const auto at = endpoints_.find(id); at != endpoints_.end()) note(*at->second, false);
  }
  erase_all(endpoints_, gone_endpoints, undo.endpoints);
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
  for (const auto& endpoint : change.endpoints) {
    if (const auto at = endpoints_.find(endpoint->id); at != endpoints_.end()) note(*at->second, false);
  }
  put_all(endpoints_, change.endpoints, undo.endpoints, undo.gone_endpoints);
  for (const auto& endpoint : change.endpoints) note(*endpoint, true);
  for (const auto& [domain, vtep] : change.unflooded) {
    if (flood_[domain].erase(vtep) != 0) undo.flooded.insert({domain, vtep});
  }
  for (const auto& [domain, vtep] : change.flooded) {
    if (flood_[domain].insert(vtep).second) undo.unflooded.insert({domain, vtep});
  }
  return undo;
}

// In the indexes.
void RemoteObjects::note(const RemoteEndpoint& endpoint, bool there) {
  const auto set = [&](auto& owners, const auto& key) {
    if (there)
      owners[key] = endpoint.id;
    else if (const auto at = owners.find(key); at != owners.end() && at->second == endpoint.id)
      owners.erase(at);
  };
  set(macs_, MacKey(endpoint.domain, endpoint.mac));
  for (const auto& address : endpoint.addresses) set(addresses_, AddressKey(endpoint.domain, address));
  auto& behind = behind_[endpoint.vtep];
  if (there)
    behind.insert(behind.end(), endpoint.id);
  else
    behind.erase(endpoint.id);
  if (behind.empty()) behind_.erase(endpoint.vtep);
}

RemoteObjects RemoteObjects::without_endpoints() const {
  RemoteObjects out;
  out.vteps_ = vteps_;
  out.routes_ = routes_;
  out.flood_ = flood_;
  return out;
}

std::vector<EndpointId> RemoteObjects::displaced_by(const api::Endpoint& own) const {
  std::set<EndpointId> out;
  if (const auto at = macs_.find({own.domain, own.mac}); at != macs_.end()) out.insert(at->second);
  for (const auto& address : own.addresses) {
    if (const auto at = addresses_.find({own.domain, address}); at != addresses_.end())
      out.insert(at->second);
  }
  return {out.begin(), out.end()};
}

void RemoteObjects::displace(const api::Endpoint& own) {
  const auto displaced = displaced_by(own);
  RemoteChange change;
  change.gone_endpoints.insert(displaced.begin(), displaced.end());
  auto undo = apply(change);
  for (auto& endpoint : undo.endpoints) displaced_.insert_or_assign(endpoint->id, std::move(endpoint));
}

void RemoteObjects::add_to(api::ObjectSet& set) const {
  for (const auto& [id, vtep] : vteps_) set.vteps.push_back(vtep);
  for (const auto& [id, route] : routes_) set.routes.push_back(route);
  set.endpoints.reserve(set.endpoints.size() + endpoints_.size());
  for (const auto& [id, endpoint] : endpoints_) set.endpoints.push_back(endpoint->object());
  for (auto& domain : set.domains) complete(domain);
}

void RemoteObjects::complete(api::Domain& domain) const {
  const auto at = flood_.find(domain.id);
  if (at != flood_.end()) domain.flood.insert(domain.flood.end(), at->second.begin(), at->second.end());
}

}  // namespace podwire::control
