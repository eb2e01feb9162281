#include "control/doctor/targets.hpp"

#include <algorithm>
#include <map>
#include <tuple>

namespace podwire::control {
namespace {

constexpr std::size_t kMostGateways = 4;  // asked for one path

using Domains = std::map<DomainId, const api::Domain*>;
using PeerNames = std::map<VtepId, std::string>;
struct Peers {
  std::map<VtepId, ExaminedPeer> all;
  std::map<std::tuple<VtepId, DomainId, bool>, std::size_t> paths;  // positions among the peer's
};

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

ExaminedPath& path_of(Peers& peers, VtepId vtep, const api::Domain& domain, bool v4) {
  auto& paths = peers.all.at(vtep).paths;
  const auto [at, is_new] = peers.paths.try_emplace({vtep, domain.id, v4}, paths.size());
  if (!is_new) return paths[at->second];
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
  return paths.emplace_back(std::move(path));
}

void add_route(const api::Route& route, const Domains& domains, Peers& peers) {
  const auto domain = domains.find(route.domain);
  if (domain == domains.end()) return;
  for (const auto& hop : route.next_hops) {
    const auto peer = peers.all.find(hop.vtep);
    if (peer == peers.all.end()) continue;
    // Where the node itself is reached, not its gateway.
    if (route.prefix == IpPrefix{peer->second.address, peer->second.address.bits()}) continue;
    auto& path = path_of(peers, hop.vtep, *domain->second, route.prefix.address.is_v4());
    for (const auto& gateway : gateways_of(route.prefix)) {
      if (path.gateways.size() < kMostGateways) path.gateways.push_back(gateway);
    }
  }
}

// It has no gateway that is the peer's alone.
void add_flooding(const api::Domain& domain, Peers& peers) {
  for (const auto vtep : domain.flood) {
    const auto peer = peers.all.find(vtep);
    if (peer == peers.all.end()) continue;
    if (peers.paths.contains({vtep, domain.id, true}) || peers.paths.contains({vtep, domain.id, false}))
      continue;
    ExaminedPath path;
    path.domain = domain.name;
    path.id = domain.id;
    path.vni = domain.vni;
    path.mtu = domain.mtu;
    path.not_probed = "an l2 domain has no gateway that is this peer's alone";
    peer->second.paths.push_back(std::move(path));
  }
}

void add_peer(const api::Vtep& vtep, const std::string& name, Peers& peers) {
  if (vtep.local) return;
  auto& peer = peers.all[vtep.id];
  peer.name = name;
  peer.address = vtep.address;
  peer.udp_port = vtep.udp_port;
}

PeerNames static_names(const NodeObjects& node) {
  PeerNames names;
  for (const auto& [name, vtep] : node.peers) names[vtep] = name;
  return names;
}

const std::string& name_of(const api::Vtep& vtep, const PeerNames& names) {
  const auto at = names.find(vtep.id);
  return at == names.end() ? vtep.name : at->second;
}

bool can_be_probed(const ExaminedPath& path) {
  return path.not_probed.empty() && !path.gateways.empty();
}

}  // namespace

std::set<std::string> peer_names(const NodeObjects& node, const RemoteObjects& remote) {
  const auto given = static_names(node);
  std::set<std::string> names;
  for (const auto& vtep : node.objects.vteps) {
    if (!vtep.local) names.insert(name_of(vtep, given));
  }
  for (const auto& [id, vtep] : remote.vteps()) {
    if (!vtep.local) names.insert(vtep.name);
  }
  return names;
}

std::size_t leave_paths(ExaminedPeer& peer, std::size_t most, std::size_t from,
                        const std::optional<PathKey>& kept) {
  const auto all = peer.paths.size();
  if (all <= most) return 0;
  std::erase_if(peer.paths, [](const ExaminedPath& path) { return !can_be_probed(path); });
  const auto count = peer.paths.size();
  std::size_t next = 0;
  if (count > most) {
    const auto is_kept = [&](const ExaminedPath& path) { return kept == PathKey{path.id, path.v4}; };
    std::vector<ExaminedPath> some;
    const auto answering = std::find_if(peer.paths.begin(), peer.paths.end(), is_kept);
    if (answering != peer.paths.end()) some.push_back(*answering);
    for (std::size_t i = 0; i < most; ++i) {
      auto& path = peer.paths[(from + i) % count];
      if (!is_kept(path)) some.push_back(std::move(path));
    }
    peer.paths = std::move(some);
    next = (from + most) % count;
  }
  peer.left_out = all - peer.paths.size();
  return next;
}

std::vector<ExaminedPeer> find_peers(const NodeObjects& node, const RemoteObjects& remote) {
  const auto names = static_names(node);
  Peers peers;
  for (const auto& vtep : node.objects.vteps) add_peer(vtep, name_of(vtep, names), peers);
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
  for (auto& [id, peer] : peers.all) list.push_back(std::move(peer));
  std::sort(list.begin(), list.end(),
            [](const ExaminedPeer& a, const ExaminedPeer& b) { return a.name < b.name; });
  return list;
}

}  // namespace podwire::control
