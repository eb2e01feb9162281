#include "control/api/services.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <set>

#include "control/api/paging.hpp"
#include "control/api/texts.hpp"
#include "control/manifest/manifest.hpp"
#include "control/state/published_ports.hpp"

namespace podwire::control {
namespace {

constexpr const char* kNoun = "cluster_service";

StoredManifest stored(const ServiceManifest& manifest) {
  return {manifest.kind, manifest.key.first, manifest.key.second, manifest.body.dump()};
}

std::tuple<std::string, std::string, std::string> key_of(const ServiceManifest& manifest) {
  return {manifest.kind, manifest.key.first, manifest.key.second};
}

// Whether it can be read as what it says it is.
Result<void> check(const ServiceManifest& manifest) {
  if (manifest.kind == "Service") {
    PODWIRE_TRY(const auto service, read_cluster_service(manifest));
  } else {
    PODWIRE_TRY(const auto slice, read_cluster_slice(manifest));
  }
  return {};
}

Result<std::vector<ServiceManifest>> read_service_manifests(const std::string& text,
                                                            const std::string& what) {
  PODWIRE_TRY(const auto manifests, read_manifests(text, what));
  std::vector<ServiceManifest> objects;
  std::set<std::tuple<std::string, std::string, std::string>> seen;
  for (const auto& manifest : manifests) {
    auto object = read_service_manifest(manifest);
    if (!object) return invalid(what + ": " + object.error().message);
    if (!seen.insert(key_of(*object)).second)
      return invalid(what + ": " + to_text(*object) + " stands in it twice; which one is meant?");
    if (auto sound = check(*object); !sound) return invalid(what + ": " + sound.error().message);
    objects.push_back(std::move(*object));
  }
  if (objects.empty()) return invalid(what + " holds no objects");
  return objects;
}

ObjectKey key_named(const std::string& name) {
  const auto slash = name.find('/');
  if (slash == name.npos) return {"default", name};
  return {name.substr(0, slash), name.substr(slash + 1)};
}

Json endpoint_json(const ClusterEndpoint& endpoint) {
  Json out{{"address", to_string(endpoint.address)},
           {"state", endpoint.ready                             ? "ready"
                     : endpoint.serving && endpoint.terminating ? "terminating"
                                                                : "not ready"}};
  if (!endpoint.node.empty()) out["node"] = endpoint.node;
  return out;
}

std::string port_text(const ClusterPort& port) {
  const auto& protocol = api::kServiceProtocolNames[static_cast<std::size_t>(port.protocol)];
  return (port.name.empty() ? "" : port.name + " ") + std::to_string(port.port) + "/" + protocol +
         (port.node_port == 0 ? "" : " on node port " + std::to_string(port.node_port));
}

}  // namespace

Result<ServicePlan> Services::planned(const Manifests& manifests, const NodeObjects& node) {
  std::vector<ClusterService> services;
  std::vector<ClusterSlice> slices;
  for (const auto& [key, manifest] : manifests) {
    if (manifest.kind == "Service") {
      PODWIRE_TRY(auto service, read_cluster_service(manifest));
      services.push_back(std::move(service));
    } else {
      PODWIRE_TRY(auto slice, read_cluster_slice(manifest));
      slices.push_back(std::move(slice));
    }
  }
  auto plan = plan_services(services, slices, config_, node);
  std::vector<std::string> names;
  for (const auto& service : plan.services) names.push_back(service.name);
  PODWIRE_TRY(const auto ids, store_.ids_for(kNoun, names));
  for (std::size_t i = 0; i < ids.size(); ++i) plan.services[i].id = ServiceId(ids[i] + kLastPublished);
  return plan;
}

Result<void> Services::load(const NodeObjects& node) {
  const std::lock_guard lock(mutex_);
  for (const char* const kind : {"Service", "EndpointSlice"}) {
    PODWIRE_TRY(const auto rows, store_.manifests(kind));
    for (const auto& row : rows) {
      PODWIRE_TRY(auto body, parse_json(row.body, std::string("stored ") + kind + " " + row.name));
      ServiceManifest manifest{kind, {row.space, row.name}, std::move(body)};
      manifests_.emplace(key_of(manifest), std::move(manifest));
    }
  }
  PODWIRE_TRY(auto plan, planned(manifests_, node));
  for (const auto& [key, problem] : plan.problems) {
    spdlog::warn("service {} is left out: {}", to_text(key), problem);
    problems_.insert(key);
  }
  std::vector<std::string> names;
  for (const auto& service : plan.services) names.push_back(service.name);
  PODWIRE_CHECK(store_.keep_ids(kNoun, names));
  return program(std::move(plan.services));
}

// The node's own ports first: another program may have one. Refused, nothing has changed.
Result<void> Services::program(std::vector<api::Service> services) {
  if (host_ports_ == nullptr) return reconciler_.set_services(std::move(services));
  PODWIRE_CHECK(host_ports_->hold(services));
  auto done = reconciler_.set_services(std::move(services));
  if (!done) {
    PODWIRE_TRY(auto before, planned(manifests_, reconciler_.node()));
    if (auto held = host_ports_->hold(before.services); !held) spdlog::warn("{}", held.error().message);
  }
  host_ports_->lead();
  return done;
}

// The engine first: what it refuses is not kept.
Result<void> Services::commit(Manifests next, const std::vector<ServiceManifest>& put,
                              const std::vector<ServiceManifest>& erased) {
  const auto node = reconciler_.node();
  PODWIRE_TRY(auto plan, planned(next, node));
  for (const auto& [key, problem] : plan.problems) {
    const bool ours = std::any_of(put.begin(), put.end(), [&](const ServiceManifest& m) {
      return m.kind == "Service" && m.key == key;
    });
    // What was sound before is refused with whatever spoils it.
    if (ours || !problems_.contains(key)) return invalid("Service " + to_text(key) + ": " + problem);
  }
  std::set<ObjectKey> problems;
  for (const auto& [key, problem] : plan.problems) problems.insert(key);
  PODWIRE_CHECK(program(std::move(plan.services)));
  std::vector<StoredManifest> kept, gone;
  for (const auto& manifest : put) kept.push_back(stored(manifest));
  for (const auto& manifest : erased) gone.push_back(stored(manifest));
  auto changed = store_.change_manifests(kept, gone);
  if (changed) {
    manifests_ = std::move(next);
    problems_ = std::move(problems);
    return {};
  }
  auto before = planned(manifests_, node);
  auto undone = before ? program(std::move(before->services)) : Result<void>(before.error());
  if (undone) return changed.error();
  return Error{changed.error().code, changed.error().message + "; undoing it: " + undone.error().message};
}

Result<Json> Services::apply(const Json& params) {
  std::string text, what = "manifests";
  ObjectReader r(params, "params");
  r.required("manifests", text);
  r.optional("what", what);
  PODWIRE_CHECK(r.finish());
  PODWIRE_TRY(const auto objects, read_service_manifests(text, what));
  const std::lock_guard lock(mutex_);
  auto next = manifests_;
  Json applied = Json::array();
  for (const auto& object : objects) {
    const auto before = manifests_.find(key_of(object));
    const char* const change = before == manifests_.end()           ? "created"
                               : before->second.body == object.body ? "unchanged"
                                                                    : "configured";
    applied.push_back({{"kind", object.kind}, {"name", to_text(object.key)}, {"change", change}});
    next[key_of(object)] = object;
  }
  PODWIRE_CHECK(commit(std::move(next), objects, {}));
  return Json{{"applied", std::move(applied)}};
}

// Those that are there.
Result<std::vector<ServiceManifest>> Services::erased_by(const Json& params) const {
  std::optional<std::string> text, name;
  std::string what = "manifests";
  ObjectReader r(params, "params");
  r.optional("name", name);
  r.optional("manifests", text);
  r.optional("what", what);
  PODWIRE_CHECK(r.finish());
  if (text.has_value() == name.has_value())
    return invalid("params must have exactly one of name (NAMESPACE/NAME of a service) and manifests");
  std::vector<ServiceManifest> out;
  if (text) {
    PODWIRE_TRY(auto objects, read_service_manifests(*text, what));
    for (auto& object : objects) {
      if (manifests_.contains(key_of(object))) out.push_back(std::move(object));
    }
    return out;
  }
  const auto key = key_named(*name);
  for (const auto& [place, manifest] : manifests_) {
    bool chosen = manifest.kind == "Service" && manifest.key == key;
    if (manifest.kind == "EndpointSlice" && manifest.key.first == key.first) {
      PODWIRE_TRY(const auto slice, read_cluster_slice(manifest));
      chosen = slice.service == key.second;
    }
    if (chosen) out.push_back(manifest);
  }
  return out;
}

Result<Json> Services::remove(const Json& params) {
  const std::lock_guard lock(mutex_);
  PODWIRE_TRY(const auto gone, erased_by(params));
  Json deleted = Json::array();
  auto next = manifests_;
  for (const auto& manifest : gone) {
    deleted.push_back(to_text(manifest));
    next.erase(key_of(manifest));
  }
  if (!gone.empty()) PODWIRE_CHECK(commit(std::move(next), {}, gone));
  return Json{{"deleted", std::move(deleted)}};
}

Result<Json> Services::list(const Json& params) {
  PODWIRE_TRY(const auto page, read_page(params));
  const std::lock_guard lock(mutex_);
  std::map<ObjectKey, Json> endpoints;
  for (const auto& [key, manifest] : manifests_) {
    if (manifest.kind != "EndpointSlice") continue;
    PODWIRE_TRY(const auto slice, read_cluster_slice(manifest));
    auto& all = endpoints.try_emplace({slice.key.first, slice.service}, Json::array()).first->second;
    for (const auto& endpoint : slice.endpoints) all.push_back(endpoint_json(endpoint));
  }
  PODWIRE_TRY(const auto plan, planned(manifests_, reconciler_.node()));
  Json services = Json::array();
  for (const auto& [key, manifest] : manifests_) {
    if (manifest.kind != "Service") continue;
    PODWIRE_TRY(const auto service, read_cluster_service(manifest));
    Json ports = Json::array();
    for (const auto& port : service.ports) ports.push_back(port_text(port));
    const auto found = endpoints.find(service.key);
    const auto problem = std::find_if(plan.problems.begin(), plan.problems.end(),
                                      [&](const auto& p) { return p.first == service.key; });
    services.push_back({{"name", to_text(service.key)},
                        {"type", service.type},
                        {"cluster_ips", texts(service.cluster_ips)},
                        {"outside_ips", texts(service.outside_ips)},
                        {"ports", ports},
                        {"affinity_s", service.affinity_s},
                        {"external_traffic", service.external_local ? "Local" : "Cluster"},
                        {"internal_traffic", service.internal_local ? "Local" : "Cluster"},
                        {"endpoints", found == endpoints.end() ? Json::array() : found->second}});
    if (problem != plan.problems.end()) services.back()["problem"] = problem->second;
  }
  return make_page("services", std::move(services), page);
}

}  // namespace podwire::control
