// What follows from the configuration and the node's side of the underlay alone, without the store.
#include <algorithm>
#include <set>

#include "control/state/desired.hpp"

namespace podwire::control {
namespace {

constexpr std::uint16_t kVxlanOverheadV4 = 50;  // inner Ethernet 14, VXLAN 8, UDP 8, IPv4 20
constexpr std::uint16_t kVxlanOverheadV6 = 70;  // IPv6 40

}  // namespace

const IpPrefix* NodeUnderlay::first_of_family(bool v4) const {
  const auto it = std::find_if(addresses.begin(), addresses.end(), [v4](const IpPrefix& a) {
    return a.address.is_v4() == v4 && !(a.address.is_v6() && a.address.v6().is_link_local());
  });
  return it == addresses.end() ? nullptr : &*it;
}

std::vector<IpAddr> NodeUnderlay::own_addresses() const {
  std::vector<IpAddr> all;
  for (const auto& [address, length] : addresses) {
    if (address.is_v4() || !address.v6().is_link_local()) all.push_back(address);
  }
  return all;
}

const api::Domain* NodeObjects::find_domain(DomainId id) const {
  const auto& all = objects.domains;
  const auto at =
      std::lower_bound(all.begin(), all.end(), id,
                       [](const api::Domain& domain, DomainId wanted) { return domain.id < wanted; });
  return at != all.end() && at->id == id ? &*at : nullptr;
}

MacAddr derived_mac(const std::string& node, const IpAddr& address) {
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const char c : node + "/" + to_string(address))
    hash = (hash ^ static_cast<std::uint8_t>(c)) * 0x100000001b3;
  auto mac = MacAddr::from_u64(hash >> 16);
  mac.bytes[0] = static_cast<std::uint8_t>((mac.bytes[0] & 0xfc) | 0x02);
  return mac;
}

const char* to_text(RouteSource source) {
  switch (source) {
    case RouteSource::kConfig:
      return "config";
    case RouteSource::kPeer:
      return "peer";
    case RouteSource::kKernel:
      return "kernel";
    case RouteSource::kJoin:
      return "join";
    case RouteSource::kBuiltin:
      break;
  }
  return "builtin";
}

std::vector<std::uint16_t> vxlan_ports(const Config& config) {
  std::set<std::uint16_t> ports{config.vxlan.port};
  for (const auto& peer : config.peers) ports.insert(peer.udp_port.value_or(config.vxlan.port));
  return {ports.begin(), ports.end()};
}

std::uint16_t domain_mtu(const DomainConfig& domain, const Config& config, const NodeUnderlay& underlay) {
  if (domain.mtu) return *domain.mtu;
  if (domain.transport == DomainTransport::kRouted) return underlay.mtu;
  const bool v6_peer = std::any_of(config.peers.begin(), config.peers.end(),
                                   [](const PeerConfig& p) { return p.address.is_v6(); });
  const bool v6_only = underlay.first_of_family(true) == nullptr;
  const bool v6_tunnels = v6_peer || v6_only || config.cluster.has_v6_tunnels;
  const auto overhead = v6_tunnels ? kVxlanOverheadV6 : kVxlanOverheadV4;
  constexpr int kSmallest = 576;
  return static_cast<std::uint16_t>(std::max(kSmallest, underlay.mtu - overhead));
}

std::vector<DomainPools> domain_pools(const Config& config, const NodeUnderlay& underlay) {
  std::vector<DomainPools> all;
  for (const auto& domain : config.domains) {
    DomainPools pools{domain.name,
                      domain_mtu(domain, config, underlay),
                      {},
                      domain.stateful,
                      underlay.own_addresses(),
                      vxlan_ports(config)};
    for (std::size_t i = 0; i < domain.prefixes.size(); ++i) {
      AddressPool::Spec spec{domain.prefixes[i], domain.gateways[i], {}, domain.exclude};
      for (const auto& range : domain.ranges) spec.ranges.emplace_back(range.start, range.end);
      pools.pools.emplace_back(spec);
    }
    all.push_back(std::move(pools));
  }
  return all;
}

}  // namespace podwire::control
