#include "control/cluster/remote_share.hpp"

#include <algorithm>

namespace podwire::control {
namespace {

constexpr int kVxlanOverheadV6 = 70;

bool is_inside(const IpPrefix& prefix, const std::vector<IpPrefix>& ranges) {
  return std::any_of(ranges.begin(), ranges.end(), [&](const IpPrefix& range) {
    return range.overlaps(prefix) && range.length <= prefix.length;
  });
}

bool overlaps_any(const IpPrefix& prefix, const std::vector<IpPrefix>& others) {
  return std::any_of(others.begin(), others.end(),
                     [&](const IpPrefix& other) { return other.overlaps(prefix); });
}

DomainTransport transport_of(const NodeRecord& record, const std::string& domain) {
  const auto at = record.transports.find(domain);
  return at == record.transports.end() ? DomainTransport::kTunnel : at->second;
}

const std::string& name_of(DomainTransport transport) {
  return transport_names()[static_cast<std::size_t>(transport)];
}

void note(RemoteShare& share, std::string problem) {
  if (share.problem.empty()) share.problem = std::move(problem);
}

}  // namespace

bool has_v6_only(const NodeRecord& record) {
  const auto& all = record.addresses;
  return !all.empty() &&
         std::none_of(all.begin(), all.end(), [](const IpAddr& address) { return address.is_v4(); });
}

void add_difference(const RemoteShare& before, const RemoteShare& after, RemoteChange& change) {
  if (after.vtep && after.vtep != before.vtep) change.vteps.push_back(*after.vtep);
  if (before.vtep && !after.vtep) change.gone_vteps.insert(before.vtep->id);
  for (const auto& [key, route] : after.routes) {
    const auto at = before.routes.find(key);
    if (at == before.routes.end() || at->second != route) change.routes.push_back(route);
  }
  for (const auto& [key, route] : before.routes) {
    if (!after.routes.contains(key)) change.gone_routes.insert(route.id);
  }
  for (const auto domain : after.flooded) {
    if (!before.flooded.contains(domain)) change.flooded.insert({domain, after.vtep->id});
  }
  for (const auto domain : before.flooded) {
    if (!after.flooded.contains(domain)) change.unflooded.insert({domain, before.vtep->id});
  }
}

void RemoteShares::set_node(const NodeObjects& node, const NodeUnderlay& underlay) {
  domains_ = node.domains;
  own_addresses_ = node.addresses;
  uplink_ = node.uplink;
  subnets_.clear();
  for (const auto& address : underlay.addresses) {
    if (address.length < address.address.bits()) subnets_.push_back(address.network());
  }
  for (const auto& domain : config_.domains) configs_[domain.name].first = &domain;
  for (const auto& domain : cluster_.domains) configs_[domain.name].second = &domain;
  const int fits = underlay.mtu - kVxlanOverheadV6;
  v6_advice_.clear();
  for (const auto& domain : node.objects.domains) {
    const auto at = configs_.find(domain.name);
    const bool tunnels = at != configs_.end() && at->second.first != nullptr &&
                         at->second.first->transport != DomainTransport::kRouted;
    if (!tunnels || domain.mtu <= fits) continue;
    v6_advice_ = "over IPv6, whose tunnels carry packets of " + std::to_string(fits) +
                 " bytes, and pods of domain \"" + domain.name + "\" may send " + std::to_string(domain.mtu) +
                 "; leave \"mtu\" of the domain out, or set it to " + std::to_string(fits) +
                 ", and restart podwired";
    break;
  }
}

std::string RemoteShares::v6_advice() const {
  return v6_advice_;
}

std::optional<IpAddr> RemoteShares::address_of(const ClusterNode& node) const {
  for (const bool v4 : {true, false}) {
    const auto of_family = [v4](const IpAddr& a) { return a.is_v4() == v4; };
    if (std::none_of(own_addresses_.begin(), own_addresses_.end(), of_family)) continue;
    const auto& theirs = node.record.addresses;
    const auto at = std::find_if(theirs.begin(), theirs.end(), of_family);
    if (at != theirs.end()) return *at;
  }
  return std::nullopt;
}

// Its address of that family, when that is in a subnet of this node's; null: it has none there.
const IpAddr* RemoteShares::neighbour_of(const ClusterNode& node, bool v4) const {
  const auto& theirs = node.record.addresses;
  const auto at = std::find_if(theirs.begin(), theirs.end(), [&](const IpAddr& address) {
    return address.is_v4() == v4 && std::any_of(subnets_.begin(), subnets_.end(),
                                                [&](const IpPrefix& own) { return own.contains(address); });
  });
  return at == theirs.end() ? nullptr : &*at;
}

// Why nothing of it can be programmed; empty: it can.
std::string RemoteShares::fault_of(const ClusterNode& node, const std::optional<IpAddr>& address,
                                   const std::string& holder) const {
  if (!address)
    return "it has no underlay address of a family that this node has; give both nodes one of the same";
  const auto text = to_string(*address);
  if (std::find(own_addresses_.begin(), own_addresses_.end(), *address) != own_addresses_.end())
    return "it says that it has " + text + ", which is this node's; give every node an address of its own";
  if (node.record.udp_port != config_.vxlan.port) {
    return "it takes VXLAN at UDP port " + std::to_string(node.record.udp_port) + ", this node at " +
           std::to_string(config_.vxlan.port) + "; set the same vxlan.port on all nodes";
  }
  for (const auto& peer : config_.peers) {
    if (peer.name == node.name || peer.address == *address)
      return "peers of podwired.json has its name or its address " + text + "; take it out of there";
  }
  if (!holder.empty() && holder != node.name)
    return "it says that it has " + text + ", as node \"" + holder +
           "\" does; give every node an address of its own, or forget the one that is gone";
  return {};
}

void RemoteShares::add_l3(const ClusterNode& node, const DomainConfig& domain,
                          const std::vector<IpPrefix>& prefixes, RemoteShare& share) const {
  const auto theirs = transport_of(node.record, domain.name);
  if ((theirs == DomainTransport::kRouted) != (domain.transport == DomainTransport::kRouted)) {
    note(share, "the transport of its domain \"" + domain.name + "\" is \"" + name_of(theirs) +
                    "\", here it is \"" + name_of(domain.transport) +
                    "\"; set the same in podwired.json of both");
    return;
  }
  if (domain.transport == DomainTransport::kRouted) return;  // the kernel's routes lead there
  // Who is not (yet) told of it gets, and sends, what goes through tunnels.
  const bool plain = theirs == DomainTransport::kSubnet && domain.transport == DomainTransport::kSubnet;
  const auto add = [&](const IpPrefix& prefix, const IpAddr* neighbour) {
    api::Route route;
    route.domain = neighbour != nullptr ? kUnderlayDomain : domains_.at(domain.name);
    route.prefix = prefix;
    auto& hop = route.next_hops.emplace_back();
    if (neighbour != nullptr) {
      hop.port = uplink_;
      hop.address = *neighbour;
    }
    share.routes.emplace((neighbour != nullptr ? "" : domain.name) + "/" + to_string(prefix), route);
  };
  const auto* whole = configs_.at(domain.name).second;
  for (const auto& prefix : prefixes) {
    const bool has_hosts = prefix.length <= prefix.address.bits() - 2;
    if (has_hosts && whole != nullptr && is_inside(prefix, whole->prefixes) &&
        !overlaps_any(prefix, domain.prefixes)) {
      add(prefix, plain ? neighbour_of(node, prefix.address.is_v4()) : nullptr);
      continue;
    }
    note(share,
         "its prefix " + to_string(prefix) + " of domain \"" + domain.name +
             "\" is outside of this node's prefixes for it, or this node's own; compare the domain in " +
             "podwired.json of both");
  }
  const auto& address = share.vtep->address;
  // As of the node itself: pods reach the other nodes' own addresses, and are reached from them.
  const bool reaches_hosts = domain.host_access && config_.underlay.host_interface &&
                             !(plain && neighbour_of(node, address.is_v4()) != nullptr);
  if (reaches_hosts && !prefixes.empty()) add({address, address.bits()}, nullptr);
}

void RemoteShares::add_domain(const ClusterNode& node, const std::string& name,
                              const std::vector<IpPrefix>& prefixes, RemoteShare& share) const {
  const auto id = domains_.find(name);
  const auto config = configs_.find(name);
  if (id == domains_.end() || config == configs_.end() || config->second.first == nullptr) return;
  const auto& domain = *config->second.first;
  if (domain.mode == api::DomainMode::kL3) {
    add_l3(node, domain, prefixes, share);
  } else if (domain.flood_peers && !prefixes.empty()) {
    share.flooded.insert(id->second);
  }
}

RemoteShare RemoteShares::of(const ClusterNode& node, const std::string& holder) const {
  RemoteShare share;
  const auto address = address_of(node);
  share.problem = fault_of(node, address, holder);
  if (!share.problem.empty()) return share;
  api::Vtep vtep;
  vtep.name = node.name;
  vtep.address = *address;
  vtep.udp_port = node.record.udp_port;
  vtep.mac = node.record.mac;
  share.vtep = vtep;
  for (const auto& [name, prefixes] : node.prefixes) add_domain(node, name, prefixes, share);
  return share;
}

}  // namespace podwire::control
