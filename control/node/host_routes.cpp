#include "control/node/host_routes.hpp"

#include <linux/rtnetlink.h>

#include <algorithm>
#include <fstream>

namespace podwire::control {
namespace {

using netlink::Netlink;

constexpr std::uint32_t kLocalTable = 255;
constexpr std::uint32_t kSecondChoice = 2048;  // metric: after the loopback interface's own route

std::string localnet_switch(const HostKernel& kernel) {
  return "/proc/sys/net/ipv4/conf/" + kernel.interface + "/route_localnet";
}

Result<void> allow_loopback(const HostKernel& kernel) {
  const auto path = localnet_switch(kernel);
  std::ofstream file(path);
  file << 1 << std::flush;
  if (file) return {};
  return io_error("cannot set " + path + " to 1, which programs need to reach services by 127.0.0.1");
}

bool allows_loopback(const HostKernel& kernel) {
  int value = 0;
  std::ifstream file(localnet_switch(kernel));
  return !(file >> value) || value == 1;
}

const IpAddr* first_of(const std::vector<IpAddr>& all, bool v4) {
  const auto at = std::find_if(all.begin(), all.end(), [v4](const IpAddr& a) { return a.is_v4() == v4; });
  return at == all.end() ? nullptr : &*at;
}

// Through the engine, with a source that its answers find; onlink because no prefix of the interface says
// that the engine is there. For families of kernel.services only.
netlink::Route route_to(const HostKernel& kernel, const netlink::Link& link, const IpPrefix& prefix) {
  const bool v4 = prefix.address.is_v4();
  netlink::Route route;
  route.destination = prefix;
  route.gateway = *first_of(kernel.services, v4);
  route.link = link.index;
  route.source = *first_of(kernel.addresses, v4);
  route.onlink = true;
  route.mtu = kernel.mtu;
  return route;
}

IpPrefix single(const IpAddr& address) {
  return {address, address.bits()};
}

std::set<IpPrefix> destinations(const HostKernel& kernel, const std::set<IpAddr>& addresses) {
  std::set<IpPrefix> all;
  for (const auto& prefix : kernel.prefixes) {
    if (first_of(kernel.services, prefix.address.is_v4()) != nullptr) all.insert(prefix);
  }
  for (const auto& address : addresses) all.insert(single(address));
  return all;
}

// IPv6 has no route_localnet: ::1 is the loopback interface's alone unless this interface has it too. From
// the network such packets are still refused, before any route is looked up.
netlink::Route loopback6(const netlink::Link& link) {
  netlink::Route route;
  Ipv6 one;
  one.bytes[15] = 1;
  route.destination = single(IpAddr(one));
  route.link = link.index;
  route.type = RTN_LOCAL;
  route.table = kLocalTable;
  route.metric = kSecondChoice;
  return route;
}

bool is_ours(const netlink::Route& route, const std::set<IpAddr>& gateways) {
  return route.protocol == netlink::kRouteProtocol && route.gateway && gateways.contains(*route.gateway);
}

}  // namespace

Result<void> set_host_routes(Netlink& netlink, const HostKernel& kernel, const std::set<IpAddr>& addresses) {
  PODWIRE_TRY(const auto link, netlink.link(kernel.interface));
  PODWIRE_TRY(const auto neighbors, netlink.neighbors(link.index));
  PODWIRE_TRY(const auto present, netlink.routes(link.index));
  std::set<IpAddr> gateways(kernel.services.begin(), kernel.services.end()), old;
  for (const auto& neighbor : neighbors) {
    if (neighbor.mac == kHostServiceMac && !gateways.contains(neighbor.address)) old.insert(neighbor.address);
  }
  gateways.insert(old.begin(), old.end());
  netlink::Batch batch;
  for (const auto& address : kernel.services) batch.set_neighbor(link, address, kHostServiceMac);
  const auto wanted = destinations(kernel, addresses);
  for (const auto& prefix : wanted) batch.replace_route(route_to(kernel, link, prefix));
  for (const auto& route : present) {
    if (is_ours(route, gateways) && !wanted.contains(route.destination)) batch.remove_route(route);
  }
  for (const auto& address : old) batch.remove_neighbor(link, address);
  if (first_of(kernel.services, false) != nullptr) batch.replace_route(loopback6(link));
  if (!batch.empty()) PODWIRE_CHECK(netlink.apply(batch));
  return first_of(kernel.services, true) != nullptr ? allow_loopback(kernel) : Result<void>();
}

Result<void> change_host_routes(Netlink& netlink, const HostKernel& kernel, const std::set<IpAddr>& before,
                                const std::set<IpAddr>& after) {
  if (before == after) return {};
  PODWIRE_TRY(const auto link, netlink.link(kernel.interface));
  netlink::Batch batch;
  for (const auto& address : after) {
    if (!before.contains(address)) batch.replace_route(route_to(kernel, link, single(address)));
  }
  for (const auto& address : before) {
    if (!after.contains(address)) batch.remove_route(route_to(kernel, link, single(address)));
  }
  return netlink.apply(batch);
}

Result<std::vector<std::string>> missing_host_routes(Netlink& netlink, const HostKernel& kernel,
                                                     const std::set<IpAddr>& addresses) {
  std::vector<std::string> out;
  PODWIRE_TRY(const auto link, netlink.find_link(kernel.interface));
  if (!link) return out;  // told with the underlay
  PODWIRE_TRY(const auto routes, netlink.routes(link->index));
  const std::set<IpAddr> gateways(kernel.services.begin(), kernel.services.end());
  auto missing = destinations(kernel, addresses);
  for (const auto& route : routes) {
    if (is_ours(route, gateways)) missing.erase(route.destination);
  }
  for (const auto& prefix : missing) {
    out.push_back("the route of the node's own programs to " + to_string(prefix) + " through " +
                  kernel.interface + " is gone; type: podwirectl reconcile");
  }
  if (first_of(kernel.services, true) != nullptr && !allows_loopback(kernel)) {
    out.push_back("the sysctl net.ipv4.conf." + kernel.interface +
                  ".route_localnet is off, so services are not reached by 127.0.0.1; type: podwirectl "
                  "reconcile");
  }
  return out;
}

}  // namespace podwire::control
