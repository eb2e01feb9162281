// Internet checksums (RFC 1071) over mbufs, also chained ones, and their incremental update (RFC 1624).
// Called by workers; no state. A "sum" here is of 16-bit words as they stand in memory (wire order), so that
// folded sums are stored and compared raw; folding is end-around and keeps zero only for all-zero input.
#pragma once

#include <rte_mbuf.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "dataplane/headers/headers.hpp"

namespace podwire::engine {

// To 16 bits, with end-around carry.
inline std::uint16_t fold_sum(std::uint64_t sum) noexcept {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}

// What goes into a checksum field: the folded sum's complement.
inline Be16 checksum_of(std::uint64_t sum) noexcept {
  return Be16::from_raw(static_cast<std::uint16_t>(~fold_sum(sum)));
}

// A partial sum that starts at an odd byte of the whole counts with its bytes swapped (RFC 1071 section 2).
inline std::uint16_t swap_sum(std::uint16_t sum) noexcept {
  return __builtin_bswap16(sum);
}

// Sum of `length` bytes; an odd last byte is padded with zero. Any alignment.
std::uint64_t sum_bytes(const void* data, std::size_t length) noexcept;

// The same while copying; the ranges do not overlap.
std::uint64_t copy_and_sum(void* to, const void* from, std::size_t length) noexcept;

// Sum of bytes [offset, offset + length) of a possibly chained packet. False when the packet is shorter.
[[nodiscard]] bool sum_mbuf(const rte_mbuf* mbuf, std::uint32_t offset, std::uint32_t length,
                            std::uint16_t& sum) noexcept;

// Pseudo-headers (RFC 9293 section 3.1, RFC 8200 section 8.1). `l4_length` counts L4 header and payload.
std::uint64_t pseudo_header_sum(const Ipv4& source, const Ipv4& destination, std::uint8_t protocol,
                                std::uint32_t l4_length) noexcept;
std::uint64_t pseudo_header_sum(const Ipv6& source, const Ipv6& destination, std::uint8_t protocol,
                                std::uint32_t l4_length) noexcept;

// Writes the header checksum; options included. header_bytes() must lie in memory.
void set_ipv4_checksum(Ipv4Header* header) noexcept;
[[nodiscard]] bool ipv4_checksum_ok(const Ipv4Header* header) noexcept;

// Whether the L4 checksum of an unfragmented packet is right; `protocol` is TCP, UDP, ICMP or ICMPv6 (any
// other is false). Both headers must lie in the first segment; lengths come from the IP header (UDP: from its
// own) and false is returned when they do not fit the packet. UDP over IPv4 with checksum zero has none and
// is right; over IPv6 it is wrong (RFC 8200 section 8.1; VXLAN's exception is the caller's).
[[nodiscard]] bool verify_l4(const rte_mbuf* mbuf, std::uint32_t l3_offset, std::uint32_t l4_offset,
                             std::uint8_t protocol) noexcept;

// Finishes the partial checksum that packet/offload.hpp describes, in place, and clears the offload fields.
// As virtio means it, everything from l2_len + l3_len to the end is summed. A packet without such work is
// done already. False, packet unchanged: the fields do not fit the packet, or it carries segmentation work
// (drop: bad_offload). Bytes shared with a clone must be complete before the clone is made.
[[nodiscard]] bool complete_l4(rte_mbuf* mbuf) noexcept;

// The checksum after a 16-bit field that it covers changed (RFC 1624, equation 3). Not for a UDP checksum of
// zero.
inline Be16 update_checksum(Be16 checksum, Be16 before, Be16 after) noexcept {
  return checksum_of(std::uint64_t{static_cast<std::uint16_t>(~checksum.raw())} +
                     static_cast<std::uint16_t>(~before.raw()) + after.raw());
}

// TTL - 1 with the header checksum kept right. The TTL must be at least 1.
[[gnu::always_inline]] inline void decrement_ttl(Ipv4Header& header) noexcept {
  static_assert(std::endian::native == std::endian::little);
  header.ttl = static_cast<std::uint8_t>(header.ttl - 1);
  // The TTL is the first byte of its word, so the sum lost 0x0100: as the words lie in memory, 1.
  const std::uint32_t sum = header.checksum.raw() + 1u;
  header.checksum = Be16::from_raw(static_cast<std::uint16_t>(sum + (sum >= 0xffff ? 1 : 0)));
}

}  // namespace podwire::engine
