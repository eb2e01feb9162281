#include "dataplane/api/service.hpp"

namespace podwire::api {
namespace {

Result<void> check_unicast(const std::string& path, const IpAddr& address) {
  if (!address.is_zero() && !address.is_multicast()) return {};
  return invalid(path + " is " + to_string(address) + ", must be a unicast address");
}

Result<void> read_port(ObjectReader& r, std::uint16_t& port) {
  if (!r.optional_in("port", port, 1, 65535)) return invalid(r.child("port") + " is missing");
  return {};
}

Result<void> check_sources(const ServiceFrontend& frontend, const std::string& path) {
  if (frontend.sources.empty()) return {};
  if (!frontend.address || frontend.from_host)
    return invalid(path + " goes with an address, and not with from_host");
  if (frontend.sources.size() > kMaxSources) {
    return invalid(path + " has " + std::to_string(frontend.sources.size()) + " entries, at most " +
                   std::to_string(kMaxSources) + " are possible");
  }
  for (const auto& prefix : frontend.sources) {
    PODWIRE_CHECK(check_network(path, prefix));
    if (prefix.address.is_v4() != frontend.address->is_v4())
      return invalid(path + ": " + to_string(prefix) + " is not of the address's family");
  }
  return {};
}

}  // namespace

const std::vector<std::string> kServiceProtocolNames{"tcp", "udp", "sctp"};

Result<void> read_value(const Json& value, const std::string& path, ServiceFrontend& out) {
  ObjectReader r(value, path);
  r.required("domain", out.domain);
  r.optional("address", out.address);
  r.choice("protocol", out.protocol, kServiceProtocolNames);
  r.keep(read_port(r, out.port));
  r.optional("from_host", out.from_host);
  r.optional("sources", out.sources);
  PODWIRE_CHECK(r.finish());
  PODWIRE_CHECK(check_sources(out, path + ".sources"));
  if (out.from_host && (out.domain != kUnderlayDomain || !out.address))
    return invalid(path + ".from_host goes with domain 1 and an address");
  if (out.address) return check_unicast(path + ".address", *out.address);
  if (out.domain == kUnderlayDomain) return {};
  return invalid(path + ".address is missing; only in the underlay (domain 1) it stands for the node's own");
}

Json to_json(const ServiceFrontend& frontend) {
  Json j{{"domain", frontend.domain.value()}};
  if (frontend.address) j["address"] = to_string(*frontend.address);
  j["protocol"] = kServiceProtocolNames[static_cast<std::size_t>(frontend.protocol)];
  j["port"] = frontend.port;
  if (frontend.from_host) j["from_host"] = true;
  for (const auto& prefix : frontend.sources) j["sources"].push_back(to_string(prefix));
  return j;
}

Result<void> read_value(const Json& value, const std::string& path, ServiceBackend& out) {
  ObjectReader r(value, path);
  r.required("address", out.address);
  r.keep(read_port(r, out.port));
  r.optional_in("weight", out.weight, 1, 256);
  r.optional("draining", out.draining);
  PODWIRE_CHECK(r.finish());
  return check_unicast(path + ".address", out.address);
}

Json to_json(const ServiceBackend& backend) {
  Json j{{"address", to_string(backend.address)}, {"port", backend.port}};
  if (backend.weight != 1) j["weight"] = backend.weight;
  if (backend.draining) j["draining"] = true;
  return j;
}

Result<void> read_value(const Json& value, const std::string& path, Service& out) {
  ObjectReader r(value, path);
  r.required("id", out.id);
  r.required("name", out.name);
  r.required("domain", out.domain);
  r.required("frontends", out.frontends);
  r.optional("backends", out.backends);
  r.optional_in("affinity_s", out.affinity_s, 0, 86'400);
  r.optional("hide_clients", out.hide_clients);
  PODWIRE_CHECK(r.finish());
  if (out.name.empty() || out.name.size() > 255) return invalid(path + ".name must have 1 to 255 characters");
  if (out.domain == kUnderlayDomain)
    return invalid(path + ".domain is 1, the underlay; backends are endpoints of another domain");
  if (out.frontends.empty() || out.frontends.size() > kMaxFrontends) {
    return invalid(path + ".frontends has " + std::to_string(out.frontends.size()) +
                   " entries, must be 1 to " + std::to_string(kMaxFrontends));
  }
  if (out.backends.size() > kMaxBackends) {
    return invalid(path + ".backends has " + std::to_string(out.backends.size()) + " entries, at most " +
                   std::to_string(kMaxBackends) + " are possible");
  }
  for (const auto& frontend : out.frontends) {
    if (frontend.domain == kUnderlayDomain || frontend.domain == out.domain) continue;
    return invalid(path + ".frontends: domain is " + std::to_string(frontend.domain.value()) +
                   ", must be the service's own, " + std::to_string(out.domain.value()) +
                   ", or 1, the underlay");
  }
  return {};
}

Json to_json(const Service& service) {
  Json frontends = Json::array(), backends = Json::array();
  for (const auto& frontend : service.frontends) frontends.push_back(to_json(frontend));
  for (const auto& backend : service.backends) backends.push_back(to_json(backend));
  Json j{{"id", service.id.value()},
         {"name", service.name},
         {"domain", service.domain.value()},
         {"frontends", frontends},
         {"backends", backends}};
  if (service.affinity_s != 0) j["affinity_s"] = service.affinity_s;
  if (service.hide_clients) j["hide_clients"] = true;
  return j;
}

Result<void> read_value(const Json& value, const std::string& path, Masquerade& out) {
  ObjectReader r(value, path);
  r.required("addresses", out.addresses);
  r.keep(read_range(r, "ports", out.ports));
  r.optional("except", out.except);
  PODWIRE_CHECK(r.finish());
  std::size_t v4 = 0;
  for (const auto& address : out.addresses) {
    PODWIRE_CHECK(check_unicast(path + ".addresses", address));
    v4 += address.is_v4() ? 1 : 0;
  }
  if (out.addresses.empty() || v4 > 1 || out.addresses.size() - v4 > 1)
    return invalid(path + ".addresses must have one IPv4 address, one IPv6 address, or one of each");
  if (out.ports.first < 1024)
    return invalid(path + ".ports begins at " + std::to_string(out.ports.first) + ", must be 1024 or above");
  for (const auto& prefix : out.except) PODWIRE_CHECK(check_network(path + ".except", prefix));
  return {};
}

Json to_json(const Masquerade& masquerade) {
  Json addresses = Json::array();
  for (const auto& address : masquerade.addresses) addresses.push_back(to_string(address));
  Json j{{"addresses", addresses}, {"ports", {masquerade.ports.first, masquerade.ports.last}}};
  for (const auto& prefix : masquerade.except) j["except"].push_back(to_string(prefix));
  return j;
}

}  // namespace podwire::api
