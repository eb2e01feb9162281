// Reading ARP (RFC 826) and neighbour discovery (RFC 4861) messages from parsed packets. Null or nothing for
// whatever is not a well-formed one.
#pragma once

#include <cstring>
#include <optional>

#include "dataplane/headers/headers.hpp"
#include "dataplane/packet/access.hpp"
#include "dataplane/packet/checksum.hpp"
#include "dataplane/packet/meta.hpp"

namespace podwire::engine {

inline ArpHeader* arp_of(rte_mbuf* mbuf, const PacketMeta& meta) noexcept {
  if (meta.ether_type != ether_type::kArp) return nullptr;
  auto* arp = header_at<ArpHeader>(mbuf, meta.l3_offset);
  const bool good = arp != nullptr && arp->hardware.host() == 1 &&
                    arp->protocol.host() == ether_type::kIpv4 && arp->hardware_length == 6 &&
                    arp->protocol_length == 4;
  return good ? arp : nullptr;
}

// Whether the packet claims to be neighbour or router discovery; cheap, checks nothing else.
inline bool is_discovery(rte_mbuf* mbuf, const PacketMeta& meta) noexcept {
  if (meta.ether_type != ether_type::kIpv6 || meta.ip_proto != ip_proto::kIcmpv6 || meta.l4_offset == 0)
    return false;
  const auto type = header_unchecked<IcmpHeader>(mbuf, meta.l4_offset)->type;
  return type >= icmp6::kRouterSolicitation && type <= icmp6::kNeighborAdvertisement;
}

struct Discovery {
  const NeighborMessage* message = nullptr;
  std::uint8_t type = 0;   // icmp6::kNeighborSolicitation or kNeighborAdvertisement
  bool solicited = false;  // advertisement in answer to a solicitation
  Ipv6 source;
  Ipv6 target;
  std::optional<MacAddr> link_layer;  // source option of a solicitation, target option of an advertisement
};

// Reads the options: none has length zero or ends behind the message (RFC 4861 section 7.1.1).
inline bool read_discovery_options(rte_mbuf* mbuf, std::uint32_t offset, std::uint32_t end,
                                   Discovery& out) noexcept {
  const bool advertisement = out.type == icmp6::kNeighborAdvertisement;
  const std::uint8_t wanted = advertisement ? icmp6::kOptionTargetLinkLayer : icmp6::kOptionSourceLinkLayer;
  while (offset < end) {
    const auto* option = header_at<LinkLayerOption>(mbuf, offset);  // none is shorter
    if (option == nullptr || option->length == 0) return false;
    offset += option->length * 8u;
    if (offset > end) return false;
    if (option->type == wanted && option->length == 1) out.link_layer = option->mac;
    const bool nobody = !advertisement && out.source.is_zero();
    if (nobody && option->type == icmp6::kOptionSourceLinkLayer) return false;
  }
  return true;
}

inline bool is_solicited_node(const Ipv6& address) noexcept {
  constexpr std::uint8_t kPrefix[13] = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff};
  return std::memcmp(address.bytes.data(), kPrefix, sizeof kPrefix) == 0;
}

// A valid solicitation or advertisement (RFC 4861 sections 7.1.1 and 7.1.2): hop limit 255, code 0, checksum
// right, at least 24 bytes, unicast target and source, good options; a solicitation from the unspecified
// address goes to a solicited-node address and has no source option.
inline std::optional<Discovery> discovery_of(rte_mbuf* mbuf, const PacketMeta& meta) noexcept {
  if (meta.ether_type != ether_type::kIpv6 || meta.ip_proto != ip_proto::kIcmpv6 || meta.l4_offset == 0)
    return {};
  const auto* ip = header_unchecked<Ipv6Header>(mbuf, meta.l3_offset);
  const auto* message = header_at<NeighborMessage>(mbuf, meta.l4_offset);
  const std::uint32_t end = meta.l3_offset + std::uint32_t{sizeof(Ipv6Header)} + ip->payload_length.host();
  const std::uint32_t options = meta.l4_offset + std::uint32_t{sizeof(NeighborMessage)};
  if (message == nullptr || options > end || ip->hop_limit != 255 || message->icmp.code != 0) return {};
  Discovery discovery;
  discovery.message = message;
  discovery.type = message->icmp.type;
  discovery.source = ip->source;
  discovery.target = message->target;
  const bool advertisement = discovery.type == icmp6::kNeighborAdvertisement;
  if (!advertisement && discovery.type != icmp6::kNeighborSolicitation) return {};
  if (message->target.is_multicast() || ip->source.is_multicast()) return {};
  if (!advertisement && ip->source.is_zero() && !is_solicited_node(ip->destination)) return {};
  discovery.solicited = advertisement && (message->icmp.rest.host() & icmp6::kNaSolicited) != 0;
  if (!read_discovery_options(mbuf, options, end, discovery)) return {};
  if (!verify_l4(mbuf, meta.l3_offset, meta.l4_offset, ip_proto::kIcmpv6)) return {};
  return discovery;
}

}  // namespace podwire::engine
