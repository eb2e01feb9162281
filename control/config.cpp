#include "control/config.hpp"

#include <grp.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "control/config_cluster.hpp"
#include "control/config_domain.hpp"

namespace podwire::control {

const std::vector<std::string> kUnderlayDriverNames{"af_xdp", "af_packet"};
static const std::vector<std::string> kPolicyDefaultNames{"allow", "deny"};

// Found by argument-dependent lookup from read_value(std::vector<T>&), so they stand in this namespace.
Result<void> read_value(const Json& value, const std::string& path, AddressRange& out);
Result<void> read_value(const Json& value, const std::string& path, DomainConfig& out);
Result<void> read_value(const Json& value, const std::string& path, PeerConfig& out);

namespace {

Result<void> check_name(const std::string& path, const std::string& name) {
  const bool printable =
      std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < 0x7f && c != '/'; });
  if (!name.empty() && name.size() <= 48 && printable) return {};
  return invalid(path + " is \"" + name.substr(0, 64) +
                 "\", must be 1 to 48 printable characters without spaces and slashes");
}

Result<void> check_ifname(const std::string& path, const std::string& name) {
  const bool plain = std::all_of(name.begin(), name.end(),
                                 [](char c) { return c > ' ' && c < 0x7f && c != '/' && c != ':'; });
  if (!name.empty() && name.size() <= 15 && plain && name != "." && name != "..") return {};
  return invalid(path + " is \"" + name.substr(0, 64) +
                 "\", must be an interface name of 1 to 15 characters without '/', ':' and spaces");
}

Result<void> check_absolute(const std::string& path, const std::string& file) {
  if (!file.empty() && file.front() == '/') return {};
  return invalid(path + " is \"" + file + "\", must be an absolute path");
}

Result<void> read_engine(const Json& value, const std::string& path, EngineConfig& out) {
  ObjectReader r(value, path);
  r.optional("socket", out.socket);
  r.optional("spawn", out.spawn);
  r.optional("binary", out.binary);
  r.optional("config", out.config);
  PODWIRE_CHECK(r.finish());
  PODWIRE_CHECK(check_absolute(path + ".socket", out.socket));
  PODWIRE_CHECK(check_absolute(path + ".config", out.config));
  if (out.binary.empty())
    return invalid(path + ".binary is empty, must name the engine's program, such as podwire-engine");
  return {};
}

// A nullable integer field in [low, high].
template <class T>
Result<void> read_nullable_in(ObjectReader& r, const char* key, std::optional<T>& out, std::int64_t low,
                              std::int64_t high) {
  const Json* value = r.find(key);
  if (value == nullptr || value->is_null()) return {};
  PODWIRE_TRY(const auto n, read_integer(*value, r.child(key), low, high));
  out = static_cast<T>(n);
  return {};
}

Result<void> read_underlay(const Json& value, const std::string& path, UnderlayConfig& out) {
  ObjectReader r(value, path);
  r.optional("device", out.device);
  const bool has_driver = r.choice("driver", out.driver, kUnderlayDriverNames);
  r.optional("devargs", out.devargs);
  r.optional("addresses", out.addresses);
  r.optional("gateways", out.gateways);
  r.optional_in("vlan", out.vlan, 0, 4094);
  r.keep(read_nullable_in(r, "mtu", out.mtu, 576, 65535));
  r.optional("host_interface", out.host_interface);
  PODWIRE_CHECK(r.finish());
  if (out.device.empty() == out.devargs.empty()) {
    return invalid(path +
                   " must have exactly one of device (a kernel interface, such as eth0) and devargs (a DPDK "
                   "device, such as 0000:01:00.0)");
  }
  if (!out.device.empty()) PODWIRE_CHECK(check_ifname(path + ".device", out.device));
  if (!out.devargs.empty() && has_driver)
    return invalid(path + ".driver goes with device; with devargs the devargs name the driver");
  if (!out.devargs.empty() && out.addresses.empty()) {
    return invalid(path +
                   ".addresses is missing: with devargs there is no kernel interface to read them from");
  }
  if (out.host_interface) PODWIRE_CHECK(check_ifname(path + ".host_interface", *out.host_interface));
  if (out.host_interface && *out.host_interface == out.device) {
    return invalid(path + ".host_interface is \"" + out.device +
                   "\", the underlay device itself; choose another name, such as podwire0");
  }
  return {};
}

Result<void> read_vxlan(const Json& value, const std::string& path, VxlanConfig& out) {
  ObjectReader r(value, path);
  r.optional_in("port", out.port, 1, 65535);
  r.optional("mac", out.mac);
  PODWIRE_CHECK(r.finish());
  if (out.mac && (out.mac->is_zero() || out.mac->is_multicast())) {
    return invalid(path + ".mac is " + to_string(*out.mac) + ", must be a unicast address");
  }
  return {};
}

// A group's name or number.
Result<std::uint32_t> read_group(const Json& value, const std::string& path) {
  if (value.is_number()) {
    PODWIRE_TRY(const auto number, read_integer(value, path, 0, 0xfffffffe));
    return static_cast<std::uint32_t>(number);
  }
  std::string name;
  if (!value.is_string())
    return invalid(path + " must be a group's name or number, not " + json_type_name(value));
  PODWIRE_CHECK(podwire::read_value(value, path, name));
  group entry{};
  group* found = nullptr;
  std::vector<char> buffer(65536);
  ::getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
  if (found != nullptr) return found->gr_gid;
  return invalid(path + " is \"" + name.substr(0, 64) +
                 "\", which is no group of this machine; make it (groupadd " +
                 "--system NAME) or give its number");
}

// Octal, as chmod takes it.
Result<std::uint16_t> read_mode(const Json& value, const std::string& path) {
  std::string text;
  PODWIRE_CHECK(podwire::read_value(value, path, text));
  std::uint16_t mode = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), mode, 8);
  if (error == std::errc{} && end == text.data() + text.size() && mode <= 0777 && text.size() <= 4)
    return mode;
  return invalid(path + " is \"" + text.substr(0, 64) +
                 "\", must be an octal mode from \"0000\" to \"0777\"");
}

Result<void> read_pod_sockets(const Json& value, const std::string& path, PodSocketsConfig& out) {
  ObjectReader r(value, path);
  r.optional("directory", out.directory);
  const Json* group = r.find("group");
  const Json* mode = r.find("mode");
  PODWIRE_CHECK(r.finish());
  if (group != nullptr && !group->is_null()) {
    PODWIRE_TRY(out.group, read_group(*group, r.child("group")));
  }
  if (mode != nullptr) {
    PODWIRE_TRY(out.mode, read_mode(*mode, r.child("mode")));
  }
  PODWIRE_CHECK(check_absolute(path + ".directory", out.directory));
  while (out.directory.size() > 1 && out.directory.back() == '/') out.directory.pop_back();
  // A socket's path has 107 usable characters; below the directory are a short id and an interface's name.
  constexpr std::size_t kLongest = 70;
  if (out.directory.size() <= kLongest && out.directory != "/") return {};
  return invalid(path + ".directory is \"" + out.directory.substr(0, 120) + "\" with " +
                 std::to_string(out.directory.size()) + " characters, must be 2 to " +
                 std::to_string(kLongest) +
                 ": a socket's path has 107 and the pod's part of it needs the rest");
}

// null or false: off.
Result<void> read_host_services(const Json& value, const std::string& path, HostServicesConfig& out) {
  out.enabled = !(value.is_null() || value == false);
  if (!out.enabled || value == true) return {};
  if (!value.is_object())
    return invalid(path + " must be true, false or an object with prefixes, not " + json_type_name(value));
  ObjectReader r(value, path);
  r.optional("prefixes", out.prefixes);
  return r.finish();
}

Result<void> read_dns(const Json& value, const std::string& path, DomainConfig& out) {
  ObjectReader r(value, path);
  r.optional("servers", out.dns_servers);
  r.optional("search", out.search_domains);
  return r.finish();
}

// true: with all defaults; false or null: none.
Result<std::optional<MasqueradeConfig>> read_masquerade(const Json& value, const std::string& path) {
  if (value.is_null() || value == false) return std::optional<MasqueradeConfig>();
  MasqueradeConfig out;
  if (value == true) return std::optional<MasqueradeConfig>(out);
  if (!value.is_object())
    return invalid(path + " must be true, false or an object with addresses, ports and except, not " +
                   json_type_name(value));
  ObjectReader r(value, path);
  r.optional("addresses", out.addresses);
  r.keep(api::read_range(r, "ports", out.ports));
  r.optional("except", out.except);
  PODWIRE_CHECK(r.finish());
  return std::optional<MasqueradeConfig>(std::move(out));
}

// Whoever wants masquerading wants connections tracked, so that need not be said.
Result<void> read_tracking(ObjectReader& r, DomainConfig& out) {
  std::optional<bool> stateful;
  r.optional("stateful", stateful);
  r.choice("policy_default", out.isolates_pods, kPolicyDefaultNames);
  if (const Json* masquerade = r.find("masquerade")) {
    PODWIRE_TRY(out.masquerade, read_masquerade(*masquerade, r.child("masquerade")));
  }
  out.stateful = stateful.value_or(out.masquerade.has_value());
  if (out.isolates_pods && !out.stateful) {
    return invalid(r.child("policy_default") + " is \"deny\", which needs connections to be tracked; set " +
                   "\"stateful\": true as well");
  }
  if (out.stateful || !out.masquerade) return {};
  return invalid(r.child("stateful") + " is false, but masquerade needs connections to be tracked; leave " +
                 "stateful out, or masquerade");
}

Result<void> read_routing(const Json& value, const std::string& path, RoutingConfig& out) {
  ObjectReader r(value, path);
  r.optional("tables", out.tables);
  r.optional_in("announce_table", out.announce_table, 0, 4294967295);
  return r.finish();
}

std::string default_node_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "";
}

}  // namespace

IpAddr first_usable(const IpPrefix& prefix) {
  const auto network = prefix.network();
  // Without a network address there is nothing to skip (RFC 3021; RFC 6164).
  if (network.address.bits() - network.length <= 1) return network.address;
  if (network.address.is_v4()) return IpAddr(Ipv4::from_u32(network.address.v4().to_u32() | 1));
  auto bytes = network.address.v6();
  bytes.bytes[15] |= 1;
  return IpAddr(bytes);
}

Result<void> read_value(const Json& value, const std::string& path, AddressRange& out) {
  ObjectReader r(value, path);
  r.required("start", out.start);
  r.required("end", out.end);
  PODWIRE_CHECK(r.finish());
  if (out.start.is_v4() != out.end.is_v4())
    return invalid(path + ": start and end are of different families");
  if (out.end.bytes() < out.start.bytes()) {
    return invalid(path + ": end " + to_string(out.end) + " is before start " + to_string(out.start));
  }
  return {};
}

// An exclusion is a prefix or a single address.
static Result<std::vector<IpPrefix>> read_exclude(const Json& value, const std::string& path) {
  std::vector<std::string> texts;
  PODWIRE_CHECK(podwire::read_value(value, path, texts));
  std::vector<IpPrefix> out;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const auto at = path + "[" + std::to_string(i) + "]";
    if (texts[i].find('/') != std::string::npos) {
      auto prefix = parse_prefix(texts[i]);
      if (!prefix) return invalid(at + ": " + prefix.error().message);
      out.push_back(prefix->network());
    } else {
      auto address = parse_ip(texts[i]);
      if (!address) return invalid(at + ": " + address.error().message);
      out.push_back({*address, address->bits()});
    }
  }
  return out;
}

Result<void> read_value(const Json& value, const std::string& path, DomainConfig& out) {
  ObjectReader r(value, path);
  std::optional<std::vector<IpAddr>> gateways;
  r.required("name", out.name);
  r.required("vni", out.vni);
  r.choice("mode", out.mode, api::kDomainModeNames);
  r.required("prefixes", out.prefixes);
  r.optional("gateways", gateways);
  r.optional("ranges", out.ranges);
  if (const Json* exclude = r.find("exclude")) {
    auto read = read_exclude(*exclude, r.child("exclude"));
    if (!read) return read.error();
    out.exclude = std::move(*read);
  }
  r.keep(read_nullable_in(r, "mtu", out.mtu, 576, 65535));
  r.optional("learning", out.learning);
  r.optional("flood_peers", out.flood_peers);
  r.optional("host_access", out.host_access);
  r.optional("global", out.global);
  r.choice("transport", out.transport, transport_names());
  r.choice("announce", out.announce, announce_names());
  r.optional_in("flow_limit", out.flow_limit, 0, 16777216);
  r.keep(read_nullable_in(r, "dscp", out.dscp, 0, 63));
  r.optional("trust_dscp", out.trust_dscp);
  read_lease_lengths(r, out);
  r.keep(read_tracking(r, out));
  if (const Json* dns = r.find("dns"); dns != nullptr && !dns->is_null())
    r.keep(read_dns(*dns, r.child("dns"), out));
  PODWIRE_CHECK(r.finish());
  PODWIRE_CHECK(check_name(path + ".name", out.name));
  for (const auto& prefix : out.prefixes) {
    if (!gateways) out.gateways.push_back(first_usable(prefix));
  }
  if (!gateways) return {};
  for (const auto& prefix : out.prefixes) {
    const auto mine =
        std::find_if(gateways->begin(), gateways->end(), [&](const IpAddr& g) { return prefix.contains(g); });
    if (mine == gateways->end()) {
      return invalid(path + ".gateways has no address inside " + to_string(prefix) +
                     "; give one for each prefix, or null for the first usable");
    }
    out.gateways.push_back(*mine);
    gateways->erase(mine);
  }
  if (!gateways->empty()) {
    return invalid(path + ".gateways: " + to_string(gateways->front()) +
                   " is one too many or inside none of the domain's prefixes");
  }
  return {};
}

Result<void> read_domain_config(const Json& value, const std::string& path, DomainConfig& out) {
  return read_value(value, path, out);
}

static Result<void> read_peer_domain(const Json& value, const std::string& path, std::vector<IpPrefix>& out) {
  ObjectReader r(value, path);
  r.optional("prefixes", out);
  return r.finish();
}

Result<void> read_value(const Json& value, const std::string& path, PeerConfig& out) {
  ObjectReader r(value, path);
  r.required("name", out.name);
  r.required("address", out.address);
  r.keep(read_nullable_in(r, "udp_port", out.udp_port, 1, 65535));
  r.optional("mac", out.mac);
  const Json* domains = r.find("domains");
  PODWIRE_CHECK(r.finish());
  PODWIRE_CHECK(check_name(path + ".name", out.name));
  if (out.address.is_zero() || out.address.is_multicast()) {
    return invalid(path + ".address is " + to_string(out.address) + ", must be a unicast address");
  }
  if (out.mac && (out.mac->is_zero() || out.mac->is_multicast())) {
    return invalid(path + ".mac is " + to_string(*out.mac) + ", must be a unicast address");
  }
  if (domains == nullptr) return {};
  if (!domains->is_object())
    return invalid(path + ".domains must be an object, not " + json_type_name(*domains));
  for (const auto& [name, entry] : domains->items()) {
    PODWIRE_CHECK(read_peer_domain(entry, path + ".domains." + name, out.domains[name]));
  }
  return {};
}

Result<Config> parse_config(const Json& document, const std::string& what) {
  Config config;
  config.node = default_node_name();
  ObjectReader r(document, "");
  r.optional("node", config.node);
  r.optional("state_dir", config.state_dir);
  r.optional("control_socket", config.control_socket);
  static const std::vector<std::string> kLevels{"trace", "debug", "info", "warn", "error", "critical", "off"};
  std::size_t level = 2;
  r.choice("log_level", level, kLevels);
  config.log_level = kLevels[level];
  if (const Json* engine = r.find("engine")) r.keep(read_engine(*engine, "engine", config.engine));
  const Json* underlay = r.find("underlay");
  if (underlay != nullptr) {
    r.keep(read_underlay(*underlay, "underlay", config.underlay));
  } else {
    r.keep(invalid(
        "underlay is missing; say which device the engine gets: \"underlay\": {\"device\": \"eth0\"}"));
  }
  if (const Json* vxlan = r.find("vxlan")) r.keep(read_vxlan(*vxlan, "vxlan", config.vxlan));
  if (const Json* sockets = r.find("pod_sockets"))
    r.keep(read_pod_sockets(*sockets, "pod_sockets", config.pod_sockets));
  const Json* host_services = r.find("host_services");
  if (host_services != nullptr)
    r.keep(read_host_services(*host_services, "host_services", config.host_services));
  if (const Json* routing = r.find("routing")) r.keep(read_routing(*routing, "routing", config.routing));
  std::vector<DomainConfig> domains;
  r.required("domains", domains);
  config.domains = std::move(domains);
  if (const Json* namespaces = r.find("namespaces"))
    r.keep(read_namespaces(*namespaces, "namespaces", config.namespaces));
  if (const Json* cluster = r.find("cluster")) r.keep(read_cluster(*cluster, "cluster", config.cluster));
  std::vector<PeerConfig> peers;
  r.optional("peers", peers);
  config.peers = std::move(peers);
  auto checked = r.finish();
  if (checked) checked = check_name("node", config.node);
  if (checked) checked = check_absolute("state_dir", config.state_dir);
  if (checked) checked = check_absolute("control_socket", config.control_socket);
  if (checked && host_services != nullptr && config.host_services.enabled && !config.underlay.host_interface)
    checked = invalid("host_services needs a host interface; underlay.host_interface is null");
  if (!config.underlay.host_interface) config.host_services.enabled = false;
  if (checked) checked = check_config(config);
  if (!checked) return Error{checked.error().code, what + ": " + checked.error().message};
  return config;
}

Result<Config> read_config(const std::string& path) {
  PODWIRE_TRY(const Json document, read_json_file(path));
  return parse_config(document, path);
}

}  // namespace podwire::control
