// Short ways to write api objects in the tables' tests.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "dataplane/api/objects.hpp"

// {.ports = {...}} names what a set has and means to leave the rest empty.
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

namespace podwire::engine::testing_objects {

inline MacAddr mac(std::uint64_t value) {
  return MacAddr::from_u64(0x020000000000 + value);
}
inline IpAddr ip(const std::string& text) {
  return *parse_ip(text);
}
inline IpPrefix prefix(const std::string& text) {
  return *parse_prefix(text);
}

inline const MacAddr kGatewayMac{{0x02, 0x70, 0x77, 0, 0, 1}};

inline api::Port tap(std::uint16_t id, std::uint16_t domain = 2, std::uint16_t descriptors = 1) {
  api::Port port;
  port.id = PortId(id);
  port.name = "pod" + std::to_string(id);
  port.domain = DomainId(domain);
  port.mac = mac(id);
  port.mtu = 1450;
  port.descriptors = descriptors;
  return port;
}

inline api::Port uplink(std::uint16_t id = 1) {
  api::Port port;
  port.id = PortId(id);
  port.name = "uplink" + std::to_string(id);
  port.kind = api::PortKind::kPhysical;
  port.role = api::PortRole::kUplink;
  port.domain = kUnderlayDomain;
  port.devargs = "net_null" + std::to_string(id);
  return port;
}

inline api::Port host_tap(std::uint16_t id) {
  auto port = tap(id);
  port.name = "host" + std::to_string(id);
  port.role = api::PortRole::kHost;
  port.domain = kUnderlayDomain;
  return port;
}

inline api::Vtep vtep(std::uint32_t id, const std::string& address, bool local = false,
                      std::uint16_t udp_port = 4789) {
  api::Vtep vtep;
  vtep.id = VtepId(id);
  vtep.name = "vtep" + std::to_string(id);
  vtep.local = local;
  vtep.address = ip(address);
  vtep.udp_port = udp_port;
  vtep.mac = mac(0xe0000 + id);
  return vtep;
}

inline api::Domain domain(std::uint16_t id = 2,
                          const std::vector<std::string>& gateways = {"10.244.1.1/24"}) {
  api::Domain domain;
  domain.id = DomainId(id);
  domain.name = "domain" + std::to_string(id);
  domain.vni = Vni(id * 100u);
  domain.gateway_mac = kGatewayMac;
  for (const auto& gateway : gateways) domain.gateways.push_back(prefix(gateway));
  return domain;
}

inline api::Domain learning_domain(std::uint16_t id = 2) {
  auto object = domain(id);
  object.mode = api::DomainMode::kL2;
  object.learning = true;
  return object;
}

inline api::Endpoint pod(std::uint32_t id, std::uint16_t port, const std::vector<std::string>& addresses,
                         std::uint16_t in = 2) {
  api::Endpoint endpoint;
  endpoint.id = EndpointId(id);
  endpoint.name = "ns/pod" + std::to_string(id);
  endpoint.domain = DomainId(in);
  endpoint.port = PortId(port);
  endpoint.mac = mac(0x1000 + id);
  for (const auto& address : addresses) endpoint.addresses.push_back(ip(address));
  return endpoint;
}

inline api::Endpoint remote(std::uint32_t id, std::uint32_t behind, const std::vector<std::string>& addresses,
                            std::uint16_t in = 2) {
  auto endpoint = pod(id, 0, addresses, in);
  endpoint.vtep = VtepId(behind);
  return endpoint;
}

inline api::NextHop via_vtep(std::uint32_t id, std::uint16_t weight = 1) {
  api::NextHop hop;
  hop.vtep = VtepId(id);
  hop.weight = weight;
  return hop;
}

inline api::NextHop via_port(std::uint16_t id, const std::string& address = "0.0.0.0",
                             std::uint16_t weight = 1) {
  api::NextHop hop;
  hop.port = PortId(id);
  hop.address = ip(address);
  hop.weight = weight;
  return hop;
}

inline api::Route route(std::uint32_t id, const std::string& to, std::vector<api::NextHop> hops,
                        std::uint16_t in = 2) {
  api::Route route;
  route.id = RouteId(id);
  route.domain = DomainId(in);
  route.prefix = prefix(to);
  route.blackhole = hops.empty();
  route.next_hops = std::move(hops);
  return route;
}

}  // namespace podwire::engine::testing_objects
