// What one other node of the cluster adds to this node's engine: its VTEP, routes to its prefixes, flooding.
// Checks what the node says of itself first (whoever writes to the store must not be able to break this
// node), and leaves out what cannot work, with the reason. Ids are for others to give. Pure.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/cluster/cluster.hpp"
#include "control/config.hpp"
#include "control/state/desired.hpp"
#include "control/state/remote_objects.hpp"

namespace podwire::control {

// A node's part of the engine's objects.
struct RemoteShare {
  std::optional<api::Vtep> vtep;
  std::map<std::string, api::Route> routes;  // by "domain/prefix"; those without a tunnel by "/prefix"
  std::set<DomainId> flooded;
  std::string problem;  // why it is left out, wholly or in part; empty: it is not
};

// What makes `before` `after`, added to `change`. Both have ids.
void add_difference(const RemoteShare& before, const RemoteShare& after, RemoteChange& change);

class RemoteShares {
 public:
  // Both must outlive it. `config` is this node's, with what it leased; `cluster` says what all nodes lease
  // from.
  RemoteShares(const Config& config, const Config& cluster) : config_(config), cluster_(cluster) {}

  // Before everything else.
  void set_node(const NodeObjects& node, const NodeUnderlay& underlay);

  // Where a tunnel to it ends; none: it has no address of a family that this node has.
  std::optional<IpAddr> address_of(const ClusterNode& node) const;
  // `holder`: the node whose tunnel ends at its address by now; empty: nobody's.
  RemoteShare of(const ClusterNode& node, const std::string& holder) const;

  // How much less the tunnels to nodes that are reached by IPv6 carry than pods may send; empty: no less.
  std::string v6_advice() const;

 private:
  std::string fault_of(const ClusterNode& node, const std::optional<IpAddr>& address,
                       const std::string& holder) const;
  void add_domain(const ClusterNode& node, const std::string& name, const std::vector<IpPrefix>& prefixes,
                  RemoteShare& share) const;
  void add_l3(const ClusterNode& node, const DomainConfig& domain, const std::vector<IpPrefix>& prefixes,
              RemoteShare& share) const;
  const IpAddr* neighbour_of(const ClusterNode& node, bool v4) const;

  const Config& config_;
  const Config& cluster_;
  std::map<std::string, DomainId> domains_;
  std::map<std::string, std::pair<const DomainConfig*, const DomainConfig*>> configs_;  // own, cluster's
  std::vector<IpAddr> own_addresses_;
  std::vector<IpPrefix> subnets_;  // with neighbours
  PortId uplink_;
  std::string v6_advice_;
};

// Whether it tells of IPv6 addresses and of no other.
bool has_v6_only(const NodeRecord& record);

}  // namespace podwire::control
