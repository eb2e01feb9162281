// Intent: the desired objects by id, with the indexes that cross-object rules and table building need. A set
// of changes is staged as a whole: either every rule holds afterwards, or nothing has changed and the error
// names the object, the value and what to do. Knows no tables, ports or packets. Main thread only.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "dataplane/api/objects.hpp"
#include "dataplane/tables/join_index.hpp"
#include "dataplane/tables/lookup_table.hpp"

namespace podwire::engine {

inline constexpr std::size_t kMaxEndpoints = 524'288;
inline constexpr std::size_t kMaxRoutes = 262'144;
inline constexpr std::size_t kMaxNextHops = 524'288;  // of all routes together
inline constexpr std::size_t kMaxVteps = 16'384;
inline constexpr std::size_t kMaxServices = 65'536;
inline constexpr std::size_t kMaxAllFrontends = 131'072;     // of all services together
inline constexpr std::size_t kMaxAllBackends = 524'288;      // of all services together
inline constexpr std::size_t kMaxPolicyEntries = 8'388'608;  // rules, identities and blocks of all policies
inline constexpr std::size_t kMaxPermanentNeighbors = 4096;  // addresses of all of them together
inline constexpr std::size_t kMaxGateways = 16;              // per domain; workers compare them one by one

// One object that appears, changes or goes.
template <class T>
struct Change {
  std::optional<T> before;
  std::optional<T> after;
};

struct Changes {
  std::vector<Change<api::Port>> ports;  // `after` keeps `descriptors` as the message had it
  std::vector<Change<api::Vtep>> vteps;
  std::vector<Change<api::Domain>> domains;
  std::vector<Change<api::Endpoint>> endpoints;  // of domains
  std::vector<Change<api::Endpoint>> neighbors;  // endpoints of the underlay
  std::vector<Change<api::Route>> routes;
  std::vector<Change<api::Service>> services;
  std::vector<Change<api::Policy>> policies;

  bool empty() const {
    return ports.empty() && vteps.empty() && domains.empty() && endpoints.empty() && neighbors.empty() &&
           routes.empty() && services.empty() && policies.empty();
  }
};

struct DomainAddress {
  DomainId domain;
  IpAddr address;
  bool operator==(const DomainAddress&) const = default;
};

struct DomainPrefix {
  DomainId domain;
  IpPrefix prefix;
  bool operator==(const DomainPrefix&) const = default;
};

inline DomainPrefix host_prefix(DomainId domain, const IpAddr& address) {
  return {domain, {address, address.bits()}};
}

struct DomainHash {
  std::size_t operator()(const DomainAddress& key) const noexcept { return of(key.domain, key.address, -1); }
  std::size_t operator()(const DomainPrefix& key) const noexcept {
    return of(key.domain, key.prefix.address, key.prefix.length);
  }

 private:
  static std::size_t of(DomainId domain, const IpAddr& address, int length) noexcept {
    std::uint64_t words[2];
    std::memcpy(words, address.bytes().data(), sizeof words);
    return mix(words[0] ^
               mix(words[1] ^ mix(std::uint64_t{domain.value()} << 16 ^ static_cast<std::uint64_t>(length))));
  }
};

class Intent {
 public:
  // Applies `remove`, then `put`. Objects that would not change are left out of the result; ids to remove
  // that are not there are no error.
  Result<Changes> stage(const api::ObjectSet& put, const api::IdSet& remove);
  // Undoes the last stage().
  void rollback(const Changes& changes);
  // Ids that are there and not in `all`: what a full replace removes.
  api::IdSet surplus(const api::ObjectSet& all) const;

  const std::map<PortId, api::Port>& ports() const { return ports_; }
  const std::map<VtepId, api::Vtep>& vteps() const { return vteps_; }
  const std::map<DomainId, api::Domain>& domains() const { return domains_; }
  const std::map<EndpointId, api::Endpoint>& endpoints() const { return endpoints_; }
  const std::map<RouteId, api::Route>& routes() const { return routes_; }
  const std::map<ServiceId, api::Service>& services() const { return services_; }
  const std::map<PolicyId, api::Policy>& policies() const { return policies_; }

  const api::Port* port(PortId id) const { return find(ports_, id); }
  const api::Vtep* vtep(VtepId id) const { return find(vteps_, id); }
  const api::Domain* domain(DomainId id) const { return find(domains_, id); }
  const api::Endpoint* endpoint(EndpointId id) const { return find(endpoints_, id); }
  const api::Route* route(RouteId id) const { return find(routes_, id); }
  const api::Service* service(ServiceId id) const { return find(services_, id); }
  const api::Policy* policy(PolicyId id) const { return find(policies_, id); }

  const api::Endpoint* endpoint_with(DomainId domain, const MacAddr& mac) const;
  const api::Endpoint* endpoint_with(DomainId domain, const IpAddr& address) const;
  const api::Route* route_for(DomainId domain, const IpPrefix& prefix) const;  // exactly this prefix
  // Longest match among the routes of `domain`.
  const api::Route* lookup(DomainId domain, const IpAddr& address) const;
  const std::set<PortId>& pod_ports(DomainId domain) const { return members(pod_ports_, domain); }
  // Without permanent neighbours.
  const std::set<EndpointId>& endpoints_on(PortId port) const { return members(endpoints_on_port_, port); }
  const std::set<EndpointId>& endpoints_with(PolicyId policy) const {
    return members(endpoints_with_policy_, policy);
  }
  // Those with egress or floating addresses.
  const std::set<EndpointId>& endpoints_outside() const { return endpoints_outside_; }
  const std::set<RouteId>& routes_through(PortId port) const { return members(routes_on_port_, port); }
  const std::set<RouteId>& routes_through(VtepId vtep) const { return members(routes_on_vtep_, vtep); }
  // Routes with a next hop on a port that has this address.
  const std::set<RouteId>& routes_through(DomainId domain, const IpAddr& address) const {
    return members(routes_on_address_, DomainAddress{domain, address});
  }
  // Routes of `domain` whose next hop is another domain, and those of others whose next hop it is.
  const std::set<RouteId>& routes_out_of(DomainId domain) const { return members(routes_out_of_, domain); }
  const std::set<RouteId>& routes_into(DomainId domain) const { return members(routes_into_, domain); }
  static bool leads_into_domain(const api::Route& route);
  // Whether some of the domain's routes into others is about some of these addresses.
  bool shares_with_others(const DomainPrefix& addresses) const {
    return static_cast<bool>(joins_out_of_.overlapping(addresses.domain, addresses.prefix));
  }
  const std::set<RouteId>& underlay_routes() const { return members(routes_in_domain_, kUnderlayDomain); }
  const std::set<VtepId>& local_vteps() const { return local_vteps_; }
  PortId host_port() const { return host_port_; }
  DomainId host_domain() const { return host_domain_; }

 private:
  // What no two services may both have; no address: all of the node's.
  using Claim = std::tuple<DomainId, std::optional<IpAddr>, api::ServiceProtocol, std::uint16_t>;
  static Claim claim_of(const api::ServiceFrontend& frontend);

  template <class Key, class Member, class Hash = std::hash<Key>>
  using Groups = std::unordered_map<Key, std::set<Member>, Hash>;

  template <class Map, class Id>
  static auto find(const Map& map, Id id) -> const typename Map::mapped_type* {
    const auto it = map.find(id);
    return it == map.end() ? nullptr : &it->second;
  }
  template <class Key, class Member, class Hash>
  static const std::set<Member>& members(const Groups<Key, Member, Hash>& groups, const Key& key) {
    static const std::set<Member> kNone;
    const auto it = groups.find(key);
    return it == groups.end() ? kNone : it->second;
  }

  // Add or take out one object with all its index entries; insert() after check_unique() succeeded.
  void insert(const api::Port& port);
  void insert(const api::Vtep& vtep);
  void insert(const api::Domain& domain);
  void insert(const api::Endpoint& endpoint);
  void insert(const api::Route& route);
  void insert(const api::Service& service);  // intent_services.cpp
  void insert(const api::Policy& policy);
  void erase(const api::Port& port);
  void erase(const api::Vtep& vtep);
  void erase(const api::Domain& domain);
  void erase(const api::Endpoint& endpoint);
  void erase(const api::Route& route);
  void erase(const api::Service& service);
  void erase(const api::Policy& policy);

  // Rules about one object among its own kind (intent_rules.cpp).
  Result<void> check_unique(const api::Port& port) const;
  Result<void> check_unique(const api::Vtep& vtep) const;
  Result<void> check_unique(const api::Domain& domain) const;
  Result<void> check_routed(const api::Domain& domain) const;
  Result<void> check_unique(const api::Endpoint& endpoint) const;
  Result<void> check_unique(const api::Route& route) const;
  Result<void> check_unique(const api::Service& service) const;
  Result<void> check_unique(const api::Policy& policy) const;
  // Rules about what an object refers to, on the final state.
  Result<void> check_references(const api::Port& port) const;
  Result<void> check_references(const api::Vtep& vtep) const;
  Result<void> check_references(const api::Domain& domain) const;
  Result<void> check_references(const api::Endpoint& endpoint) const;
  Result<void> check_references(const api::Route& route) const;
  Result<void> check_references(const api::Service& service) const;
  Result<void> check_references(const api::Policy&) const { return {}; }
  Result<void> check_policy_of(const api::Endpoint& endpoint) const;
  // Endpoints of the underlay, which are permanent neighbours (intent_neighbors.cpp). In no index but that of
  // addresses and one of their own: several may have one MAC, and no packet comes from them or goes to them
  // because of that.
  void insert_neighbor(const api::Endpoint& endpoint);
  void erase_neighbor(const api::Endpoint& endpoint);
  Result<void> check_room_for_neighbor(const api::Endpoint& endpoint) const;
  Result<void> check_neighbor(const api::Endpoint& endpoint) const;
  // Egress and floating addresses (intent_outside.cpp).
  void insert_outside(const api::Endpoint& endpoint);
  void erase_outside(const api::Endpoint& endpoint);
  Result<void> check_unique_outside(const api::Endpoint& endpoint) const;
  Result<void> check_outside(const api::Endpoint& endpoint) const;
  Result<void> check_not_floating(const std::string& who, const IpAddr& address) const;
  Result<void> check_next_hop(const api::Route& route, const api::NextHop& next_hop) const;
  // Next hops that are domains (intent_joins.cpp).
  Result<void> check_into(const api::Route& route, DomainId into) const;
  Result<void> check_no_chain(const api::Route& route, DomainId into) const;
  Result<void> check_joins_of(const Change<api::Domain>& change) const;
  // Rules about what refers to an object that changed or went.
  Result<void> check_referrers(const Change<api::Port>& change) const;
  Result<void> check_referrers(const Change<api::Vtep>& change) const;
  Result<void> check_referrers(const Change<api::Domain>& change) const;
  Result<void> check_referrers(const Change<api::Endpoint>&) const { return {}; }
  Result<void> check_referrers(const Change<api::Route>&) const { return {}; }
  Result<void> check_referrers(const Change<api::Service>&) const { return {}; }
  Result<void> check_services_of(const Change<api::Domain>& change) const;
  Result<void> check_referrers(const Change<api::Policy>& change) const;

  template <class T>
  Result<void> check_all(const std::vector<Change<T>>& changes) const;

  std::map<PortId, api::Port> ports_;
  std::map<VtepId, api::Vtep> vteps_;
  std::map<DomainId, api::Domain> domains_;
  std::map<EndpointId, api::Endpoint> endpoints_;
  std::map<RouteId, api::Route> routes_;
  std::map<ServiceId, api::Service> services_;
  std::map<PolicyId, api::Policy> policies_;

  std::unordered_map<std::string, PortId> port_names_;
  std::unordered_map<std::string, PortId> port_sockets_;  // that the engine listens on
  std::unordered_map<std::string, VtepId> vtep_names_;
  std::unordered_map<std::string, DomainId> domain_names_;
  std::unordered_map<std::uint32_t, DomainId> vnis_;
  std::map<IpPrefix, DomainId> routed_prefixes_;  // of the domains that are reached without tunnels
  std::map<std::pair<IpAddr, std::uint16_t>, VtepId> local_addresses_;   // with UDP port
  std::map<std::pair<IpAddr, std::uint16_t>, VtepId> remote_addresses_;  // with UDP port
  std::unordered_map<std::uint64_t, EndpointId> macs_;                   // by fdb_key word
  std::unordered_map<DomainAddress, EndpointId, DomainHash> addresses_;
  std::unordered_map<DomainPrefix, RouteId, DomainHash> prefixes_;
  std::set<VtepId> local_vteps_;
  PortId host_port_;
  DomainId host_domain_;
  std::size_t next_hops_ = 0;
  std::size_t neighbor_addresses_ = 0;
  std::map<Claim, ServiceId> frontends_;
  std::size_t service_backends_ = 0;
  std::size_t policy_entries_ = 0;
  std::set<EndpointId> endpoints_outside_;
  std::map<IpAddr, EndpointId> floating_;
  std::map<IpAddr, std::set<EndpointId>> egress_;

  Groups<DomainId, PortId> pod_ports_;
  Groups<DomainId, EndpointId> endpoints_in_domain_;
  Groups<DomainId, RouteId> routes_in_domain_;
  Groups<DomainId, ServiceId> services_in_domain_;
  Groups<PortId, EndpointId> endpoints_on_port_;
  Groups<PortId, EndpointId> neighbors_on_port_;
  Groups<VtepId, EndpointId> endpoints_on_vtep_;
  Groups<PortId, RouteId> routes_on_port_;
  Groups<VtepId, RouteId> routes_on_vtep_;
  Groups<DomainId, RouteId> routes_out_of_, routes_into_;
  JoinIndex joins_out_of_, joins_into_;
  Groups<DomainAddress, RouteId, DomainHash> routes_on_address_;
  Groups<VtepId, DomainId> floods_to_vtep_;
  Groups<PolicyId, EndpointId> endpoints_with_policy_;
};

// How messages call an object.
std::string label(const api::Port& port);
std::string label(const api::Vtep& vtep);
std::string label(const api::Domain& domain);
std::string label(const api::Endpoint& endpoint);
std::string label(const api::Route& route);
std::string label(const api::Service& service);
std::string label(const api::Policy& policy);

}  // namespace podwire::engine
