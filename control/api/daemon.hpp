// The daemon's parts as its verbs see them. Wired up by main.cpp; every member outlives every request.
#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "control/api/addresses.hpp"
#include "control/api/domains.hpp"
#include "control/api/joins.hpp"
#include "control/api/named_ports.hpp"
#include "control/api/policies.hpp"
#include "control/api/services.hpp"
#include "control/cluster/own_endpoints.hpp"
#include "control/cluster/remote_endpoints.hpp"
#include "control/cluster/remote_nodes.hpp"
#include "control/cluster/shared_manifests.hpp"
#include "control/cni/cni.hpp"
#include "control/config.hpp"
#include "control/doctor/doctor.hpp"
#include "control/node/engine_process.hpp"
#include "control/node/host_services.hpp"
#include "control/node/underlay.hpp"
#include "control/routing/announced_pods.hpp"
#include "control/state/engine_reconciler.hpp"
#include "control/state/namespace_domains.hpp"
#include "control/state/store.hpp"

namespace podwire::control {

struct Daemon {
  const Config& config;
  Store& store;
  EngineReconciler& reconciler;
  Underlay& underlay;
  EngineProcess* engine_process;  // null unless engine.spawn
  CniService& cni;
  Policies& policies;
  Services& services;
  std::function<void()> request_exit;
  // Both null in tests that are not about them.
  NamespaceDomains* namespaces = nullptr;
  Domains* domains = nullptr;
  // Both null in mode local.
  Cluster* cluster = nullptr;
  RemoteNodes* remote_nodes = nullptr;
  // Null also where nodes share nothing but their prefixes.
  SharedManifests* shared_manifests = nullptr;
  OwnEndpoints* own_endpoints = nullptr;
  RemoteEndpoints* remote_endpoints = nullptr;
  std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();
  // Attachments that an earlier run left half done and that could not be undone at start.
  std::vector<AttachmentKey> leftovers{};
  HostServices* host_services = nullptr;  // null in tests that are not about it
  Doctor* doctor = nullptr;               // the same
  AnnouncedPods* announced = nullptr;     // the same
  std::mutex leave_mutex{};
  bool leaving = false;
  std::mutex domain_mutex{};  // held by who changes the node's domains
  NamedPorts named_ports{config, store, reconciler, namespaces};
  Addresses addresses{config, store, reconciler, underlay};
  DomainJoins joins{config, store, reconciler, underlay, domain_mutex};
};

// Answers one request of the control socket; runs on a pool thread and may block.
Result<Json> answer(Daemon& daemon, RpcRequest request);

// The verbs, each in the file of its name or in views.cpp. Those with lists answer in pages (paging.hpp).
Result<Json> status_view(Daemon& daemon);
Result<Json> ports_view(Daemon& daemon, const Json& params);
Result<Json> domains_view(Daemon& daemon, const Json& params);
Result<Json> endpoints_view(Daemon& daemon, const Json& params);
Result<Json> routes_view(Daemon& daemon, const Json& params);
Result<Json> peers_view(Daemon& daemon, const Json& params);
Result<Json> stats_view(Daemon& daemon, const Json& params);
// The cluster's nodes, and {name} of one that is to be forgotten.
Result<Json> nodes_view(Daemon& daemon, const Json& params);
Result<Json> node_forget(Daemon& daemon, const Json& params);
Result<Json> explain(Daemon& daemon, const Json& params);
// {name} of one peer, or {after} of the page before: examines peers through the tunnel (doctor.cpp).
Result<Json> doctor_view(Daemon& daemon, const Json& params);
// {pod, domain, address, protocol, port, state}, of which flows_flush needs one at least, or {all: true}.
Result<Json> flows_view(Daemon& daemon, const Json& params);
Result<Json> flows_flush(Daemon& daemon, const Json& params);
// {seconds}: the engine measures connections for so long and replies {sample} at once. Then flows_top with
// {sample, limit} and the filters of flows tells those with the most traffic.
Result<Json> flows_sample(Daemon& daemon, const Json& params);
Result<Json> flows_top(Daemon& daemon, const Json& params);
Result<Json> leave(Daemon& daemon);

// "namespace/name", or empty when the runtime gave no pod.
std::string pod_of(const Attachment& attachment);

}  // namespace podwire::control
