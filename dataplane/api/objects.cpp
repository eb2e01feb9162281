#include "dataplane/api/objects.hpp"

#include <algorithm>
#include <cctype>

namespace podwire::api {
namespace {

Result<void> check_name(const std::string& path, const std::string& name) {
  const bool printable = std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < 0x7f; });
  if (name.empty() || name.size() > 63 || !printable) {
    return invalid(path + ".name is \"" + name.substr(0, 80) +
                   "\", must be 1 to 63 printable characters without spaces");
  }
  return {};
}

Result<void> check_host_mac(const std::string& path, const char* field, const MacAddr& mac,
                            bool zero_allowed) {
  if ((mac.is_zero() && zero_allowed) || (!mac.is_zero() && !mac.is_multicast())) return {};
  return invalid(path + "." + field + " is " + to_string(mac) + ", must be a unicast address");
}

template <class T>
Json array_of(const std::vector<T>& items) {
  Json array = Json::array();
  for (const auto& item : items) array.push_back(to_json(item));
  return array;
}

template <class Tag, class Rep>
Json array_of(const std::vector<Id<Tag, Rep>>& ids) {
  Json array = Json::array();
  for (const auto id : ids) array.push_back(id.value());
  return array;
}

template <class T>
void put_if_any(Json& json, const char* key, const std::vector<T>& items) {
  if (!items.empty()) json[key] = array_of(items);
}

}  // namespace

const std::vector<std::string> kPortKindNames{"physical", "tap", "memif", "vhost"};
const std::vector<std::string> kSocketModeNames{"server", "client"};
const std::vector<std::string> kPortRoleNames{"pod", "uplink", "host"};
const std::vector<std::string> kDomainModeNames{"l2", "l3"};

namespace {

// What only ports on a socket have. Returns a key that was given, or null.
const char* read_socket_fields(ObjectReader& r, Port& out) {
  const char* given = nullptr;
  const auto note = [&given](bool there, const char* key) {
    if (there && given == nullptr) given = key;
  };
  note(r.optional("socket", out.socket), "socket");
  note(r.choice("socket_mode", out.socket_mode, kSocketModeNames), "socket_mode");
  note(r.optional("socket_group", out.socket_group), "socket_group");
  note(r.optional_in("socket_permissions", out.socket_permissions, 0, 0777), "socket_permissions");
  note(r.optional("memif_id", out.memif_id), "memif_id");
  note(r.optional("secret", out.secret), "secret");
  note(r.optional_in("ring_size", out.ring_size, 2, 16384), "ring_size");
  note(r.optional_in("buffer_size", out.buffer_size, 128, 65536), "buffer_size");
  note(r.optional("iommu", out.iommu), "iommu");
  return given;
}

Result<void> check_socket_fields(const std::string& path, const Port& port, const char* given) {
  const auto& kind = kPortKindNames[static_cast<std::size_t>(port.kind)];
  const bool memif = port.kind == PortKind::kMemif;
  if (!memif && port.kind != PortKind::kVhost) {
    if (given == nullptr) return {};
    return invalid(path + "." + given + " is for memif and vhost ports; this one is a " + kind);
  }
  if (port.role != PortRole::kPod) return invalid(path + ".role must be pod for a " + kind + " port");
  // sun_path of unix(7) has 108 bytes with its end.
  if (port.socket.empty() || port.socket.front() != '/' || port.socket.size() > 107 ||
      port.socket.find('\0') != std::string::npos) {
    return invalid(path + ".socket is \"" + port.socket.substr(0, 120) +
                   "\", must be an absolute path of at most 107 characters: a " + kind +
                   " port has a UNIX socket");
  }
  const Port defaults;
  if (!memif && (port.memif_id != defaults.memif_id || !port.secret.empty() ||
                 port.ring_size != defaults.ring_size || port.buffer_size != defaults.buffer_size)) {
    return invalid(path +
                   ": memif_id, secret, ring_size and buffer_size are for memif ports; this one is a " +
                   kind + ", where the peer decides");
  }
  if (memif && port.iommu) return invalid(path + ".iommu is for vhost ports");
  if (port.secret.size() > 24) {
    return invalid(path + ".secret has " + std::to_string(port.secret.size()) +
                   " characters; memif has room for 24");
  }
  if ((port.ring_size & (port.ring_size - 1)) != 0) {
    return invalid(path + ".ring_size is " + std::to_string(port.ring_size) +
                   ", must be a power of two from 2 to 16384");
  }
  return {};
}

void put_socket_fields(Json& j, const Port& p) {
  const Port defaults;
  j["socket"] = p.socket;
  j["socket_mode"] = kSocketModeNames[static_cast<std::size_t>(p.socket_mode)];
  if (p.socket_group != defaults.socket_group) j["socket_group"] = p.socket_group;
  if (p.socket_permissions != defaults.socket_permissions) j["socket_permissions"] = p.socket_permissions;
  if (p.memif_id != defaults.memif_id) j["memif_id"] = p.memif_id;
  if (!p.secret.empty()) j["secret"] = p.secret;
  if (p.ring_size != defaults.ring_size) j["ring_size"] = p.ring_size;
  if (p.buffer_size != defaults.buffer_size) j["buffer_size"] = p.buffer_size;
  if (p.iommu) j["iommu"] = true;
}

}  // namespace

Result<void> read_value(const Json& value, const std::string& path, Port& out) {
  ObjectReader r(value, path);
  r.required("id", out.id);
  r.required("name", out.name);
  r.choice("kind", out.kind, kPortKindNames);
  r.choice("role", out.role, kPortRoleNames);
  const bool has_domain = r.optional("domain", out.domain);
  r.optional("mac", out.mac);
  const bool has_mtu = r.optional_in("mtu", out.mtu, 68, 65535);
  r.optional_in("queues", out.queues, 1, 16);
  r.optional("devargs", out.devargs);
  r.optional_in("vlan", out.vlan, 0, 4094);
  r.optional_in("descriptors", out.descriptors, 0, 16);
  const auto socket_key = read_socket_fields(r, out);
  PODWIRE_CHECK(r.finish());
  PODWIRE_CHECK(check_name(path, out.name));
  PODWIRE_CHECK(check_host_mac(path, "mac", out.mac, out.kind == PortKind::kPhysical));
  const bool physical = out.kind == PortKind::kPhysical;
  if (physical && out.devargs.empty())
    return invalid(path +
                   ".devargs is missing: a physical port needs a device, such as net_af_xdp0,iface=eth0");
  if (!physical && !out.devargs.empty())
    return invalid(path + ".devargs is for physical ports; this one is a " +
                   kPortKindNames[static_cast<std::size_t>(out.kind)]);
  if (!physical && !has_mtu) return invalid(path + ".mtu is missing");
  if (!physical && out.descriptors != 0 && out.descriptors != out.queues) {
    return invalid(path + ".descriptors is " + std::to_string(out.descriptors) +
                   ", must be 0 or equal queues (" + std::to_string(out.queues) + ")");
  }
  if (out.kind != PortKind::kTap && out.descriptors != 0)
    return invalid(path + ".descriptors is for tap ports");
  PODWIRE_CHECK(check_socket_fields(path, out, socket_key));
  if (out.vlan != 0 && out.role != PortRole::kUplink) return invalid(path + ".vlan is for uplinks");
  if (out.role == PortRole::kPod) {
    if (!has_domain) return invalid(path + ".domain is missing: a pod port belongs to a domain");
    if (out.domain == kUnderlayDomain)
      return invalid(path + ".domain is 1, the underlay; a pod port belongs to another");
  } else {
    if (has_domain && out.domain != kUnderlayDomain)
      return invalid(path + ".domain must be 1, the underlay, or absent for an uplink or host port");
    out.domain = kUnderlayDomain;
  }
  return {};
}

Json to_json(const Port& p) {
  Json j{{"id", p.id.value()},
         {"name", p.name},
         {"kind", kPortKindNames[static_cast<std::size_t>(p.kind)]},
         {"role", kPortRoleNames[static_cast<std::size_t>(p.role)]},
         {"domain", p.domain.value()}};
  if (!p.mac.is_zero()) j["mac"] = to_string(p.mac);
  if (p.mtu != 0) j["mtu"] = p.mtu;
  j["queues"] = p.queues;
  if (!p.devargs.empty()) j["devargs"] = p.devargs;
  if (p.vlan != 0) j["vlan"] = p.vlan;
  if (p.descriptors != 0) j["descriptors"] = p.descriptors;
  if (p.kind == PortKind::kMemif || p.kind == PortKind::kVhost) put_socket_fields(j, p);
  return j;
}

Result<void> read_value(const Json& value, const std::string& path, Vtep& out) {
  ObjectReader r(value, path);
  r.required("id", out.id);
  r.required("name", out.name);
  r.optional("local", out.local);
  r.required("address", out.address);
  r.optional_in("udp_port", out.udp_port, 1, 65535);
  r.required("mac", out.mac);
  PODWIRE_CHECK(r.finish());
  PODWIRE_CHECK(check_name(path, out.name));
  PODWIRE_CHECK(check_host_mac(path, "mac", out.mac, false));
  if (out.address.is_zero() || out.address.is_multicast()) {
    return invalid(path + ".address is " + to_string(out.address) + ", must be a unicast address");
  }
  return {};
}

Json to_json(const Vtep& v) {
  return {{"id", v.id.value()},     {"name", v.name},
          {"local", v.local},       {"address", to_string(v.address)},
          {"udp_port", v.udp_port}, {"mac", to_string(v.mac)}};
}

namespace {

// A name of labels as in RFC 1123 section 2.1, of at most `most` characters.
bool is_host_name(const std::string& name, std::size_t most) {
  std::size_t label = 0;
  for (std::size_t i = 0; i <= name.size(); ++i) {
    const char c = i < name.size() ? name[i] : '.';
    if (c == '.') {
      if (label == 0 || label > 63 || name[i - 1] == '-') return false;
      label = 0;
    } else if (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || (c == '-' && label != 0)) {
      ++label;
    } else {
      return false;
    }
  }
  return name.size() <= most;
}

Result<void> check_dns(const std::string& path, const Domain& domain) {
  constexpr std::size_t kMost = 8;
  if (domain.dns_servers.size() > kMost) return invalid(path + ".dns_servers has more than 8 entries");
  if (domain.search_domains.size() > kMost) return invalid(path + ".search_domains has more than 8 entries");
  for (const auto& server : domain.dns_servers) {
    if (server.is_zero() || server.is_multicast())
      return invalid(path + ".dns_servers: " + to_string(server) + " is no unicast address");
  }
  for (const auto& name : domain.search_domains) {
    if (!is_host_name(name, 253))
      return invalid(path + ".search_domains: \"" + name.substr(0, 80) + "\" is no domain name");
  }
  return {};
}

}  // namespace

Result<void> read_value(const Json& value, const std::string& path, Domain& out) {
  ObjectReader r(value, path);
  r.required("id", out.id);
  r.required("name", out.name);
  r.required("vni", out.vni);
  r.choice("mode", out.mode, kDomainModeNames);
  r.required("gateway_mac", out.gateway_mac);
  r.optional("gateways", out.gateways);
  r.optional_in("mtu", out.mtu, 576, 65535);
  r.optional("learning", out.learning);
  r.optional("flood", out.flood);
  r.optional("host_access", out.host_access);
  r.optional_in("fdb_limit", out.fdb_limit, 0, 1 << 20);
  r.optional_in("fdb_ageing_s", out.fdb_ageing_s, 1, 86400);
  r.optional("dns_servers", out.dns_servers);
  r.optional("search_domains", out.search_domains);
  r.optional("stateful", out.stateful);
  r.optional("strict_tcp", out.strict_tcp);
  r.optional("rules", out.rules);
  PODWIRE_CHECK(r.finish());
  PODWIRE_CHECK(check_name(path, out.name));
  PODWIRE_CHECK(check_host_mac(path, "gateway_mac", out.gateway_mac, false));
  if (out.id == kUnderlayDomain)
    return invalid(path + ".id is 1, which is the built-in underlay domain; use 2 to 65535");
  if (out.mode == DomainMode::kL3 && out.learning) return invalid(path + ".learning is for mode l2");
  if (out.mode == DomainMode::kL3 && !out.flood.empty()) return invalid(path + ".flood is for mode l2");
  if (!out.stateful && (out.strict_tcp || !out.rules.empty()))
    return invalid(path + ": strict_tcp and rules are for stateful domains; set \"stateful\": true");
  if (out.rules.size() > kMaxRules) {
    return invalid(path + ".rules has " + std::to_string(out.rules.size()) + " entries, at most " +
                   std::to_string(kMaxRules) + " are possible; use larger prefixes");
  }
  return check_dns(path, out);
}

Json to_json(const Domain& d) {
  Json gateways = Json::array();
  for (const auto& g : d.gateways) gateways.push_back(to_string(g));
  Json j{{"id", d.id.value()},
         {"name", d.name},
         {"vni", d.vni.value()},
         {"mode", kDomainModeNames[static_cast<std::size_t>(d.mode)]},
         {"gateway_mac", to_string(d.gateway_mac)},
         {"gateways", gateways},
         {"mtu", d.mtu},
         {"learning", d.learning},
         {"flood", array_of(d.flood)},
         {"host_access", d.host_access},
         {"fdb_limit", d.fdb_limit},
         {"fdb_ageing_s", d.fdb_ageing_s}};
  for (const auto& server : d.dns_servers) j["dns_servers"].push_back(to_string(server));
  for (const auto& name : d.search_domains) j["search_domains"].push_back(name);
  if (d.stateful) j["stateful"] = true;
  if (d.strict_tcp) j["strict_tcp"] = true;
  put_if_any(j, "rules", d.rules);
  return j;
}

Result<void> read_value(const Json& value, const std::string& path, AddressPair& out) {
  ObjectReader r(value, path);
  r.required("address", out.address);
  r.optional("mac", out.mac);
  PODWIRE_CHECK(r.finish());
  return check_host_mac(path, "mac", out.mac, true);
}

Result<void> read_value(const Json& value, const std::string& path, Endpoint& out) {
  ObjectReader r(value, path);
  r.required("id", out.id);
  r.required("name", out.name);
  r.required("domain", out.domain);
  const bool on_port = r.optional("port", out.port);
  const bool on_vtep = r.optional("vtep", out.vtep);
  r.required("mac", out.mac);
  r.optional("addresses", out.addresses);
  r.optional("allowed_pairs", out.allowed_pairs);
  r.optional("dhcp", out.dhcp);
  r.optional("hostname", out.hostname);
  PODWIRE_CHECK(r.finish());
  if (out.name.empty() || out.name.size() > 255) return invalid(path + ".name must have 1 to 255 characters");
  PODWIRE_CHECK(check_host_mac(path, "mac", out.mac, false));
  if (on_port == on_vtep) return invalid(path + " must have exactly one of port and vtep");
  if (on_vtep && !out.allowed_pairs.empty())
    return invalid(path + ".allowed_pairs is for endpoints on a port");
  if (on_vtep && (out.dhcp || !out.hostname.empty()))
    return invalid(path + ": dhcp and hostname are for endpoints on a port");
  if (!out.hostname.empty() && !is_host_name(out.hostname, 63))
    return invalid(path + ".hostname is \"" + out.hostname.substr(0, 80) + "\", which is no host name");
  if (out.addresses.size() > 64) return invalid(path + ".addresses has more than 64 entries");
  for (const auto& a : out.addresses) {
    if (a.is_zero() || a.is_multicast())
      return invalid(path + ".addresses: " + to_string(a) + " is no unicast address");
  }
  return {};
}

Json to_json(const Endpoint& e) {
  Json j{{"id", e.id.value()}, {"name", e.name}, {"domain", e.domain.value()}};
  if (e.port) j["port"] = e.port.value();
  if (e.vtep) j["vtep"] = e.vtep.value();
  j["mac"] = to_string(e.mac);
  Json addresses = Json::array();
  for (const auto& a : e.addresses) addresses.push_back(to_string(a));
  j["addresses"] = addresses;
  if (!e.allowed_pairs.empty()) {
    Json pairs = Json::array();
    for (const auto& pair : e.allowed_pairs) {
      Json p{{"address", to_string(pair.address)}};
      if (!pair.mac.is_zero()) p["mac"] = to_string(pair.mac);
      pairs.push_back(p);
    }
    j["allowed_pairs"] = pairs;
  }
  if (e.dhcp) j["dhcp"] = true;
  if (!e.hostname.empty()) j["hostname"] = e.hostname;
  return j;
}

Result<void> read_value(const Json& value, const std::string& path, NextHop& out) {
  ObjectReader r(value, path);
  const bool by_vtep = r.optional("vtep", out.vtep);
  const bool by_port = r.optional("port", out.port);
  r.optional("mac", out.mac);
  const bool has_address = r.optional("address", out.address);
  r.optional_in("weight", out.weight, 1, 256);
  PODWIRE_CHECK(r.finish());
  if (by_vtep == by_port) return invalid(path + " must have exactly one of vtep and port");
  if (by_vtep && has_address) return invalid(path + ".address is for a next hop on a port");
  if (by_port && !out.mac.is_zero()) return invalid(path + ".mac is for a next hop on a vtep");
  return check_host_mac(path, "mac", out.mac, true);
}

Json to_json(const NextHop& n) {
  Json j;
  if (n.vtep) j["vtep"] = n.vtep.value();
  if (n.port) j["port"] = n.port.value();
  if (!n.mac.is_zero()) j["mac"] = to_string(n.mac);
  if (!n.address.is_zero()) j["address"] = to_string(n.address);
  if (n.weight != 1) j["weight"] = n.weight;
  return j;
}

Result<void> read_value(const Json& value, const std::string& path, Route& out) {
  ObjectReader r(value, path);
  r.required("id", out.id);
  r.required("domain", out.domain);
  r.required("prefix", out.prefix);
  r.optional("next_hops", out.next_hops);
  r.optional("blackhole", out.blackhole);
  PODWIRE_CHECK(r.finish());
  if (out.prefix != out.prefix.network()) {
    return invalid(path + ".prefix is " + to_string(out.prefix) + ", has host bits set; did you mean " +
                   to_string(out.prefix.network()) + "?");
  }
  if (out.blackhole && !out.next_hops.empty()) return invalid(path + ": a blackhole has no next_hops");
  if (!out.blackhole && out.next_hops.empty())
    return invalid(path + ".next_hops is empty; for a route that drops, say \"blackhole\": true");
  if (out.next_hops.size() > 64) return invalid(path + ".next_hops has more than 64 entries");
  return {};
}

Json to_json(const Route& r) {
  Json j{{"id", r.id.value()}, {"domain", r.domain.value()}, {"prefix", to_string(r.prefix)}};
  if (r.blackhole) {
    j["blackhole"] = true;
  } else {
    j["next_hops"] = array_of(r.next_hops);
  }
  return j;
}

Result<void> read_value(const Json& value, const std::string& path, ObjectSet& out) {
  ObjectReader r(value, path);
  r.optional("ports", out.ports);
  r.optional("vteps", out.vteps);
  r.optional("domains", out.domains);
  r.optional("endpoints", out.endpoints);
  r.optional("routes", out.routes);
  return r.finish();
}

Json to_json(const ObjectSet& s) {
  Json j = Json::object();
  put_if_any(j, "ports", s.ports);
  put_if_any(j, "vteps", s.vteps);
  put_if_any(j, "domains", s.domains);
  put_if_any(j, "endpoints", s.endpoints);
  put_if_any(j, "routes", s.routes);
  return j;
}

Result<void> read_value(const Json& value, const std::string& path, IdSet& out) {
  ObjectReader r(value, path);
  r.optional("ports", out.ports);
  r.optional("vteps", out.vteps);
  r.optional("domains", out.domains);
  r.optional("endpoints", out.endpoints);
  r.optional("routes", out.routes);
  return r.finish();
}

Json to_json(const IdSet& s) {
  Json j = Json::object();
  put_if_any(j, "ports", s.ports);
  put_if_any(j, "vteps", s.vteps);
  put_if_any(j, "domains", s.domains);
  put_if_any(j, "endpoints", s.endpoints);
  put_if_any(j, "routes", s.routes);
  return j;
}

}  // namespace podwire::api
