#include "dataplane/ports/vnet_header.hpp"

#include "dataplane/headers/headers.hpp"
#include "dataplane/packet/access.hpp"
#include "dataplane/packet/checksum.hpp"
#include "dataplane/packet/ipv6_chain.hpp"
#include "dataplane/packet/offload.hpp"
#include "dataplane/packet/segment.hpp"

namespace podwire::engine {
namespace {

constexpr std::uint16_t kTcpChecksumOffset = offsetof(TcpHeader, checksum);
constexpr std::uint16_t kUdpChecksumOffset = offsetof(UdpHeader, checksum);

// Where the packet's own headers lie. l4 is 0 when no unfragmented TCP or UDP header was found.
struct Layout {
  std::uint16_t l3 = 0;
  std::uint16_t l4 = 0;
  std::uint8_t protocol = 0;
  bool v6 = false;
};

Layout find_layout(rte_mbuf* packet) noexcept {
  Layout layout;
  const auto* ether = header_at<EtherHeader>(packet, 0);
  if (ether == nullptr) return layout;
  std::uint16_t type = ether->type.host();
  layout.l3 = sizeof(EtherHeader);
  if (type == ether_type::kVlan) {
    const auto* inner_type = header_at<Be16>(packet, sizeof(EtherHeader) + 2);
    if (inner_type == nullptr) return layout;
    type = inner_type->host();
    layout.l3 += sizeof(VlanTag);
  }
  if (type == ether_type::kIpv4) {
    const auto* ip = header_at<Ipv4Header>(packet, layout.l3);
    if (ip == nullptr || (ip->version_ihl >> 4) != 4 || ip->header_bytes() < sizeof(Ipv4Header))
      return layout;
    if (ip->is_fragment()) return layout;
    layout.protocol = ip->protocol;
    layout.l4 = static_cast<std::uint16_t>(layout.l3 + ip->header_bytes());
  } else if (type == ether_type::kIpv6) {
    const auto* ip = header_at<Ipv6Header>(packet, layout.l3);
    if (ip == nullptr || (ip->version_class_flow.host() >> 28) != 6) return layout;
    const auto chain = walk_ipv6_chain(packet, layout.l3);
    if (!chain.complete || chain.is_fragment || chain.authenticated) return layout;
    layout.v6 = true;
    layout.protocol = chain.protocol;
    layout.l4 = static_cast<std::uint16_t>(chain.offset);  // in the first segment
  }
  if (layout.protocol != ip_proto::kTcp && layout.protocol != ip_proto::kUdp) layout.l4 = 0;
  return layout;
}

// The ones' complement sum from checksum_start to the packet's end, into the field: what virtio defines,
// whatever the protocol. A UDP field never becomes zero, which would say that there is no checksum (RFC 768).
bool complete_here(const VnetHeader& header, rte_mbuf* packet) noexcept {
  const std::uint32_t start = header.checksum_start;
  auto* field = header_at<Be16>(packet, start + header.checksum_offset);
  std::uint16_t sum = 0;
  if (field == nullptr || start >= packet->pkt_len) return false;
  if (!sum_mbuf(packet, start, packet->pkt_len - start, sum)) return false;
  Be16 checksum = checksum_of(sum);
  if (checksum.raw() == 0 && header.checksum_offset == kUdpChecksumOffset) checksum = Be16(0xffff);
  *field = checksum;
  return true;
}

bool apply_checksum(const VnetHeader& header, const Layout& layout, rte_mbuf* packet) noexcept {
  const std::uint16_t l3_bytes = static_cast<std::uint16_t>(layout.l4 - layout.l3);
  const bool tcp = layout.protocol == ip_proto::kTcp;
  const std::uint16_t offset = tcp ? kTcpChecksumOffset : kUdpChecksumOffset;
  const std::size_t least = layout.l4 + (tcp ? sizeof(TcpHeader) : sizeof(UdpHeader));
  if (layout.l4 == 0 || header.checksum_start != layout.l4 || header.checksum_offset != offset ||
      l3_bytes >= 512 || least > packet->data_len) {  // l3_len has 9 bits
    return complete_here(header, packet);
  }
  packet->tx_offload = rte_mbuf_tx_offload(layout.l3, l3_bytes, 0, 0, 0, 0, 0);
  packet->ol_flags |= (tcp ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM) |
                      (layout.v6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4);
  return true;
}

bool apply_segmentation(const VnetHeader& header, const Layout& layout, rte_mbuf* packet) noexcept {
  const std::uint8_t type = header.gso_type & static_cast<std::uint8_t>(~VnetHeader::kGsoEcn);
  const bool fits =
      (type == VnetHeader::kGsoTcp4 && !layout.v6) || (type == VnetHeader::kGsoTcp6 && layout.v6);
  if (!fits || (packet->ol_flags & RTE_MBUF_F_TX_L4_MASK) != RTE_MBUF_F_TX_TCP_CKSUM) return false;
  if (header.gso_size < kMinSegmentPayload) return false;
  const auto* tcp = header_unchecked<TcpHeader>(packet, layout.l4);  // apply_checksum has seen it
  const std::uint32_t headers = layout.l4 + std::uint32_t{tcp->header_bytes()};
  if (tcp->header_bytes() < sizeof(TcpHeader) || headers > packet->data_len) return false;
  if (packet->pkt_len - headers <= header.gso_size) return true;  // one segment already
  packet->tx_offload =
      rte_mbuf_tx_offload(packet->l2_len, packet->l3_len, tcp->header_bytes(), header.gso_size, 0, 0, 0);
  packet->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
  return true;
}

}  // namespace

bool apply_vnet_header(const VnetHeader& header, rte_mbuf* packet) noexcept {
  if (header.gso_type == VnetHeader::kGsoNone) {
    if ((header.flags & VnetHeader::kNeedsChecksum) == 0) {
      if ((header.flags & VnetHeader::kDataValid) != 0) packet->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_GOOD;
      return true;
    }
  } else if ((header.flags & VnetHeader::kNeedsChecksum) == 0) {
    return false;  // virtio 1.1 section 5.1.6.2.1: segmentation needs the checksum done too
  }
  const Layout layout = find_layout(packet);
  if (apply_checksum(header, layout, packet) &&
      (header.gso_type == VnetHeader::kGsoNone || apply_segmentation(header, layout, packet))) {
    return true;
  }
  clear_offload(packet);
  return false;
}

bool apply_own_offload(std::uint16_t segment_bytes, rte_mbuf* packet) noexcept {
  const Layout layout = find_layout(packet);
  if (layout.l4 == 0) return false;
  VnetHeader header{};
  header.flags = VnetHeader::kNeedsChecksum;
  header.checksum_start = layout.l4;
  header.checksum_offset = layout.protocol == ip_proto::kTcp ? kTcpChecksumOffset : kUdpChecksumOffset;
  header.gso_size = segment_bytes;
  if (segment_bytes != 0) header.gso_type = layout.v6 ? VnetHeader::kGsoTcp6 : VnetHeader::kGsoTcp4;
  if (apply_checksum(header, layout, packet) &&
      (segment_bytes == 0 || apply_segmentation(header, layout, packet))) {
    return true;
  }
  clear_offload(packet);
  return false;
}

VnetHeader make_vnet_header(rte_mbuf* packet) noexcept {
  VnetHeader header{};
  if (!needs_l4_checksum(packet)) {
    if ((packet->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_GOOD) {
      header.flags = VnetHeader::kDataValid;
    }
    return header;
  }
  const bool tcp = (packet->ol_flags & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_TCP_CKSUM;
  header.flags = VnetHeader::kNeedsChecksum;
  header.checksum_start = static_cast<std::uint16_t>(packet->l2_len + packet->l3_len);
  header.checksum_offset = tcp ? kTcpChecksumOffset : kUdpChecksumOffset;
  if (!needs_segmentation(packet)) return header;
  header.gso_type =
      (packet->ol_flags & RTE_MBUF_F_TX_IPV6) != 0 ? VnetHeader::kGsoTcp6 : VnetHeader::kGsoTcp4;
  header.gso_size = packet->tso_segsz;
  header.header_length = static_cast<std::uint16_t>(header.checksum_start + packet->l4_len);
  const auto* l4 = header_at<TcpHeader>(packet, header.checksum_start);
  if (l4 != nullptr && (l4->flags & TcpHeader::kCwr) != 0) header.gso_type |= VnetHeader::kGsoEcn;
  return header;
}

}  // namespace podwire::engine
