// The verbs domain_join, domain_isolate and domain_global: which domains of the node reach each other's pods.
// Kept over restarts of daemon, engine and machine. Thread-safe; one change at a time, each all or nothing.
#pragma once

#include <mutex>

#include "control/config.hpp"
#include "control/node/underlay.hpp"
#include "control/state/engine_reconciler.hpp"
#include "control/state/joins.hpp"
#include "control/state/store.hpp"

namespace podwire::control {

class DomainJoins {
 public:
  // All must outlive it. `changing`: of all that change the node's domains.
  DomainJoins(const Config& config, Store& store, EngineReconciler& reconciler, const Underlay& underlay,
              std::mutex& changing)
      : config_(config), store_(store), reconciler_(reconciler), underlay_(underlay), mutex_(changing) {}

  // All reply {domains: [{name, global, reaches}]} of those named, once every worker of the engine has seen
  // it and connections between domains that were parted are cut. {name, domains}: `domains` go into the group
  // of `name`, out of theirs.
  Result<Json> join(const Json& params);
  // {name}: it leaves its group, or is global no more.
  Result<Json> isolate(const Json& params);
  // {name}: it reaches all others, and they reach it.
  Result<Json> make_global(const Json& params);

 private:
  using Found = std::shared_ptr<const DomainConfig>;
  Result<Found> domain_named(const std::string& name) const;
  // A domain whose group podwirectl may change.
  Result<Found> own_domain_named(const std::string& name) const;
  Result<Json> commit(const DomainGroups& before, DomainGroups next, const std::vector<std::string>& named);
  Result<void> change_engine(const DomainGroups& groups);

  const Config& config_;
  Store& store_;
  EngineReconciler& reconciler_;
  const Underlay& underlay_;
  std::mutex& mutex_;
};

}  // namespace podwire::control
