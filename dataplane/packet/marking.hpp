// The byte of DSCP (RFC 2474) and ECN (RFC 3168) in IP headers: read, marked, and carried through tunnels as
// RFC 6040 (normal mode) and RFC 2983 (uniform: the tunnel's DSCP is the packet's, and what the network does
// to it on the way ends with the tunnel) have it. Headers are those that the parse stage found. Called by
// workers.
#pragma once

#include "dataplane/headers/headers.hpp"
#include "dataplane/packet/access.hpp"
#include "dataplane/packet/checksum.hpp"
#include "dataplane/packet/meta.hpp"

namespace podwire::engine {

inline constexpr std::uint8_t kEcnMask = 3, kNotEct = 0, kEct1 = 1, kEct0 = 2, kCongestion = 3;

inline std::uint8_t traffic_class(const Ipv6Header& ip) noexcept {
  return static_cast<std::uint8_t>(ip.version_class_flow.host() >> 20);
}

// Of IPv4 and IPv6; 0 for all else.
inline std::uint8_t traffic_class_of(rte_mbuf* mbuf, const PacketMeta& meta) noexcept {
  if (meta.ether_type == ether_type::kIpv4) [[likely]]
    return header_unchecked<Ipv4Header>(mbuf, meta.l3_offset)->dscp_ecn;
  if (meta.ether_type == ether_type::kIpv6)
    return traffic_class(*header_unchecked<Ipv6Header>(mbuf, meta.l3_offset));
  return 0;
}

// With the header checksum kept right.
inline void set_traffic_class(Ipv4Header& ip, std::uint8_t value) noexcept {
  // The second byte of its word.
  const auto before = Be16(ip.dscp_ecn), after = Be16(value);
  ip.dscp_ecn = value;
  ip.checksum = update_checksum(ip.checksum, before, after);
}

inline void set_traffic_class(Ipv6Header& ip, std::uint8_t value) noexcept {
  const auto rest = ip.version_class_flow.host() & ~(std::uint32_t{0xff} << 20);
  ip.version_class_flow = Be32(rest | std::uint32_t{value} << 20);
}

// Gives an IP packet `kept & its byte | set`.
inline void mark_traffic_class(rte_mbuf* mbuf, const PacketMeta& meta, std::uint8_t kept,
                               std::uint8_t set) noexcept {
  const auto before = traffic_class_of(mbuf, meta);
  const auto after = static_cast<std::uint8_t>((before & kept) | set);
  if (before == after) return;
  if (meta.ether_type == ether_type::kIpv4)
    set_traffic_class(*header_unchecked<Ipv4Header>(mbuf, meta.l3_offset), after);
  else if (meta.ether_type == ether_type::kIpv6)
    set_traffic_class(*header_unchecked<Ipv6Header>(mbuf, meta.l3_offset), after);
}

// What congestion the tunnel met becomes the packet's (RFC 6040 section 4.2). False: it must be dropped,
// since its sender would not understand (congestion was signalled, and it is not ECN-capable).
[[nodiscard]] inline bool carry_congestion(rte_mbuf* mbuf, const PacketMeta& meta,
                                           std::uint8_t outer) noexcept {
  const std::uint8_t outer_ecn = outer & kEcnMask;
  if (outer_ecn == kNotEct || outer_ecn == kEct0) [[likely]]
    return true;
  if (meta.ether_type != ether_type::kIpv4 && meta.ether_type != ether_type::kIpv6) return true;
  const std::uint8_t ecn = traffic_class_of(mbuf, meta) & kEcnMask;
  if (ecn == kNotEct) return outer_ecn != kCongestion;
  // ECT(1) tells more than ECT(0), and congestion more than both.
  if (outer_ecn == kCongestion || ecn == kEct0)
    mark_traffic_class(mbuf, meta, static_cast<std::uint8_t>(~kEcnMask), outer_ecn);
  return true;
}

}  // namespace podwire::engine
