// What a plain frame is: untagged Ethernet with an unfragmented IPv4 packet without options that carries TCP
// or UDP, whole in one segment, with no checksum or segmentation work left. Most traffic is; the express lane
// (pipeline/express.hpp) serves it, and leaves all else to the stages. Everything here agrees with
// pipeline/parse.hpp. Called by workers.
#pragma once

#include <rte_mbuf.h>

#include <array>
#include <cstdint>
#include <cstring>

#include "dataplane/headers/headers.hpp"
#include "dataplane/packet/frame_match.hpp"
#include "dataplane/ports/port.hpp"

namespace podwire::engine {

// Ethernet, IPv4 without options, and the first eight bytes of TCP or UDP.
inline constexpr std::uint32_t kPlainHeaders = 14 + 20 + 8;

inline std::uint16_t load_be16(const std::uint8_t* at) noexcept {
  std::uint16_t value;
  std::memcpy(&value, at, sizeof value);
  return __builtin_bswap16(value);
}
inline std::uint32_t load_be32(const std::uint8_t* at) noexcept {
  std::uint32_t value;
  std::memcpy(&value, at, sizeof value);
  return __builtin_bswap32(value);
}

// Offsets from the start of an untagged frame with IPv4 without options.
namespace plain {
inline constexpr std::size_t kSourceMac = 6, kType = 12, kIp = 14, kTos = 15, kTotal = 16, kFragment = 20,
                             kTtl = 22, kProtocol = 23, kChecksum = 24, kSource = 26, kDestination = 30,
                             kL4 = 34, kDestinationPort = 36;
}

// Unicast source, IPv4 without options, no fragment.
inline FrameMatch plain_pattern() noexcept {
  constexpr std::uint8_t kTypeAndVersion[3] = {0x08, 0x00, 0x45};
  constexpr std::uint8_t kNone[1] = {0};
  FrameMatch match;
  match.clear();
  match.require(plain::kSourceMac, kNone, 1, 0x01);
  match.require(plain::kType, kTypeAndVersion, sizeof kTypeAndVersion);
  match.require(plain::kFragment, kNone, 1, 0x3f);
  match.require(plain::kFragment + 1, kNone, 1);
  return match;
}

// One segment, with nothing left to do. (What ports receive is nobody else's.)
inline bool is_simple(const rte_mbuf* mbuf) noexcept {
  constexpr std::uint64_t kWork = RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG | kBadOffloadFlag;
  return (mbuf->ol_flags & kWork) == 0 && mbuf->nb_segs == 1;
}

// The IPv4 header's checksum (RFC 1071), for a header without options at `ip`. Ones' complement sums of 64
// bits are those of 16 bits, modulo 65535, which is zero for the right checksum only, as the sum itself
// cannot be. Whether 65535 divides is asked by multiplying with its inverse modulo 2^64 (Granlund and
// Montgomery 1994, section 9).
[[gnu::always_inline]] inline bool plain_checksum_is_right(const std::uint8_t* ip) noexcept {
  constexpr std::uint64_t kQuotients = ~std::uint64_t{0} / 0xffff, kInverse = ~kQuotients + 1;
  unsigned long long first, second, sum;
  std::uint32_t third;
  std::memcpy(&first, ip, sizeof first);
  std::memcpy(&second, ip + 8, sizeof second);
  std::memcpy(&third, ip + 16, sizeof third);
  const bool carry = __builtin_add_overflow(first, second, &sum);
  const bool again = __builtin_add_overflow(sum, std::uint64_t{third} + carry, &sum);
  return (sum + again) * kInverse <= kQuotients;
}

// Bytes that an IPv4 packet of this protocol must have at least to be plain.
inline constexpr auto kPlainLeast = [] {
  std::array<std::uint32_t, 256> least{};
  for (auto& one : least) one = UINT32_MAX;
  least[ip_proto::kTcp] = 20 + 20;
  least[ip_proto::kUdp] = 20 + 8;
  return least;
}();

// Whether the rest of a frame that matches plain_pattern() is plain: `length` bytes at `frame`, of which
// kPlainHeaders at least are there. DHCP is not plain.
[[gnu::always_inline]] inline bool rest_is_plain(const std::uint8_t* frame, std::uint32_t length) noexcept {
  const std::uint32_t total = load_be16(frame + plain::kTotal);
  constexpr std::uint32_t kDhcp = 67;  // and 68
  const std::uint32_t port = load_be16(frame + plain::kDestinationPort);
  return plain::kIp + total <= length && total >= kPlainLeast[frame[plain::kProtocol]] && port - kDhcp > 1 &&
         plain_checksum_is_right(frame + plain::kIp);
}

// Whether an address can be forwarded without looking closer: not 0/8, 127/8, 169/8, multicast or above.
inline constexpr auto kPlainNetworks = [] {
  std::array<bool, 256> plain{};
  for (std::size_t first = 1; first < 224; ++first) plain[first] = first != 127 && first != 169;
  return plain;
}();
inline bool is_plain_address(std::uint32_t address) noexcept {
  return kPlainNetworks[address >> 24];
}

}  // namespace podwire::engine
