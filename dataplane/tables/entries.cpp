#include "dataplane/tables/entries.hpp"

#include <algorithm>
#include <string_view>

namespace podwire::engine {
namespace {

void add_mac(std::vector<MacAddr>& macs, const MacAddr& mac) {
  if (std::find(macs.begin(), macs.end(), mac) == macs.end()) macs.push_back(mac);
}

void add_sources(PortEntry& entry, const api::Endpoint& endpoint, bool all_without_addresses) {
  add_mac(entry.macs, endpoint.mac);
  for (const auto& address : endpoint.addresses)
    entry.sources.push_back({endpoint.mac, {address, address.bits()}});
  for (const auto& pair : endpoint.allowed_pairs) {
    const auto mac = pair.mac.is_zero() ? endpoint.mac : pair.mac;
    add_mac(entry.macs, mac);
    entry.sources.push_back({mac, pair.address});
  }
  // No address means any address. Where another endpoint of the port has some, that must be spelled out.
  if (endpoint.addresses.empty() && !all_without_addresses) {
    entry.sources.push_back({endpoint.mac, {IpAddr(Ipv4()), 0}});
    entry.sources.push_back({endpoint.mac, {IpAddr(Ipv6()), 0}});
  }
}

void add_sources4(PortEntry& entry) {
  for (const auto& [mac, prefix] : entry.sources) {
    if (!prefix.address.is_v4()) continue;
    const std::uint32_t mask = prefix.length == 0 ? 0 : ~std::uint32_t{0} << (32 - prefix.length);
    entry.sources4.push_back(
        {mac.to_u64(), __builtin_bswap32(prefix.address.v4().to_u32() & mask), __builtin_bswap32(mask)});
  }
}

// A server identifier where the domain has no IPv4 gateway. Nobody answers there; clients renew by broadcast
// in the end, which needs nobody.
constexpr Ipv4 kServerWithoutGateway{{169, 254, 0, 1}};

void append_name(std::vector<std::uint8_t>& wire, std::string_view name) {
  while (!name.empty()) {
    const auto label = name.substr(0, name.find('.'));
    if (!label.empty()) {
      wire.push_back(static_cast<std::uint8_t>(label.size()));
      wire.insert(wire.end(), label.begin(), label.end());
    }
    name.remove_prefix(std::min(name.size(), label.size() + 1));
  }
  wire.push_back(0);
}

// DHCPv4 gives one address, the endpoint's first, and one router: the gateway whose subnet contains it, or
// any with a host route to it.
void fill_ipv4(Lease& lease, const api::Domain& domain, const api::Endpoint& endpoint) {
  const auto address = std::find_if(endpoint.addresses.begin(), endpoint.addresses.end(),
                                    [](const IpAddr& ip) { return ip.is_v4(); });
  lease.server4 = kServerWithoutGateway;
  if (address == endpoint.addresses.end()) return;
  lease.address4 = address->v4();
  for (const auto& gateway : domain.gateways) {
    if (!gateway.address.is_v4()) continue;
    const bool on_link = gateway.length < 32 && gateway.contains(*address);
    if (!on_link && !lease.router4.is_zero()) continue;
    lease.router4 = lease.server4 = gateway.address.v4();
    if (!on_link) continue;
    lease.length4 = static_cast<std::uint8_t>(gateway.length);
    return;
  }
}

void fill_ipv6(Lease& lease, const api::Domain& domain, const api::Endpoint& endpoint) {
  for (const auto& address : endpoint.addresses) {
    if (address.is_v6()) lease.addresses6.push_back(address.v6());
  }
  for (const auto& gateway : domain.gateways) {
    if (gateway.address.is_v4() || gateway.length == 128) continue;
    const bool used = std::any_of(endpoint.addresses.begin(), endpoint.addresses.end(),
                                  [&](const IpAddr& address) { return gateway.contains(address); });
    const Lease::OnLink subnet{gateway.network().address.v6(), static_cast<std::uint8_t>(gateway.length)};
    const bool known =
        std::find(lease.on_link6.begin(), lease.on_link6.end(), subnet) != lease.on_link6.end();
    if (used && !known) lease.on_link6.push_back(subnet);
  }
}

Lease make_lease(const api::Domain& domain, const api::Endpoint& endpoint, std::uint16_t mtu) {
  Lease lease;
  lease.endpoint = endpoint.id;
  lease.mac = endpoint.mac;
  lease.gateway_mac = domain.gateway_mac;
  lease.mtu = std::min(mtu, domain.mtu);
  lease.hostname = endpoint.hostname;
  fill_ipv4(lease, domain, endpoint);
  fill_ipv6(lease, domain, endpoint);
  for (const auto& server : domain.dns_servers) {
    if (server.is_v4()) {
      lease.dns4.push_back(server.v4());
    } else {
      lease.dns6.push_back(server.v6());
    }
  }
  for (const auto& name : domain.search_domains) append_name(lease.search, name);
  return lease;
}

MasqueradeEntry make_masquerade(const api::Masquerade& masquerade) {
  MasqueradeEntry entry;
  for (const auto& address : masquerade.addresses) (address.is_v4() ? entry.v4 : entry.v6) = address;
  entry.ports = masquerade.ports;
  entry.except = masquerade.except;
  return entry;
}

}  // namespace

PortEntry make_port_entry(const Intent& intent, const api::Port& port, Port* device) {
  PortEntry entry;
  entry.id = port.id;
  entry.device = device;
  entry.role = port.role;
  entry.domain = port.domain;
  entry.mac = port.mac.is_zero() ? device->mac() : port.mac;
  entry.mtu = device->mtu();
  entry.vlan = port.vlan;
  entry.flow_limit = port.flow_limit;
  entry.answers_for_host = port.role == api::PortRole::kUplink && !intent.host_port();
  const auto& endpoints = intent.endpoints_on(port.id);
  const bool all_without = std::all_of(endpoints.begin(), endpoints.end(), [&](EndpointId id) {
    const auto* endpoint = intent.endpoint(id);
    return endpoint->addresses.empty() && endpoint->allowed_pairs.empty();
  });
  entry.may_configure_hosts = endpoints.empty();
  for (const auto id : endpoints) {
    const auto& endpoint = *intent.endpoint(id);
    add_sources(entry, endpoint, all_without);
    if (!endpoint.allowed_pairs.empty()) entry.may_configure_hosts = true;
    if (endpoint.dhcp) entry.leases.push_back(make_lease(*intent.domain(port.domain), endpoint, entry.mtu));
  }
  add_sources4(entry);
  return entry;
}

DomainEntry make_domain_entry(const Intent& intent, const api::Domain& domain,
                              const std::function<std::uint32_t(VtepId)>& slot_of) {
  DomainEntry entry;
  entry.id = domain.id;
  entry.vni = domain.vni;
  entry.flood = domain.mode == api::DomainMode::kL2;
  entry.learning = domain.learning;
  entry.stateful = domain.stateful;
  entry.strict_tcp = domain.strict_tcp;
  entry.joined = !intent.routes_out_of(domain.id).empty();
  if (domain.dscp || !domain.trust_dscp) {
    entry.dscp_kept = 3;  // ECN
    entry.dscp_set = static_cast<std::uint8_t>(domain.dscp.value_or(0) << 2);
  }
  if (domain.masquerade) entry.masquerade = make_masquerade(*domain.masquerade);
  entry.host_access = domain.host_access;
  entry.routed = domain.routed;
  entry.mtu = domain.mtu;
  entry.gateway_mac = domain.gateway_mac;
  for (const auto& gateway : domain.gateways) {
    if (gateway.address.is_v4()) {
      entry.gateways4.push_back(gateway.address.v4());
    } else {
      entry.gateways6.push_back(gateway.address.v6());
    }
  }
  const auto link_local = Ipv6::link_local_of(domain.gateway_mac);
  if (std::find(entry.gateways6.begin(), entry.gateways6.end(), link_local) == entry.gateways6.end()) {
    entry.gateways6.push_back(link_local);
  }
  if (entry.flood) {
    const auto& ports = intent.pod_ports(domain.id);
    entry.flood_ports.assign(ports.begin(), ports.end());
    for (const auto vtep : domain.flood) entry.flood_vteps.push_back(slot_of(vtep));
  }
  return entry;
}

DomainEntry make_underlay_entry() {
  DomainEntry entry;
  entry.id = kUnderlayDomain;
  entry.mtu = 65535;  // the ports of it have their own
  return entry;
}

}  // namespace podwire::engine
