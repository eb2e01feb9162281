#include "control/node/device.hpp"

#include <linux/ethtool.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "dataplane/base/unique_fd.hpp"

namespace podwire::control {

Result<netlink::Link> find_device(netlink::Netlink& netlink, const std::string& name) {
  PODWIRE_TRY(const auto links, netlink.links());
  std::vector<std::string> names;
  std::string list;
  for (const auto& link : links) {
    if (link.name == name) return link;
    if (link.name == "lo") continue;
    names.push_back(link.name);
    list += (list.empty() ? "" : ", ") + link.name;
  }
  const auto near = closest_match(name, names);
  return not_found("underlay.device \"" + name + "\" does not exist here" +
                   (near.empty() ? "" : "; did you mean \"" + near + "\"?") +
                   "; there are: " + (list.empty() ? "none" : list));
}

Result<std::vector<netlink::Address>> movable_addresses(netlink::Netlink& netlink, unsigned link) {
  PODWIRE_TRY(auto all, netlink.addresses(link));
  std::erase_if(all, [](const netlink::Address& a) {
    return a.prefix.address.is_v6() &&
           a.prefix.address.v6().is_link_local();  // follows from the MAC by itself
  });
  return all;
}

namespace {

// Of a routing daemon, which learns by itself that the interface is another one now. Moved, its routes would
// be an administrator's, and stay when it withdraws them.
bool is_of_routing_daemon(std::uint8_t protocol) {
  switch (protocol) {
    case RTPROT_GATED:
    case RTPROT_MRT:
    case RTPROT_ZEBRA:
    case RTPROT_BIRD:
    case RTPROT_DNROUTED:
    case RTPROT_XORP:
    case RTPROT_BABEL:
    case RTPROT_OPENR:
    case RTPROT_BGP:
    case RTPROT_ISIS:
    case RTPROT_OSPF:
    case RTPROT_RIP:
    case RTPROT_EIGRP:
      return true;
    default:
      return false;
  }
}

}  // namespace

Result<std::vector<netlink::Route>> movable_routes(netlink::Netlink& netlink, unsigned link) {
  PODWIRE_TRY(auto all, netlink.routes(link));
  std::erase_if(all, [](const netlink::Route& r) {
    const bool by_itself = r.protocol == RTPROT_KERNEL || r.type != RTN_UNICAST ||
                           r.destination.address.is_multicast() || is_of_routing_daemon(r.protocol);
    if (!by_itself && !r.next_hops.empty()) {
      spdlog::warn(
          "route {} has several next hops and is not moved with its device; add it to the host interface by "
          "hand",
          to_string(r.destination));
    }
    return by_itself || !r.next_hops.empty();
  });
  return all;
}

std::uint16_t receive_queues(const std::string& device) {
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ethtool_channels channels{};
  channels.cmd = ETHTOOL_GCHANNELS;
  ifreq request{};
  std::strncpy(request.ifr_name, device.c_str(), sizeof request.ifr_name - 1);
  request.ifr_data = reinterpret_cast<char*>(&channels);
  if (!socket || ::ioctl(socket.get(), SIOCETHTOOL, &request) != 0) return 1;
  return static_cast<std::uint16_t>(
      std::clamp<std::uint32_t>(channels.combined_count + channels.rx_count, 1, 65535));
}

std::string device_devargs(UnderlayDriver driver, const std::string& device, std::uint16_t mtu,
                           std::uint16_t queues) {
  if (driver == UnderlayDriver::kAfXdp) {
    return "net_af_xdp0,iface=" + device + ",start_queue=0,queue_count=" + std::to_string(queues);
  }
  // A ring slot holds the frame behind the kernel's own header and padding; slots must divide their block
  // evenly.
  constexpr std::uint32_t kSlotOverhead = 128;
  constexpr std::uint32_t kEthernetWithVlan = 18;
  constexpr std::uint32_t kPage = 4096;
  constexpr std::uint32_t kRingBytes = 4u << 20;
  const auto slot = std::max(2048u, std::bit_ceil(mtu + kEthernetWithVlan + kSlotOverhead));
  return "net_af_packet0,iface=" + device + ",blocksz=" + std::to_string(std::max(kPage, slot)) +
         ",framesz=" + std::to_string(slot) + ",framecnt=" + std::to_string(kRingBytes / slot);
}

}  // namespace podwire::control
