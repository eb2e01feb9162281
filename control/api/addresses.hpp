// Addresses outside as a person gives them: the verbs address_egress, address_floating, address_del and
// addresses. Kept over restarts of daemon, engine and machine; in force at the engine and on the host
// interface. Thread-safe; one change at a time, each all or nothing.
#pragma once

#include <mutex>

#include "control/cluster/remote_nodes.hpp"
#include "control/config.hpp"
#include "control/node/host_addresses.hpp"
#include "control/node/underlay.hpp"
#include "control/state/engine_reconciler.hpp"
#include "control/state/outside.hpp"
#include "control/state/store.hpp"

namespace podwire::control {

class Addresses {
 public:
  // All four must outlive it.
  Addresses(const Config& config, Store& store, EngineReconciler& reconciler, const Underlay& underlay)
      : config_(config), store_(store), reconciler_(reconciler), underlay_(underlay) {}

  // With whose addresses those that are given are compared as well; it must outlive this. Before any verb.
  void compare_with(const RemoteNodes& others) { others_ = &others; }

  // What was given before, for the reconciler's first full replace: before its set_node.
  static Result<void> load(Store& store, EngineReconciler& reconciler);
  // Makes the host interface have what it should: after a start, or what a crash left undone.
  Result<void> settle();
  // What somebody took from the host interface since, and which nodes came that have such an address, one
  // sentence each.
  Result<std::vector<std::string>> differences();

  // {name, addresses}: of a namespace, or of a pod (NAMESPACE/NAME) or a port that was added. At most one a
  // family; in place of those before. Replies {name, kind, addresses, warnings, pods}.
  Result<Json> set_egress(const Json& params) { return set("egress", params); }
  Result<Json> set_floating(const Json& params) { return set("floating", params); }
  // {name}. Replies {deleted: [name]}.
  Result<Json> remove(const Json& params);
  // {after, limit}. Replies {addresses: [{name, kind, addresses, pods, problem}]} in pages.
  Result<Json> list(const Json& params);

 private:
  Result<Json> set(const std::string& kind, const Json& params);
  Result<void> check(const std::string& kind, const std::string& name, const std::vector<IpAddr>& addresses,
                     const OutsideAssignments& all) const;
  Result<void> commit(const OutsideAssignments& before, const OutsideAssignments& after);
  std::vector<std::string> shared_with_nodes(const OutsideAssignments& all) const;
  Result<void> put_on_host(const OutsideAssignments& all) const;
  Result<Json> described(const std::string& kind, const std::string& name,
                         const std::vector<IpAddr>& addresses);

  const Config& config_;
  Store& store_;
  EngineReconciler& reconciler_;
  const Underlay& underlay_;
  const RemoteNodes* others_ = nullptr;  // none without a cluster
  std::mutex mutex_;
};

}  // namespace podwire::control
