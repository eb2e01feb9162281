// Batch: writes the netlink message of every change.
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sys/socket.h>

#include <span>

#include "control/netlink/netlink.hpp"

namespace podwire::control::netlink {
namespace {

constexpr std::uint16_t kAdd = NLM_F_CREATE | NLM_F_EXCL;
constexpr std::uint16_t kReplace = NLM_F_CREATE | NLM_F_REPLACE;
constexpr std::size_t kFixedBytes = 512;  // headers and every attribute of fixed size
constexpr std::size_t kNextHopBytes = 64;

std::uint8_t family_of(const IpAddr& address) {
  return address.is_v4() ? AF_INET : AF_INET6;
}

// One message being written. `variable_bytes` bounds the attributes whose size the caller decides.
class Message {
 public:
  Message(std::uint16_t type, int flags, std::size_t variable_bytes = 0)
      : bytes_(kFixedBytes + variable_bytes), header_(mnl_nlmsg_put_header(bytes_.data())) {
    header_->nlmsg_type = type;
    header_->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
  }
  template <class T>
  T& extra() {
    return *static_cast<T*>(mnl_nlmsg_put_extra_header(header_, sizeof(T)));
  }
  nlmsghdr* header() { return header_; }
  void put(std::uint16_t type, std::uint32_t value) { mnl_attr_put_u32(header_, type, value); }
  void put(std::uint16_t type, const std::string& text) { mnl_attr_put_strz(header_, type, text.c_str()); }
  void put(std::uint16_t type, const MacAddr& mac) {
    mnl_attr_put(header_, type, mac.bytes.size(), mac.bytes.data());
  }
  void put(std::uint16_t type, const IpAddr& address) {
    mnl_attr_put(header_, type, static_cast<std::size_t>(address.bits() / 8), address.bytes().data());
  }
  // Valid for ever, preferred never.
  void put_deprecated() {
    const ifa_cacheinfo lifetime{.ifa_prefered = 0, .ifa_valid = ~0u, .cstamp = 0, .tstamp = 0};
    mnl_attr_put(header_, IFA_CACHEINFO, sizeof lifetime, &lifetime);
  }
  std::vector<std::uint8_t> take() {
    bytes_.resize(NLMSG_ALIGN(header_->nlmsg_len));
    return std::move(bytes_);
  }

 private:
  std::vector<std::uint8_t> bytes_;
  nlmsghdr* header_;
};

void put_next_hops(Message& message, const std::vector<RouteNextHop>& next_hops) {
  nlattr* const nest = mnl_attr_nest_start(message.header(), RTA_MULTIPATH);
  for (const auto& hop : next_hops) {
    auto& head = message.extra<rtnexthop>();
    head.rtnh_ifindex = static_cast<int>(hop.link);
    head.rtnh_hops = static_cast<std::uint8_t>(hop.weight > 0 ? hop.weight - 1 : 0);
    if (hop.onlink) head.rtnh_flags = RTNH_F_ONLINK;
    if (hop.gateway) message.put(RTA_GATEWAY, *hop.gateway);
    const auto* const end = static_cast<const char*>(mnl_nlmsg_get_payload_tail(message.header()));
    head.rtnh_len = static_cast<std::uint16_t>(end - reinterpret_cast<const char*>(&head));
  }
  mnl_attr_nest_end(message.header(), nest);
}

std::vector<std::uint8_t> route_message(std::uint16_t type, int flags, const Route& route) {
  Message message(type, flags, route.next_hops.size() * kNextHopBytes);
  auto& head = message.extra<rtmsg>();
  head.rtm_family = family_of(route.destination.address);
  head.rtm_dst_len = static_cast<std::uint8_t>(route.destination.length);
  head.rtm_table = route.table < 256 ? static_cast<std::uint8_t>(route.table) : std::uint8_t{RT_TABLE_UNSPEC};
  head.rtm_protocol = route.protocol;
  head.rtm_type = route.type;
  const bool direct = !route.gateway && route.next_hops.empty();
  head.rtm_scope = route.scope;
  if (route.scope == RT_SCOPE_UNIVERSE && direct && route.link != 0 && head.rtm_family == AF_INET) {
    head.rtm_scope = RT_SCOPE_LINK;
  }
  // A deletion matches any scope, as `ip route del` does.
  if (type == RTM_DELROUTE) head.rtm_scope = RT_SCOPE_NOWHERE;
  if (route.onlink) head.rtm_flags = RTNH_F_ONLINK;
  if (route.destination.length > 0) message.put(RTA_DST, route.destination.address);
  if (route.gateway) message.put(RTA_GATEWAY, *route.gateway);
  if (route.link != 0) message.put(RTA_OIF, route.link);
  if (route.source) message.put(RTA_PREFSRC, *route.source);
  if (route.metric != 0) message.put(RTA_PRIORITY, route.metric);
  if (route.table >= 256) message.put(RTA_TABLE, route.table);
  if (route.mtu != 0) {
    nlattr* const nest = mnl_attr_nest_start(message.header(), RTA_METRICS);
    message.put(RTAX_MTU, route.mtu);
    mnl_attr_nest_end(message.header(), nest);
  }
  if (!route.next_hops.empty()) put_next_hops(message, route.next_hops);
  return message.take();
}

std::string route_text(const Route& route) {
  std::string text = "route " + to_string(route.destination);
  if (route.gateway) text += " via " + to_string(*route.gateway);
  if (route.table != kMainTable) text += " in table " + std::to_string(route.table);
  return text;
}

Message link_message(std::uint16_t type, const Link& link, int flags = 0, std::size_t variable_bytes = 0) {
  Message message(type, flags, variable_bytes);
  auto& head = message.extra<ifinfomsg>();
  head.ifi_family = AF_UNSPEC;
  head.ifi_index = static_cast<int>(link.index);
  return message;
}

Message neighbor_message(std::uint16_t type, int flags, const Link& link, const IpAddr& address) {
  Message message(type, flags);
  auto& head = message.extra<ndmsg>();
  head.ndm_family = family_of(address);
  head.ndm_ifindex = static_cast<int>(link.index);
  head.ndm_state = NUD_PERMANENT;
  message.put(NDA_DST, address);
  return message;
}

}  // namespace

Batch& Batch::change_link(const Link& link, const LinkChange& change) {
  Message message(RTM_NEWLINK, 0, change.new_name.size() + 8);
  auto& head = message.extra<ifinfomsg>();
  head.ifi_family = AF_UNSPEC;
  head.ifi_index = static_cast<int>(link.index);
  std::string what = "set " + link.name;
  if (change.up) {
    head.ifi_change = IFF_UP;
    head.ifi_flags = *change.up ? IFF_UP : 0;
    what += *change.up ? " up" : " down";
  }
  if (change.mtu) {
    message.put(IFLA_MTU, static_cast<std::uint32_t>(*change.mtu));
    what += " mtu " + std::to_string(*change.mtu);
  }
  if (change.mac) {
    message.put(IFLA_ADDRESS, *change.mac);
    what += " address " + to_string(*change.mac);
  }
  if (!change.new_name.empty()) {
    message.put(IFLA_IFNAME, change.new_name);
    what += " name " + change.new_name;
  }
  items_.push_back({std::move(what), message.take()});
  return *this;
}

Batch& Batch::remove_link(const Link& link) {
  items_.push_back({"remove interface " + link.name, link_message(RTM_DELLINK, link).take()});
  return *this;
}

Batch& Batch::move_link(const Link& link, int netns) {
  auto message = link_message(RTM_NEWLINK, link);
  message.put(IFLA_NET_NS_FD, static_cast<std::uint32_t>(netns));
  items_.push_back({"move interface " + link.name + " to another namespace", message.take()});
  return *this;
}

Batch& Batch::add_veth(const std::string& name, const std::string& peer_name) {
  auto message = link_message(RTM_NEWLINK, Link{}, kAdd, name.size() + peer_name.size() + 64);
  message.put(IFLA_IFNAME, name);
  nlattr* const info = mnl_attr_nest_start(message.header(), IFLA_LINKINFO);
  message.put(IFLA_INFO_KIND, std::string("veth"));
  nlattr* const data = mnl_attr_nest_start(message.header(), IFLA_INFO_DATA);
  nlattr* const peer = mnl_attr_nest_start(message.header(), VETH_INFO_PEER);
  message.extra<ifinfomsg>().ifi_family = AF_UNSPEC;
  message.put(IFLA_IFNAME, peer_name);
  mnl_attr_nest_end(message.header(), peer);
  mnl_attr_nest_end(message.header(), data);
  mnl_attr_nest_end(message.header(), info);
  items_.push_back({"add veth pair " + name + ", " + peer_name, message.take()});
  return *this;
}

Batch& Batch::add_address(const Link& link, const Address& address, bool replace) {
  Message message(RTM_NEWADDR, replace ? kReplace : kAdd);
  auto& head = message.extra<ifaddrmsg>();
  head.ifa_family = family_of(address.prefix.address);
  head.ifa_prefixlen = static_cast<std::uint8_t>(address.prefix.length);
  head.ifa_index = link.index;
  head.ifa_scope = address.scope;
  message.put(IFA_LOCAL, address.prefix.address);
  message.put(IFA_ADDRESS, address.prefix.address);
  const std::uint32_t flags = (address.nodad ? std::uint32_t{IFA_F_NODAD} : 0u) |
                              (address.noprefixroute ? std::uint32_t{IFA_F_NOPREFIXROUTE} : 0u);
  if (flags != 0) message.put(IFA_FLAGS, flags);
  if (address.deprecated) message.put_deprecated();
  items_.push_back({"add address " + to_string(address.prefix) + " to " + link.name, message.take()});
  return *this;
}

Batch& Batch::remove_address(const Link& link, const IpPrefix& prefix) {
  Message message(RTM_DELADDR, 0);
  auto& head = message.extra<ifaddrmsg>();
  head.ifa_family = family_of(prefix.address);
  head.ifa_prefixlen = static_cast<std::uint8_t>(prefix.length);
  head.ifa_index = link.index;
  message.put(IFA_LOCAL, prefix.address);
  items_.push_back({"remove address " + to_string(prefix) + " from " + link.name, message.take()});
  return *this;
}

Batch& Batch::add_route(const Route& route) {
  items_.push_back({"add " + route_text(route), route_message(RTM_NEWROUTE, kAdd, route)});
  return *this;
}

Batch& Batch::replace_route(const Route& route) {
  items_.push_back({"replace " + route_text(route), route_message(RTM_NEWROUTE, kReplace, route)});
  return *this;
}

Batch& Batch::remove_route(const Route& route) {
  items_.push_back({"remove " + route_text(route), route_message(RTM_DELROUTE, 0, route)});
  return *this;
}

Batch& Batch::set_neighbor(const Link& link, const IpAddr& address, const MacAddr& mac) {
  auto message = neighbor_message(RTM_NEWNEIGH, kReplace, link, address);
  message.put(NDA_LLADDR, mac);
  items_.push_back({"set neighbour " + to_string(address) + " on " + link.name, message.take()});
  return *this;
}

Batch& Batch::remove_neighbor(const Link& link, const IpAddr& address) {
  items_.push_back({"remove neighbour " + to_string(address) + " from " + link.name,
                    neighbor_message(RTM_DELNEIGH, 0, link, address).take()});
  return *this;
}

}  // namespace podwire::control::netlink
