// The cluster's services as a person gives them: the verbs service_apply, service_del and services, over the
// manifests of Services and EndpointSlices that were applied. Kept over restarts of daemon, engine and
// machine. Thread-safe; one change at a time, each all or nothing.
#pragma once

#include <map>
#include <mutex>
#include <set>
#include <tuple>

#include "control/config.hpp"
#include "control/service/plan.hpp"
#include "control/state/engine_reconciler.hpp"
#include "control/state/host_ports.hpp"
#include "control/state/store.hpp"

namespace podwire::control {

class Services {
 public:
  // All must outlive it. `host_ports` may be null.
  Services(const Config& config, Store& store, EngineReconciler& reconciler, HostPorts* host_ports = nullptr)
      : config_(config), store_(store), reconciler_(reconciler), host_ports_(host_ports) {}

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
  using Manifests = std::map<ManifestKey, ServiceManifest>;

  Result<ServicePlan> planned(const Manifests& manifests, const NodeObjects& node);
  Result<void> program(std::vector<api::Service> services);
  Result<void> commit(Manifests next, const std::vector<ServiceManifest>& put,
                      const std::vector<ServiceManifest>& erased);
  Result<std::vector<ServiceManifest>> erased_by(const Json& params) const;

  const Config& config_;
  Store& store_;
  EngineReconciler& reconciler_;
  HostPorts* host_ports_;
  std::mutex mutex_;
  Manifests manifests_;
  std::set<ObjectKey> problems_;  // services that are not programmed
};

}  // namespace podwire::control
