// What the other nodes of a cluster add to the engine's objects: their VTEPs, routes to their prefixes, the
// flooding of l2 domains to them and their endpoints there. Kept apart from NodeObjects because it changes
// all the time, a few objects of thousands at once. A VTEP that goes takes its endpoints along. Pure.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <unordered_map>

#include "control/state/endpoint_keys.hpp"
#include "dataplane/api/objects.hpp"

namespace podwire::control {

// What an endpoint of another node has of an api::Endpoint. There are hundreds of thousands, so that
// everybody who has to do with one shares it.
struct RemoteEndpoint {
  EndpointId id;
  DomainId domain;
  VtepId vtep;
  MacAddr mac;
  std::vector<IpAddr> addresses;
  std::string name;

  bool operator==(const RemoteEndpoint&) const = default;
  api::Endpoint object() const;
};
using SharedEndpoint = std::shared_ptr<const RemoteEndpoint>;

struct RemoteChange {
  std::vector<api::Vtep> vteps;
  std::vector<api::Route> routes;
  std::vector<SharedEndpoint> endpoints;
  std::set<VtepId> gone_vteps;
  std::set<RouteId> gone_routes;
  std::set<EndpointId> gone_endpoints;
  // Domains that begin or stop to flood to a VTEP.
  std::set<std::pair<DomainId, VtepId>> flooded, unflooded;

  bool empty() const {
    return vteps.empty() && routes.empty() && endpoints.empty() && gone_vteps.empty() &&
           gone_routes.empty() && gone_endpoints.empty() && flooded.empty() && unflooded.empty();
  }
  std::size_t size() const {
    return vteps.size() + routes.size() + endpoints.size() + gone_vteps.size() + gone_routes.size() +
           gone_endpoints.size() + flooded.size() + unflooded.size();
  }
};

class RemoteObjects {
 public:
  // Returns what undoes it.
  RemoteChange apply(const RemoteChange& change);
  // Adds them to what the node has by itself.
  void add_to(api::ObjectSet& set) const;
  // Endpoints are many, and whoever looks at the other nodes' objects does not look at these.
  RemoteObjects without_endpoints() const;
  // With its flooding to other nodes.
  void complete(api::Domain& domain) const;
  // Those that have the MAC or an address of an endpoint of this node.
  std::vector<EndpointId> displaced_by(const api::Endpoint& own) const;
  void displace(const api::Endpoint& own);
  // Those that were, and have not changed or gone since.
  const std::map<EndpointId, SharedEndpoint>& displaced() const { return displaced_; }

  const std::map<VtepId, api::Vtep>& vteps() const { return vteps_; }
  const std::map<RouteId, api::Route>& routes() const { return routes_; }
  // Whether a route of the underlay leads to this very prefix: a node's that is reached without a tunnel.
  bool reaches_plainly(const IpPrefix& prefix) const { return plain_.contains(prefix); }
  const std::map<EndpointId, SharedEndpoint>& endpoints() const { return endpoints_; }

 private:
  void note(const RemoteEndpoint& endpoint, bool there);

  std::map<VtepId, api::Vtep> vteps_;
  std::map<RouteId, api::Route> routes_;
  std::map<DomainId, std::set<VtepId>> flood_;
  std::set<IpPrefix> plain_;  // of routes_ in the underlay
  std::map<EndpointId, SharedEndpoint> endpoints_;
  std::map<EndpointId, SharedEndpoint> displaced_;
  std::map<VtepId, std::set<EndpointId>> behind_;
  std::unordered_map<MacKey, EndpointId, EndpointKeyHash> macs_;
  std::unordered_map<AddressKey, EndpointId, EndpointKeyHash> addresses_;
};

}  // namespace podwire::control
