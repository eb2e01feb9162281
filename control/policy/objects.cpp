#include "control/policy/objects.hpp"

#include <algorithm>
#include <array>

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

// Null counts as left out, as it does for Kubernetes.
const Json* member(const Json& object, const char* key) {
  const auto at = object.find(key);
  return at == object.end() || at->is_null() ? nullptr : &*at;
}

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

const std::vector<std::string> kProtocols{"TCP", "UDP", "SCTP"};

Result<api::RuleProtocol> read_protocol(const Json& value, const std::string& path) {
  std::string text;
  PODWIRE_CHECK(podwire::read_value(value, path, text));
  if (text == "TCP") return api::RuleProtocol::kTcp;
  if (text == "UDP") return api::RuleProtocol::kUdp;
  if (text == "SCTP") return api::RuleProtocol::kSctp;
  const auto near = closest_match(text, kProtocols);
  return invalid(path + " is \"" + text.substr(0, 64) + "\", must be TCP, UDP or SCTP" +
                 (near.empty() ? "" : "; did you mean \"" + near + "\"?"));
}

// IANA_SVC_NAME (RFC 6335 section 5.1).
bool is_port_name(std::string_view name) {
  const auto is_letter = [](char c) { return c >= 'a' && c <= 'z'; };
  const auto allowed = [&](char c) { return is_letter(c) || (c >= '0' && c <= '9') || c == '-'; };
  return !name.empty() && name.size() <= 15 && std::all_of(name.begin(), name.end(), allowed) &&
         std::any_of(name.begin(), name.end(), is_letter) && name.front() != '-' && name.back() != '-' &&
         name.find("--") == name.npos;
}

Result<void> check_port_name(const std::string& path, const std::string& name) {
  if (is_port_name(name)) return {};
  return invalid(
      path + " is \"" + name.substr(0, 64) +
      "\", which is no port's name: 1 to 15 lower-case letters, digits and single -, with a letter; a "
      "number stands without quotes");
}

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

namespace {

Result<PolicyPort> read_policy_port(const Json& value, const std::string& path) {
  PolicyPort out;
  ObjectReader r(value, path);
  const Json* protocol = r.find("protocol");
  const Json* port = r.find("port");
  const Json* end = r.find("endPort");
  PODWIRE_CHECK(r.finish());
  if (protocol != nullptr && !protocol->is_null()) {
    PODWIRE_TRY(out.protocol, read_protocol(*protocol, path + ".protocol"));
  }
  const bool has_port = port != nullptr && !port->is_null();
  const bool has_end = end != nullptr && !end->is_null();
  if (has_port && port->is_string()) {
    out.name = port->get<std::string>();
    PODWIRE_CHECK(check_port_name(path + ".port", out.name));
    if (has_end)
      return invalid(path + ".endPort goes with a port's number, not with the name \"" + out.name + "\"");
    return out;
  }
  if (!has_port) {
    if (has_end) return invalid(path + ".endPort needs port, the first of the range");
    return out;
  }
  PODWIRE_TRY(const auto first, read_integer(*port, path + ".port", 1, 65535));
  auto last = first;
  if (has_end) {
    PODWIRE_TRY(last, read_integer(*end, path + ".endPort", first, 65535));
  }
  out.range = {static_cast<std::uint16_t>(first), static_cast<std::uint16_t>(last)};
  return out;
}

// Host bits are cleared, as the API server's parser allows them.
Result<api::PolicyBlock> read_block(const Json& value, const std::string& path) {
  api::PolicyBlock block;
  ObjectReader r(value, path);
  r.required("cidr", block.prefix);
  const Json* except = r.find("except");
  PODWIRE_CHECK(r.finish());
  block.prefix = block.prefix.network();
  if (except == nullptr || except->is_null()) return block;
  PODWIRE_CHECK(podwire::read_value(*except, path + ".except", block.except));
  for (auto& hole : block.except) {
    hole = hole.network();
    if (hole.length > block.prefix.length && block.prefix.contains(hole.address)) continue;
    return invalid(path + ".except: " + to_string(hole) + " must be smaller than " + to_string(block.prefix) +
                   " and lie in it");
  }
  return block;
}

Result<PolicyPeer> read_peer(const Json& value, const std::string& path) {
  PolicyPeer peer;
  ObjectReader r(value, path);
  const Json* pods = r.find("podSelector");
  const Json* namespaces = r.find("namespaceSelector");
  const Json* block = r.find("ipBlock");
  PODWIRE_CHECK(r.finish());
  if (pods != nullptr && !pods->is_null())
    PODWIRE_CHECK(read_selector(*pods, path + ".podSelector", peer.pods.emplace()));
  if (namespaces != nullptr && !namespaces->is_null())
    PODWIRE_CHECK(read_selector(*namespaces, path + ".namespaceSelector", peer.namespaces.emplace()));
  const bool selects = peer.pods || peer.namespaces;
  if (block != nullptr && !block->is_null()) {
    if (selects) return invalid(path + ": ipBlock stands alone; make it a peer of its own");
    PODWIRE_TRY(peer.block, read_block(*block, path + ".ipBlock"));
  } else if (!selects) {
    return invalid(
        path + " names no peer; give podSelector, namespaceSelector or ipBlock ({} selects all of a kind)");
  }
  return peer;
}

// An absent, null or empty array: nothing is restricted.
template <class T>
Result<void> read_array(const Json* value, const std::string& path,
                        Result<T> (*read)(const Json&, const std::string&), std::vector<T>& out) {
  if (value == nullptr || value->is_null()) return {};
  if (!value->is_array()) return invalid(path + " must be an array, not " + json_type_name(*value));
  for (std::size_t i = 0; i < value->size(); ++i) {
    PODWIRE_TRY(auto element, read((*value)[i], path + "[" + std::to_string(i) + "]"));
    out.push_back(std::move(element));
  }
  return {};
}

Result<PeerRule> read_rule(const Json& value, const std::string& path, const char* peers_key) {
  PeerRule rule;
  ObjectReader r(value, path);
  const Json* peers = r.find(peers_key);
  const Json* ports = r.find("ports");
  PODWIRE_CHECK(r.finish());
  PODWIRE_CHECK(read_array(peers, path + "." + peers_key, read_peer, rule.peers));
  PODWIRE_CHECK(read_array(ports, path + ".ports", read_policy_port, rule.ports));
  return rule;
}
Result<PeerRule> read_ingress_rule(const Json& value, const std::string& path) {
  return read_rule(value, path, "from");
}
Result<PeerRule> read_egress_rule(const Json& value, const std::string& path) {
  return read_rule(value, path, "to");
}

// Ingress unless the policy says otherwise, and egress when it has rules for it (defaulting of the API).
Result<void> take_types(const Json* types, const std::string& path, std::vector<PeerRule> ingress,
                        std::vector<PeerRule> egress, NetworkPolicy& out) {
  std::vector<std::string> names;
  if (types != nullptr && !types->is_null()) PODWIRE_CHECK(podwire::read_value(*types, path, names));
  bool has_ingress = names.empty(), has_egress = names.empty() && !egress.empty();
  for (const auto& name : names) {
    if (name != "Ingress" && name != "Egress")
      return invalid(path + " has \"" + name.substr(0, 64) + "\", must be Ingress, Egress or both");
    (name == "Ingress" ? has_ingress : has_egress) = true;
  }
  if (has_ingress) out.ingress = std::move(ingress);
  if (has_egress) out.egress = std::move(egress);
  return {};
}

}  // namespace

Result<NetworkPolicy> read_network_policy(const PolicyManifest& manifest) {
  NetworkPolicy policy;
  policy.key = manifest.key;
  const auto path = to_text(manifest) + ": spec";
  static const Json kNone = Json::object();
  const Json* spec = member(manifest.body, "spec");
  ObjectReader r(spec == nullptr ? kNone : *spec, path);
  const Json* selector = r.find("podSelector");
  const Json* ingress = r.find("ingress");
  const Json* egress = r.find("egress");
  const Json* types = r.find("policyTypes");
  PODWIRE_CHECK(r.finish());
  if (selector != nullptr) PODWIRE_CHECK(read_selector(*selector, path + ".podSelector", policy.pods));
  std::vector<PeerRule> in, out;
  PODWIRE_CHECK(read_array(ingress, path + ".ingress", read_ingress_rule, in));
  PODWIRE_CHECK(read_array(egress, path + ".egress", read_egress_rule, out));
  PODWIRE_CHECK(take_types(types, path + ".policyTypes", std::move(in), std::move(out), policy));
  return policy;
}

}  // namespace podwire::control
