// The cluster's services as a person gives them: the verbs service_apply, service_del and services, over the
// manifests of Services and EndpointSlices that were applied. Kept over restarts of daemon, engine and
// machine. Thread-safe; one change at a time, each all or nothing, at the cost of what it changes.
#pragma once

#include <map>
#include <mutex>
#include <tuple>

#include "control/config.hpp"
#include "control/service/model.hpp"
#include "control/state/engine_reconciler.hpp"
#include "control/state/host_ports.hpp"
#include "control/state/store.hpp"

namespace podwire::control {

class Services {
 public:
  // All must outlive it. `host_ports` may be null.
  Services(const Config& config, Store& store, EngineReconciler& reconciler, HostPorts* host_ports = nullptr)
      : config_(config), store_(store), reconciler_(reconciler), host_ports_(host_ports), model_(config) {}

  // What was applied before, for the reconciler's first full replace: before its set_node(node). Services
  // that the configuration does not allow any more are logged and left out until it does.
  Result<void> load(const NodeObjects& node);

  // {manifests, what}: text in YAML or JSON, and what to call it in messages (default "manifests"). Replies
  // {applied: [{kind, name, change}]} when every worker of the engine has seen it.
  Result<Json> apply(const Json& params);
  // {name} of a service as NAMESPACE/NAME (default/NAME without a slash) with its slices, or {manifests,
  // what}: all objects of it. Replies {deleted: [name]}.
  Result<Json> remove(const Json& params);
  // {after, limit}. Replies {services: [...]} in pages.
  Result<Json> list(const Json& params);

 private:
  using ManifestKey = std::tuple<std::string, std::string, std::string>;  // kind, namespace, name
  struct Change {
    ServiceEdit edit;
    std::map<ManifestKey, Json> put;  // bodies of what is new or differs
    std::vector<ManifestKey> erased;
  };

  Result<ServiceChange> with_ids(ServiceOutcome outcome);
  Result<void> program(ServiceChange change);
  Result<void> commit(Change change);
  Result<void> follow_node();
  Result<void> take_back(ServiceUndo undo, bool from_engine);
  Result<ServiceChange> whole_difference();
  Result<Change> read_removal(const Json& params) const;
  void erase(const ManifestKey& key, Change& change) const;

  const Config& config_;
  Store& store_;
  EngineReconciler& reconciler_;
  HostPorts* host_ports_;
  std::mutex mutex_;
  ServiceModel model_;
  std::uint64_t node_version_ = 0;        // of the node that the model plans for
  bool adrift_ = false;                   // the engine may have something else than what is planned
  std::map<ManifestKey, Json> bodies_;    // of what is applied
  std::map<std::string, ServiceId> ids_;  // of the engine's services, by name; also of some that are gone
};

}  // namespace podwire::control
