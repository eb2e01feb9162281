#include "control/routing/announce.hpp"

#include <algorithm>

namespace podwire::control {
namespace {

using netlink::Link;
using netlink::Netlink;
using netlink::Route;

// What tells routes of ours apart.
using Place = std::pair<std::uint32_t, IpPrefix>;

Place place_of(const Route& route) {
  return {route.table, route.destination};
}

bool announces_prefix(const DomainConfig& domain) {
  return domain.transport != DomainTransport::kTunnel && domain.announce != DomainAnnounce::kPods;
}

bool announces_pods(const DomainConfig& domain) {
  return domain.transport != DomainTransport::kTunnel && domain.announce != DomainAnnounce::kPrefix;
}

// Of the domain's prefixes, the one that `address` is of; as many as there are prefixes: none.
std::size_t prefix_of(const DomainConfig& domain, const IpAddr& address) {
  const auto at = std::find_if(domain.prefixes.begin(), domain.prefixes.end(),
                               [&](const IpPrefix& prefix) { return prefix.contains(address); });
  return static_cast<std::size_t>(at - domain.prefixes.begin());
}

Result<std::map<Place, Route>> present_routes(Netlink& netlink, const Link& link) {
  PODWIRE_TRY(const auto all, netlink.routes(link.index, 0));
  std::map<Place, Route> ours;
  for (const auto& route : all) {
    if (route.protocol == netlink::kRouteProtocol && route.metric == kAnnouncedMetric)
      ours.emplace(place_of(route), route);
  }
  return ours;
}

bool has(const std::map<Place, Route>& present, const Route& route) {
  const auto at = present.find(place_of(route));
  return at != present.end() && at->second.gateway == route.gateway && at->second.source == route.source;
}

}  // namespace

AnnouncedPod announced_pod(const Config& config, const Attachment& attachment) {
  AnnouncedPod pod{attachment.domain, {}};
  const auto domain = config.find_domain(attachment.domain);
  if (domain == nullptr || !announces_pods(*domain)) return pod;
  const auto add = [&](const std::vector<IpPrefix>& addresses) {
    for (const auto& one : addresses) {
      if (prefix_of(*domain, one.address) < domain->prefixes.size()) pod.addresses.insert(one.address);
    }
  };
  add(attachment.addresses);
  for (const auto& endpoint : attachment.extra_endpoints) add(endpoint.addresses);
  return pod;
}

std::vector<Route> routes_to_pods(const Config& config, const DomainConfig& domain,
                                  const IpPrefix& destination, const Link& link,
                                  const std::vector<IpPrefix>& node_addresses) {
  std::vector<Route> out;
  const auto at = prefix_of(domain, destination.address);
  if (at == domain.prefixes.size()) return out;
  Route route;
  route.destination = destination;
  route.gateway = domain.gateways[at];
  route.link = link.index;
  const auto own = std::find_if(node_addresses.begin(), node_addresses.end(), [&](const IpPrefix& a) {
    return a.address.is_v4() == destination.address.is_v4() &&
           !(a.address.is_v6() && a.address.v6().is_link_local());
  });
  if (own != node_addresses.end()) route.source = own->address;
  route.metric = kAnnouncedMetric;
  route.onlink = true;
  out.push_back(route);
  route.table = config.routing.announce_table;
  if (route.table != 0 && route.table != netlink::kMainTable) out.push_back(route);
  return out;
}

std::vector<Route> announced_routes(const Config& config, const Link& link,
                                    const std::vector<IpPrefix>& node_addresses,
                                    const std::map<PortId, AnnouncedPod>& pods) {
  std::vector<Route> out;
  const auto add = [&](const DomainConfig& domain, const IpPrefix& destination) {
    for (auto& route : routes_to_pods(config, domain, destination, link, node_addresses))
      out.push_back(std::move(route));
  };
  for (const auto& domain : config.domains) {
    if (!announces_prefix(domain)) continue;
    for (const auto& prefix : domain.prefixes) add(domain, prefix.network());
  }
  for (const auto& [port, pod] : pods) {
    if (pod.addresses.empty()) continue;
    const auto domain = config.find_domain(pod.domain);
    if (domain == nullptr) continue;
    for (const auto& address : pod.addresses) add(*domain, {address, address.bits()});
  }
  return out;
}

Result<void> announce_pods(Netlink& netlink, const std::string& interface, const Config& config,
                           const std::vector<IpPrefix>& node_addresses,
                           const std::map<PortId, AnnouncedPod>& pods) {
  PODWIRE_TRY(const auto link, netlink.link(interface));
  const auto wanted = announced_routes(config, link, node_addresses, pods);
  PODWIRE_TRY(auto present, present_routes(netlink, link));
  netlink::Batch batch;
  for (const auto& route : wanted) {
    if (!has(present, route)) batch.replace_route(route);
    present.erase(place_of(route));
  }
  for (const auto& [place, route] : present) batch.remove_route(route);
  if (batch.empty()) return {};
  return netlink.apply(batch);
}

Result<std::set<IpPrefix>> unannounced(Netlink& netlink, const std::string& interface, const Config& config,
                                       const std::vector<IpPrefix>& node_addresses,
                                       const std::map<PortId, AnnouncedPod>& pods) {
  std::set<IpPrefix> out;
  PODWIRE_TRY(const auto link, netlink.find_link(interface));
  if (!link) return out;  // told with the underlay
  const auto wanted = announced_routes(config, *link, node_addresses, pods);
  if (wanted.empty()) return out;
  PODWIRE_TRY(const auto present, present_routes(netlink, *link));
  for (const auto& route : wanted) {
    if (!has(present, route)) out.insert(route.destination);
  }
  return out;
}

}  // namespace podwire::control
