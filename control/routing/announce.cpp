#include "control/routing/announce.hpp"

#include <algorithm>

namespace podwire::control {
namespace {

using netlink::Route;

bool same(const Route& a, const Route& b) {
  return a.destination == b.destination && a.table == b.table && a.gateway == b.gateway &&
         a.source == b.source;
}

bool is_there(const std::vector<Route>& all, const Route& route) {
  return std::any_of(all.begin(), all.end(), [&](const Route& other) { return same(other, route); });
}

}  // namespace

std::vector<Route> announced_routes(const Config& config, const netlink::Link& link,
                                    const std::vector<IpPrefix>& node_addresses) {
  std::vector<std::uint32_t> tables{netlink::kMainTable};
  if (config.routing.announce_table != 0 && config.routing.announce_table != netlink::kMainTable)
    tables.push_back(config.routing.announce_table);
  std::vector<Route> out;
  for (const auto& domain : config.domains) {
    if (domain.transport == DomainTransport::kTunnel) continue;
    for (std::size_t i = 0; i < domain.prefixes.size(); ++i) {
      const bool v4 = domain.prefixes[i].address.is_v4();
      const auto own = std::find_if(node_addresses.begin(), node_addresses.end(), [v4](const IpPrefix& a) {
        return a.address.is_v4() == v4 && !(a.address.is_v6() && a.address.v6().is_link_local());
      });
      for (const auto table : tables) {
        Route route;
        route.destination = domain.prefixes[i].network();
        route.gateway = domain.gateways[i];
        route.link = link.index;
        if (own != node_addresses.end()) route.source = own->address;
        route.metric = kAnnouncedMetric;
        route.table = table;
        route.onlink = true;
        out.push_back(route);
      }
    }
  }
  return out;
}

Result<void> announce_pods(netlink::Netlink& netlink, const std::string& interface, const Config& config,
                           const std::vector<IpPrefix>& node_addresses) {
  PODWIRE_TRY(const auto link, netlink.link(interface));
  const auto wanted = announced_routes(config, link, node_addresses);
  PODWIRE_TRY(auto present, netlink.routes(link.index, 0));
  std::erase_if(present, [](const Route& route) {
    return route.protocol != netlink::kRouteProtocol || route.metric != kAnnouncedMetric;
  });
  netlink::Batch batch;
  for (const auto& route : wanted) {
    if (!is_there(present, route)) batch.replace_route(route);
  }
  for (const auto& route : present) {
    const bool kept = std::any_of(wanted.begin(), wanted.end(), [&](const Route& one) {
      return one.destination == route.destination && one.table == route.table;
    });
    if (!kept) batch.remove_route(route);
  }
  if (batch.empty()) return {};
  return netlink.apply(batch);
}

}  // namespace podwire::control
