// The other nodes of the cluster as objects of this node's engine (remote_share.hpp says which). Gives the
// objects ids that outlive restarts, and keeps the last state on disk, so that a node that boots while the
// store is down has its routes. A change costs what it touches, however many nodes there are. What the engine
// or the disk refuses is tried again with the changes that follow; a cluster makes an empty one every few
// seconds for that. Changes come on the cluster's threads; everything is thread-safe.
#pragma once

#include <map>
#include <mutex>

#include "control/cluster/late_rows.hpp"
#include "control/cluster/remote_share.hpp"
#include "control/state/engine_reconciler.hpp"
#include "control/state/store.hpp"

namespace podwire::control {

class RemoteNodes {
 public:
  // All must outlive it. `config` is this node's, with what it leased; `cluster` says what all nodes lease
  // from.
  RemoteNodes(const Config& config, const Config& cluster, Store& store, EngineReconciler& reconciler);

  // What was known when the daemon last ran, for the reconciler's first full replace: before its
  // set_node(node).
  Result<void> load(const NodeObjects& node, const NodeUnderlay& underlay);
  void change(const ClusterChange& change);

  // A node as this one reaches it; no VTEP: it does not.
  struct Reached {
    std::string name;
    std::optional<VtepId> vtep;
    DomainPrefixes prefixes;
  };
  // `told` hears of nodes whose VTEP or prefixes are new, others or gone, when the engine has them, and calls
  // nothing of this object. Before load().
  void tell(std::function<void(const std::vector<Reached>& nodes)> told) { told_ = std::move(told); }

  struct View {
    ClusterNode node;
    std::optional<IpAddr> address;  // where its tunnel ends, as this node reaches it
    std::string problem;            // why it is left out; empty: it is not
  };
  std::vector<View> nodes() const;  // by name
  // What is wrong with them, a sentence each: nodes that are left out, and tunnels that carry too little.
  std::vector<std::string> problems() const;
  // A node that says that it has `address`; empty: none does.
  std::string node_with(const IpAddr& address) const;

  // Whether, by what is on disk and what `cluster` has heard so far, some node has IPv6 addresses only.
  static Result<bool> any_v6_only(Store& store, const Cluster& cluster);

 private:
  struct Known {
    ClusterNode node;
    RemoteShare share;  // what the engine should have: no object is in two
    std::optional<Reached> told;
  };
  using Names = std::set<std::string>;
  using Shares = std::map<std::string, RemoteShare>;

  Names settle(const ClusterChange& change, bool keep);
  void claim(const ClusterNode& node);
  void unclaim(const ClusterNode& node);
  Names some_again();
  void take_in(Names names);
  Shares release(Names& names);
  Shares shares_of(const Names& names, const Shares& before);
  void give_ids(Shares& shares, const Shares& before);
  Result<void> allot_ids(Shares& shares, const Shares& before, Names& lacking);
  void program(const Shares& before);
  void program_singly(const Shares& before);
  std::vector<std::optional<std::string>> bodies(const std::vector<LateRows::Name>& names) const;

  RemoteShares shares_;
  Store& store_;
  EngineReconciler& reconciler_;
  mutable std::mutex mutex_;
  std::map<std::string, Known> known_;
  Names gone_;                               // of known_, until the engine has forgotten them
  std::map<IpAddr, std::string> addresses_;  // of tunnels, and whose they are
  std::map<IpAddr, Names> claims_;           // who says to have an address
  Names again_;                              // what the engine or the disk refused of them is tried again
  std::string last_again_;                   // the last of these that was
  std::function<void(const std::vector<Reached>&)> told_;
  LateRows rows_;  // last: it writes what is left before the rest goes
};

}  // namespace podwire::control
