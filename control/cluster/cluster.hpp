// What podwired needs to know of the other nodes, whatever keeps it: which prefixes are this node's own, who
// the others are and which prefixes they have, and every change of that. Implemented by etcd_cluster.hpp; the
// static peers of podwired.json are not among it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "control/config.hpp"
#include "dataplane/base/addresses.hpp"
#include "dataplane/base/json.hpp"

namespace podwire::control {

class SharedStore;

using DomainPrefixes = std::map<std::string, std::vector<IpPrefix>>;  // by the domain's name

// What a node tells of itself.
struct NodeRecord {
  std::vector<IpAddr> addresses;  // of its tunnels on the underlay, at most one a family
  std::uint16_t udp_port = 0;     // where it takes VXLAN
  MacAddr mac;                    // inner destination MAC of what is routed to it
  // How it and its pods are reached, by domain, where that is not by tunnel alone.
  std::map<std::string, DomainTransport> transports{};
  bool operator==(const NodeRecord&) const = default;
};

struct ClusterNode {
  std::string name;
  NodeRecord record;
  DomainPrefixes prefixes;
  bool operator==(const ClusterNode&) const = default;
};

// Nodes that are new or have changed, whole, and those that are gone. Never this node itself.
struct ClusterChange {
  bool everything = false;  // nodes that are not in `put` are gone
  std::vector<ClusterNode> put;
  std::vector<std::string> gone;
};

// One node as a person sees it; this one included.
struct NodeView {
  ClusterNode node;
  bool alive = false;
  std::optional<std::int64_t> silent_since_s;  // Unix time, when it is not alive and somebody has noticed
};

class Cluster {
 public:
  virtual ~Cluster() = default;

  // The prefixes that this node leases, out of its own record of them or from the store. kUnavailable: the
  // store cannot be reached, and nothing is held from earlier; kExhausted: a range has no free prefix left;
  // kConflict: another node goes by this node's name. May block for the store's time-outs.
  virtual Result<DomainPrefixes> lease_prefixes() = 0;

  // Tells the others of this node, and `changed` of the others, on threads of the cluster's own: once
  // everything, then what changes. After an interruption again everything. Every few seconds a change is
  // empty, for what is to be tried again.
  using Changed = std::function<void(const ClusterChange&)>;
  virtual void start(const NodeRecord& own, Changed changed) = 0;
  // No more calls of `changed` after it. The others keep what they know of this node.
  virtual void stop() = 0;

  // By name.
  virtual std::vector<NodeView> nodes() const = 0;
  // Makes the store forget a node that is gone, and its prefixes. kConflict: it is alive, or this one.
  virtual Result<void> forget(const std::string& name) = 0;
  // What is wrong now, one sentence each, with what to do; for `status`.
  virtual std::vector<std::string> problems() const = 0;
  // Where nodes share more than that (shared_store.hpp); null: nowhere.
  virtual SharedStore* shared_store() { return nullptr; }
};

}  // namespace podwire::control
