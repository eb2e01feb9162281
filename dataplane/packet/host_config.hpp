// Which packets configure hosts: DHCPv4, DHCPv6 and router discovery, told apart by what parse has found.
// Called by workers.
#pragma once

#include "dataplane/headers/headers.hpp"
#include "dataplane/packet/access.hpp"
#include "dataplane/packet/dhcp4.hpp"
#include "dataplane/packet/dhcp6.hpp"
#include "dataplane/packet/meta.hpp"

namespace podwire::engine {

enum class HostConfig : std::uint8_t {
  kNone,
  // What hosts ask.
  kDhcp4Question,
  kDhcp6Question,
  kRouterSolicitation,
  // What servers and routers say.
  kDhcpServer,
  kRouterAdvertisement,
};

// Of UDP the destination port decides: clients take whatever comes to theirs.
inline HostConfig host_config_of(rte_mbuf* mbuf, const PacketMeta& meta) noexcept {
  if (meta.l4_offset == 0) return HostConfig::kNone;
  const bool v4 = meta.ether_type == ether_type::kIpv4;
  if (meta.ip_proto == ip_proto::kUdp) {
    const auto port = header_unchecked<UdpHeader>(mbuf, meta.l4_offset)->destination_port.host();
    const auto server = v4 ? dhcp4::kServerPort : dhcp6::kServerPort;
    const auto client = v4 ? dhcp4::kClientPort : dhcp6::kClientPort;
    if (port == client) return HostConfig::kDhcpServer;
    if (port != server) [[likely]]
      return HostConfig::kNone;
    return v4 ? HostConfig::kDhcp4Question : HostConfig::kDhcp6Question;
  }
  if (meta.ip_proto != ip_proto::kIcmpv6 || v4) return HostConfig::kNone;
  const auto type = header_unchecked<IcmpHeader>(mbuf, meta.l4_offset)->type;
  if (type == icmp6::kRouterSolicitation) return HostConfig::kRouterSolicitation;
  return type == icmp6::kRouterAdvertisement ? HostConfig::kRouterAdvertisement : HostConfig::kNone;
}

// Whether this is a question that a host without address may send from the MAC `mac` (RFC 2131 section 4.1,
// RFC 8415 section 18.2, RFC 4861 section 6.1.1).
inline bool asks_for_address(rte_mbuf* mbuf, const PacketMeta& meta, const MacAddr& mac) noexcept {
  switch (host_config_of(mbuf, meta)) {
    case HostConfig::kDhcp4Question: {
      const auto* ip = header_unchecked<Ipv4Header>(mbuf, meta.l3_offset);
      const auto* client = header_at<MacAddr>(
          mbuf, meta.l4_offset + std::uint32_t{sizeof(UdpHeader)} + offsetof(Dhcp4Header, mac));
      const auto port = header_unchecked<UdpHeader>(mbuf, meta.l4_offset)->source_port.host();
      return ip->source.is_zero() && ip->destination.is_broadcast() && port == dhcp4::kClientPort &&
             client != nullptr && *client == mac;
    }
    case HostConfig::kDhcp6Question: {
      const auto* ip = header_unchecked<Ipv6Header>(mbuf, meta.l3_offset);
      return ip->source.is_link_local() && ip->destination == dhcp6::kAllServers;
    }
    case HostConfig::kRouterSolicitation:
      return header_unchecked<Ipv6Header>(mbuf, meta.l3_offset)->source.is_link_local();
    default:
      return false;
  }
}

}  // namespace podwire::engine
