#include "control/policy/objects.hpp"

#include <algorithm>
#include <array>

#include "control/policy/fields.hpp"

namespace podwire::control {
namespace {

constexpr const char* kNameLabel = "kubernetes.io/metadata.name";

struct Kind {
  const char* kind;
  const char* version;
  bool namespaced;
};
constexpr std::array kKinds{Kind{"NetworkPolicy", "networking.k8s.io/v1", true},
                            Kind{"Namespace", "v1", false}, Kind{"Pod", "v1", true}};

Result<const Json*> object_member(const Json& object, const char* key, const std::string& path) {
  const Json* value = member(object, key);
  if (value == nullptr || value->is_object()) return value;
  return invalid(path + key + " must be a mapping, not " + json_type_name(*value));
}

// What is read of the objects whose other fields are none of our business.
Json picked(const Json& object, std::initializer_list<const char*> keys) {
  Json out = Json::object();
  for (const char* const key : keys) {
    if (const Json* value = member(object, key)) out[key] = *value;
  }
  return out;
}

Json reduced_pod(const Json& pod) {
  Json out = Json::object();
  if (const Json* spec = member(pod, "spec"); spec != nullptr && spec->is_object()) {
    out["spec"] = picked(*spec, {"hostNetwork"});
    for (const char* const list : {"containers", "initContainers"}) {
      const Json* containers = member(*spec, list);
      if (containers == nullptr) continue;
      if (!containers->is_array()) {
        out["spec"][list] = *containers;  // for the reader to refuse
        continue;
      }
      for (const auto& container : *containers) {
        out["spec"][list].push_back(container.is_object() ? picked(container, {"ports", "restartPolicy"})
                                                          : container);
      }
    }
  }
  if (const Json* status = member(pod, "status"); status != nullptr && status->is_object())
    out["status"] = picked(*status, {"phase", "podIP", "podIPs"});
  return out;
}

}  // namespace

std::string to_text(const ObjectKey& key) {
  return key.first.empty() ? key.second : key.first + "/" + key.second;
}

std::string to_text(const PolicyManifest& manifest) {
  return manifest.kind + " " + to_text(manifest.key);
}

NamespaceFacts implied_namespace(const std::string& name) {
  return {name, {{kNameLabel, name}}};
}

Result<PolicyManifest> read_policy_manifest(const Json& manifest) {
  std::string version, kind;
  if (!manifest.is_object()) return invalid("a manifest must be a mapping, not " + json_type_name(manifest));
  ObjectReader top(manifest, "");
  top.ignore_unknown();
  top.required("apiVersion", version);
  top.required("kind", kind);
  PODWIRE_CHECK(top.finish());
  const auto known =
      std::find_if(kKinds.begin(), kKinds.end(), [&](const Kind& k) { return kind == k.kind; });
  if (known == kKinds.end())
    return invalid("kind is \"" + kind.substr(0, 64) + "\", must be NetworkPolicy, Namespace or Pod");
  if (version != known->version) {
    return invalid(kind + ": apiVersion is \"" + version.substr(0, 64) + "\", must be \"" + known->version +
                   "\"");
  }
  PolicyManifest out{kind, {}, {}};
  PODWIRE_TRY(const Json* const metadata, object_member(manifest, "metadata", kind + ": "));
  auto& [space, name] = out.key;
  if (metadata != nullptr) {
    ObjectReader r(*metadata, kind + ": metadata");
    r.ignore_unknown();
    r.required("name", name);
    if (known->namespaced && member(*metadata, "namespace")) r.optional("namespace", space);
    PODWIRE_CHECK(r.finish());
  }
  if (known->namespaced && space.empty()) space = "default";
  PODWIRE_CHECK(check_dns_name(kind + ": metadata.name", name, !known->namespaced));
  if (known->namespaced)
    PODWIRE_CHECK(check_dns_name(kind + " " + name + ": metadata.namespace", space, true));
  Json body{
      {"apiVersion", version}, {"kind", kind}, {"metadata", picked(*metadata, {"name", "uid", "labels"})}};
  if (known->namespaced) body["metadata"]["namespace"] = space;
  if (kind == "Pod") {
    body.update(reduced_pod(manifest));
  } else if (kind == "NetworkPolicy") {
    static const std::vector<std::string> kFields{"apiVersion", "kind", "metadata", "spec", "status"};
    for (const auto& [key, value] : manifest.items()) {
      if (std::find(kFields.begin(), kFields.end(), key) != kFields.end()) continue;
      const auto near = closest_match(key, kFields);
      return invalid(to_text(out) + ": there is no field \"" + key.substr(0, 64) + "\"" +
                     (near.empty() ? "" : "; did you mean \"" + near + "\"?"));
    }
    if (const Json* spec = member(manifest, "spec")) body["spec"] = *spec;
  }
  out.body = std::move(body);
  return out;
}

Result<NamespaceFacts> read_namespace(const PolicyManifest& manifest) {
  auto facts = implied_namespace(manifest.key.second);
  const Json& metadata = manifest.body["metadata"];
  if (const Json* labels = member(metadata, "labels"))
    PODWIRE_CHECK(read_labels(*labels, to_text(manifest) + ": metadata.labels", facts.labels));
  facts.labels[kNameLabel] = facts.name;  // the API server lets nobody choose it
  return facts;
}

namespace {

Result<void> read_container_port(const Json& value, const std::string& path, std::vector<PodPort>& out) {
  PodPort port;
  ObjectReader r(value, path);
  r.ignore_unknown();
  if (value.is_object() && member(value, "name")) r.optional("name", port.name);
  if (!r.optional_in("containerPort", port.port, 1, 65535))
    r.keep(invalid(path + ".containerPort is missing"));
  PODWIRE_CHECK(r.finish());
  if (const Json* protocol = member(value, "protocol")) {
    PODWIRE_TRY(port.protocol, read_protocol(*protocol, path + ".protocol"));
  }
  if (port.name.empty()) return {};
  PODWIRE_CHECK(check_port_name(path + ".name", port.name));
  out.push_back(std::move(port));
  return {};
}

Result<void> read_containers(const Json& containers, const std::string& path, std::vector<PodPort>& out) {
  if (!containers.is_array()) return invalid(path + " must be an array, not " + json_type_name(containers));
  for (std::size_t i = 0; i < containers.size(); ++i) {
    const auto at = path + "[" + std::to_string(i) + "].ports";
    if (!containers[i].is_object())
      return invalid(path + "[" + std::to_string(i) + "] must be a mapping, not " +
                     json_type_name(containers[i]));
    // Init containers listen no more when the others run, but for those that stay beside them.
    if (path.ends_with("initContainers") && !member(containers[i], "restartPolicy")) continue;
    if (!member(containers[i], "ports")) continue;
    const Json& ports = *member(containers[i], "ports");
    if (!ports.is_array()) return invalid(at + " must be an array, not " + json_type_name(ports));
    for (std::size_t n = 0; n < ports.size(); ++n)
      PODWIRE_CHECK(read_container_port(ports[n], at + "[" + std::to_string(n) + "]", out));
  }
  return {};
}

Result<void> read_status(const Json& status, const std::string& path, PodFacts& pod) {
  std::string phase, first;
  ObjectReader r(status, path);
  r.ignore_unknown();
  r.optional("phase", phase);
  r.optional("podIP", first);
  PODWIRE_CHECK(r.finish());
  if (pod.host_network || phase == "Succeeded" || phase == "Failed") return {};
  const auto add = [&](const std::string& text, const std::string& at) -> Result<void> {
    if (text.empty()) return {};
    auto address = parse_ip(text);
    if (!address) return invalid(at + ": " + address.error().message);
    const auto& all = pod.addresses;
    if (std::find(all.begin(), all.end(), *address) == all.end()) pod.addresses.push_back(*address);
    return {};
  };
  PODWIRE_CHECK(add(first, path + ".podIP"));
  const Json* more = member(status, "podIPs");
  if (more == nullptr) return {};
  if (!more->is_array()) return invalid(path + ".podIPs must be an array, not " + json_type_name(*more));
  for (std::size_t i = 0; i < more->size(); ++i) {
    const auto at = path + ".podIPs[" + std::to_string(i) + "]";
    std::string text;
    ObjectReader entry((*more)[i], at);
    entry.ignore_unknown();
    entry.required("ip", text);
    PODWIRE_CHECK(entry.finish());
    PODWIRE_CHECK(add(text, at + ".ip"));
  }
  std::sort(pod.addresses.begin(), pod.addresses.end());
  return {};
}

}  // namespace

Result<PodFacts> read_pod(const PolicyManifest& manifest) {
  PodFacts pod;
  pod.key = manifest.key;
  const auto what = to_text(manifest) + ": ";
  const Json& metadata = manifest.body["metadata"];
  if (const Json* uid = member(metadata, "uid"))
    PODWIRE_CHECK(podwire::read_value(*uid, what + "metadata.uid", pod.uid));
  if (const Json* labels = member(metadata, "labels"))
    PODWIRE_CHECK(read_labels(*labels, what + "metadata.labels", pod.labels));
  if (const Json* spec = member(manifest.body, "spec")) {
    if (const Json* host = member(*spec, "hostNetwork"))
      PODWIRE_CHECK(podwire::read_value(*host, what + "spec.hostNetwork", pod.host_network));
    for (const char* const list : {"containers", "initContainers"}) {
      if (const Json* containers = member(*spec, list))
        PODWIRE_CHECK(read_containers(*containers, what + "spec." + list, pod.ports));
    }
  }
  std::sort(pod.ports.begin(), pod.ports.end());
  pod.ports.erase(std::unique(pod.ports.begin(), pod.ports.end()), pod.ports.end());
  if (const Json* status = member(manifest.body, "status"))
    PODWIRE_CHECK(read_status(*status, what + "status", pod));
  return pod;
}

}  // namespace podwire::control
