#include "control/node/underlay.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "control/node/device.hpp"
#include "control/node/host_addresses.hpp"
#include "control/node/host_interface.hpp"
#include "control/node/ingress_block.hpp"

namespace podwire::control {
namespace {

using netlink::Batch;
using netlink::Netlink;

constexpr std::uint16_t kDefaultMtu = 1500;
constexpr std::uint16_t kMostQueues = 16;  // what a port may have

Result<int> disable_ipv6_of(const std::string& device) {
  auto value = netlink::read_ipv6_sysctl(device, "disable_ipv6");
  if (!value && value.error().code == ErrorCode::kNotFound) return -1;
  return value;
}

// Adds what the device has got since (a DHCP client at work, or a move that was cut short).
template <class T, class Same>
void merge(std::vector<T>& into, const std::vector<T>& more, Same same) {
  for (const auto& item : more) {
    if (std::none_of(into.begin(), into.end(), [&](const T& other) { return same(item, other); }))
      into.push_back(item);
  }
}

std::vector<netlink::Address> as_addresses(const std::vector<IpPrefix>& prefixes) {
  std::vector<netlink::Address> out;
  for (const auto& prefix : prefixes) {
    netlink::Address a;
    a.prefix = prefix;
    out.push_back(a);
  }
  return out;
}

}  // namespace

Result<void> Underlay::inspect() {
  PODWIRE_TRY(auto earlier, load_saved_underlay(store_));
  const auto host = config_.underlay.host_interface.value_or("");
  if (earlier && (earlier->device != config_.underlay.device || earlier->host_interface != host)) {
    spdlog::info(
        "underlay: the configuration names another device or host interface than the last run; putting {} "
        "back first",
        earlier->device.empty() ? earlier->host_interface : earlier->device);
    PODWIRE_CHECK(restore());
    earlier.reset();
  }
  PODWIRE_TRY(auto netlink, Netlink::open());
  if (config_.underlay.device.empty()) return inspect_devargs(earlier);
  PODWIRE_CHECK(inspect_device(netlink, earlier));
  PODWIRE_CHECK(check_uplink());
  return describe_node();
}

Result<void> Underlay::inspect_devargs(const std::optional<SavedUnderlay>& earlier) {
  saved_ = earlier.value_or(SavedUnderlay{});
  saved_.host_interface = config_.underlay.host_interface.value_or("");
  // An earlier run that did not get as far as the device's MAC address has nothing to resume.
  fresh_ = !earlier || (!saved_.host_interface.empty() && saved_.mac.is_zero());
  return describe_node();
}

Result<void> Underlay::inspect_device(Netlink& netlink, const std::optional<SavedUnderlay>& earlier) {
  const auto& device = config_.underlay.device;
  PODWIRE_TRY(link_, find_device(netlink, device));
  driver_ = kUnderlayDriverNames[static_cast<std::size_t>(config_.underlay.driver)];
  device_queues_ =
      config_.underlay.driver == UnderlayDriver::kAfXdp ? receive_queues(device) : std::uint16_t{1};
  PODWIRE_TRY(const auto addresses, movable_addresses(netlink, link_.index));
  PODWIRE_TRY(const auto routes, movable_routes(netlink, link_.index));
  const auto host = config_.underlay.host_interface.value_or("");
  std::optional<netlink::Link> host_link;
  if (!host.empty()) {
    PODWIRE_TRY(host_link, netlink.find_link(host));
  }
  // After a reboot the record is old and the device has its addresses again: then what is there now counts.
  fresh_ = !earlier || (!host_link && !addresses.empty());
  if (!fresh_) {
    saved_ = *earlier;
    merge(saved_.addresses, addresses, [](const auto& a, const auto& b) { return a.prefix == b.prefix; });
    merge(saved_.routes, routes, [](const auto& a, const auto& b) {
      return a.destination == b.destination && a.gateway == b.gateway && a.metric == b.metric;
    });
    saved_.mac = link_.mac;
    return {};
  }
  saved_ = {device, host,      link_.mac, static_cast<std::uint16_t>(std::min(link_.mtu, 65535u)),
            -1,     addresses, routes};
  PODWIRE_TRY(saved_.disable_ipv6, disable_ipv6_of(device));
  // A host interface without a record: the state directory was lost. What it carries came from the device.
  if (host_link && host_link->kind == "tun" && host_link->mac == link_.mac && addresses.empty()) {
    PODWIRE_TRY(saved_.addresses, movable_addresses(netlink, host_link->index));
    PODWIRE_TRY(saved_.routes, movable_routes(netlink, host_link->index));
    std::erase_if(saved_.addresses, is_outside_address);
    std::erase_if(saved_.routes, [](const auto& r) { return r.protocol == netlink::kRouteProtocol; });
    saved_.disable_ipv6 = 0;
  }
  return {};
}

Result<void> Underlay::check_uplink() const {
  const auto& device = config_.underlay.device;
  if (link_.master != 0) {
    return conflict("underlay.device \"" + device +
                    "\" belongs to a bridge or bond; take it out of it first (ip link set " + device +
                    " nomaster)");
  }
  if (link_.mac.is_zero())
    return invalid("underlay.device \"" + device +
                   "\" has no MAC address; give the engine an Ethernet device");
  if (config_.underlay.mtu && *config_.underlay.mtu > saved_.mtu) {
    return invalid("underlay.mtu is " + std::to_string(*config_.underlay.mtu) + ", but " + device +
                   " carries " + std::to_string(saved_.mtu) +
                   "; lower it or raise the device's (ip link set " + device + " mtu " +
                   std::to_string(*config_.underlay.mtu) + ")");
  }
  if (device_queues_ > kMostQueues) {
    return invalid(device + " spreads its frames over " + std::to_string(device_queues_) +
                   " queues, a port takes at most " + std::to_string(kMostQueues) + "; type: ethtool -L " +
                   device + " combined " + std::to_string(kMostQueues));
  }
  if (config_.underlay.addresses.empty() && saved_.addresses.empty()) {
    return invalid("underlay.device \"" + device +
                   "\" has no address; give it one, or set underlay.addresses in podwired.json");
  }
  return {};
}

Result<void> Underlay::describe_node() {
  const auto& config = config_.underlay;
  node_ = {};
  node_.mac = saved_.mac;
  node_.queues = device_queues_;
  node_.mtu = config.mtu.value_or(config.device.empty() ? kDefaultMtu : saved_.mtu);
  node_.devargs = config.device.empty()
                      ? config.devargs
                      : device_devargs(config.driver, config.device, node_.mtu, device_queues_);
  node_.addresses = config.addresses;
  if (node_.addresses.empty()) {
    node_.from_kernel = true;
    for (const auto& a : saved_.addresses) node_.addresses.push_back(a.prefix);
  }
  for (const auto& gateway : config.gateways) {
    node_.routes.push_back({{gateway.is_v4() ? IpAddr(Ipv4{}) : IpAddr(Ipv6{}), 0}, gateway});
  }
  for (const auto& route : saved_.routes) {
    const auto same = [&](const UnderlayRoute& other) { return other.prefix == route.destination; };
    if (std::none_of(node_.routes.begin(), node_.routes.end(), same))
      node_.routes.push_back({route.destination, route.gateway});
  }
  return {};
}

std::vector<std::string> Underlay::warnings() const {
  std::vector<std::string> out;
  if (link_.kind == "veth") {
    out.push_back(
        "underlay: " + link_.name +
        " is a veth; its peer must not leave checksums and segmentation to us: at the other end type "
        "ethtool -K PEER tx off tso off gso off");
  }
  for (const auto& domain : config_.domains) {
    const DomainConfig derived = [&] {
      auto d = domain;
      d.mtu.reset();
      return d;
    }();
    const auto fits = domain_mtu(derived, config_, node_);
    if (domain.mtu && *domain.mtu > fits) {
      out.push_back("domain \"" + domain.name + "\" has MTU " + std::to_string(*domain.mtu) +
                    ", but through a tunnel on this underlay fit " + std::to_string(fits) +
                    "; larger packets to other nodes will be refused as too big");
    }
  }
  return out;
}

Result<void> Underlay::take() {
  PODWIRE_TRY(auto netlink, Netlink::open());
  PODWIRE_CHECK(store_saved_underlay(store_, saved_));
  auto moved =
      config_.underlay.device.empty() ? set_up_host_interface(netlink) : move_to_host_interface(netlink);
  // A daemon that only resumes leaves an engine that forwards alone, even when it cannot go on itself.
  if (moved || !fresh_) return moved;
  auto restored = restore();
  if (restored) return moved;
  return Error{moved.error().code,
               moved.error().message + "; putting things back failed as well: " + restored.error().message};
}

Result<void> Underlay::move_to_host_interface(Netlink& netlink) {
  PODWIRE_CHECK(set_up_host_interface(netlink));
  PODWIRE_CHECK(silence_device(netlink));
  if (!config_.underlay.host_interface) return {};
  // The routes went with the addresses of the device, and only now is the way to their gateways unambiguous.
  return furnish_host_interface(netlink, saved_.host_interface, {}, saved_.routes);
}

Result<void> Underlay::set_up_host_interface(Netlink& netlink) {
  if (saved_.host_interface.empty() || saved_.mac.is_zero()) return {};
  PODWIRE_TRY(auto queues, ensure_host_interface(netlink, saved_, node_.mtu));
  if (!queues.empty()) host_queues_ = std::move(queues);
  auto addresses =
      config_.underlay.addresses.empty() ? saved_.addresses : as_addresses(config_.underlay.addresses);
  std::vector<netlink::Route> gateways;
  for (const auto& route : node_.routes) {
    const bool configured = std::find(config_.underlay.gateways.begin(), config_.underlay.gateways.end(),
                                      route.gateway) != config_.underlay.gateways.end();
    if (!configured) continue;
    netlink::Route r;
    r.destination = route.prefix;
    r.gateway = route.gateway;
    r.protocol = 4;  // RTPROT_STATIC: as an administrator's, not one of those to pods
    gateways.push_back(r);
  }
  PODWIRE_CHECK(furnish_host_interface(netlink, saved_.host_interface, addresses, gateways));
  const auto domain = std::find_if(config_.domains.begin(), config_.domains.end(),
                                   [](const auto& d) { return d.host_access; });
  const auto pod_mtu = domain == config_.domains.end() ? node_.mtu : domain_mtu(*domain, config_, node_);
  return add_pod_routes(netlink, saved_.host_interface, config_, node_.addresses, pod_mtu, pods_elsewhere_);
}

Result<void> Underlay::silence_device(Netlink& netlink) {
  const auto& device = config_.underlay.device;
  PODWIRE_TRY(const auto addresses, movable_addresses(netlink, link_.index));
  Batch batch;
  for (const auto& address : addresses) batch.remove_address(link_, address.prefix);
  batch.change_link(link_, {.up = true, .mtu = {}, .mac = {}, .new_name = {}});
  PODWIRE_CHECK(netlink.apply(batch));
  if (saved_.disable_ipv6 >= 0) PODWIRE_CHECK(netlink::write_ipv6_sysctl(device, "disable_ipv6", 1));
  auto blocked = block_ingress(device);
  // AF_XDP takes the frames before the kernel's stack anyway, so there the rule only matters while no engine
  // runs.
  if (!blocked && config_.underlay.driver == UnderlayDriver::kAfXdp) {
    spdlog::warn("underlay: {}", blocked.error().message);
    return {};
  }
  return blocked;
}

Result<void> Underlay::set_mac(const MacAddr& mac) {
  PODWIRE_TRY(auto netlink, Netlink::open());
  if (!saved_.mac.is_zero() && saved_.mac != mac) PODWIRE_CHECK(restore());  // another device: start anew
  saved_.mac = node_.mac = mac;
  PODWIRE_CHECK(store_saved_underlay(store_, saved_));
  return set_up_host_interface(netlink);
}

Result<void> Underlay::restore() {
  PODWIRE_TRY(const auto saved, load_saved_underlay(store_));
  if (!saved) return {};
  host_queues_.clear();
  PODWIRE_CHECK(restore_saved(*saved));
  return store_saved_underlay(store_, std::nullopt);
}

Result<void> Underlay::restore_saved(const SavedUnderlay& saved) {
  PODWIRE_TRY(auto netlink, Netlink::open());
  Batch batch;
  std::optional<netlink::Link> device;
  if (!saved.device.empty()) {
    PODWIRE_TRY(device, netlink.find_link(saved.device));
    if (!device) spdlog::warn("underlay: {} is gone, its addresses cannot be put back", saved.device);
  }
  if (device) {
    if (auto unblocked = unblock_ingress(saved.device);
        !unblocked && unblocked.error().code != ErrorCode::kUnavailable)
      return unblocked;
    if (saved.disable_ipv6 >= 0)
      PODWIRE_CHECK(netlink::write_ipv6_sysctl(saved.device, "disable_ipv6", saved.disable_ipv6));
    for (auto address : saved.addresses) {
      address.nodad = address.prefix.address.is_v6();  // it was in use here a moment ago
      batch.add_address(*device, address, true);
    }
    PODWIRE_CHECK(netlink.apply(batch));
  }
  // The record names it, so it is ours unless another interface took the name; then its MAC tells.
  if (!saved.host_interface.empty()) {
    PODWIRE_TRY(const auto host, netlink.find_link(saved.host_interface));
    if (host && host->kind == "tun" && host->mac == saved.mac) {
      Batch removal;
      removal.remove_link(*host);
      PODWIRE_CHECK(netlink.apply(removal));
    }
  }
  if (!device) return {};
  return furnish_host_interface(netlink, saved.device, {}, saved.routes);
}

Result<std::vector<std::string>> Underlay::differences() const {
  std::vector<std::string> out;
  PODWIRE_TRY(auto netlink, Netlink::open());
  if (!config_.underlay.device.empty()) {
    PODWIRE_TRY(const auto device, netlink.find_link(config_.underlay.device));
    if (!device) {
      out.push_back("underlay device " + config_.underlay.device +
                    " is gone; bring it back and restart podwired");
      return out;
    }
    PODWIRE_TRY(const auto addresses, movable_addresses(netlink, device->index));
    for (const auto& a : addresses) {
      out.push_back("address " + to_string(a.prefix) + " is on " + device->name +
                    ", which belongs to the engine; type: ip addr del " + to_string(a.prefix) + " dev " +
                    device->name + ", and keep network managers off it");
    }
    if (!device->up)
      out.push_back("underlay device " + device->name + " is down; type: ip link set " + device->name +
                    " up");
  }
  if (saved_.host_interface.empty() || saved_.mac.is_zero()) return out;
  PODWIRE_TRY(const auto host, netlink.find_link(saved_.host_interface));
  if (!host) {
    out.push_back("host interface " + saved_.host_interface + " is gone; restart podwired to make it anew");
    return out;
  }
  PODWIRE_TRY(const auto present, movable_addresses(netlink, host->index));
  for (const auto& wanted : node_.addresses) {
    const bool there =
        std::any_of(present.begin(), present.end(), [&](const auto& a) { return a.prefix == wanted; });
    if (!there) {
      out.push_back("host interface " + host->name + " lacks " + to_string(wanted) + "; type: ip addr add " +
                    to_string(wanted) + " dev " + host->name);
    }
  }
  return out;
}

}  // namespace podwire::control
