#include "control/api/services.hpp"

#include <spdlog/spdlog.h>

#include <set>

#include "control/api/paging.hpp"
#include "control/api/texts.hpp"
#include "control/manifest/manifest.hpp"
#include "control/state/published_ports.hpp"

namespace podwire::control {
namespace {

constexpr const char* kNoun = "cluster_service";
using ServiceManifestKey = std::tuple<std::string, std::string, std::string>;

ServiceManifestKey key_of(const ServiceManifest& manifest) {
  return {manifest.kind, manifest.key.first, manifest.key.second};
}

StoredManifest stored(const ServiceManifestKey& key, const Json& body) {
  const auto& [kind, space, name] = key;
  return {kind, space, name, body.is_null() ? "" : body.dump()};
}

std::string name_of(const ServiceManifestKey& key) {
  return std::get<0>(key) + " " + to_text(ObjectKey(std::get<1>(key), std::get<2>(key)));
}

// As what it says it is.
Result<void> read_into(const ServiceManifest& manifest, ServiceEdit& edit) {
  if (manifest.kind == "Service") {
    PODWIRE_TRY(edit.services[manifest.key], read_cluster_service(manifest));
  } else {
    PODWIRE_TRY(edit.slices[manifest.key], read_cluster_slice(manifest));
  }
  return {};
}

// `edit` gets what they say.
Result<std::vector<ServiceManifest>> read_service_manifests(const std::string& text, const std::string& what,
                                                            ServiceEdit& edit) {
  PODWIRE_TRY(const auto manifests, read_manifests(text, what));
  std::vector<ServiceManifest> objects;
  std::set<ServiceManifestKey> seen;
  for (const auto& manifest : manifests) {
    auto object = read_service_manifest(manifest);
    if (!object) return invalid(what + ": " + object.error().message);
    if (!seen.insert(key_of(*object)).second)
      return invalid(what + ": " + to_text(*object) + " stands in it twice; which one is meant?");
    if (auto sound = read_into(*object, edit); !sound) return invalid(what + ": " + sound.error().message);
    objects.push_back(std::move(*object));
  }
  if (objects.empty()) return invalid(what + " holds no objects");
  return objects;
}

// Not those of a change that a person waits for: they are told by its error.
void tell(const ServiceOutcome& outcome) {
  for (const auto& [key, problem] : outcome.spoilt)
    spdlog::warn("service {} is left out: {}", to_text(key), problem);
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

Result<void> Services::load(const NodeObjects& node) {
  const std::lock_guard lock(mutex_);
  ServiceEdit edit;
  for (const char* const kind : {"Service", "EndpointSlice"}) {
    PODWIRE_TRY(const auto rows, store_.manifests(kind));
    for (const auto& row : rows) {
      PODWIRE_TRY(auto body, parse_json(row.body, std::string("stored ") + kind + " " + row.name));
      ServiceManifest manifest{kind, {row.space, row.name}, std::move(body)};
      PODWIRE_CHECK(read_into(manifest, edit));
      bodies_.emplace(key_of(manifest), std::move(manifest.body));
    }
  }
  model_.set_node(node);
  auto outcome = model_.change(std::move(edit));
  tell(outcome);
  PODWIRE_TRY(auto change, with_ids(std::move(outcome)));
  std::vector<std::string> names;
  for (const auto& service : change.put) names.push_back(service.name);
  PODWIRE_CHECK(store_.keep_ids(kNoun, names));
  return program(std::move(change));
}

// The node's own ports first: another program may have one. Refused, nothing has changed but the model.
Result<void> Services::program(ServiceChange change) {
  if (host_ports_ == nullptr) return reconciler_.change_services(std::move(change));
  PODWIRE_CHECK(host_ports_->hold(model_.planned_services()));
  auto done = reconciler_.change_services(std::move(change));
  host_ports_->lead();
  return done;
}

Result<ServiceChange> Services::with_ids(ServiceOutcome outcome) {
  ServiceChange change;
  std::vector<std::string> fresh;
  for (const auto& service : outcome.put) {
    if (!ids_.contains(service.name)) fresh.push_back(service.name);
  }
  if (!fresh.empty()) {
    PODWIRE_TRY(const auto ids, store_.ids_for(kNoun, fresh));
    for (std::size_t i = 0; i < ids.size(); ++i) ids_[fresh[i]] = ServiceId(ids[i] + kLastPublished);
  }
  change.put = std::move(outcome.put);
  for (auto& service : change.put) service.id = ids_.at(service.name);
  for (const auto& name : outcome.gone) change.removed.push_back(ids_.at(name));
  return change;
}

// Between what is planned and what the engine should have by now.
Result<ServiceChange> Services::whole_difference() {
  ServiceOutcome all;
  all.put = model_.planned_services();
  PODWIRE_TRY(auto change, with_ids(std::move(all)));
  auto before = reconciler_.services();
  std::erase_if(change.put, [&](const api::Service& service) {
    const auto old = before.find(service.id);
    if (old == before.end()) return false;
    const bool same = old->second == service;
    before.erase(old);
    return same;
  });
  for (const auto& [id, service] : before) change.removed.push_back(id);
  return change;
}

// What the node's new addresses and domains make of the services. What the engine does not get now is told
// to it with the next change.
Result<void> Services::follow_node() {
  const auto version = reconciler_.node_version();
  if (version != node_version_) {
    model_.set_node(reconciler_.node());
    tell(model_.change({}));
    node_version_ = version;
    adrift_ = true;
  }
  if (!adrift_) return {};
  PODWIRE_TRY(auto change, whole_difference());
  PODWIRE_CHECK(program(std::move(change)));
  adrift_ = false;
  return {};
}

// The engine first: what it refuses is not kept.
Result<void> Services::commit(Change change) {
  PODWIRE_CHECK(follow_node());
  auto outcome = model_.change(std::move(change.edit));
  auto undo = std::move(outcome.undo);
  if (!outcome.spoilt.empty()) {
    // What was sound before is refused with whatever spoils it.
    const auto& [key, problem] = outcome.spoilt.front();
    PODWIRE_CHECK(take_back(std::move(undo), false));
    return invalid("Service " + to_text(key) + ": " + problem);
  }
  auto with = with_ids(std::move(outcome));
  auto done = with ? program(std::move(*with)) : Result<void>(with.error());
  const bool in_engine = static_cast<bool>(done);
  if (done) {
    std::vector<StoredManifest> kept, gone;
    for (const auto& [key, body] : change.put) kept.push_back(stored(key, body));
    for (const auto& key : change.erased) gone.push_back(stored(key, nullptr));
    done = store_.change_manifests(kept, gone);
  }
  if (!done) {
    const auto undone = take_back(std::move(undo), in_engine);
    if (undone) return done;
    return Error{done.error().code, done.error().message + "; undoing it: " + undone.error().message};
  }
  for (auto& [key, body] : change.put) bodies_[key] = std::move(body);
  for (const auto& key : change.erased) bodies_.erase(key);
  return {};
}

// A port of the node that another program has taken meanwhile keeps nothing else from being as it was.
Result<void> Services::take_back(ServiceUndo undo, bool from_engine) {
  auto outcome = model_.undo(std::move(undo));
  if (host_ports_ != nullptr) {
    if (auto held = host_ports_->hold(model_.planned_services()); !held)
      spdlog::warn("{}", held.error().message);
  }
  Result<void> done;
  if (from_engine) {
    auto change = with_ids(std::move(outcome));
    done = change ? reconciler_.change_services(std::move(*change)) : Result<void>(change.error());
    adrift_ = !done;
  }
  if (host_ports_ != nullptr) host_ports_->lead();
  return done;
}

Result<Json> Services::apply(const Json& params) {
  std::string text, what = "manifests";
  ObjectReader r(params, "params");
  r.required("manifests", text);
  r.optional("what", what);
  PODWIRE_CHECK(r.finish());
  Change change;
  PODWIRE_TRY(auto objects, read_service_manifests(text, what, change.edit));
  const std::lock_guard lock(mutex_);
  Json applied = Json::array();
  for (auto& object : objects) {
    const auto key = key_of(object);
    const auto before = bodies_.find(key);
    const bool known = before != bodies_.end();
    const bool same = known && before->second == object.body;
    applied.push_back({{"kind", object.kind},
                       {"name", to_text(object.key)},
                       {"change", same    ? "unchanged"
                                  : known ? "configured"
                                          : "created"}});
    if (!same) change.put.emplace(key, std::move(object.body));
  }
  PODWIRE_CHECK(commit(std::move(change)));
  return Json{{"applied", std::move(applied)}};
}

void Services::erase(const ManifestKey& key, Change& change) const {
  if (!bodies_.contains(key)) return;
  const auto& [kind, space, name] = key;
  if (kind == "Service")
    change.edit.services[{space, name}] = std::nullopt;
  else
    change.edit.slices[{space, name}] = std::nullopt;
  change.erased.push_back(key);
}

// Of what is there.
Result<Services::Change> Services::read_removal(const Json& params) const {
  std::optional<std::string> text, name;
  std::string what = "manifests";
  ObjectReader r(params, "params");
  r.optional("name", name);
  r.optional("manifests", text);
  r.optional("what", what);
  PODWIRE_CHECK(r.finish());
  if (text.has_value() == name.has_value())
    return invalid("params must have exactly one of name (NAMESPACE/NAME of a service) and manifests");
  Change change;
  if (text) {
    ServiceEdit read;
    PODWIRE_TRY(const auto objects, read_service_manifests(*text, what, read));
    for (const auto& object : objects) erase(key_of(object), change);
    return change;
  }
  const auto key = key_named(*name);
  for (const auto* slice : model_.slices_of(key))
    erase({"EndpointSlice", slice->key.first, slice->key.second}, change);
  erase({"Service", key.first, key.second}, change);
  return change;
}

Result<Json> Services::remove(const Json& params) {
  const std::lock_guard lock(mutex_);
  PODWIRE_TRY(auto change, read_removal(params));
  Json deleted = Json::array();
  for (const auto& key : change.erased) deleted.push_back(name_of(key));
  if (!change.erased.empty()) PODWIRE_CHECK(commit(std::move(change)));
  return Json{{"deleted", std::move(deleted)}};
}

Result<Json> Services::list(const Json& params) {
  PODWIRE_TRY(const auto page, read_page(params));
  const std::lock_guard lock(mutex_);
  Json services = Json::array();
  for (const auto& [key, service] : model_.services()) {
    Json ports = Json::array(), endpoints = Json::array();
    for (const auto& port : service.ports) ports.push_back(port_text(port));
    for (const auto* slice : model_.slices_of(key)) {
      for (const auto& endpoint : slice->endpoints) endpoints.push_back(endpoint_json(endpoint));
    }
    services.push_back({{"name", to_text(key)},
                        {"type", service.type},
                        {"cluster_ips", texts(service.cluster_ips)},
                        {"outside_ips", texts(service.outside_ips)},
                        {"ports", ports},
                        {"affinity_s", service.affinity_s},
                        {"external_traffic", service.external_local ? "Local" : "Cluster"},
                        {"internal_traffic", service.internal_local ? "Local" : "Cluster"},
                        {"endpoints", std::move(endpoints)}});
    if (!service.source_ranges.empty()) services.back()["source_ranges"] = texts(service.source_ranges);
    if (auto problem = model_.problem_of(key); !problem.empty())
      services.back()["problem"] = std::move(problem);
  }
  return make_page("services", std::move(services), page);
}

}  // namespace podwire::control
