// `status`: the whole node on one page.
#include <unistd.h>

#include <algorithm>

#include "control/api/daemon.hpp"
#include "control/api/policies.hpp"

namespace podwire::control {
namespace {

// The member, or null; of what another program sent.
Json member(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto at = object.find(key);
  return at == object.end() ? Json(nullptr) : *at;
}

Json uplink_of(const Json& engine_status) {
  for (const auto& port : member(engine_status, "ports")) {
    if (member(port, "role") == "uplink") return port;
  }
  return nullptr;
}

Json engine_part(Daemon& daemon, const Json& status) {
  const auto state = daemon.reconciler.state();
  std::string error = state.last_error;
  if (!state.connected && daemon.engine_process != nullptr) {
    if (const auto spawned = daemon.engine_process->last_error(); !spawned.empty()) error = spawned;
  }
  return {{"connected", state.connected},
          {"socket", daemon.config.engine.socket},
          {"pid", state.connected ? Json(state.pid) : Json()},
          {"version", state.version.empty() ? Json() : Json(state.version)},
          {"instance", state.instance.empty() ? Json() : Json(state.instance)},
          {"generation", state.generation},
          {"uptime_s", member(status, "uptime_s")},
          {"restarts", state.restarts},
          {"idle", member(status, "idle")},
          {"memory", member(status, "memory")},
          {"workers", member(status, "workers")},
          {"flows", member(status, "flows")},
          {"last_error", error.empty() ? Json() : Json(error)}};
}

Json underlay_part(Daemon& daemon, const Json& status) {
  const auto& config = daemon.config.underlay;
  const auto& node = daemon.underlay.node();
  Json addresses = Json::array();
  for (const auto& a : node.addresses) addresses.push_back(to_string(a));
  const auto uplink = uplink_of(status);
  return {{"device", config.device.empty() ? Json() : Json(config.device)},
          {"driver", daemon.underlay.driver().empty() ? Json() : Json(daemon.underlay.driver())},
          {"devargs", node.devargs},
          {"mtu", node.mtu},
          {"vlan", config.vlan},
          {"addresses", addresses},
          {"host_interface", config.host_interface ? Json(*config.host_interface) : Json()},
          {"link", member(uplink, "link")}};
}

// A reply is one line; whoever has more to repair begins with these.
void shorten(std::vector<std::string>& differences) {
  constexpr std::size_t kMost = 1000;
  if (differences.size() <= kMost) return;
  const auto left = differences.size() - kMost;
  differences.resize(kMost);
  differences.push_back("... and " + std::to_string(left) + " more");
}

// What the last check of the other nodes found. It is not this node's doing, so no difference.
std::vector<std::string> doctor_part(Doctor& doctor) {
  auto problems = doctor.problems();
  shorten(problems);
  return problems;
}

Result<Json> differences_part(Daemon& daemon) {
  PODWIRE_TRY(auto all, daemon.reconciler.differences());
  PODWIRE_TRY(const auto node, daemon.underlay.differences());
  all.insert(all.end(), node.begin(), node.end());
  PODWIRE_TRY(const auto addresses, daemon.addresses.differences());
  all.insert(all.end(), addresses.begin(), addresses.end());
  if (daemon.domains != nullptr) {
    const auto domains = daemon.domains->problems();
    all.insert(all.end(), domains.begin(), domains.end());
  }
  if (daemon.host_services != nullptr) {
    const auto host = daemon.host_services->differences();
    all.insert(all.end(), host.begin(), host.end());
  }
  if (daemon.announced != nullptr) {
    PODWIRE_TRY(const auto pods, daemon.announced->differences());
    all.insert(all.end(), pods.begin(), pods.end());
  }
  PODWIRE_TRY(const auto unenforced, daemon.policies.unenforced());
  for (const auto& text : unenforced)
    all.push_back("a network policy does not apply to " + text.get<std::string>());
  if (daemon.cluster != nullptr) {
    const auto of_store = daemon.cluster->problems();
    const auto of_nodes = daemon.remote_nodes->problems();
    all.insert(all.end(), of_store.begin(), of_store.end());
    all.insert(all.end(), of_nodes.begin(), of_nodes.end());
  }
  const auto of_services = daemon.services.problems();
  all.insert(all.end(), of_services.begin(), of_services.end());
  if (daemon.shared_manifests != nullptr) {
    const auto of_manifests = daemon.shared_manifests->problems();
    all.insert(all.end(), of_manifests.begin(), of_manifests.end());
  }
  if (daemon.remote_endpoints != nullptr) {
    const auto of_endpoints = daemon.remote_endpoints->problems();
    all.insert(all.end(), of_endpoints.begin(), of_endpoints.end());
  }
  for (const auto& key : daemon.leftovers) {
    PODWIRE_TRY(const auto attachment, daemon.store.find(key));
    if (!attachment || attachment->state == AttachmentState::kReady) continue;
    const bool named = key.is_named_port();
    all.push_back((named ? "port " : "interface " + key.ifname + " of container ") + key.container_id +
                  " was left half done by an earlier run and could not be undone; " +
                  (named ? "type: podwirectl port del " + key.container_id : "call CNI DEL for it") +
                  ", or restart podwired");
  }
  shorten(all);
  return Json(all);
}

}  // namespace

Result<Json> status_view(Daemon& daemon) {
  Json engine;
  if (daemon.reconciler.state().connected) {
    // The engine may die between the two; then its part says so the next time.
    if (auto status = daemon.reconciler.query("status", Json::object())) engine = std::move(*status);
  }
  PODWIRE_TRY(const auto attachments, daemon.store.list());
  PODWIRE_TRY(const Json domains, domains_view(daemon, Json::object()));
  PODWIRE_TRY(const Json differences, differences_part(daemon));
  const auto node = daemon.reconciler.node();
  const auto uptime =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - daemon.started);
  const auto ready =
      static_cast<std::size_t>(std::count_if(attachments.begin(), attachments.end(), [](const auto& a) {
        return a.state == AttachmentState::kReady;
      }));
  const auto remote = daemon.reconciler.remote();
  std::size_t endpoints = ready;
  for (const auto& a : attachments) endpoints += a.extra_endpoints.size();
  return Json{{"node", daemon.config.node},
              {"version", PODWIRE_VERSION},
              {"pid", ::getpid()},
              {"uptime_s", uptime.count()},
              {"engine", engine_part(daemon, engine)},
              {"underlay", underlay_part(daemon, engine)},
              {"domains", domains.at("domains")},
              {"counts",
               {{"ports", node.objects.ports.size() + ready},
                {"endpoints", endpoints},
                {"routes", node.objects.routes.size() + daemon.reconciler.mirrored_routes().size() +
                               remote.routes().size()},
                {"neighbors", daemon.reconciler.mirrored_neighbors()},
                {"peers", daemon.config.peers.size() + remote.vteps().size()},
                {"attachments", attachments.size()}}},
              {"differences", differences},
              {"doctor", daemon.doctor == nullptr ? Json::array() : Json(doctor_part(*daemon.doctor))}};
}

}  // namespace podwire::control
