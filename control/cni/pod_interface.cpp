#include "control/cni/pod_interface.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cctype>

#include "control/cni/tap.hpp"
#include "control/netlink/netlink.hpp"

namespace podwire::control {
namespace {

constexpr std::uint16_t kMinIpv6Mtu = 1280;  // RFC 8200 section 5
constexpr const char* kTapKind = "tun";      // IFLA_INFO_KIND of taps too

bool has_ipv6(const Attachment& attachment) {
  return std::any_of(attachment.addresses.begin(), attachment.addresses.end(),
                     [](const IpPrefix& p) { return p.address.is_v6(); });
}

std::optional<IpAddr> gateway_of_family(const Attachment& attachment, bool v4) {
  for (const auto& gateway : attachment.gateways) {
    if (gateway.is_v4() == v4) return gateway;
  }
  return std::nullopt;
}

// The runtime may have switched IPv6 off for new interfaces (net.ipv6.conf.default.disable_ipv6), which the
// addresses that we were asked for override. Without accept_dad the link-local address is usable at once too.
Result<void> prepare_ipv6(const std::string& ifname) {
  auto enabled = netlink::write_ipv6_sysctl(ifname, "disable_ipv6", 0);
  if (!enabled && enabled.error().code == ErrorCode::kNotFound) {
    return Error{ErrorCode::kIo,
                 "the pod is to have an IPv6 address, but this kernel has no IPv6 (" +
                     enabled.error().message +
                     "); boot without ipv6.disable=1 or take the IPv6 prefix out of the domain"};
  }
  PODWIRE_CHECK(enabled);
  return netlink::write_ipv6_sysctl(ifname, "accept_dad", 0);
}

netlink::Route kernel_route(const Attachment& attachment, const netlink::Link& link,
                            const ResultRoute& route) {
  netlink::Route out;
  out.destination = route.destination;
  out.gateway = route.gateway;
  out.link = link.index;
  out.mtu = route.mtu;
  out.metric = route.priority;
  if (route.table != 0) out.table = route.table;
  if (route.scope) out.scope = *route.scope;
  // A /32 or /128 address has its gateway off every prefix of the link.
  out.onlink = route.gateway && std::none_of(attachment.addresses.begin(), attachment.addresses.end(),
                                             [&](const IpPrefix& p) { return p.contains(*route.gateway); });
  return out;
}

Result<void> drop_defaults_of_others(netlink::Netlink& kernel, std::vector<ResultRoute>& routes) {
  PODWIRE_TRY(const auto present, kernel.routes());
  std::erase_if(routes, [&](const ResultRoute& route) {
    return std::any_of(present.begin(), present.end(),
                       [&](const netlink::Route& r) { return r.destination == route.destination; });
  });
  return {};
}

Result<void> configure(const Attachment& attachment, PodRoutes& routes) {
  const auto& ifname = attachment.key.ifname;
  if (has_ipv6(attachment)) PODWIRE_CHECK(prepare_ipv6(ifname));
  PODWIRE_TRY(auto kernel, netlink::Netlink::open());
  PODWIRE_TRY(const auto link, kernel.link(ifname));
  netlink::Batch batch;
  batch.change_link(link, {.up = true, .mtu = attachment.mtu, .mac = std::nullopt, .new_name = {}});
  for (const auto& prefix : attachment.addresses) {
    batch.add_address(link, {.link = link.index, .prefix = prefix, .nodad = prefix.address.is_v6()});
  }
  if (routes.implied) PODWIRE_CHECK(drop_defaults_of_others(kernel, routes.routes));
  for (const auto& route : routes.routes) batch.add_route(kernel_route(attachment, link, route));
  return kernel.apply(batch);
}

bool is_tap(const netlink::Link& link) {
  return link.kind == kTapKind;
}

bool same_mac(const std::string& a, const std::string& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

CniResult<void> check_link(const netlink::Link& link, const Attachment& attachment,
                           const ResultInterface& expected) {
  const auto& ifname = attachment.key.ifname;
  if (!is_tap(link))
    return differs("interface " + ifname + " is a \"" + link.kind + "\", not the tap that podwire made");
  if (!link.up) return differs("interface " + ifname + " is down");
  // Later plugins (tuning) may have set others, which the result then says.
  const auto mac = to_string(link.mac);
  const auto wanted = expected.mac.empty() ? to_string(attachment.mac) : expected.mac;
  if (!same_mac(mac, wanted)) return differs("interface " + ifname + " has MAC " + mac + ", not " + wanted);
  if (expected.mtu != 0 && expected.mtu != link.mtu) {
    return differs("interface " + ifname + " has MTU " + std::to_string(link.mtu) + ", not " +
                   std::to_string(expected.mtu));
  }
  return {};
}

CniResult<void> check_addresses(const std::vector<netlink::Address>& present, const std::string& ifname,
                                std::size_t index, const Chained& expected) {
  for (const auto& ip : expected.ips) {
    if (ip.interface != index) continue;
    const bool found =
        std::any_of(present.begin(), present.end(), [&](const auto& a) { return a.prefix == ip.address; });
    if (found) continue;
    std::string list;
    for (const auto& a : present) list += (list.empty() ? "" : ", ") + to_string(a.prefix);
    return differs("interface " + ifname + " has no address " + to_string(ip.address) + "; it has " +
                   (list.empty() ? "none" : list));
  }
  return {};
}

CniResult<void> check_routes(const std::vector<netlink::Route>& present, const Chained& expected) {
  for (const auto& route : expected.routes) {
    const bool found = std::any_of(present.begin(), present.end(), [&](const netlink::Route& r) {
      return r.destination == route.destination && (!route.gateway || r.gateway == route.gateway) &&
             r.table == (route.table != 0 ? route.table : netlink::kMainTable);
    });
    if (found) continue;
    return differs("there is no route to " + to_string(route.destination) +
                   (route.gateway ? " via " + to_string(*route.gateway) : ""));
  }
  return {};
}

}  // namespace

PodRoutes pod_routes(const Attachment& attachment, const std::vector<ResultRoute>& configured) {
  PodRoutes result{.routes = configured, .implied = configured.empty()};
  for (auto& route : result.routes) {
    if (!route.gateway) route.gateway = gateway_of_family(attachment, route.destination.address.is_v4());
  }
  if (!result.implied) return result;
  for (const auto& gateway : attachment.gateways) {
    ResultRoute route;
    route.destination = {gateway.is_v4() ? IpAddr(Ipv4{}) : IpAddr(Ipv6{}), 0};
    route.gateway = gateway;
    result.routes.push_back(route);
  }
  return result;
}

Result<void> check_mtu(const Attachment& attachment) {
  if (!has_ipv6(attachment) || attachment.mtu >= kMinIpv6Mtu) return {};
  return invalid("mtu is " + std::to_string(attachment.mtu) + ", but IPv6 needs at least " +
                 std::to_string(kMinIpv6Mtu));
}

Result<std::vector<UniqueFd>> create_pod_interface(int netns, const Attachment& attachment,
                                                   PodRoutes& routes) {
  std::vector<UniqueFd> queues;
  {
    PODWIRE_TRY(const auto guard, NetnsGuard::enter(netns));
    PODWIRE_TRY(
        queues,
        create_tap({.name = attachment.key.ifname, .queues = attachment.queues, .mac = attachment.mac}));
    auto configured = configure(attachment, routes);
    if (configured) return queues;
    queues.clear();
    PODWIRE_TRY(auto kernel, netlink::Netlink::open());
    if (auto link = kernel.find_link(attachment.key.ifname); link && *link) {
      if (auto removed = kernel.apply(netlink::Batch().remove_link(**link)); !removed) {
        return Error{configured.error().code,
                     configured.error().message + "; and then: " + removed.error().message};
      }
    }
    return configured.error();
  }
}

Result<void> remove_pod_interface(int netns, const Attachment& attachment, bool ours_by_name) {
  PODWIRE_TRY(const auto guard, NetnsGuard::enter(netns));
  PODWIRE_TRY(auto kernel, netlink::Netlink::open());
  PODWIRE_TRY(const auto link, kernel.find_link(attachment.key.ifname));
  if (!link || !is_tap(*link)) return {};
  if (!ours_by_name && link->mac != attachment.mac) return {};
  auto removed = kernel.apply(netlink::Batch().remove_link(*link));
  if (!removed && removed.error().code == ErrorCode::kNotFound) return {};
  return removed;
}

Result<UniqueFd> open_attachment_netns(const Attachment& attachment, int given) {
  const NetnsIdentity recorded{attachment.netns_device, attachment.netns_inode};
  if (given >= 0) {
    PODWIRE_TRY(const auto here, identity(given));
    if (here == recorded) {
      UniqueFd copy(::fcntl(given, F_DUPFD_CLOEXEC, 3));
      if (!copy) return errno_error("duplicate a descriptor");
      return copy;
    }
  }
  if (attachment.netns_path.empty()) return UniqueFd();
  auto opened = open_netns(attachment.netns_path);
  if (!opened && opened.error().code == ErrorCode::kNotFound) return UniqueFd();
  if (!opened) return opened.error();
  PODWIRE_TRY(const auto there, identity(opened->get()));
  if (there != recorded) return UniqueFd();
  return opened;
}

CniResult<const ResultInterface*> find_own_interface(const Attachment& attachment, const Chained& expected) {
  const auto& ifname = attachment.key.ifname;
  const auto ours =
      std::find_if(expected.interfaces.begin(), expected.interfaces.end(),
                   [&](const ResultInterface& i) { return i.name == ifname && !i.sandbox.empty(); });
  if (ours != expected.interfaces.end()) return &*ours;
  return CniError(CniCode::kInvalidConfig, "prevResult.interfaces has no \"" + ifname + "\" with a sandbox");
}

CniResult<void> check_pod_interface(int netns, const Attachment& attachment, const Chained& expected) {
  const auto& ifname = attachment.key.ifname;
  PODWIRE_TRY(const auto* ours, find_own_interface(attachment, expected));
  PODWIRE_TRY(const auto guard, NetnsGuard::enter(netns));
  PODWIRE_TRY(auto kernel, netlink::Netlink::open());
  PODWIRE_TRY(const auto link, kernel.find_link(ifname));
  if (!link) return differs("interface " + ifname + " is missing in " + attachment.netns_path);
  PODWIRE_CHECK(check_link(*link, attachment, *ours));
  PODWIRE_TRY(const auto addresses, kernel.addresses(link->index));
  PODWIRE_CHECK(check_addresses(addresses, ifname,
                                static_cast<std::size_t>(ours - expected.interfaces.data()), expected));
  PODWIRE_TRY(const auto routes, kernel.routes(0, 0));
  return check_routes(routes, expected);
}

}  // namespace podwire::control
