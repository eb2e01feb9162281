// VXLAN (RFC 7348) as the decap and encap stages use it: recognising a packet for one of our VTEPs, taking
// the outer headers off, and putting a VtepEntry's ready-made ones on.
#pragma once

#include "dataplane/headers/headers.hpp"
#include "dataplane/packet/access.hpp"
#include "dataplane/packet/checksum.hpp"
#include "dataplane/packet/linearize.hpp"
#include "dataplane/packet/meta.hpp"
#include "dataplane/tables/snapshot.hpp"

namespace podwire::engine::vxlan {

inline constexpr std::uint16_t kSourcePortBase = 49152;  // RFC 7348 section 5: the dynamic range, 49152-65535
inline constexpr std::uint16_t kSourcePortMask = 0x3fff;

// The local VTEP that this parsed outer packet is for, or null. Fragments are never ours: VTEPs must not
// fragment (RFC 7348 section 4.3), and half a header could not be judged.
inline const LocalVtep* match_local(const Snapshot& tables, rte_mbuf* mbuf, const PacketMeta& meta) noexcept {
  if (meta.ip_proto != ip_proto::kUdp || meta.l4_offset == 0 || meta.is_fragment) return nullptr;
  const auto udp_port = header_unchecked<UdpHeader>(mbuf, meta.l4_offset)->destination_port.host();
  const bool v4 = meta.ether_type == ether_type::kIpv4;
  if (!v4 && meta.ether_type != ether_type::kIpv6) return nullptr;
  for (const auto& vtep : tables.local_vteps) {
    if (vtep.udp_port != udp_port || vtep.address.is_v4() != v4) continue;
    const bool same =
        v4 ? vtep.address.v4() == header_unchecked<Ipv4Header>(mbuf, meta.l3_offset)->destination
           : vtep.address.v6() == header_unchecked<Ipv6Header>(mbuf, meta.l3_offset)->destination;
    if (same) return &vtep;
  }
  return nullptr;
}

struct Sender {
  IpAddr address;
  std::uint32_t slot = 0;  // in Snapshot::vteps, 0 when it is no configured peer
};

inline Sender find_sender(const Snapshot& tables, rte_mbuf* mbuf, const PacketMeta& meta,
                          std::uint16_t udp_port) noexcept {
  if (meta.ether_type == ether_type::kIpv4) {
    const auto source = header_unchecked<Ipv4Header>(mbuf, meta.l3_offset)->source;
    return {IpAddr(source), tables.vtep4->find(vtep4_key(source, udp_port))};
  }
  const auto source = header_unchecked<Ipv6Header>(mbuf, meta.l3_offset)->source;
  return {IpAddr(source), tables.vtep6->find(vtep6_key(source, udp_port))};
}

// Checks the outer UDP and VXLAN headers and strips everything before the inner frame, padding behind it too.
// On failure the packet is unchanged and `reason` is set.
inline bool strip(rte_mbuf* mbuf, const PacketMeta& meta, Vni& vni, DropReason& reason) noexcept {
  const auto* udp = header_unchecked<UdpHeader>(mbuf, meta.l4_offset);
  const auto* header = header_at<VxlanHeader>(mbuf, meta.l4_offset + sizeof(UdpHeader));
  const std::uint32_t udp_bytes = udp->length.host();
  constexpr std::uint32_t kLeast = sizeof(UdpHeader) + sizeof(VxlanHeader) + sizeof(EtherHeader);
  if (header == nullptr || udp_bytes < kLeast || meta.l4_offset + udp_bytes > mbuf->pkt_len) {
    reason = DropReason::bad_vxlan_header;
    return false;
  }
  if ((header->flags & VxlanHeader::kVniValid) == 0) {
    reason = DropReason::bad_vxlan_header;
    return false;
  }
  // Zero means the sender computed none, which RFC 7348 section 5 (IPv4) and RFC 6935 (IPv6 tunnels) allow.
  if (udp->checksum.raw() != 0 &&
      (mbuf->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) != RTE_MBUF_F_RX_L4_CKSUM_GOOD &&
      !verify_l4(mbuf, meta.l3_offset, meta.l4_offset, ip_proto::kUdp)) {
    reason = DropReason::bad_outer_checksum;
    return false;
  }
  vni = header->get_vni();
  const std::uint32_t end = meta.l4_offset + udp_bytes;
  truncate(mbuf, end);
  rte_pktmbuf_adj(mbuf, static_cast<std::uint16_t>(meta.l4_offset + sizeof(UdpHeader) + sizeof(VxlanHeader)));
  // What the NIC said of checksums was about the outer headers.
  mbuf->ol_flags &= ~(RTE_MBUF_F_RX_L4_CKSUM_MASK | RTE_MBUF_F_RX_IP_CKSUM_MASK);
  return true;
}

// Puts the headers of a VTEP over IPv4 before the frame; there is headroom for them. See prepend().
[[gnu::always_inline]] inline void put_before(rte_mbuf* mbuf, const VtepEntry& vtep, Vni vni,
                                              std::uint32_t hash, std::uint8_t traffic_class) noexcept {
  const std::uint16_t bytes = vtep.header_bytes;
  mbuf->data_off = static_cast<std::uint16_t>(mbuf->data_off - bytes);
  mbuf->data_len = static_cast<std::uint16_t>(mbuf->data_len + bytes);
  mbuf->pkt_len += bytes;
  auto* start = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
  // Two whole vectors that overlap: the headers have 50 or, with a VLAN tag, 54 bytes.
  constexpr std::size_t kVector = 32;
  std::memcpy(start, vtep.header.data(), kVector);
  std::memcpy(start + bytes - kVector, vtep.header.data() + bytes - kVector, kVector);
  const auto ip_bytes = static_cast<std::uint16_t>(mbuf->pkt_len - vtep.l3_offset);
  auto* ip = reinterpret_cast<Ipv4Header*>(start + vtep.l3_offset);
  auto* udp = reinterpret_cast<UdpHeader*>(ip + 1);
  auto* header = reinterpret_cast<VxlanHeader*>(udp + 1);
  ip->dscp_ecn = traffic_class;  // the second byte of its word
  ip->total_length = Be16(ip_bytes);
  std::uint32_t sum = vtep.checksum_base + ip->total_length.raw() + (std::uint32_t{traffic_class} << 8);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  ip->checksum = Be16::from_raw(static_cast<std::uint16_t>(~sum));
  udp->source_port = Be16(static_cast<std::uint16_t>(kSourcePortBase | (hash & kSourcePortMask)));
  udp->length = Be16(static_cast<std::uint16_t>(ip_bytes - sizeof(Ipv4Header)));
  const std::uint32_t vni_word = __builtin_bswap32(vni.value() << 8);
  std::memcpy(&header->vni, &vni_word, sizeof vni_word);
}

// Puts `vtep`'s headers before the frame. False when there is no headroom (the packet is unchanged then). The
// outer UDP checksum is 0 over IPv4 (RFC 7348 section 5) and computed over IPv6, where Linux drops zero by
// default. `traffic_class` is the inner packet's (packet/marking.hpp).
inline bool prepend(rte_mbuf* mbuf, const VtepEntry& vtep, Vni vni, std::uint32_t hash,
                    std::uint8_t traffic_class) noexcept {
  if (vtep.header_bytes > rte_pktmbuf_headroom(mbuf)) return false;
  if (!vtep.v6) {
    put_before(mbuf, vtep, vni, hash, traffic_class);
    return true;
  }
  auto* start = reinterpret_cast<std::uint8_t*>(rte_pktmbuf_prepend(mbuf, vtep.header_bytes));
  std::memcpy(start, vtep.header.data(), vtep.header_bytes);
  const auto ip_bytes = static_cast<std::uint16_t>(mbuf->pkt_len - vtep.l3_offset);
  auto* udp = reinterpret_cast<UdpHeader*>(start + vtep.l3_offset + sizeof(Ipv6Header));
  auto* header = reinterpret_cast<VxlanHeader*>(udp + 1);
  const auto udp_bytes = static_cast<std::uint16_t>(ip_bytes - sizeof(Ipv6Header));
  udp->source_port = Be16(static_cast<std::uint16_t>(kSourcePortBase | (hash & kSourcePortMask)));
  udp->length = Be16(udp_bytes);
  header->vni[0] = static_cast<std::uint8_t>(vni.value() >> 16);
  header->vni[1] = static_cast<std::uint8_t>(vni.value() >> 8);
  header->vni[2] = static_cast<std::uint8_t>(vni.value());
  auto* ip = reinterpret_cast<Ipv6Header*>(start + vtep.l3_offset);
  ip->version_class_flow = Be32(6u << 28 | std::uint32_t{traffic_class} << 20);
  ip->payload_length = Be16(udp_bytes);
  udp->checksum = Be16{};
  std::uint16_t sum = 0;
  if (!sum_mbuf(mbuf, vtep.l3_offset + sizeof(Ipv6Header), udp_bytes, sum))
    return false;  // udp_bytes is the rest of the packet
  udp->checksum =
      checksum_of(sum + pseudo_header_sum(ip->source, ip->destination, ip_proto::kUdp, udp_bytes));
  if (udp->checksum.raw() == 0) udp->checksum = Be16(0xffff);  // zero would mean "none" (RFC 768)
  return true;
}

}  // namespace podwire::engine::vxlan
