#include "control/service/objects.hpp"

#include <algorithm>
#include <charconv>
#include <set>

namespace podwire::control {

// Found by argument-dependent lookup from read_value(std::vector<T>&), so they stand in this namespace.
Result<void> read_value(const Json& value, const std::string& path, ClusterPort& out);
Result<void> read_value(const Json& value, const std::string& path, ClusterEndpoint& out);

namespace {

constexpr const char* kServiceLabel = "kubernetes.io/service-name";
constexpr std::size_t kMaxServicePorts = 256;
constexpr std::size_t kMaxSliceEndpoints = 1000;  // as Kubernetes has it
const std::vector<std::string> kTypes{"ClusterIP", "NodePort", "LoadBalancer", "ExternalName"};
const std::vector<std::string> kProtocols{"TCP", "UDP", "SCTP"};  // index = api::ServiceProtocol
const std::vector<std::string> kPolicies{"Cluster", "Local"};

// Null counts as left out, as it does for Kubernetes.
Json without_nulls(const Json& value) {
  if (value.is_object()) {
    Json out = Json::object();
    // Members keep their order, so to look for each among those before it would be quadratic.
    auto& members = out.get_ref<Json::object_t&>();
    for (const auto& [key, member] : value.items()) {
      if (!member.is_null()) members.emplace_back(key, without_nulls(member));
    }
    return out;
  }
  if (!value.is_array()) return value;
  Json out = Json::array();
  for (const auto& element : value) out.push_back(without_nulls(element));
  return out;
}

Json member(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto at = object.find(key);
  return at == object.end() ? Json() : *at;
}

Json picked(const Json& object, std::initializer_list<const char*> keys) {
  Json out = Json::object();
  for (const char* const key : keys) {
    if (auto value = member(object, key); !value.is_null()) out[key] = std::move(value);
  }
  return out;
}

Json reduced_metadata(const Json& metadata) {
  Json out = picked(metadata, {"name", "namespace"});
  const auto labels = picked(member(metadata, "labels"), {kServiceLabel});
  const auto annotations = picked(member(metadata, "annotations"), {kDomainAnnotation, kWeightAnnotation});
  if (!labels.empty()) out["labels"] = labels;
  if (!annotations.empty()) out["annotations"] = annotations;
  return out;
}

// What is read of a manifest's text values, which Kubernetes has in maps of strings.
Result<std::string> text_of(const ServiceManifest& manifest, const char* map, const char* key) {
  const auto value = member(member(member(manifest.body, "metadata"), map), key);
  std::string text;
  if (value.is_null()) return text;
  PODWIRE_CHECK(podwire::read_value(value, to_text(manifest) + ": metadata." + map + "." + key, text));
  return text;
}

void ignore(ObjectReader& r, std::initializer_list<const char*> keys) {
  Json ignored;
  for (const char* const key : keys) r.optional(key, ignored);
}

Result<std::vector<IpAddr>> read_cluster_ips(ObjectReader& r) {
  std::string one;
  std::vector<std::string> texts;
  r.optional("clusterIP", one);
  r.optional("clusterIPs", texts);
  if (texts.empty() && !one.empty()) texts = {one};
  std::vector<IpAddr> all;
  for (const auto& text : texts) {
    if (text == "None" || text.empty()) continue;
    auto address = parse_ip(text);
    if (!address) return invalid(r.child("clusterIPs") + ": " + address.error().message);
    all.push_back(*address);
  }
  return all;
}

// `given` may be null.
Result<std::uint32_t> read_affinity(const Json* given, const std::string& path) {
  constexpr std::uint32_t kDefault = 10'800;  // Kubernetes': three hours
  if (given == nullptr) return kDefault;
  ObjectReader config(*given, path);
  const Json* client = config.find("clientIP");
  PODWIRE_CHECK(config.finish());
  if (client == nullptr) return kDefault;
  std::uint32_t seconds = kDefault;
  ObjectReader r(*client, path + ".clientIP");
  r.optional_in("timeoutSeconds", seconds, 1, 86'400);
  PODWIRE_CHECK(r.finish());
  return seconds;
}

// The load balancer's addresses, as its controller wrote them.
Result<void> read_ingress(const ServiceManifest& manifest, std::vector<IpAddr>& out) {
  const auto list = member(member(member(manifest.body, "status"), "loadBalancer"), "ingress");
  if (!list.is_array()) return {};
  for (const auto& entry : list) {
    const auto value = member(entry, "ip");
    if (value.is_null()) continue;
    IpAddr address;
    PODWIRE_CHECK(
        podwire::read_value(value, to_text(manifest) + ": status.loadBalancer.ingress.ip", address));
    if (std::find(out.begin(), out.end(), address) == out.end()) out.push_back(address);
  }
  return {};
}

// Blank space around them and host bits are Kubernetes' habit.
Result<void> read_source_ranges(const std::vector<std::string>& texts, const std::string& where,
                                ClusterService& out) {
  if (texts.empty()) return {};
  if (out.type != "LoadBalancer")
    return invalid(where + " goes with type LoadBalancer, this one is " + out.type + "; leave it out");
  if (texts.size() > api::kMaxSources) {
    return invalid(where + " has " + std::to_string(texts.size()) + " entries, at most " +
                   std::to_string(api::kMaxSources) + " are possible");
  }
  for (const auto& text : texts) {
    const auto first = text.find_first_not_of(" \t\r\n"), last = text.find_last_not_of(" \t\r\n");
    const auto prefix = parse_prefix(first == text.npos ? text : text.substr(first, last - first + 1));
    if (!prefix) return invalid(where + ": " + prefix.error().message);
    out.source_ranges.push_back(prefix->network());
  }
  std::sort(out.source_ranges.begin(), out.source_ranges.end());
  const auto repeated = std::unique(out.source_ranges.begin(), out.source_ranges.end());
  out.source_ranges.erase(repeated, out.source_ranges.end());
  return {};
}

Result<void> check_ports(const ClusterService& service, const std::string& where) {
  if (service.ports.size() > kMaxServicePorts) {
    return invalid(where + ".ports has " + std::to_string(service.ports.size()) + " entries, at most " +
                   std::to_string(kMaxServicePorts) + " are possible");
  }
  std::set<std::string> names;
  std::set<std::pair<api::ServiceProtocol, std::uint16_t>> numbers;
  for (const auto& port : service.ports) {
    if (service.ports.size() > 1 && port.name.empty()) {
      return invalid(where + ".ports: port " + std::to_string(port.port) +
                     " has no name; with several ports each must have one");
    }
    if (!port.name.empty()) PODWIRE_CHECK(check_dns_name(where + ".ports: name", port.name, true));
    if (!names.insert(port.name).second)
      return invalid(where + ".ports: the name \"" + port.name +
                     "\" is there twice; give every port its own");
    if (!numbers.emplace(port.protocol, port.port).second)
      return invalid(where + ".ports: port " + std::to_string(port.port) + " is there twice; list it once");
    if (service.type == "NodePort" && port.node_port == 0) {
      return invalid(where + ".ports: port " + std::to_string(port.port) +
                     " has no nodePort; give one, none is allotted here");
    }
  }
  return {};
}

// "Service shop/web", as far as the manifest tells.
Result<std::string> read_namespace_and_name(const Json& manifest, const std::string& kind, ObjectKey& key) {
  const auto metadata = member(manifest, "metadata");
  if (!metadata.is_object()) return invalid(kind + ": metadata is missing; it must have a name");
  ObjectReader r(metadata, kind + ": metadata");
  r.ignore_unknown();
  key.first = "default";
  r.required("name", key.second);
  r.optional("namespace", key.first);
  PODWIRE_CHECK(r.finish());
  PODWIRE_CHECK(check_dns_name(kind + ": metadata.name", key.second, false));
  PODWIRE_CHECK(check_dns_name(kind + " " + key.second + ": metadata.namespace", key.first, true));
  return kind + " " + to_text(key);
}

}  // namespace

std::string to_text(const ServiceManifest& manifest) {
  return manifest.kind + " " + to_text(manifest.key);
}

Result<void> read_value(const Json& value, const std::string& path, ClusterPort& out) {
  ObjectReader r(value, path);
  r.optional("name", out.name);
  r.choice("protocol", out.protocol, kProtocols);
  const bool given = r.optional_in("port", out.port, 1, 65535);
  r.optional_in("nodePort", out.node_port, 0, 65535);
  ignore(r, {"targetPort", "appProtocol"});
  PODWIRE_CHECK(r.finish());
  return given ? Result<void>() : invalid(path + ".port is missing");
}

Result<void> read_value(const Json& value, const std::string& path, ClusterEndpoint& out) {
  std::vector<IpAddr> addresses;
  std::optional<bool> ready, serving, terminating;
  ObjectReader r(value, path);
  r.required("addresses", addresses);
  const Json* conditions = r.find("conditions");
  r.optional("nodeName", out.node);
  ignore(r, {"hostname", "targetRef", "deprecatedTopology", "zone", "hints"});
  PODWIRE_CHECK(r.finish());
  if (conditions != nullptr) {
    ObjectReader c(*conditions, path + ".conditions");
    c.optional("ready", ready);
    c.optional("serving", serving);
    c.optional("terminating", terminating);
    PODWIRE_CHECK(c.finish());
  }
  if (addresses.empty()) return invalid(path + ".addresses is empty; an endpoint has at least one");
  out.address = addresses.front();  // all lead to the same, and consumers take the first
  out.ready = ready.value_or(true);
  out.serving = serving.value_or(out.ready);
  out.terminating = terminating.value_or(false);
  return {};
}

Result<ServiceManifest> read_service_manifest(const Json& manifest) {
  std::string version, kind;
  ObjectReader top(manifest, "");
  top.ignore_unknown();
  top.required("apiVersion", version);
  top.required("kind", kind);
  PODWIRE_CHECK(top.finish());
  const bool service = kind == "Service";
  if (!service && kind != "EndpointSlice")
    return invalid("kind is \"" + kind.substr(0, 64) + "\", must be Service or EndpointSlice");
  const std::string known = service ? "v1" : "discovery.k8s.io/v1";
  if (version != known)
    return invalid(kind + ": apiVersion is \"" + version.substr(0, 64) + "\", must be \"" + known + "\"");
  ServiceManifest out{kind, {}, {}};
  const auto whole = without_nulls(manifest);
  PODWIRE_TRY(const auto where, read_namespace_and_name(whole, kind, out.key));
  Json metadata = reduced_metadata(whole["metadata"]);
  out.body = service ? picked(whole, {"spec"}) : picked(whole, {"addressType", "endpoints", "ports"});
  if (service) {
    const auto status = picked(member(whole, "status"), {"loadBalancer"});
    if (!status.empty()) out.body["status"] = status;
  }
  out.body["metadata"] = std::move(metadata);
  for (const auto& [key, value] : whole.items()) {
    const bool common = key == "apiVersion" || key == "kind" || key == "metadata" || key == "status";
    if (!common && !out.body.contains(key))
      return invalid(where + ": there is no field \"" + key.substr(0, 64) + "\"");
  }
  return out;
}

Result<ClusterService> read_cluster_service(const ServiceManifest& manifest) {
  ClusterService out;
  out.key = manifest.key;
  const auto where = to_text(manifest) + ": spec";
  const auto spec = member(manifest.body, "spec");
  if (!spec.is_object()) return invalid(where + " is missing");
  std::size_t type = 0, affinity = 0, external = 0, internal = 0;
  std::vector<std::string> source_ranges;
  ObjectReader r(spec, where);
  r.choice("type", type, kTypes);
  auto cluster_ips = read_cluster_ips(r);
  r.optional("externalIPs", out.outside_ips);
  r.optional("ports", out.ports);
  r.choice("sessionAffinity", affinity, {"None", "ClientIP"});
  r.choice("externalTrafficPolicy", external, kPolicies);
  r.choice("internalTrafficPolicy", internal, kPolicies);
  const Json* config = r.find("sessionAffinityConfig");
  r.optional("loadBalancerSourceRanges", source_ranges);
  ignore(r, {"selector", "ipFamilies", "ipFamilyPolicy", "healthCheckNodePort", "publishNotReadyAddresses",
             "allocateLoadBalancerNodePorts", "loadBalancerClass", "loadBalancerIP", "trafficDistribution",
             "externalName"});
  PODWIRE_CHECK(r.finish());
  PODWIRE_TRY(out.cluster_ips, std::move(cluster_ips));
  out.type = kTypes[type];
  PODWIRE_CHECK(read_source_ranges(source_ranges, where + ".loadBalancerSourceRanges", out));
  if (affinity == 1) {
    PODWIRE_TRY(out.affinity_s, read_affinity(config, where + ".sessionAffinityConfig"));
  }
  out.external_local = external == 1;
  out.internal_local = internal == 1;
  PODWIRE_CHECK(check_ports(out, where));
  if (out.type == "LoadBalancer") PODWIRE_CHECK(read_ingress(manifest, out.balancer_ips));
  for (const auto& address : out.balancer_ips) {
    if (std::find(out.outside_ips.begin(), out.outside_ips.end(), address) == out.outside_ips.end())
      out.outside_ips.push_back(address);
  }
  if (out.type != "NodePort" && out.type != "LoadBalancer") {
    for (auto& port : out.ports) port.node_port = 0;
  }
  if (out.type == "ExternalName") out.cluster_ips.clear();
  const bool headless = spec.contains("clusterIP") || spec.contains("clusterIPs");
  if (type == 0 && out.cluster_ips.empty() && out.outside_ips.empty() && !headless) {
    return invalid(where + ".clusterIP is missing; give an address, none is allotted here (None: headless)");
  }
  PODWIRE_TRY(out.domain, text_of(manifest, "annotations", kDomainAnnotation));
  return out;
}

Result<ClusterSlice> read_cluster_slice(const ServiceManifest& manifest) {
  ClusterSlice out;
  out.key = manifest.key;
  const auto where = to_text(manifest);
  std::size_t type = 0;
  Json metadata;
  ObjectReader r(manifest.body, where);
  r.optional("metadata", metadata);
  r.choice("addressType", type, {"IPv4", "IPv6"});
  r.optional("endpoints", out.endpoints);
  r.optional("ports", out.ports);
  PODWIRE_CHECK(r.finish());
  if (out.endpoints.size() > kMaxSliceEndpoints) {
    return invalid(where + ".endpoints has " + std::to_string(out.endpoints.size()) + " entries, at most " +
                   std::to_string(kMaxSliceEndpoints) + " are possible; use more slices");
  }
  for (const auto& endpoint : out.endpoints) {
    if (endpoint.address.is_v4() != (type == 0))
      return invalid(where + ".endpoints: " + to_string(endpoint.address) + " is not of the addressType");
  }
  PODWIRE_TRY(out.service, text_of(manifest, "labels", kServiceLabel));
  if (out.service.empty())
    return invalid(where + ": the label " + kServiceLabel + " is missing; it names the Service");
  PODWIRE_TRY(const auto weight, text_of(manifest, "annotations", kWeightAnnotation));
  if (weight.empty()) return out;
  const auto [end, error] = std::from_chars(weight.data(), weight.data() + weight.size(), out.weight);
  if (error == std::errc{} && end == weight.data() + weight.size() && out.weight >= 1 && out.weight <= 256)
    return out;
  return invalid(where + ": the annotation " + kWeightAnnotation + " is \"" + weight.substr(0, 64) +
                 "\", must be a number from 1 to 256");
}

}  // namespace podwire::control
