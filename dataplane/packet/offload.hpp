// Checksum and segmentation work that a packet still carries, in the mbuf's own fields, with virtio's meaning
// (virtio 1.1 section 5.1.6.2), whatever port it came from:
//  - RTE_MBUF_F_TX_TCP_CKSUM or _UDP_CKSUM: the L4 checksum field holds the folded, uncomplemented
//  pseudo-header sum
//    (with the L4 length of the packet as it is); l2_len + l3_len lead to the L4 header.
//  - RTE_MBUF_F_TX_TCP_SEG as well: the packet is larger than its segments; tso_segsz is the payload a
//  segment,
//    l4_len the TCP header. IPv4 or IPv6 is told by RTE_MBUF_F_TX_IPV4 / _IPV6.
// l2_len counts from the start of the frame as it stands, so stages that add or strip bytes in front must
// adjust it: decap and encap never see such packets (finalize completes them before encap; a received tunnel
// packet has none). Physical ports convert to DPDK's meaning on transmit.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>

namespace podwire::engine {

inline constexpr std::uint64_t kL4ChecksumFlags = RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_UDP_CKSUM;

inline bool needs_l4_checksum(const rte_mbuf* mbuf) {
  // TCP_CKSUM (1), SCTP_CKSUM (2) and UDP_CKSUM (3) are values of one two-bit field.
  return (mbuf->ol_flags & RTE_MBUF_F_TX_L4_MASK) != 0;
}
inline bool needs_segmentation(const rte_mbuf* mbuf) {
  return (mbuf->ol_flags & RTE_MBUF_F_TX_TCP_SEG) != 0;
}
// Bytes of all the frames that the packet is or becomes.
inline std::uint32_t bytes_on_wire(const rte_mbuf* mbuf) {
  const auto headers = static_cast<std::uint32_t>(mbuf->l2_len + mbuf->l3_len + mbuf->l4_len);
  if (!needs_segmentation(mbuf) || mbuf->tso_segsz == 0 || mbuf->pkt_len <= headers) return mbuf->pkt_len;
  const std::uint32_t segments = (mbuf->pkt_len - headers + mbuf->tso_segsz - 1) / mbuf->tso_segsz;
  return mbuf->pkt_len + (segments - 1) * headers;
}
inline void clear_offload(rte_mbuf* mbuf) {
  mbuf->ol_flags &= ~(RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_IPV4 |
                      RTE_MBUF_F_TX_IPV6 | RTE_MBUF_F_TX_IP_CKSUM);
  mbuf->tx_offload = 0;
}

}  // namespace podwire::engine
