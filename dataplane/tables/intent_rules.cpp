// The cross-object rules of Intent. Field-level rules (ranges, shapes) are api/objects.cpp's.
#include <algorithm>

#include "dataplane/tables/intent.hpp"
#include "dataplane/telemetry/counters.hpp"

namespace podwire::engine {
namespace {

std::string quoted(const std::string& name) {
  return " \"" + name.substr(0, 80) + "\"";
}

template <class Id>
std::string missing(const std::string& who, const char* noun, Id id) {
  return who + ": " + noun + " " + std::to_string(id.value()) +
         " does not exist; add it in the same change or before";
}

Error name_taken(const std::string& who, const std::string& other) {
  return conflict(who + ": the name is " + other + "'s already; choose another");
}

}  // namespace

std::string label(const api::Port& port) {
  return "port " + std::to_string(port.id.value()) + quoted(port.name);
}
std::string label(const api::Vtep& vtep) {
  return "vtep " + std::to_string(vtep.id.value()) + quoted(vtep.name);
}
std::string label(const api::Domain& domain) {
  return "domain " + std::to_string(domain.id.value()) + quoted(domain.name);
}
std::string label(const api::Endpoint& endpoint) {
  return "endpoint " + std::to_string(endpoint.id.value()) + quoted(endpoint.name);
}
std::string label(const api::Route& route) {
  return "route " + std::to_string(route.id.value()) + " " + to_string(route.prefix);
}
std::string label(const api::Policy& policy) {
  return "policy " + std::to_string(policy.id.value()) + quoted(policy.name);
}

Result<void> Intent::check_unique(const api::Port& port) const {
  if (port.id.value() >= kMaxPorts) {
    return invalid(label(port) + ": id is " + std::to_string(port.id.value()) + ", must be 1 to " +
                   std::to_string(kMaxPorts - 1) + "; use the lowest free id");
  }
  if (const auto it = port_names_.find(port.name); it != port_names_.end()) {
    return name_taken(label(port), label(ports_.at(it->second)));
  }
  if (const auto it = port_sockets_.find(port.socket); port.listens() && it != port_sockets_.end()) {
    return conflict(label(port) + ": socket " + port.socket + " is " + label(ports_.at(it->second)) +
                    "'s already; choose another path");
  }
  if (port.role == api::PortRole::kHost && host_port_) {
    return conflict(label(port) + ": role is host, but " + label(ports_.at(host_port_)) +
                    " is the host port already and there is at most one; delete that first");
  }
  return {};
}

Result<void> Intent::check_unique(const api::Vtep& vtep) const {
  if (vteps_.size() >= kMaxVteps) {
    return Error{ErrorCode::kExhausted, label(vtep) + ": there are " + std::to_string(kMaxVteps) +
                                            " vteps, the most there can be; delete some"};
  }
  if (const auto it = vtep_names_.find(vtep.name); it != vtep_names_.end()) {
    return name_taken(label(vtep), label(vteps_.at(it->second)));
  }
  const auto& same_kind = vtep.local ? local_addresses_ : remote_addresses_;
  if (const auto it = same_kind.find({vtep.address, vtep.udp_port}); it != same_kind.end()) {
    return conflict(label(vtep) + ": address " + to_string(vtep.address) + " with UDP port " +
                    std::to_string(vtep.udp_port) + " is " + label(vteps_.at(it->second)) +
                    "'s already; change one of them");
  }
  const auto& other_kind = vtep.local ? remote_addresses_ : local_addresses_;
  const auto it = other_kind.lower_bound({vtep.address, 0});
  if (it != other_kind.end() && it->first.first == vtep.address) {
    return conflict(label(vtep) + ": address " + to_string(vtep.address) + " is " +
                    label(vteps_.at(it->second)) + "'s, which is " + (vtep.local ? "remote" : "local") +
                    "; an address is either this node's or a peer's");
  }
  return {};
}

Result<void> Intent::check_unique(const api::Domain& domain) const {
  if (domain.id.value() >= kMaxDomains) {
    return invalid(label(domain) + ": id is " + std::to_string(domain.id.value()) + ", must be 2 to " +
                   std::to_string(kMaxDomains - 1) + "; use the lowest free id");
  }
  if (const auto it = domain_names_.find(domain.name); it != domain_names_.end()) {
    return name_taken(label(domain), label(domains_.at(it->second)));
  }
  if (const auto it = vnis_.find(domain.vni.value()); it != vnis_.end()) {
    return conflict(label(domain) + ": VNI " + std::to_string(domain.vni.value()) + " is " +
                    label(domains_.at(it->second)) + "'s already; choose another");
  }
  if (domain.host_access && host_domain_) {
    return conflict(label(domain) + ": host_access is true, but " + label(domains_.at(host_domain_)) +
                    " has it already and at most one domain can; set it to false in one of them");
  }
  return domain.routed ? check_routed(domain) : Result<void>();
}

// Without tunnels an address alone tells the domain.
Result<void> Intent::check_routed(const api::Domain& domain) const {
  for (const auto& gateway : domain.gateways) {
    const auto subnet = gateway.network();
    auto other = routed_prefixes_.end();
    for (int length = subnet.length; length >= 0 && other == routed_prefixes_.end(); --length)
      other = routed_prefixes_.find(IpPrefix{subnet.address, length}.network());
    if (other == routed_prefixes_.end()) {
      other = routed_prefixes_.lower_bound(subnet);
      if (other != routed_prefixes_.end() && !subnet.contains(other->first.address))
        other = routed_prefixes_.end();
    }
    if (other == routed_prefixes_.end()) continue;
    return conflict(label(domain) + ": routed is true, but its subnet " + to_string(subnet) + " overlaps " +
                    to_string(other->first) + " of " + label(domains_.at(other->second)) +
                    ", which is routed too; give one of them other addresses");
  }
  return {};
}

Result<void> Intent::check_unique(const api::Endpoint& endpoint) const {
  if (endpoints_.size() >= kMaxEndpoints) {
    return Error{ErrorCode::kExhausted, label(endpoint) + ": there are " + std::to_string(kMaxEndpoints) +
                                            " endpoints, the most there can be; delete some"};
  }
  if (const auto* other = endpoint_with(endpoint.domain, endpoint.mac)) {
    return conflict(label(endpoint) + ": MAC " + to_string(endpoint.mac) + " is " + label(*other) +
                    "'s already in domain " + std::to_string(endpoint.domain.value()) + "; give it another");
  }
  for (auto it = endpoint.addresses.begin(); it != endpoint.addresses.end(); ++it) {
    if (const auto* other = endpoint_with(endpoint.domain, *it)) {
      return conflict(label(endpoint) + ": address " + to_string(*it) + " is " + label(*other) +
                      "'s already in domain " + std::to_string(endpoint.domain.value()) +
                      "; give it another");
    }
    if (std::find(endpoint.addresses.begin(), it, *it) != it) {
      return conflict(label(endpoint) + ": address " + to_string(*it) + " is listed twice; list it once");
    }
  }
  return endpoint.domain == kUnderlayDomain ? check_room_for_neighbor(endpoint)
                                            : check_unique_outside(endpoint);
}

Result<void> Intent::check_unique(const api::Route& route) const {
  if (routes_.size() >= kMaxRoutes || next_hops_ + route.next_hops.size() > kMaxNextHops) {
    return Error{ErrorCode::kExhausted, label(route) + ": there can be " + std::to_string(kMaxRoutes) +
                                            " routes with " + std::to_string(kMaxNextHops) +
                                            " next hops in all; delete some"};
  }
  if (const auto* other = route_for(route.domain, route.prefix)) {
    return conflict(label(route) + ": the prefix is " + label(*other) + "'s already in domain " +
                    std::to_string(route.domain.value()) + "; give that route more next_hops instead");
  }
  return {};
}

Result<void> Intent::check_references(const api::Port& port) const {
  if (port.role == api::PortRole::kPod && domain(port.domain) == nullptr) {
    return not_found(missing(label(port), "domain", port.domain));
  }
  return {};
}

Result<void> Intent::check_references(const api::Vtep& vtep) const {
  return vtep.local ? check_not_floating(label(vtep), vtep.address) : Result<void>();
}

Result<void> Intent::check_references(const api::Domain& domain) const {
  if (domain.masquerade) {
    for (const auto& address : domain.masquerade->addresses)
      PODWIRE_CHECK(check_not_floating(label(domain) + ": masquerade", address));
  }
  if (domain.gateways.size() > kMaxGateways) {
    return invalid(label(domain) + ": has " + std::to_string(domain.gateways.size()) + " gateways, at most " +
                   std::to_string(kMaxGateways) + " are possible; use more domains");
  }
  std::set<IpAddr> seen;
  for (const auto& gateway : domain.gateways) {
    if (gateway.address.is_zero() || gateway.address.is_multicast()) {
      return invalid(label(domain) + ": gateway " + to_string(gateway) +
                     " is no unicast address; use one of the subnet's");
    }
    if (!seen.insert(gateway.address).second) {
      return conflict(label(domain) + ": gateway " + to_string(gateway.address) +
                      " is listed twice; list it once");
    }
    if (const auto* endpoint = endpoint_with(domain.id, gateway.address)) {
      return conflict(label(domain) + ": gateway " + to_string(gateway.address) + " is the address of " +
                      label(*endpoint) + "; give one of them another");
    }
  }
  if (const auto* endpoint = endpoint_with(domain.id, domain.gateway_mac)) {
    return conflict(label(domain) + ": gateway_mac " + to_string(domain.gateway_mac) + " is the MAC of " +
                    label(*endpoint) + "; give one of them another");
  }
  std::set<VtepId> flooded;
  for (const auto id : domain.flood) {
    const auto* target = vtep(id);
    if (target == nullptr) return not_found(missing(label(domain) + ".flood", "vtep", id));
    if (target->local) {
      return invalid(label(domain) + ".flood: " + label(*target) + " is local; flood to remote vteps only");
    }
    if (!flooded.insert(id).second) {
      return conflict(label(domain) + ".flood: " + label(*target) + " is listed twice; list it once");
    }
  }
  return {};
}

Result<void> Intent::check_references(const api::Endpoint& endpoint) const {
  const auto* on = port(endpoint.port);
  if (endpoint.port && on == nullptr) return not_found(missing(label(endpoint), "port", endpoint.port));
  const auto* at = vtep(endpoint.vtep);
  if (endpoint.vtep && at == nullptr) return not_found(missing(label(endpoint), "vtep", endpoint.vtep));
  if (endpoint.domain == kUnderlayDomain) return check_neighbor(endpoint);
  const auto* home = domain(endpoint.domain);
  if (home == nullptr) return not_found(missing(label(endpoint), "domain", endpoint.domain));
  if (on != nullptr) {
    if (on->role != api::PortRole::kPod) {
      return invalid(label(endpoint) + ": " + label(*on) + " has the role " +
                     api::kPortRoleNames[static_cast<std::size_t>(on->role)] +
                     "; endpoints are on pod ports");
    }
    if (on->domain != endpoint.domain) {
      return invalid(label(endpoint) + ": domain is " + std::to_string(endpoint.domain.value()) + ", but " +
                     label(*on) + " is in domain " + std::to_string(on->domain.value()) +
                     "; put both into one");
    }
  } else if (at->local) {
    return invalid(label(endpoint) + ": " + label(*at) + " is local; an endpoint of this node is on a port");
  }
  if (endpoint.mac == home->gateway_mac) {
    return conflict(label(endpoint) + ": MAC " + to_string(endpoint.mac) + " is the gateway's of " +
                    label(*home) + "; give it another");
  }
  for (const auto& address : endpoint.addresses) {
    const bool gateways = std::any_of(home->gateways.begin(), home->gateways.end(),
                                      [&](const IpPrefix& gateway) { return gateway.address == address; });
    if (gateways) {
      return conflict(label(endpoint) + ": address " + to_string(address) + " is the gateway's of " +
                      label(*home) + "; give it another");
    }
  }
  PODWIRE_CHECK(check_outside(endpoint));
  return endpoint.policy ? check_policy_of(endpoint) : Result<void>();
}

Result<void> Intent::check_references(const api::Route& route) const {
  if (route.domain != kUnderlayDomain && domain(route.domain) == nullptr) {
    return not_found(missing(label(route), "domain", route.domain));
  }
  if (route.prefix.address.is_multicast()) {
    return invalid(label(route) + ": the prefix is multicast, which is not routed; use a unicast prefix");
  }
  for (const auto& hop : route.next_hops) PODWIRE_CHECK(check_next_hop(route, hop));
  return {};
}

Result<void> Intent::check_next_hop(const api::Route& route, const api::NextHop& hop) const {
  if (hop.into) return check_into(route, hop.into);
  if (hop.vtep) {
    const auto* through = vtep(hop.vtep);
    if (through == nullptr) return not_found(missing(label(route), "vtep", hop.vtep));
    if (through->local)
      return invalid(label(route) + ": next hop " + label(*through) + " is local; use a remote one");
    if (route.domain == kUnderlayDomain) {
      return invalid(label(route) + ": next hop " + label(*through) +
                     ", but the underlay (domain 1) has no tunnels; use an uplink's port and an address");
    }
    return {};
  }
  const auto* out = port(hop.port);
  if (out == nullptr) return not_found(missing(label(route), "port", hop.port));
  if (hop.address.is_multicast()) {
    return invalid(label(route) + ": next hop address " + to_string(hop.address) +
                   " is multicast; use a unicast one");
  }
  if (out->role == api::PortRole::kHost && route.domain != kUnderlayDomain && route.domain != host_domain_) {
    return invalid(label(route) + ": next hop " + label(*out) + " is the host port, but domain " +
                   std::to_string(route.domain.value()) +
                   " has no host_access; set that, or use another next hop");
  }
  if (out->role != api::PortRole::kHost && out->domain != route.domain) {
    return invalid(label(route) + ": next hop " + label(*out) + " is in domain " +
                   std::to_string(out->domain.value()) + ", the route in domain " +
                   std::to_string(route.domain.value()) + "; use a port of that domain");
  }
  return {};
}

Result<void> Intent::check_referrers(const Change<api::Port>& change) const {
  const auto& before = *change.before;
  const auto& routes = routes_through(before.id);
  if (!change.after) {
    const auto refused = label(before) + " cannot be deleted: ";
    for (const auto* endpoints : {&endpoints_on(before.id), &members(neighbors_on_port_, before.id)}) {
      if (endpoints->empty()) continue;
      return conflict(refused + label(endpoints_.at(*endpoints->begin())) +
                      " is on it; delete or move that too");
    }
    if (!routes.empty()) {
      return conflict(refused + label(routes_.at(*routes.begin())) +
                      " goes through it; delete or change that too");
    }
    return {};
  }
  if (change.after->domain == before.domain && change.after->role == before.role) return {};
  for (const auto* endpoints : {&endpoints_on(before.id), &members(neighbors_on_port_, before.id)}) {
    for (const auto id : *endpoints) PODWIRE_CHECK(check_references(endpoints_.at(id)));
  }
  for (const auto id : routes) PODWIRE_CHECK(check_references(routes_.at(id)));
  return {};
}

Result<void> Intent::check_referrers(const Change<api::Vtep>& change) const {
  const auto& before = *change.before;
  if (change.after && change.after->local == before.local) return {};
  const auto refused = label(before) + (change.after ? " cannot become local: " : " cannot be deleted: ");
  if (const auto& endpoints = members(endpoints_on_vtep_, before.id); !endpoints.empty()) {
    return conflict(refused + label(endpoints_.at(*endpoints.begin())) +
                    " is behind it; delete or move that too");
  }
  if (const auto& routes = routes_through(before.id); !routes.empty()) {
    return conflict(refused + label(routes_.at(*routes.begin())) +
                    " goes through it; delete or change that too");
  }
  if (const auto& domains = members(floods_to_vtep_, before.id); !domains.empty()) {
    return conflict(refused + label(domains_.at(*domains.begin())) +
                    " floods to it; take it off that list too");
  }
  return {};
}

Result<void> Intent::check_referrers(const Change<api::Domain>& change) const {
  const auto& before = *change.before;
  PODWIRE_CHECK(check_services_of(change));
  PODWIRE_CHECK(check_joins_of(change));
  const auto& routes = members(routes_in_domain_, before.id);
  if (change.after) {
    if (before.stateful && !change.after->stateful) {
      for (const auto id : members(endpoints_in_domain_, before.id)) {
        const auto& endpoint = endpoints_.at(id);
        if (endpoint.policy) PODWIRE_CHECK(check_policy_of(endpoint));
      }
    }
    if (before.masquerade && !change.after->masquerade) {
      for (const auto id : endpoints_outside_) {
        const auto& endpoint = endpoints_.at(id);
        if (endpoint.domain == before.id) PODWIRE_CHECK(check_outside(endpoint));
      }
    }
    // Only losing host_access can break a route; its other rules do not look at the domain's fields.
    if (!before.host_access || change.after->host_access || !host_port_) return {};
    for (const auto id : routes_through(host_port_)) PODWIRE_CHECK(check_references(routes_.at(id)));
    return {};
  }
  const auto refused = label(before) + " cannot be deleted: ";
  if (const auto& ports = pod_ports(before.id); !ports.empty()) {
    return conflict(refused + label(ports_.at(*ports.begin())) + " is in it; delete or move that too");
  }
  if (const auto& endpoints = members(endpoints_in_domain_, before.id); !endpoints.empty()) {
    return conflict(refused + label(endpoints_.at(*endpoints.begin())) + " is in it; delete that too");
  }
  if (!routes.empty()) {
    return conflict(refused + label(routes_.at(*routes.begin())) + " is in it; delete that too");
  }
  return {};
}

}  // namespace podwire::engine
