// What the other nodes of a cluster add to the engine's objects: their VTEPs, routes to their prefixes, and
// the flooding of l2 domains to them. Kept apart from NodeObjects because it changes all the time, a few
// objects of thousands at once. Pure.
#pragma once

#include <map>
#include <set>

#include "dataplane/api/objects.hpp"

namespace podwire::control {

struct RemoteChange {
  std::vector<api::Vtep> vteps;
  std::vector<api::Route> routes;
  std::set<VtepId> gone_vteps;
  std::set<RouteId> gone_routes;
  // Domains that begin or stop to flood to a VTEP.
  std::set<std::pair<DomainId, VtepId>> flooded, unflooded;

  bool empty() const {
    return vteps.empty() && routes.empty() && gone_vteps.empty() && gone_routes.empty() && flooded.empty() &&
           unflooded.empty();
  }
  std::size_t size() const {
    return vteps.size() + routes.size() + gone_vteps.size() + gone_routes.size() + flooded.size() +
           unflooded.size();
  }
};

class RemoteObjects {
 public:
  // Returns what undoes it.
  RemoteChange apply(const RemoteChange& change);
  // Adds them to what the node has by itself.
  void add_to(api::ObjectSet& set) const;
  // With its flooding to other nodes.
  void complete(api::Domain& domain) const;

  const std::map<VtepId, api::Vtep>& vteps() const { return vteps_; }
  const std::map<RouteId, api::Route>& routes() const { return routes_; }
  // Whether a route of the underlay leads to this very prefix: a node's that is reached without a tunnel.
  bool reaches_plainly(const IpPrefix& prefix) const { return plain_.contains(prefix); }

 private:
  std::map<VtepId, api::Vtep> vteps_;
  std::map<RouteId, api::Route> routes_;
  std::map<DomainId, std::set<VtepId>> flood_;
  std::set<IpPrefix> plain_;  // of routes_ in the underlay
};

}  // namespace podwire::control
