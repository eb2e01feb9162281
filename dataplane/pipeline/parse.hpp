// Parse: finds and checks the headers of every packet and notes their offsets. Later stages read only what
// this stage has found. The same function parses the inner frame after decap.
#pragma once

#include <rte_ip.h>

#include "dataplane/headers/headers.hpp"
#include "dataplane/packet/access.hpp"
#include "dataplane/packet/burst.hpp"
#include "dataplane/packet/ipv6_chain.hpp"
#include "dataplane/pipeline/context.hpp"

namespace podwire::engine {

// The outcome of one parser; kGood, or why the packet cannot go on.
struct ParseResult {
  bool good = true;
  DropReason reason{};
  static ParseResult bad(DropReason reason) { return {false, reason}; }
};

// Notes where L4 begins when all of its fixed header is in reach; otherwise l4_offset stays 0.
inline void note_l4(rte_mbuf* mbuf, PacketMeta& meta, std::uint32_t offset, std::uint32_t l4_bytes) noexcept {
  std::uint32_t least = 8;
  if (meta.ip_proto == ip_proto::kTcp) least = sizeof(TcpHeader);
  if (l4_bytes < least || offset + least > mbuf->data_len) return;
  meta.l4_offset = static_cast<std::uint16_t>(offset);
}

// Whether the header's checksum is right: its words then add up to all ones (RFC 1071). Most headers have no
// options, and theirs is spelt out.
inline bool ipv4_sum_is_right(const Ipv4Header* ip, std::uint16_t header_bytes) noexcept {
  if (header_bytes != sizeof(Ipv4Header)) [[unlikely]]
    return rte_raw_cksum(ip, header_bytes) == 0xffff;
  std::uint32_t words[5];
  std::memcpy(words, ip, sizeof words);
  std::uint64_t sum = 0;
  for (const auto word : words) sum += word;
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return (sum & 0xffff) + (sum >> 16) == 0xffff;
}

inline ParseResult parse_ipv4(rte_mbuf* mbuf, PacketMeta& meta) noexcept {
  const auto* ip = header_at<Ipv4Header>(mbuf, meta.l3_offset);
  if (ip == nullptr) return ParseResult::bad(DropReason::frame_too_short);
  const std::uint16_t header_bytes = ip->header_bytes();
  const std::uint16_t total = ip->total_length.host();
  if ((ip->version_ihl >> 4) != 4 || header_bytes < sizeof(Ipv4Header) || total < header_bytes) {
    return ParseResult::bad(DropReason::bad_ipv4_header);
  }
  if (meta.l3_offset + header_bytes > mbuf->data_len ||
      std::uint32_t{meta.l3_offset} + total > mbuf->pkt_len) {
    return ParseResult::bad(DropReason::frame_too_short);
  }
  if (!ipv4_sum_is_right(ip, header_bytes)) return ParseResult::bad(DropReason::bad_ipv4_checksum);
  meta.ip_proto = ip->protocol;
  meta.is_fragment = ip->is_fragment();
  if (!ip->is_later_fragment()) note_l4(mbuf, meta, meta.l3_offset + header_bytes, total - header_bytes);
  return {};
}

// A chain of extension headers that leaves the first segment ends the walk: the packet is forwarded by its
// addresses, without L4.
inline ParseResult parse_ipv6(rte_mbuf* mbuf, PacketMeta& meta) noexcept {
  const auto* ip = header_at<Ipv6Header>(mbuf, meta.l3_offset);
  if (ip == nullptr) return ParseResult::bad(DropReason::frame_too_short);
  if ((ip->version_class_flow.host() >> 28) != 6) return ParseResult::bad(DropReason::bad_ipv6_header);
  const std::uint32_t end = meta.l3_offset + std::uint32_t{sizeof(Ipv6Header)} + ip->payload_length.host();
  if (end > mbuf->pkt_len) return ParseResult::bad(DropReason::frame_too_short);
  const auto chain = walk_ipv6_chain(mbuf, meta.l3_offset, *ip);
  if (chain.malformed) return ParseResult::bad(DropReason::bad_ipv6_header);
  meta.ip_proto = chain.protocol;
  meta.is_fragment = chain.has_fragment;
  if (chain.complete && !chain.later_fragment) note_l4(mbuf, meta, chain.offset, end - chain.offset);
  return {};
}

// Parses the frame at the start of `mbuf` into `meta`.
inline ParseResult parse_frame(rte_mbuf* mbuf, PacketMeta& meta) noexcept {
  const auto* ether = header_at<EtherHeader>(mbuf, 0);
  if (ether == nullptr) return ParseResult::bad(DropReason::frame_too_short);
  if (ether->source.is_multicast()) return ParseResult::bad(DropReason::bad_ethernet);
  meta.ether_type = ether->type.host();
  meta.l3_offset = sizeof(EtherHeader);
  meta.l4_offset = 0;
  meta.is_fragment = false;
  if (meta.ether_type == ether_type::kIpv4) [[likely]]
    return parse_ipv4(mbuf, meta);
  if (meta.ether_type == ether_type::kIpv6) return parse_ipv6(mbuf, meta);
  return {};
}

// Removes the 802.1Q tag when it is the one this uplink carries.
inline bool strip_vlan(rte_mbuf* mbuf, std::uint16_t vlan) noexcept {
  const auto* ether = header_at<EtherHeader>(mbuf, 0);
  const auto* tag = header_at<VlanTag>(mbuf, sizeof(EtherHeader) - sizeof(Be16));
  if (ether == nullptr || tag == nullptr || mbuf->data_len < sizeof(EtherHeader) + sizeof(VlanTag))
    return false;
  if (tag->tpid.host() != ether_type::kVlan || (tag->tci.host() & VlanTag::kIdMask) != vlan) return false;
  auto* start = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
  std::memmove(start + sizeof(VlanTag), start, 2 * sizeof(MacAddr));
  rte_pktmbuf_adj(mbuf, sizeof(VlanTag));
  return true;
}

struct ParseStage {
  static constexpr std::string_view kName = "parse";

  static void run(Context& ctx, Burst& burst) noexcept {
    const PortEntry* port = nullptr;
    bool pod = false;
    for (std::uint16_t i = 0; i < burst.count; ++i) {
      if (i + 4 < burst.count) rte_prefetch0(rte_pktmbuf_mtod(burst.mbufs[i + 4], void*));
      auto& meta = burst.meta[i];
      if (i == 0 || meta.ingress != burst.meta[i - 1].ingress) {
        port = ctx.tables->port(meta.ingress);
        pod = meta.ingress_role == static_cast<std::uint8_t>(api::PortRole::kPod);
      }
      if (port != nullptr && port->vlan != 0 && !strip_vlan(burst.mbufs[i], port->vlan)) {
        burst.drop(i, DropReason::bad_ethernet);
        continue;
      }
      const auto result = parse_frame(burst.mbufs[i], meta);
      if (!result.good) {
        burst.drop(i, result.reason);
      } else if (pod && meta.ether_type == ether_type::kVlan) {
        burst.drop(i, DropReason::bad_ethernet);
      }
    }
  }
};

}  // namespace podwire::engine
