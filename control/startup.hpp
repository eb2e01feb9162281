// What podwired does before it serves requests: it waits for the engine, takes the network device, programs
// what the configuration and the store say, and gives the device back when that does not end well. Main
// thread.
#pragma once

#include "control/api/daemon.hpp"
#include "control/routing/follower.hpp"
#include "control/stop_signal.hpp"

namespace podwire::control {

// The tap of a pod that an earlier daemon attached, by the path of its namespace. kNotFound: it is gone.
Result<std::vector<UniqueFd>> open_pod_queues(const Attachment& attachment);
// Why its namespace is gone: the path may be, or lead to an ordinary file that was the mount point, or to
// another namespace by now. Empty: it is there.
std::string missing_pod(const Attachment& attachment);
std::vector<Attachment> ready_ones(std::vector<Attachment> attachments);

// What nodes of a cluster share beside what they are and have. `policies` and `services` are shared from then
// on.
struct Sharing {
  Sharing(const Config& config, Store& store, SharedStore& shared, EngineReconciler& reconciler,
          RemoteNodes& others, Policies& policies, Services& services);
  SharedManifests manifests;
  RemoteEndpoints endpoints;
  OwnEndpoints own;
};

// Until an engine answers (true), SIGTERM comes (false), or the time is up (kUnavailable).
Result<bool> wait_for_engine(const std::string& socket, const StopSignal& stop);

// Takes the device and programs the engine. False: SIGTERM came meanwhile. Unless a daemon before us had
// taken the device, it is given back when this does not end well. `follower`: of the kernel's routes, if
// there are pods that are reached without tunnels.
Result<bool> bring_up(const Config& config, Store& store, Underlay& underlay, EngineReconciler& reconciler,
                      HostServices& host_services, Services& services, RemoteNodes& others, Sharing* sharing,
                      std::unique_ptr<RouteFollower>& follower, const StopSignal& stop);

}  // namespace podwire::control
