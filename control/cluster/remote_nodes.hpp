// The other nodes of the cluster as objects of this node's engine. Checks what they say of themselves before
// anything of it is programmed (whoever writes to the store must not be able to break this node), gives the
// objects ids that outlive restarts, and keeps the last state on disk, so that a node that boots while the
// store is down has its routes. Changes come on the cluster's thread; everything is thread-safe.
#pragma once

#include <map>
#include <mutex>

#include "control/cluster/cluster.hpp"
#include "control/config.hpp"
#include "control/state/engine_reconciler.hpp"
#include "control/state/store.hpp"

namespace podwire::control {

class RemoteNodes {
 public:
  // All must outlive it. `config` is this node's, with what it leased; `cluster` says what all nodes lease
  // from.
  RemoteNodes(const Config& config, const Config& cluster, Store& store, EngineReconciler& reconciler)
      : config_(config), cluster_(cluster), store_(store), reconciler_(reconciler) {}

  // What was known when the daemon last ran, for the reconciler's first full replace: before its
  // set_node(node).
  Result<void> load(const NodeObjects& node);
  void change(const ClusterChange& change);

  // A node as this one reaches it; no VTEP: it does not.
  struct Reached {
    std::string name;
    std::optional<VtepId> vtep;
    DomainPrefixes prefixes;
  };
  // `told` hears of nodes that are new, others or gone, when the engine has them, and calls nothing of this
  // object. Before load().
  void tell(std::function<void(const std::vector<Reached>& nodes)> told) { told_ = std::move(told); }

  struct View {
    ClusterNode node;
    std::optional<IpAddr> address;  // where its tunnel ends, as this node reaches it
    std::string problem;            // why it is left out; empty: it is not
  };
  std::vector<View> nodes() const;  // by name
  // Nodes that are left out, a sentence each.
  std::vector<std::string> problems() const;

 private:
  // A node's part of the engine's objects.
  struct Share {
    std::optional<api::Vtep> vtep;
    std::map<std::string, api::Route> routes;  // by "domain/prefix"
    std::set<DomainId> flooded;
    std::string problem;
  };
  struct Known {
    ClusterNode node;
    Share share;
  };
  using Shares = std::map<std::string, Share>;

  Share share_of(const ClusterNode& node) const;
  void add_domain(const DomainConfig& domain, const std::vector<IpPrefix>& prefixes, Share& share) const;
  std::optional<IpAddr> reachable_address(const ClusterNode& node) const;
  std::string fault_of(const ClusterNode& node, const std::optional<IpAddr>& address) const;
  Result<void> allot_ids(Shares& shares);
  static void add_difference(const Share& before, const Share& after, RemoteChange& change);
  void take_in(const ClusterChange& change);
  std::vector<std::string> settle(const ClusterChange& change);
  void program(const std::vector<std::string>& names, const std::map<std::string, Share>& before);

  const Config& config_;
  const Config& cluster_;
  Store& store_;
  EngineReconciler& reconciler_;
  mutable std::mutex mutex_;
  std::map<std::string, DomainId> domains_;
  std::vector<IpAddr> own_addresses_;
  std::map<std::string, Known> known_;
  std::map<IpAddr, std::string> addresses_;  // of tunnels, and whose they are
  std::function<void(const std::vector<Reached>&)> told_;
};

}  // namespace podwire::control
