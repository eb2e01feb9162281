#include "control/doctor/targets.hpp"

#include <algorithm>
#include <map>

namespace podwire::control {
namespace {

constexpr std::size_t kMostGateways = 4;  // asked for one path

using Domains = std::map<DomainId, const api::Domain*>;
using Peers = std::map<VtepId, ExaminedPeer>;

// Where a node's gateway is: on the first address of its prefix, or, on the kernel's device as Flannel sets
// it up, on the prefix's own.
std::vector<IpAddr> gateways_of(const IpPrefix& prefix) {
  if (prefix.length >= prefix.address.bits() - 1) return {prefix.address};
  IpAddr first = prefix.address;
  if (first.is_v4()) {
    auto v4 = first.v4();
    v4.bytes[3] = static_cast<std::uint8_t>(v4.bytes[3] | 1);
    first = IpAddr(v4);
  } else {
    auto v6 = first.v6();
    v6.bytes[15] = static_cast<std::uint8_t>(v6.bytes[15] | 1);
    first = IpAddr(v6);
  }
  return {first, prefix.address};
}

ExaminedPath& path_of(ExaminedPeer& peer, const api::Domain& domain, bool v4) {
  for (auto& path : peer.paths) {
    if (path.id == domain.id && path.v4 == v4) return path;
  }
  ExaminedPath path;
  path.domain = domain.name;
  path.id = domain.id;
  path.vni = domain.vni;
  path.v4 = v4;
  path.mtu = domain.mtu;
  const bool has_gateway =
      std::any_of(domain.gateways.begin(), domain.gateways.end(),
                  [v4](const IpPrefix& gateway) { return gateway.address.is_v4() == v4; });
  if (!has_gateway) path.not_probed = "this node has no gateway address of the domain to ask from";
  return peer.paths.emplace_back(std::move(path));
}

void add_route(const api::Route& route, const Domains& domains, Peers& peers) {
  const auto domain = domains.find(route.domain);
  if (domain == domains.end()) return;
  for (const auto& hop : route.next_hops) {
    const auto peer = peers.find(hop.vtep);
    if (peer == peers.end()) continue;
    // Where the node itself is reached, not its gateway.
    if (route.prefix == IpPrefix{peer->second.address, peer->second.address.bits()}) continue;
    auto& path = path_of(peer->second, *domain->second, route.prefix.address.is_v4());
    for (const auto& gateway : gateways_of(route.prefix)) {
      if (path.gateways.size() < kMostGateways) path.gateways.push_back(gateway);
    }
  }
}

// It has no gateway that is the peer's alone.
void add_flooding(const api::Domain& domain, Peers& peers) {
  for (const auto vtep : domain.flood) {
    const auto peer = peers.find(vtep);
    if (peer == peers.end()) continue;
    auto& paths = peer->second.paths;
    const bool known = std::any_of(paths.begin(), paths.end(),
                                   [&](const ExaminedPath& path) { return path.id == domain.id; });
    if (known) continue;
    ExaminedPath path;
    path.domain = domain.name;
    path.id = domain.id;
    path.vni = domain.vni;
    path.mtu = domain.mtu;
    path.not_probed = "an l2 domain has no gateway that is this peer's alone";
    paths.push_back(std::move(path));
  }
}

void add_peer(const api::Vtep& vtep, const std::string& name, Peers& peers) {
  if (vtep.local) return;
  auto& peer = peers[vtep.id];
  peer.name = name;
  peer.address = vtep.address;
  peer.udp_port = vtep.udp_port;
}

}  // namespace

std::vector<ExaminedPeer> find_peers(const NodeObjects& node, const RemoteObjects& remote) {
  std::map<VtepId, std::string> names;
  for (const auto& [name, vtep] : node.peers) names[vtep] = name;
  Peers peers;
  for (const auto& vtep : node.objects.vteps)
    add_peer(vtep, names.contains(vtep.id) ? names[vtep.id] : vtep.name, peers);
  for (const auto& [id, vtep] : remote.vteps()) add_peer(vtep, vtep.name, peers);

  Domains domains;
  for (const auto& domain : node.objects.domains) domains[domain.id] = &domain;
  for (const auto& route : node.objects.routes) add_route(route, domains, peers);
  for (const auto& [id, route] : remote.routes()) add_route(route, domains, peers);
  for (auto domain : node.objects.domains) {
    remote.complete(domain);
    add_flooding(domain, peers);
  }
  std::vector<ExaminedPeer> list;
  for (auto& [id, peer] : peers) list.push_back(std::move(peer));
  std::sort(list.begin(), list.end(),
            [](const ExaminedPeer& a, const ExaminedPeer& b) { return a.name < b.name; });
  return list;
}

}  // namespace podwire::control
