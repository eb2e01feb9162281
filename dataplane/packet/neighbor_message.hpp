// Reading ARP (RFC 826) and neighbour discovery (RFC 4861) messages from parsed packets. Null or nothing for
// whatever is not a well-formed one.
#pragma once

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
  std::uint8_t type = 0;   // icmp6::kNeighborSolicitation or kNeighborAdvertisement
  bool solicited = false;  // advertisement in answer to a solicitation
  Ipv6 source;
  Ipv6 target;
  std::optional<MacAddr> link_layer;  // source option of a solicitation, target option of an advertisement
};

// A valid solicitation or advertisement (RFC 4861 sections 7.1.1 and 7.1.2): hop limit 255, code 0, checksum
// right, at least 24 bytes, unicast target, options of non-zero length.
inline std::optional<Discovery> discovery_of(rte_mbuf* mbuf, const PacketMeta& meta) noexcept {
  if (meta.ether_type != ether_type::kIpv6 || meta.ip_proto != ip_proto::kIcmpv6 || meta.l4_offset == 0)
    return {};
  const auto* ip = header_unchecked<Ipv6Header>(mbuf, meta.l3_offset);
  const auto* message = header_at<NeighborMessage>(mbuf, meta.l4_offset);
  if (message == nullptr || ip->hop_limit != 255 || message->icmp.code != 0) return {};
  Discovery discovery;
  discovery.type = message->icmp.type;
  if (discovery.type != icmp6::kNeighborSolicitation && discovery.type != icmp6::kNeighborAdvertisement)
    return {};
  if (message->target.is_multicast()) return {};
  if (!verify_l4(mbuf, meta.l3_offset, meta.l4_offset, ip_proto::kIcmpv6)) return {};
  const bool advertisement = discovery.type == icmp6::kNeighborAdvertisement;
  discovery.solicited = advertisement && (message->icmp.rest.host() & icmp6::kNaSolicited) != 0;
  discovery.source = ip->source;
  discovery.target = message->target;
  const std::uint32_t end = meta.l3_offset + std::uint32_t{sizeof(Ipv6Header)} + ip->payload_length.host();
  std::uint32_t offset = meta.l4_offset + std::uint32_t{sizeof(NeighborMessage)};
  const std::uint8_t wanted = advertisement ? icmp6::kOptionTargetLinkLayer : icmp6::kOptionSourceLinkLayer;
  while (offset + sizeof(LinkLayerOption) <= end) {
    const auto* option = header_at<LinkLayerOption>(mbuf, offset);
    if (option == nullptr || option->length == 0) return {};
    if (option->type == wanted && option->length == 1) discovery.link_layer = option->mac;
    offset += option->length * 8u;
  }
  return discovery;
}

}  // namespace podwire::engine
