#include "dataplane/api/objects.hpp"

#include <algorithm>
#include <cctype>

#include "dataplane/api/checks.hpp"

namespace podwire::api {

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

namespace {

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

const std::vector<std::string> kDomainModeNames{"l2", "l3"};

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
  r.optional("routed", out.routed);
  r.optional_in("fdb_limit", out.fdb_limit, 0, 1 << 20);
  r.optional_in("fdb_ageing_s", out.fdb_ageing_s, 1, 86400);
  r.optional("dns_servers", out.dns_servers);
  r.optional("search_domains", out.search_domains);
  r.optional("stateful", out.stateful);
  std::uint8_t dscp = 0;
  if (r.optional_in("dscp", dscp, 0, 63)) out.dscp = dscp;
  r.optional("trust_dscp", out.trust_dscp);
  r.optional("strict_tcp", out.strict_tcp);
  r.optional("rules", out.rules);
  r.optional("masquerade", out.masquerade);
  PODWIRE_CHECK(r.finish());
  PODWIRE_CHECK(check_name(path, out.name));
  PODWIRE_CHECK(check_host_mac(path, "gateway_mac", out.gateway_mac, false));
  if (out.id == kUnderlayDomain)
    return invalid(path + ".id is 1, which is the built-in underlay domain; use 2 to 65535");
  if (out.mode == DomainMode::kL3 && out.learning) return invalid(path + ".learning is for mode l2");
  if (out.mode == DomainMode::kL3 && !out.flood.empty()) return invalid(path + ".flood is for mode l2");
  if (out.mode == DomainMode::kL2 && out.routed) return invalid(path + ".routed is for mode l3");
  if (!out.stateful && (out.strict_tcp || !out.rules.empty() || out.masquerade))
    return invalid(path +
                   ": strict_tcp, rules and masquerade are for stateful domains; set \"stateful\": true");
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
  if (d.routed) j["routed"] = true;
  if (d.stateful) j["stateful"] = true;
  if (d.dscp) j["dscp"] = *d.dscp;
  if (!d.trust_dscp) j["trust_dscp"] = false;
  if (d.strict_tcp) j["strict_tcp"] = true;
  put_if_any(j, "rules", d.rules);
  if (d.masquerade) j["masquerade"] = to_json(*d.masquerade);
  return j;
}

Result<void> read_value(const Json& value, const std::string& path, AddressPair& out) {
  ObjectReader r(value, path);
  r.required("address", out.address);
  r.optional("mac", out.mac);
  PODWIRE_CHECK(r.finish());
  return check_host_mac(path, "mac", out.mac, true);
}

namespace {

Result<void> check_own_addresses(const std::string& path, const std::vector<IpAddr>& addresses,
                                 bool on_vtep) {
  if (on_vtep && !addresses.empty()) return invalid(path + " is for endpoints on a port");
  int families[2] = {};
  for (const auto& address : addresses) {
    if (address.is_zero() || address.is_multicast())
      return invalid(path + ": " + to_string(address) + " is no unicast address");
    if (++families[address.is_v4() ? 0 : 1] > 1)
      return invalid(path + ": " + to_string(address) + " is the second of its family; one is possible");
  }
  return {};
}

}  // namespace

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
  r.optional("policy", out.policy);
  r.optional("identity", out.identity);
  r.optional("egress", out.egress);
  r.optional("floating", out.floating);
  PODWIRE_CHECK(r.finish());
  if (out.name.empty() || out.name.size() > 255) return invalid(path + ".name must have 1 to 255 characters");
  PODWIRE_CHECK(check_host_mac(path, "mac", out.mac, false));
  if (on_port == on_vtep) return invalid(path + " must have exactly one of port and vtep");
  if (on_vtep && !out.allowed_pairs.empty())
    return invalid(path + ".allowed_pairs is for endpoints on a port");
  if (on_vtep && (out.dhcp || !out.hostname.empty()))
    return invalid(path + ": dhcp and hostname are for endpoints on a port");
  if (on_vtep && out.policy)
    return invalid(path + ".policy is for endpoints on a port; another node applies its own");
  for (const auto& [name, addresses] : {std::pair{"egress", &out.egress}, {"floating", &out.floating}})
    PODWIRE_CHECK(check_own_addresses(path + "." + name, *addresses, on_vtep));
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
  if (e.policy) j["policy"] = e.policy.value();
  if (e.identity) j["identity"] = e.identity.value();
  for (const auto& address : e.egress) j["egress"].push_back(to_string(address));
  for (const auto& address : e.floating) j["floating"].push_back(to_string(address));
  return j;
}

Result<void> read_value(const Json& value, const std::string& path, NextHop& out) {
  ObjectReader r(value, path);
  const bool by_vtep = r.optional("vtep", out.vtep);
  const bool by_port = r.optional("port", out.port);
  const bool by_domain = r.optional("into", out.into);
  r.optional("mac", out.mac);
  const bool has_address = r.optional("address", out.address);
  r.optional_in("weight", out.weight, 1, 256);
  PODWIRE_CHECK(r.finish());
  if (by_vtep + by_port + by_domain != 1)
    return invalid(path + " must have exactly one of vtep, port and into");
  if (!by_port && has_address) return invalid(path + ".address is for a next hop on a port");
  if (!by_vtep && !out.mac.is_zero()) return invalid(path + ".mac is for a next hop on a vtep");
  return check_host_mac(path, "mac", out.mac, true);
}

Json to_json(const NextHop& n) {
  Json j;
  if (n.vtep) j["vtep"] = n.vtep.value();
  if (n.port) j["port"] = n.port.value();
  if (n.into) j["into"] = n.into.value();
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
  r.optional("policies", out.policies);
  r.optional("services", out.services);
  return r.finish();
}

Json to_json(const ObjectSet& s) {
  Json j = Json::object();
  put_if_any(j, "ports", s.ports);
  put_if_any(j, "vteps", s.vteps);
  put_if_any(j, "domains", s.domains);
  put_if_any(j, "endpoints", s.endpoints);
  put_if_any(j, "routes", s.routes);
  put_if_any(j, "policies", s.policies);
  put_if_any(j, "services", s.services);
  return j;
}

Result<void> read_value(const Json& value, const std::string& path, IdSet& out) {
  ObjectReader r(value, path);
  r.optional("ports", out.ports);
  r.optional("vteps", out.vteps);
  r.optional("domains", out.domains);
  r.optional("endpoints", out.endpoints);
  r.optional("routes", out.routes);
  r.optional("policies", out.policies);
  r.optional("services", out.services);
  return r.finish();
}

Json to_json(const IdSet& s) {
  Json j = Json::object();
  put_if_any(j, "ports", s.ports);
  put_if_any(j, "vteps", s.vteps);
  put_if_any(j, "domains", s.domains);
  put_if_any(j, "endpoints", s.endpoints);
  put_if_any(j, "routes", s.routes);
  put_if_any(j, "policies", s.policies);
  put_if_any(j, "services", s.services);
  return j;
}

}  // namespace podwire::api
