#include "control/node/host_interface.hpp"

#include <algorithm>
#include <set>

#include "control/cni/tap.hpp"
#include "control/node/host_addresses.hpp"
#include "control/node/host_routes.hpp"
#include "control/routing/announce.hpp"

namespace podwire::control {
namespace {

using netlink::Batch;

// The kernel without IPv6 has no such switch; nothing is lost then.
Result<void> set_ipv6_switch(const std::string& ifname, const char* key, int value) {
  auto done = netlink::write_ipv6_sysctl(ifname, key, value);
  if (!done && done.error().code == ErrorCode::kNotFound) return {};
  return done;
}

// Those of an earlier configuration or lease, by whatever gateway; with what `batch` has already.
Result<void> remove_former_pod_routes(netlink::Netlink& netlink, const netlink::Link& link,
                                      const std::vector<IpPrefix>& wanted, Batch& batch) {
  PODWIRE_TRY(const auto neighbors, netlink.neighbors(link.index));
  std::set<IpAddr> to_services;
  for (const auto& neighbor : neighbors) {
    if (neighbor.mac == kHostServiceMac) to_services.insert(neighbor.address);
  }
  PODWIRE_TRY(const auto present, netlink.routes(link.index));
  for (const auto& route : present) {
    // The others of the kind are for others to remove: announced ones, those to services and to floating
    // addresses.
    const bool ours = route.protocol == netlink::kRouteProtocol && route.gateway &&
                      route.metric != kAnnouncedMetric && route.metric != kFloatingMetric &&
                      !to_services.contains(*route.gateway);
    if (ours && std::find(wanted.begin(), wanted.end(), route.destination) == wanted.end())
      batch.remove_route(route);
  }
  if (batch.empty()) return {};
  return netlink.apply(batch);
}

}  // namespace

Result<std::vector<UniqueFd>> ensure_host_interface(netlink::Netlink& netlink, const SavedUnderlay& saved,
                                                    std::uint16_t mtu) {
  const auto& name = saved.host_interface;
  std::vector<UniqueFd> queues;
  PODWIRE_TRY(const auto existing, netlink.find_link(name));
  if (!existing) {
    PODWIRE_TRY(queues, create_tap({name, 1, saved.mac}));
  } else if (existing->kind != "tun" || existing->mac != saved.mac) {
    return conflict("interface " + name + " exists and is not Podwire's; remove it (ip link del " + name +
                    ") or set underlay.host_interface to another name");
  }
  // Its addresses have been in use on this link all the time; detection would only delay them.
  PODWIRE_CHECK(set_ipv6_switch(name, "accept_dad", 0));
  PODWIRE_TRY(const auto link, netlink.link(name));
  Batch batch;
  batch.change_link(link, {.up = true, .mtu = mtu, .mac = {}, .new_name = {}});
  PODWIRE_CHECK(netlink.apply(batch));
  return queues;
}

Result<void> furnish_host_interface(netlink::Netlink& netlink, const std::string& name,
                                    const std::vector<netlink::Address>& addresses,
                                    const std::vector<netlink::Route>& routes) {
  PODWIRE_TRY(const auto link, netlink.link(name));
  Batch batch;
  for (auto address : addresses) {
    address.nodad = address.prefix.address.is_v6();
    batch.add_address(link, address, true);
  }
  // A gateway is reachable only through another route, so routes without gateway come first.
  for (const bool with_gateway : {false, true}) {
    for (auto route : routes) {
      if (route.gateway.has_value() != with_gateway) continue;
      route.link = link.index;
      batch.replace_route(route);
    }
  }
  if (batch.empty()) return {};
  return netlink.apply(batch);
}

Result<void> add_pod_routes(netlink::Netlink& netlink, const std::string& name, const Config& config,
                            const std::vector<IpPrefix>& node_addresses, std::uint16_t pod_mtu,
                            const std::vector<IpPrefix>& elsewhere) {
  const auto domain =
      std::find_if(config.domains.begin(), config.domains.end(), [](const auto& d) { return d.host_access; });
  PODWIRE_TRY(const auto link, netlink.link(name));
  Batch batch;
  std::vector<IpPrefix> wanted;
  if (domain == config.domains.end()) return remove_former_pod_routes(netlink, link, wanted, batch);
  const auto add = [&](const IpPrefix& prefix) {
    for (std::size_t i = 0; i < domain->prefixes.size(); ++i) {
      const bool v4 = prefix.address.is_v4();
      if (domain->prefixes[i].address.is_v4() != v4) continue;
      const auto own = std::find_if(node_addresses.begin(), node_addresses.end(), [v4](const IpPrefix& a) {
        return a.address.is_v4() == v4 && !(a.address.is_v6() && a.address.v6().is_link_local());
      });
      if (own == node_addresses.end()) continue;  // no address of that family to talk from
      netlink::Route route;
      route.destination = prefix;
      route.gateway = domain->gateways[i];
      route.link = link.index;
      route.source = own->address;
      route.onlink = true;
      route.mtu = pod_mtu;
      batch.replace_route(route);
      wanted.push_back(prefix);
    }
  };
  for (const auto& prefix : domain->prefixes) add(prefix);
  for (const auto& prefix : elsewhere) add(prefix);
  for (const auto& peer : config.peers) {
    const auto at = peer.domains.find(domain->name);
    if (at == peer.domains.end()) continue;
    for (const auto& prefix : at->second) add(prefix);
  }
  return remove_former_pod_routes(netlink, link, wanted, batch);
}

}  // namespace podwire::control
