#include "control/node/host_addresses.hpp"

#include <linux/rtnetlink.h>

#include <algorithm>

namespace podwire::control {
namespace {

using netlink::Batch;
using netlink::Netlink;

IpPrefix whole(const IpAddr& address) {
  return {address, address.bits()};
}

bool has(const std::vector<IpAddr>& addresses, const IpPrefix& prefix) {
  return prefix.length == prefix.address.bits() &&
         std::find(addresses.begin(), addresses.end(), prefix.address) != addresses.end();
}

bool is_floating_route(const netlink::Route& route) {
  return route.protocol == netlink::kRouteProtocol && route.metric == kFloatingMetric;
}

netlink::Address egress_address(const IpAddr& address) {
  netlink::Address out;
  out.prefix = whole(address);
  out.nodad = out.deprecated = address.is_v6();
  if (address.is_v4()) out.scope = RT_SCOPE_LINK;
  return out;
}

netlink::Route floating_route(const IpAddr& address, unsigned link, const std::vector<IpPrefix>& node) {
  netlink::Route route;
  route.destination = whole(address);
  route.link = link;
  route.metric = kFloatingMetric;
  const auto own = std::find_if(node.begin(), node.end(), [&](const IpPrefix& a) {
    return a.address.is_v4() == address.is_v4() && !(a.address.is_v6() && a.address.v6().is_link_local());
  });
  if (own != node.end()) route.source = own->address;
  return route;
}

}  // namespace

bool is_outside_address(const netlink::Address& address) {
  const auto& [ip, length] = address.prefix;
  if (length != ip.bits()) return false;
  return ip.is_v4() ? address.scope == RT_SCOPE_LINK : address.deprecated && !address.dynamic;
}

Result<void> set_host_addresses(const std::string& name, const HostAddresses& wanted,
                                const std::vector<IpPrefix>& node) {
  PODWIRE_TRY(auto netlink, Netlink::open());
  PODWIRE_TRY(const auto link, netlink.find_link(name));
  if (!link) return {};
  PODWIRE_TRY(auto addresses, netlink.addresses(link->index));
  PODWIRE_TRY(auto routes, netlink.routes(link->index));
  std::erase_if(addresses, [](const netlink::Address& a) { return !is_outside_address(a); });
  std::erase_if(routes, [](const netlink::Route& r) { return !is_floating_route(r); });
  Batch batch;
  for (const auto& route : routes) {
    if (!has(wanted.floating, route.destination)) batch.remove_route(route);
  }
  for (const auto& address : addresses) {
    if (!has(wanted.egress, address.prefix)) batch.remove_address(*link, address.prefix);
  }
  for (const auto& address : wanted.egress) batch.add_address(*link, egress_address(address), true);
  for (const auto& address : wanted.floating) batch.replace_route(floating_route(address, link->index, node));
  if (batch.empty()) return {};
  return netlink.apply(batch);
}

Result<std::vector<std::string>> missing_host_addresses(const std::string& name,
                                                        const HostAddresses& wanted) {
  std::vector<std::string> out;
  PODWIRE_TRY(auto netlink, Netlink::open());
  PODWIRE_TRY(const auto link, netlink.find_link(name));
  if (!link) return out;
  PODWIRE_TRY(const auto addresses, netlink.addresses(link->index));
  PODWIRE_TRY(const auto routes, netlink.routes(link->index));
  for (const auto& address : wanted.egress) {
    const bool there = std::any_of(addresses.begin(), addresses.end(),
                                   [&](const auto& a) { return a.prefix == whole(address); });
    if (there) continue;
    out.push_back("host interface " + name + " lacks the egress address " + to_string(address) +
                  ", so nobody answers for it; type: ip addr add " + to_string(whole(address)) + " dev " +
                  name + (address.is_v4() ? " scope link" : " preferred_lft 0"));
  }
  for (const auto& address : wanted.floating) {
    const bool there = std::any_of(routes.begin(), routes.end(),
                                   [&](const auto& r) { return r.destination == whole(address); });
    if (there) continue;
    out.push_back("the route to the floating address " + to_string(address) +
                  " is gone, so programs of this node do not reach it; type: ip route add " +
                  to_string(whole(address)) + " dev " + name + " proto " +
                  std::to_string(netlink::kRouteProtocol) + " metric " + std::to_string(kFloatingMetric));
  }
  return out;
}

Result<std::string> interface_with(const IpAddr& address) {
  PODWIRE_TRY(auto netlink, Netlink::open());
  PODWIRE_TRY(const auto addresses, netlink.addresses());
  PODWIRE_TRY(const auto links, netlink.links());
  for (const auto& there : addresses) {
    if (there.prefix.address != address || is_outside_address(there)) continue;
    const auto link =
        std::find_if(links.begin(), links.end(), [&](const auto& l) { return l.index == there.link; });
    return link == links.end() ? std::to_string(there.link) : link->name;
  }
  return std::string();
}

}  // namespace podwire::control
