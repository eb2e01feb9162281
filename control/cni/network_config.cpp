#include "control/cni/network_config.hpp"

#include <algorithm>
#include <cctype>
#include <set>

#include "control/cni/bandwidth.hpp"
#include "control/cni/device_info.hpp"
#include "control/cni/port_mappings.hpp"
#include "control/cni/tap.hpp"
#include "control/cni/version.hpp"

namespace podwire::control {
namespace {

constexpr std::size_t kMaxRequestedIps = 16;
constexpr std::int64_t kMinMtu = 576;
constexpr std::int64_t kMaxMtu = 65535;

CniError wrong(std::string message) {
  return {CniCode::kInvalidConfig, std::move(message)};
}
CniError unsupported(std::string message) {
  return {CniCode::kUnsupportedField, std::move(message)};
}

// Absent for all purposes: null, false, "", [], {}.
bool is_unset(const Json& value) {
  return value.is_null() || value == false ||
         (value.is_string() && value.get_ref<const std::string&>().empty()) ||
         (value.is_structured() && value.empty());
}

std::string short_dump(const Json& value) {
  const auto text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() <= 200 ? text : text.substr(0, 200) + "...";
}

// Keys that runtimes add for themselves.
bool is_runtime_key(const std::string& key) {
  return key.starts_with("cni.dev/") || key.starts_with("io.kubernetes.cri");
}

Result<RequestedIp> read_requested_ip(const std::string& text, const std::string& path) {
  if (text.find('/') == text.npos) {
    auto address = parse_ip(text);
    if (!address) return invalid(path + ": " + address.error().message);
    return RequestedIp{*address, std::nullopt};
  }
  auto prefix = parse_prefix(text);
  if (!prefix) return invalid(path + ": " + prefix.error().message);
  return RequestedIp{prefix->address, prefix->length};
}

Result<std::vector<RequestedIp>> read_ips(const Json& value, const std::string& path) {
  std::vector<std::string> texts;
  PODWIRE_CHECK(read_value(value, path, texts));
  if (texts.size() > kMaxRequestedIps) {
    return invalid(path + " has " + std::to_string(texts.size()) + " entries, at most " +
                   std::to_string(kMaxRequestedIps));
  }
  std::vector<RequestedIp> ips;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    PODWIRE_TRY(const auto ip, read_requested_ip(texts[i], path + "[" + std::to_string(i) + "]"));
    for (const auto& other : ips) {
      if (other.address == ip.address) return invalid(path + " has " + to_string(ip.address) + " twice");
    }
    ips.push_back(ip);
  }
  return ips;
}

Result<MacAddr> read_mac(const std::string& text, const std::string& path) {
  auto mac = parse_mac(text);
  if (!mac) return invalid(path + ": " + mac.error().message);
  if (mac->is_zero() || mac->is_multicast())
    return invalid(path + " is " + text + ", must be a unicast address");
  return mac;
}

// CNI_ARGS, overridden by args.cni of the configuration.
CniResult<void> apply_args(std::map<std::string, std::string> args, const Json& config, NetworkConfig& out) {
  if (const auto all = config.find("args"); all != config.end() && all->is_object()) {
    if (const auto cni = all->find("cni"); cni != all->end() && !cni->is_null()) {
      if (!cni->is_object()) return wrong("args.cni must be an object, not " + json_type_name(*cni));
      for (const auto& [key, value] : cni->items()) {
        if (value.is_string()) args[key] = value.get<std::string>();
      }
      if (const auto ips = cni->find("ips"); ips != cni->end() && !is_unset(*ips)) {
        PODWIRE_TRY(out.ips, read_ips(*ips, "args.cni.ips"));
        args.erase("IP");
      }
      // The conventions spell it "mac"; CNI_ARGS "MAC".
      if (const auto mac = cni->find("mac"); mac != cni->end() && mac->is_string())
        args["MAC"] = mac->get<std::string>();
    }
  }
  if (const auto& ip = args["IP"]; !ip.empty()) {
    PODWIRE_TRY(const auto requested, read_requested_ip(ip, "argument IP"));
    out.ips = {requested};
  }
  if (const auto& mac = args["MAC"]; !mac.empty()) {
    PODWIRE_TRY(out.mac, read_mac(mac, "argument MAC"));
  }
  out.pod_namespace = args["K8S_POD_NAMESPACE"];
  out.pod_name = args["K8S_POD_NAME"];
  out.pod_uid = args["K8S_POD_UID"];
  return {};
}

CniResult<void> apply_runtime_config(const Json& value, NetworkConfig& out) {
  if (is_unset(value)) return {};
  if (!value.is_object()) return wrong("runtimeConfig must be an object, not " + json_type_name(value));
  for (const auto& [key, entry] : value.items()) {
    if (is_unset(entry)) continue;
    if (key == "ips") {
      PODWIRE_TRY(out.ips, read_ips(entry, "runtimeConfig.ips"));
    } else if (key == "mac") {
      if (!entry.is_string())
        return wrong("runtimeConfig.mac must be a string, not " + json_type_name(entry));
      PODWIRE_TRY(out.mac, read_mac(entry.get<std::string>(), "runtimeConfig.mac"));
    } else if (key == "portMappings") {
      PODWIRE_TRY(out.published_ports, read_port_mappings(entry, "runtimeConfig.portMappings"));
    } else if (key == "CNIDeviceInfoFile") {
      PODWIRE_CHECK(read_value(entry, "runtimeConfig.CNIDeviceInfoFile", out.device_info));
      if (auto checked = check_device_info_path(out.device_info); !checked)
        return wrong("runtimeConfig.CNIDeviceInfoFile: " + checked.error().message);
    } else if (key == "bandwidth") {
      PODWIRE_TRY(out.limits, read_bandwidth(entry, "runtimeConfig.bandwidth"));
    } else {
      return unsupported(
          "runtimeConfig." + key.substr(0, 64) + " is " + short_dump(entry) +
          ", which podwire does not support; supported are ips, mac, bandwidth, portMappings and "
          "CNIDeviceInfoFile. Take \"" +
          key.substr(0, 64) + "\" out of the plugin's \"capabilities\"");
    }
  }
  return {};
}

CniResult<void> apply_ipam(const Json& value, NetworkConfig& out, bool strict) {
  if (is_unset(value)) return {};
  if (!value.is_object()) return wrong("ipam must be an object, not " + json_type_name(value));
  std::string type;
  if (const auto it = value.find("type"); it != value.end())
    PODWIRE_CHECK(read_value(*it, "ipam.type", type));
  if (!type.empty() && type != "podwire") {
    // It becomes a file name in CNI_PATH.
    if (type.find('/') != type.npos || type == "." || type == "..") {
      return wrong("ipam.type is \"" + type.substr(0, 64) + "\", must be the name of a plugin in CNI_PATH");
    }
    out.ipam_type = type;
    return {};
  }
  if (!strict) return {};
  Json routes;
  ObjectReader r(value, "ipam");
  r.optional("type", type);
  r.optional("routes", routes);
  PODWIRE_CHECK(r.finish());
  if (routes.is_null()) return {};
  if (!routes.is_array()) return wrong("ipam.routes must be an array, not " + json_type_name(routes));
  for (std::size_t i = 0; i < routes.size(); ++i) {
    PODWIRE_TRY(auto route, read_route(routes[i], "ipam.routes[" + std::to_string(i) + "]"));
    out.routes.push_back(std::move(route));
  }
  return {};
}

CniResult<void> apply_valid_attachments(const Json& config, NetworkConfig& out) {
  const auto it = config.find("cni.dev/valid-attachments");
  // Null is what a runtime that fills nothing in sends: as harmless as an absent key.
  if (it == config.end() || it->is_null()) return {};
  if (!it->is_array()) return wrong("cni.dev/valid-attachments must be an array, not " + json_type_name(*it));
  out.valid_attachments.emplace();
  for (std::size_t i = 0; i < it->size(); ++i) {
    ContainerInterface entry;
    ObjectReader r((*it)[i], "cni.dev/valid-attachments[" + std::to_string(i) + "]");
    r.ignore_unknown();
    r.required("containerID", entry.container_id);
    r.required("ifname", entry.ifname);
    PODWIRE_CHECK(r.finish());
    out.valid_attachments->push_back(std::move(entry));
  }
  return {};
}

CniResult<void> check_name(const std::string& name) {
  const auto allowed = [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '.' || c == '-';
  };
  if (!name.empty() && name.size() <= 255 && std::isalnum(static_cast<unsigned char>(name[0])) != 0 &&
      std::all_of(name.begin(), name.end(), allowed)) {
    return {};
  }
  return wrong("name is \"" + name.substr(0, 80) +
               "\", must begin with a letter or digit and hold only letters, digits, _ . and -");
}

// The keys that every command needs.
CniResult<void> read_identity(const Json& document, NetworkConfig& config) {
  if (!document.is_object()) {
    return CniError(CniCode::kUndecodable,
                    "the network configuration must be an object, not " + json_type_name(document));
  }
  if (const auto it = document.find("cniVersion"); it != document.end()) {
    PODWIRE_CHECK(read_value(*it, "cniVersion", config.version));
  }
  PODWIRE_CHECK(check_version(config.version));
  const auto name = document.find("name");
  if (name == document.end() || name->is_null())
    return wrong("name is missing: the network configuration must name its network");
  PODWIRE_CHECK(read_value(*name, "name", config.name));
  return check_name(config.name);
}

const std::vector<std::string> kInterfaceNames{"tap", "memif", "vhostuser"};
constexpr api::PortKind kInterfaceKinds[] = {api::PortKind::kTap, api::PortKind::kMemif,
                                             api::PortKind::kVhost};

// The keys of interfaces that are a socket. The name of one that the chosen interface does not have is
// returned.
std::string read_interface_keys(ObjectReader& r, NetworkConfig& config) {
  std::size_t interface = 0;
  r.choice("interface", interface, kInterfaceNames);
  config.kind = kInterfaceKinds[interface];
  const bool memif = config.kind == api::PortKind::kMemif;
  const bool vhost = config.kind == api::PortKind::kVhost;
  std::string stray;
  const auto note = [&stray](bool given, bool fits, const char* key) {
    if (given && !fits) stray = key;
  };
  auto& socket = config.socket;
  note(r.optional_in("ringSize", socket.ring_size, 2, 16384), memif, "ringSize");
  note(r.optional_in("bufferSize", socket.buffer_size, 128, 65536), memif, "bufferSize");
  note(r.optional("secret", socket.secret), memif, "secret");
  note(r.optional("iommu", socket.iommu), vhost, "iommu");
  note(r.choice("socketMode", socket.mode, api::kSocketModeNames), memif || vhost, "socketMode");
  note(r.optional("dhcp", config.dhcp), memif || vhost, "dhcp");
  return stray;
}

CniResult<void> check_interface_keys(const NetworkConfig& config, const std::string& stray) {
  const auto at = std::find(std::begin(kInterfaceKinds), std::end(kInterfaceKinds), config.kind);
  const auto& interface = kInterfaceNames[static_cast<std::size_t>(at - std::begin(kInterfaceKinds))];
  if (!stray.empty()) {
    const bool memif_only = stray == "ringSize" || stray == "bufferSize" || stray == "secret";
    return wrong(stray + " is for interface " +
                 (memif_only         ? "\"memif\""
                  : stray == "iommu" ? "\"vhostuser\""
                                     : "\"memif\" or \"vhostuser\"") +
                 "; this one is \"" + interface + "\": leave it out");
  }
  const auto size = config.socket.ring_size;
  if ((size & (size - 1)) != 0)
    return wrong("ringSize is " + std::to_string(size) + ", must be a power of two from 2 to 16384");
  if (config.socket.secret.size() > 24) {
    return wrong("secret has " + std::to_string(config.socket.secret.size()) +
                 " characters; memif has room for 24");
  }
  return {};
}

CniResult<void> read_strictly(NetworkConfig& config) {
  Json shaped = Json::object();
  for (const auto& [key, value] : config.document.items()) {
    if (!is_runtime_key(key)) shaped[key] = value;
  }
  Json ignored, ip_masquerade, args, capabilities, dns, bandwidth;
  std::string type, socket;
  ObjectReader r(shaped, "");
  for (const char* key : {"cniVersion", "name", "ipam", "prevResult", "runtimeConfig"})
    r.optional(key, ignored);
  r.required("type", type);
  r.optional("socket", socket);  // the plugin process has used it
  r.optional("domain", config.domain);
  r.optional_in("mtu", config.mtu, kMinMtu, kMaxMtu);
  r.optional_in("queues", config.queues, 1, kMaxTapQueues);
  r.optional("dns", dns);
  r.optional("args", args);
  r.optional("capabilities", capabilities);
  r.optional("ipMasq", ip_masquerade);
  r.optional("bandwidth", bandwidth);
  const auto stray = read_interface_keys(r, config);
  PODWIRE_CHECK(r.finish());
  PODWIRE_CHECK(check_interface_keys(config, stray));
  if (!is_unset(args) && !args.is_object())
    return wrong("args must be an object, not " + json_type_name(args));
  if (!is_unset(ip_masquerade)) {
    return unsupported("ipMasq is " + short_dump(ip_masquerade) +
                       ", which podwire does not support; leave it out");
  }
  PODWIRE_TRY(config.dns, read_dns(dns, "dns"));
  if (!is_unset(bandwidth)) {
    PODWIRE_TRY(config.limits, read_bandwidth(bandwidth, "bandwidth"));
  }
  return {};
}

}  // namespace

CniResult<NetworkConfig> read_network_config(const std::string& text, const CniEnvironment& environment) {
  NetworkConfig config;
  PODWIRE_TRY(config.document, parse_json(text, "network configuration on stdin"));
  PODWIRE_CHECK(read_identity(config.document, config));
  const bool strict = environment.command == CniCommand::kAdd || environment.command == CniCommand::kStatus;
  if (strict) PODWIRE_CHECK(read_strictly(config));
  const auto value_of = [&](const char* key) {
    const auto it = config.document.find(key);
    return it == config.document.end() ? Json() : *it;
  };
  PODWIRE_CHECK(apply_ipam(value_of("ipam"), config, strict));
  if (environment.command == CniCommand::kAdd) {
    PODWIRE_CHECK(apply_args(environment.args, config.document, config));
    PODWIRE_CHECK(apply_runtime_config(value_of("runtimeConfig"), config));
  }
  config.prev_result = value_of("prevResult");
  if (environment.command == CniCommand::kGc) PODWIRE_CHECK(apply_valid_attachments(config.document, config));
  return config;
}

}  // namespace podwire::control
