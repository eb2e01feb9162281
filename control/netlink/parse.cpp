#include "control/netlink/parse.hpp"

#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace podwire::control::netlink {
namespace {

// The attributes of one message or nest, by type; unknown types are left out.
template <std::size_t kCount>
class Attributes {
 public:
  Attributes(const void* payload, std::size_t bytes) {
    mnl_attr_parse_payload(payload, bytes, &Attributes::store, this);
  }
  Attributes(const nlmsghdr* message, std::size_t header_bytes) {
    // mnl_attr_parse() would go on to the next multiple of four behind a message that was cut.
    const std::size_t whole = mnl_nlmsg_get_payload_len(message), head = MNL_ALIGN(header_bytes);
    if (whole <= head) return;
    const auto* const payload = static_cast<const char*>(mnl_nlmsg_get_payload(message));
    mnl_attr_parse_payload(payload + head, whole - head, &Attributes::store, this);
  }
  explicit Attributes(const nlattr* nest) { mnl_attr_parse_nested(nest, &Attributes::store, this); }

  const nlattr* operator[](std::size_t type) const { return type < kCount ? found_[type] : nullptr; }
  std::uint32_t u32(std::size_t type, std::uint32_t fallback = 0) const {
    const nlattr* const a = (*this)[type];
    return a != nullptr && mnl_attr_get_payload_len(a) >= 4 ? mnl_attr_get_u32(a) : fallback;
  }
  std::string text(std::size_t type) const {
    const nlattr* const a = (*this)[type];
    if (a == nullptr) return {};
    const auto* const begin = static_cast<const char*>(mnl_attr_get_payload(a));
    return {begin, ::strnlen(begin, mnl_attr_get_payload_len(a))};
  }
  MacAddr mac(std::size_t type) const {
    const nlattr* const a = (*this)[type];
    MacAddr mac;
    if (a != nullptr && mnl_attr_get_payload_len(a) == 6)
      std::memcpy(mac.bytes.data(), mnl_attr_get_payload(a), 6);
    return mac;
  }
  std::optional<IpAddr> ip(std::size_t type, int family) const {
    const nlattr* const a = (*this)[type];
    if (a == nullptr) return std::nullopt;
    if (family == AF_INET && mnl_attr_get_payload_len(a) == 4) {
      Ipv4 v4;
      std::memcpy(v4.bytes.data(), mnl_attr_get_payload(a), 4);
      return IpAddr(v4);
    }
    if (family == AF_INET6 && mnl_attr_get_payload_len(a) == 16) {
      Ipv6 v6;
      std::memcpy(v6.bytes.data(), mnl_attr_get_payload(a), 16);
      return IpAddr(v6);
    }
    return std::nullopt;
  }

 private:
  static int store(const nlattr* attribute, void* self) {
    const std::size_t type = mnl_attr_get_type(attribute);
    if (type < kCount) static_cast<Attributes*>(self)->found_[type] = attribute;
    return MNL_CB_OK;
  }
  std::array<const nlattr*, kCount> found_{};
};

template <class Head>
const Head* head_of(const nlmsghdr* message, std::uint16_t type) {
  if (message->nlmsg_type != type || mnl_nlmsg_get_payload_len(message) < sizeof(Head)) return nullptr;
  return static_cast<const Head*>(mnl_nlmsg_get_payload(message));
}

bool ip_family(int family) {
  return family == AF_INET || family == AF_INET6;
}

IpAddr zero_of(int family) {
  return family == AF_INET ? IpAddr(Ipv4{}) : IpAddr(Ipv6{});
}

// Also one of the other family, as an IPv4 route may have (RFC 8950).
std::optional<IpAddr> gateway_of(const Attributes<RTA_MAX + 1>& attributes, int family) {
  const nlattr* const via = attributes[RTA_VIA];
  if (via == nullptr) return attributes.ip(RTA_GATEWAY, family);
  Ipv6 v6;
  std::uint16_t via_family = 0;
  if (mnl_attr_get_payload_len(via) != sizeof via_family + v6.bytes.size()) return std::nullopt;
  const auto* const at = static_cast<const char*>(mnl_attr_get_payload(via));
  std::memcpy(&via_family, at, sizeof via_family);
  if (via_family != AF_INET6) return std::nullopt;
  std::memcpy(v6.bytes.data(), at + sizeof via_family, v6.bytes.size());
  return IpAddr(v6);
}

std::vector<RouteNextHop> parse_next_hops(const nlattr* multipath, int family) {
  std::vector<RouteNextHop> hops;
  const auto* at = static_cast<const char*>(mnl_attr_get_payload(multipath));
  std::size_t left = mnl_attr_get_payload_len(multipath);
  while (left >= sizeof(rtnexthop)) {
    rtnexthop head;
    std::memcpy(&head, at, sizeof head);
    const std::size_t length = head.rtnh_len;
    if (length < sizeof head || length > left) break;
    const Attributes<RTA_MAX + 1> attributes(at + sizeof head, length - sizeof head);
    hops.push_back({.gateway = gateway_of(attributes, family),
                    .link = static_cast<unsigned>(head.rtnh_ifindex),
                    .weight = static_cast<std::uint16_t>(head.rtnh_hops + 1),
                    .onlink = (head.rtnh_flags & RTNH_F_ONLINK) != 0});
    const std::size_t step = std::min<std::size_t>(RTNH_ALIGN(length), left);
    at += step;
    left -= step;
  }
  return hops;
}

}  // namespace

bool parse_message(const nlmsghdr* message, Link& out) {
  const auto* const head = head_of<ifinfomsg>(message, RTM_NEWLINK);
  if (head == nullptr || head->ifi_family != AF_UNSPEC) return false;
  const Attributes<IFLA_MAX + 1> attributes(message, sizeof *head);
  out = Link{.index = static_cast<unsigned>(head->ifi_index),
             .name = attributes.text(IFLA_IFNAME),
             .mac = attributes.mac(IFLA_ADDRESS),
             .mtu = attributes.u32(IFLA_MTU),
             .up = (head->ifi_flags & IFF_UP) != 0,
             .carrier = (head->ifi_flags & (1u << 16)) != 0,  // IFF_LOWER_UP, which <net/if.h> lacks
             .kind = {},
             .master = attributes.u32(IFLA_MASTER)};
  if (const nlattr* const info = attributes[IFLA_LINKINFO]) {
    out.kind = Attributes<IFLA_INFO_MAX + 1>(info).text(IFLA_INFO_KIND);
  }
  return true;
}

bool parse_message(const nlmsghdr* message, Address& out) {
  const auto* const head = head_of<ifaddrmsg>(message, RTM_NEWADDR);
  if (head == nullptr || !ip_family(head->ifa_family)) return false;
  const Attributes<IFA_MAX + 1> attributes(message, sizeof *head);
  auto address = attributes.ip(IFA_LOCAL, head->ifa_family);
  if (!address) address = attributes.ip(IFA_ADDRESS, head->ifa_family);
  if (!address) return false;
  const std::uint32_t flags = attributes.u32(IFA_FLAGS, head->ifa_flags);
  out = Address{.link = head->ifa_index,
                .prefix = {*address, head->ifa_prefixlen},
                .nodad = (flags & IFA_F_NODAD) != 0,
                .noprefixroute = (flags & IFA_F_NOPREFIXROUTE) != 0,
                .deprecated = (flags & IFA_F_DEPRECATED) != 0,
                .tentative = (flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)) != 0,
                .dynamic = (flags & IFA_F_PERMANENT) == 0,
                .scope = head->ifa_scope};
  return true;
}

bool parse_message(const nlmsghdr* message, Route& out) {
  return message->nlmsg_type == RTM_NEWROUTE && parse_route(message, out);
}

bool parse_route(const nlmsghdr* message, Route& out) {
  if (message->nlmsg_type != RTM_NEWROUTE && message->nlmsg_type != RTM_DELROUTE) return false;
  const auto* const head = head_of<rtmsg>(message, message->nlmsg_type);
  // RTM_F_CLONED marks cached exceptions (path MTU), which are no routes of anybody's.
  if (head == nullptr || !ip_family(head->rtm_family) || (head->rtm_flags & RTM_F_CLONED) != 0) return false;
  const int family = head->rtm_family;
  const Attributes<RTA_MAX + 1> attributes(message, sizeof *head);
  out = Route{.destination = {attributes.ip(RTA_DST, family).value_or(zero_of(family)), head->rtm_dst_len},
              .gateway = gateway_of(attributes, family),
              .link = attributes.u32(RTA_OIF),
              .source = attributes.ip(RTA_PREFSRC, family),
              .metric = attributes.u32(RTA_PRIORITY),
              .protocol = head->rtm_protocol,
              .scope = head->rtm_scope,
              .type = head->rtm_type,
              .table = attributes.u32(RTA_TABLE, head->rtm_table),
              .mtu = 0,
              .onlink = (head->rtm_flags & RTNH_F_ONLINK) != 0,
              .next_hops = {}};
  if (const nlattr* const metrics = attributes[RTA_METRICS]) {
    out.mtu = Attributes<RTAX_MAX + 1>(metrics).u32(RTAX_MTU);
  }
  if (const nlattr* const multipath = attributes[RTA_MULTIPATH])
    out.next_hops = parse_next_hops(multipath, family);
  return true;
}

bool parse_message(const nlmsghdr* message, Neighbor& out) {
  return message->nlmsg_type == RTM_NEWNEIGH && parse_neighbor(message, out);
}

bool parse_neighbor(const nlmsghdr* message, Neighbor& out) {
  if (message->nlmsg_type != RTM_NEWNEIGH && message->nlmsg_type != RTM_DELNEIGH) return false;
  const auto* const head = head_of<ndmsg>(message, message->nlmsg_type);
  if (head == nullptr || !ip_family(head->ndm_family)) return false;
  const Attributes<NDA_MAX + 1> attributes(message, sizeof *head);
  const auto address = attributes.ip(NDA_DST, head->ndm_family);
  if (!address) return false;
  out = Neighbor{.link = static_cast<unsigned>(head->ndm_ifindex),
                 .address = *address,
                 .mac = attributes.mac(NDA_LLADDR),
                 .state = head->ndm_state,
                 .flags = head->ndm_flags};
  return true;
}

std::string error_text(const nlmsghdr* message, int& error) {
  error = EPROTO;
  if (mnl_nlmsg_get_payload_len(message) < sizeof(nlmsgerr)) return "malformed answer from the kernel";
  const auto* const body = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(message));
  error = -body->error;
  if (error == 0) return {};
  std::string text = std::strerror(error);
  if ((message->nlmsg_flags & NLM_F_ACK_TLVS) == 0) return text;
  std::size_t skip = sizeof *body;
  if ((message->nlmsg_flags & NLM_F_CAPPED) == 0) skip += mnl_nlmsg_get_payload_len(&body->msg);
  if (skip >= mnl_nlmsg_get_payload_len(message)) return text;
  const auto words = Attributes<NLMSGERR_ATTR_MAX + 1>(message, skip).text(NLMSGERR_ATTR_MSG);
  return words.empty() ? text : text + " (" + words + ")";
}

}  // namespace podwire::control::netlink
