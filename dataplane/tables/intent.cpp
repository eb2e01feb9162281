#include "dataplane/tables/intent.hpp"

#include <unordered_set>
#include <utility>

namespace podwire::engine {
namespace {

template <class Groups, class Key, class Member>
void join(Groups& groups, const Key& key, Member member) {
  groups[key].insert(member);
}

template <class Groups, class Key, class Member>
void part(Groups& groups, const Key& key, Member member) {
  const auto it = groups.find(key);
  if (it == groups.end()) return;
  it->second.erase(member);
  if (it->second.empty()) groups.erase(it);
}

template <class T>
bool changes_nothing(const Change<T>& change) {
  if constexpr (std::is_same_v<T, api::Port>) {
    if (change.after && change.after->descriptors != 0) return false;  // brings new queues
  }
  return change.before == change.after;
}

template <class T, class Id>
Result<std::vector<Change<T>>> collect(const std::vector<T>& put, const std::vector<Id>& remove,
                                       const std::map<Id, T>& have) {
  std::vector<Change<T>> changes;
  std::unordered_map<Id, std::size_t> position;
  changes.reserve(put.size() + remove.size());
  for (const auto id : remove) {
    const auto it = have.find(id);
    if (it != have.end() && position.emplace(id, changes.size()).second) changes.push_back({it->second, {}});
  }
  for (const auto& object : put) {
    const auto [at, fresh] = position.emplace(object.id, changes.size());
    if (fresh) {
      const auto it = have.find(object.id);
      changes.push_back({it == have.end() ? std::optional<T>() : it->second, object});
    } else if (changes[at->second].after) {
      return conflict(label(object) + ": id " + std::to_string(object.id.value()) +
                      " appears twice in one change; send every object once");
    } else {
      changes[at->second].after = object;
    }
  }
  std::erase_if(changes, changes_nothing<T>);
  return changes;
}

template <class T, class Id>
void find_surplus(const std::map<Id, T>& have, const std::vector<T>& all, std::vector<Id>& out) {
  std::unordered_set<Id> wanted;
  for (const auto& object : all) wanted.insert(object.id);
  for (const auto& [id, object] : have) {
    if (!wanted.contains(id)) out.push_back(id);
  }
}

// Endpoints of the underlay, out of all. One that moves to or from there goes in one list and comes in the
// other.
std::vector<Change<api::Endpoint>> take_neighbors(std::vector<Change<api::Endpoint>>& endpoints) {
  std::vector<Change<api::Endpoint>> neighbors;
  const auto take = [](std::optional<api::Endpoint>& from) {
    return from && from->domain == kUnderlayDomain ? std::exchange(from, std::nullopt) : std::nullopt;
  };
  for (auto& change : endpoints) {
    Change<api::Endpoint> taken{take(change.before), take(change.after)};
    if (taken.before || taken.after) neighbors.push_back(std::move(taken));
  }
  std::erase_if(endpoints, [](const auto& change) { return !change.before && !change.after; });
  return neighbors;
}

}  // namespace

Result<Changes> Intent::stage(const api::ObjectSet& put, const api::IdSet& remove) {
  Changes changes;
  PODWIRE_TRY(changes.ports, collect(put.ports, remove.ports, ports_));
  PODWIRE_TRY(changes.vteps, collect(put.vteps, remove.vteps, vteps_));
  PODWIRE_TRY(changes.domains, collect(put.domains, remove.domains, domains_));
  PODWIRE_TRY(changes.endpoints, collect(put.endpoints, remove.endpoints, endpoints_));
  changes.neighbors = take_neighbors(changes.endpoints);
  PODWIRE_TRY(changes.routes, collect(put.routes, remove.routes, routes_));
  PODWIRE_TRY(changes.services, collect(put.services, remove.services, services_));
  PODWIRE_TRY(changes.policies, collect(put.policies, remove.policies, policies_));

  const auto each = [](Changes& all, auto&& visit) -> Result<void> {
    PODWIRE_CHECK(visit(all.ports));
    PODWIRE_CHECK(visit(all.vteps));
    PODWIRE_CHECK(visit(all.domains));
    PODWIRE_CHECK(visit(all.endpoints));
    PODWIRE_CHECK(visit(all.neighbors));
    PODWIRE_CHECK(visit(all.routes));
    PODWIRE_CHECK(visit(all.services));
    return visit(all.policies);
  };
  // All that was goes first, so that two objects can swap a name or an address in one change.
  const auto take_out = [this](const auto& list) -> Result<void> {
    for (const auto& change : list) {
      if (change.before) erase(*change.before);
    }
    return {};
  };
  Changes done;  // what rollback() has to undo when a rule fails half-way
  const auto put_in = [this](const auto& list, auto& inserted) -> Result<void> {
    for (const auto& change : list) {
      if (!change.after) continue;
      PODWIRE_CHECK(check_unique(*change.after));
      insert(*change.after);
      inserted.push_back({{}, *change.after});
    }
    return {};
  };
  const auto apply = [&]() -> Result<void> {
    PODWIRE_CHECK(put_in(changes.ports, done.ports));
    PODWIRE_CHECK(put_in(changes.vteps, done.vteps));
    PODWIRE_CHECK(put_in(changes.domains, done.domains));
    PODWIRE_CHECK(put_in(changes.endpoints, done.endpoints));
    PODWIRE_CHECK(put_in(changes.neighbors, done.neighbors));
    PODWIRE_CHECK(put_in(changes.routes, done.routes));
    PODWIRE_CHECK(put_in(changes.services, done.services));
    PODWIRE_CHECK(put_in(changes.policies, done.policies));
    return each(changes, [this](const auto& list) { return check_all(list); });
  };
  PODWIRE_CHECK(each(changes, take_out));
  if (const auto applied = apply(); !applied) {
    rollback(done);
    const auto restore = [this](const auto& list) -> Result<void> {
      for (const auto& change : list) {
        if (change.before) insert(*change.before);
      }
      return {};
    };
    PODWIRE_CHECK(each(changes, restore));
    return applied.error();
  }
  return changes;
}

template <class T>
Result<void> Intent::check_all(const std::vector<Change<T>>& changes) const {
  for (const auto& change : changes) {
    if (change.after) PODWIRE_CHECK(check_references(*change.after));
    if (change.before) PODWIRE_CHECK(check_referrers(change));
  }
  return {};
}

void Intent::rollback(const Changes& changes) {
  const auto take_out = [this](const auto& list) {
    for (const auto& change : list) {
      if (change.after) erase(*change.after);
    }
  };
  const auto put_back = [this](const auto& list) {
    for (const auto& change : list) {
      if (change.before) insert(*change.before);
    }
  };
  const auto each = [&](auto&& visit) {
    visit(changes.ports);
    visit(changes.vteps);
    visit(changes.domains);
    visit(changes.endpoints);
    visit(changes.neighbors);
    visit(changes.routes);
    visit(changes.services);
    visit(changes.policies);
  };
  each(take_out);
  each(put_back);
}

api::IdSet Intent::surplus(const api::ObjectSet& all) const {
  api::IdSet ids;
  find_surplus(ports_, all.ports, ids.ports);
  find_surplus(vteps_, all.vteps, ids.vteps);
  find_surplus(domains_, all.domains, ids.domains);
  find_surplus(endpoints_, all.endpoints, ids.endpoints);
  find_surplus(routes_, all.routes, ids.routes);
  find_surplus(services_, all.services, ids.services);
  find_surplus(policies_, all.policies, ids.policies);
  return ids;
}

void Intent::insert(const api::Port& port) {
  auto& kept = ports_[port.id] = port;
  kept.descriptors = 0;  // said how the message is laid out, not what the port is
  port_names_[port.name] = port.id;
  if (port.listens()) port_sockets_[port.socket] = port.id;
  if (port.role == api::PortRole::kHost) host_port_ = port.id;
  if (port.role == api::PortRole::kPod) join(pod_ports_, port.domain, port.id);
}

void Intent::erase(const api::Port& port) {
  ports_.erase(port.id);
  port_names_.erase(port.name);
  if (port.listens()) port_sockets_.erase(port.socket);
  if (port.role == api::PortRole::kHost) host_port_ = PortId();
  if (port.role == api::PortRole::kPod) part(pod_ports_, port.domain, port.id);
}

void Intent::insert(const api::Vtep& vtep) {
  vteps_[vtep.id] = vtep;
  vtep_names_[vtep.name] = vtep.id;
  (vtep.local ? local_addresses_ : remote_addresses_)[{vtep.address, vtep.udp_port}] = vtep.id;
  if (vtep.local) local_vteps_.insert(vtep.id);
}

void Intent::erase(const api::Vtep& vtep) {
  vteps_.erase(vtep.id);
  vtep_names_.erase(vtep.name);
  (vtep.local ? local_addresses_ : remote_addresses_).erase({vtep.address, vtep.udp_port});
  if (vtep.local) local_vteps_.erase(vtep.id);
}

void Intent::insert(const api::Domain& domain) {
  domains_[domain.id] = domain;
  domain_names_[domain.name] = domain.id;
  vnis_[domain.vni.value()] = domain.id;
  if (domain.host_access) host_domain_ = domain.id;
  if (domain.routed) {
    for (const auto& gateway : domain.gateways) routed_prefixes_[gateway.network()] = domain.id;
  }
  for (const auto vtep : domain.flood) join(floods_to_vtep_, vtep, domain.id);
}

void Intent::erase(const api::Domain& domain) {
  domains_.erase(domain.id);
  domain_names_.erase(domain.name);
  vnis_.erase(domain.vni.value());
  if (domain.host_access) host_domain_ = DomainId();
  if (domain.routed) {
    for (const auto& gateway : domain.gateways) routed_prefixes_.erase(gateway.network());
  }
  for (const auto vtep : domain.flood) part(floods_to_vtep_, vtep, domain.id);
}

void Intent::insert(const api::Endpoint& endpoint) {
  if (endpoint.domain == kUnderlayDomain) return insert_neighbor(endpoint);
  endpoints_[endpoint.id] = endpoint;
  macs_[fdb_key(endpoint.domain, endpoint.mac).word] = endpoint.id;
  for (const auto& address : endpoint.addresses) addresses_[{endpoint.domain, address}] = endpoint.id;
  join(endpoints_in_domain_, endpoint.domain, endpoint.id);
  if (endpoint.port) join(endpoints_on_port_, endpoint.port, endpoint.id);
  if (endpoint.vtep) join(endpoints_on_vtep_, endpoint.vtep, endpoint.id);
  if (endpoint.policy) join(endpoints_with_policy_, endpoint.policy, endpoint.id);
  insert_outside(endpoint);
}

void Intent::erase(const api::Endpoint& endpoint) {
  if (endpoint.domain == kUnderlayDomain) return erase_neighbor(endpoint);
  macs_.erase(fdb_key(endpoint.domain, endpoint.mac).word);
  for (const auto& address : endpoint.addresses) addresses_.erase({endpoint.domain, address});
  part(endpoints_in_domain_, endpoint.domain, endpoint.id);
  if (endpoint.port) part(endpoints_on_port_, endpoint.port, endpoint.id);
  if (endpoint.vtep) part(endpoints_on_vtep_, endpoint.vtep, endpoint.id);
  if (endpoint.policy) part(endpoints_with_policy_, endpoint.policy, endpoint.id);
  erase_outside(endpoint);
  endpoints_.erase(endpoint.id);
}

void Intent::insert(const api::Route& route) {
  routes_[route.id] = route;
  prefixes_[{route.domain, route.prefix}] = route.id;
  join(routes_in_domain_, route.domain, route.id);
  next_hops_ += route.next_hops.size();
  for (const auto& hop : route.next_hops) {
    if (hop.vtep) join(routes_on_vtep_, hop.vtep, route.id);
    if (hop.into) {
      join(routes_out_of_, route.domain, route.id);
      join(routes_into_, hop.into, route.id);
      joins_out_of_.insert(route.domain, route.prefix, route.id);
      joins_into_.insert(hop.into, route.prefix, route.id);
    }
    if (hop.port) join(routes_on_port_, hop.port, route.id);
    if (hop.port && !hop.address.is_zero()) {
      join(routes_on_address_, DomainAddress{route.domain, hop.address}, route.id);
    }
  }
}

void Intent::erase(const api::Route& route) {
  prefixes_.erase({route.domain, route.prefix});
  part(routes_in_domain_, route.domain, route.id);
  next_hops_ -= route.next_hops.size();
  for (const auto& hop : route.next_hops) {
    if (hop.vtep) part(routes_on_vtep_, hop.vtep, route.id);
    if (hop.into) {
      part(routes_out_of_, route.domain, route.id);
      part(routes_into_, hop.into, route.id);
      joins_out_of_.erase(route.domain, route.prefix, route.id);
      joins_into_.erase(hop.into, route.prefix, route.id);
    }
    if (hop.port) part(routes_on_port_, hop.port, route.id);
    if (hop.port && !hop.address.is_zero()) {
      part(routes_on_address_, DomainAddress{route.domain, hop.address}, route.id);
    }
  }
  routes_.erase(route.id);
}

const api::Endpoint* Intent::endpoint_with(DomainId domain, const MacAddr& mac) const {
  const auto it = macs_.find(fdb_key(domain, mac).word);
  return it == macs_.end() ? nullptr : endpoint(it->second);
}

const api::Endpoint* Intent::endpoint_with(DomainId domain, const IpAddr& address) const {
  const auto it = addresses_.find({domain, address});
  return it == addresses_.end() ? nullptr : endpoint(it->second);
}

const api::Route* Intent::route_for(DomainId domain, const IpPrefix& prefix) const {
  const auto it = prefixes_.find({domain, prefix});
  return it == prefixes_.end() ? nullptr : route(it->second);
}

const api::Route* Intent::lookup(DomainId domain, const IpAddr& address) const {
  for (int length = address.bits(); length >= 0; --length) {
    if (const auto* found = route_for(domain, IpPrefix{address, length}.network())) return found;
  }
  return nullptr;
}

}  // namespace podwire::engine
