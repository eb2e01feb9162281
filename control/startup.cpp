#include "control/startup.hpp"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "control/cni/netns.hpp"
#include "control/cni/tap.hpp"

namespace podwire::control {
namespace {

// A device that is taken from the kernel serves the node until the engine does, so the engine has to be there
// first.
constexpr auto kEngineStart = std::chrono::seconds(60);
constexpr auto kFirstProgramming = std::chrono::seconds(30);

// devargs mode: only the engine can tell the MAC that the host interface has to share.
Result<void> learn_mac(const Config& config, Store& store, Underlay& underlay, EngineReconciler& reconciler) {
  if (!config.underlay.device.empty() || !config.underlay.host_interface) return {};
  PODWIRE_TRY(const Json status, reconciler.query("status", Json::object()));
  for (const auto& port : status.value("ports", Json::array())) {
    if (port.value("role", "") != "uplink") continue;
    auto mac = parse_mac(port.value("mac", ""));
    if (!mac) return unavailable("the engine does not tell the uplink's MAC address: " + mac.error().message);
    if (*mac == underlay.node().mac) return {};
    PODWIRE_CHECK(underlay.set_mac(*mac));
    PODWIRE_TRY(auto objects, node_objects(config, underlay.node(), store));
    reconciler.set_node(std::move(objects), underlay.take_host_queues());
    return {};
  }
  return unavailable("the engine's status lists no uplink");
}

// Until the engine holds the desired state, or SIGTERM comes (false).
Result<bool> wait_until_programmed(EngineReconciler& reconciler, const StopSignal& stop) {
  const auto deadline = std::chrono::steady_clock::now() + kFirstProgramming;
  for (;;) {
    auto programmed = reconciler.wait_programmed(std::chrono::milliseconds(100));
    if (programmed) return true;
    const bool over = std::chrono::steady_clock::now() >= deadline;
    if (over || programmed.error().code != ErrorCode::kUnavailable) return programmed.error();
    if (stop.came(std::chrono::milliseconds(0))) return false;
  }
}

// For pods that are reached without tunnels, the kernel's routes and permanent neighbours become the
// engine's. Null: there are none.
Result<std::unique_ptr<RouteFollower>> follow_routes(const Config& config, PortId uplink,
                                                     EngineReconciler& reconciler) {
  if (!config.has_routed_domains() || !config.underlay.host_interface)
    return std::unique_ptr<RouteFollower>();
  RouteFollower::Options options;
  options.interface = *config.underlay.host_interface;
  options.tables = config.routing.tables;
  options.uplink = uplink;
  options.changed = [&reconciler](const RoutePatch& patch) {
    auto changed = reconciler.change_routes(patch.put, patch.remove);
    if (!changed) spdlog::warn("routing: {}", changed.error().message);
  };
  options.neighbors_changed = [&reconciler](const NeighborPatch& patch) {
    auto changed = reconciler.change_neighbors(patch.put, patch.remove);
    if (!changed) spdlog::warn("routing: {}", changed.error().message);
  };
  return RouteFollower::start(std::move(options));
}

}  // namespace

Sharing::Sharing(const Config& config, Store& store, SharedStore& shared, EngineReconciler& reconciler,
                 RemoteNodes& others, Policies& policies, Services& services)
    : manifests(store, shared, {&policies, &services}),
      endpoints(config, store, shared, reconciler,
                [&policies](const PodPlaces& changed) { return policies.locate(changed); }),
      own(config, store, shared, [this](const auto& local) { endpoints.local_changed(local); }) {
  policies.share(manifests);
  services.share(manifests);
  others.tell([this](const auto& nodes) { endpoints.nodes_changed(nodes); });
}

Result<std::vector<UniqueFd>> open_pod_queues(const Attachment& attachment) {
  if (attachment.netns_path.empty()) return not_found("the path of its network namespace is not known");
  PODWIRE_TRY(const UniqueFd netns, open_netns(attachment.netns_path));
  PODWIRE_TRY(const auto found, identity(netns.get()));
  if (found != NetnsIdentity{attachment.netns_device, attachment.netns_inode}) {
    return not_found(attachment.netns_path + " is another network namespace now");
  }
  PODWIRE_TRY(const auto inside, NetnsGuard::enter(netns.get()));
  return open_tap_queues(attachment.key.ifname, attachment.queues);
}

std::string missing_pod(const Attachment& attachment) {
  const auto& path = attachment.netns_path;
  if (path.empty()) return {};
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    // Only what is known to be gone: /proc of another process may just be closed to us.
    return errno == ENOENT || errno == ENOTDIR ? path + " does not exist" : std::string();
  }
  if (status.st_dev == attachment.netns_device && status.st_ino == attachment.netns_inode) return {};
  return path + " is no longer its network namespace";
}

std::vector<Attachment> ready_ones(std::vector<Attachment> attachments) {
  std::erase_if(attachments, [](const Attachment& a) { return a.state != AttachmentState::kReady; });
  return attachments;
}

Result<bool> wait_for_engine(const std::string& socket, const StopSignal& stop) {
  const auto deadline = std::chrono::steady_clock::now() + kEngineStart;
  constexpr auto kPause = std::chrono::milliseconds(50);
  for (bool told = false;; told = true) {
    auto probed = probe_engine(socket);
    if (probed) return true;
    if (!told) spdlog::info("waiting for the engine at {}", socket);
    if (stop.came(kPause)) return false;
    if (std::chrono::steady_clock::now() < deadline) continue;
    return unavailable("no engine answers (" + probed.error().message +
                       "); the network device was left as it was: start podwire-engine, or set engine.spawn");
  }
}

Result<bool> bring_up(const Config& config, Store& store, Underlay& underlay, EngineReconciler& reconciler,
                      HostServices& host_services, Services& services, RemoteNodes& others, Sharing* sharing,
                      std::unique_ptr<RouteFollower>& follower, const StopSignal& stop) {
  store.set_domains(domain_pools(config, underlay.node()));
  PODWIRE_TRY(auto objects, node_objects(config, underlay.node(), store));
  host_services.set_node(objects, underlay.node());
  for (const auto& problem : objects.join_problems) spdlog::warn("{}", problem);
  PODWIRE_CHECK(services.load(objects));
  if (sharing != nullptr) PODWIRE_CHECK(sharing->endpoints.load(objects));
  if (config.cluster.mode != ClusterMode::kLocal) PODWIRE_CHECK(others.load(objects, underlay.node()));
  PODWIRE_CHECK(underlay.take());
  // The engine's first full replace has the kernel's routes already: a predecessor's engine forwards by them.
  PODWIRE_TRY(follower, follow_routes(config, objects.uplink, reconciler));
  reconciler.set_node(std::move(objects), underlay.take_host_queues());
  // A predecessor's engine is likely to forward already; then there is no hurry, and no way back.
  if (!underlay.is_fresh()) return true;
  auto programmed = wait_until_programmed(reconciler, stop);
  if (programmed && *programmed) {
    auto learned = learn_mac(config, store, underlay, reconciler);
    if (learned) return true;
    programmed = learned.error();
  }
  auto restored = underlay.restore();
  if (programmed && restored) return false;
  return Error{programmed ? ErrorCode::kIo : programmed.error().code,
               (programmed ? "stopped while starting" : programmed.error().message) +
                   (restored ? "; the underlay was put back"
                             : "; putting the underlay back failed: " + restored.error().message)};
}

}  // namespace podwire::control
