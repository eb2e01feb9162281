#include "dataplane/packet/checksum.hpp"

#include <algorithm>

#include "dataplane/packet/offload.hpp"

namespace podwire::engine {

namespace {

// 32-bit words summed in 64-bit lanes: no carry to handle in the loop, and the compiler vectorises it (2^16
// is 1 modulo 65535, so wider words sum to the same).
template <bool kCopy>
std::uint64_t sum_words(const std::uint8_t* from, std::uint8_t* to, std::size_t length) noexcept {
  std::uint64_t sum = 0;
  const std::size_t words = length / 4;
  for (std::size_t i = 0; i < words; ++i) {
    std::uint32_t word;
    std::memcpy(&word, from + i * 4, 4);
    if constexpr (kCopy) std::memcpy(to + i * 4, &word, 4);
    sum += word;
  }
  const std::size_t rest = length % 4;
  if (rest != 0) {
    std::uint32_t word = 0;
    std::memcpy(&word, from + words * 4, rest);
    if constexpr (kCopy) std::memcpy(to + words * 4, &word, rest);
    sum += word;
  }
  return sum;
}

std::uint64_t sum_of(const void* data, std::size_t length) noexcept {
  return sum_words<false>(static_cast<const std::uint8_t*>(data), nullptr, length);
}

struct L4Range {
  std::uint32_t length = 0;      // header and payload
  std::uint64_t pseudo_sum = 0;  // of the pseudo-header
};

bool l4_range_v4(const rte_mbuf* mbuf, std::uint32_t l3_offset, std::uint32_t l4_offset,
                 std::uint8_t protocol, L4Range& range) noexcept {
  if (l3_offset + sizeof(Ipv4Header) > mbuf->data_len) return false;
  const auto& ip = *rte_pktmbuf_mtod_offset(mbuf, const Ipv4Header*, l3_offset);
  const std::uint32_t total = ip.total_length.host();
  const std::uint32_t header = l4_offset - l3_offset;
  if (ip.is_fragment() || header < sizeof(Ipv4Header) || total < header ||
      l3_offset + total > mbuf->pkt_len) {
    return false;
  }
  range.length = total - header;
  // ICMP alone has no pseudo-header.
  if (protocol != ip_proto::kIcmp) {
    range.pseudo_sum = pseudo_header_sum(ip.source, ip.destination, protocol, range.length);
  }
  return true;
}

bool l4_range_v6(const rte_mbuf* mbuf, std::uint32_t l3_offset, std::uint32_t l4_offset,
                 std::uint8_t protocol, L4Range& range) noexcept {
  if (l3_offset + sizeof(Ipv6Header) > mbuf->data_len) return false;
  const auto& ip = *rte_pktmbuf_mtod_offset(mbuf, const Ipv6Header*, l3_offset);
  const std::uint32_t total = sizeof(Ipv6Header) + std::uint32_t{ip.payload_length.host()};
  const std::uint32_t header = l4_offset - l3_offset;
  if (header < sizeof(Ipv6Header) || total < header || l3_offset + total > mbuf->pkt_len) return false;
  range.length = total - header;
  range.pseudo_sum = pseudo_header_sum(ip.source, ip.destination, protocol, range.length);
  return true;
}

std::uint32_t smallest_l4(std::uint8_t protocol) noexcept {
  switch (protocol) {
    case ip_proto::kTcp:
      return sizeof(TcpHeader);
    case ip_proto::kUdp:
      return sizeof(UdpHeader);
    case ip_proto::kIcmp:
    case ip_proto::kIcmpv6:
      return 4;
    default:
      return 0;
  }
}

}  // namespace

std::uint64_t sum_bytes(const void* data, std::size_t length) noexcept {
  return sum_of(data, length);
}

std::uint64_t copy_and_sum(void* to, const void* from, std::size_t length) noexcept {
  return sum_words<true>(static_cast<const std::uint8_t*>(from), static_cast<std::uint8_t*>(to), length);
}

bool sum_mbuf(const rte_mbuf* mbuf, std::uint32_t offset, std::uint32_t length, std::uint16_t& sum) noexcept {
  if (offset > mbuf->pkt_len || length > mbuf->pkt_len - offset) return false;
  std::uint64_t total = 0;
  bool odd = false;
  for (; mbuf != nullptr && length != 0; mbuf = mbuf->next) {
    if (offset >= mbuf->data_len) {
      offset -= mbuf->data_len;
      continue;
    }
    const std::uint32_t here = std::min<std::uint32_t>(length, mbuf->data_len - offset);
    const auto part = fold_sum(sum_of(rte_pktmbuf_mtod_offset(mbuf, const void*, offset), here));
    total += odd ? swap_sum(part) : part;
    odd ^= (here & 1) != 0;
    length -= here;
    offset = 0;
  }
  sum = fold_sum(total);
  return length == 0;
}

std::uint64_t pseudo_header_sum(const Ipv4& source, const Ipv4& destination, std::uint8_t protocol,
                                std::uint32_t l4_length) noexcept {
  // Zero byte and protocol, then the length: words in wire order.
  const Be32 tail(std::uint32_t{protocol} << 16 | (l4_length & 0xffff));
  return sum_of(&source, sizeof source) + sum_of(&destination, sizeof destination) + tail.raw();
}

std::uint64_t pseudo_header_sum(const Ipv6& source, const Ipv6& destination, std::uint8_t protocol,
                                std::uint32_t l4_length) noexcept {
  return sum_of(&source, sizeof source) + sum_of(&destination, sizeof destination) + Be32(l4_length).raw() +
         Be32(protocol).raw();
}

void set_ipv4_checksum(Ipv4Header* header) noexcept {
  header->checksum = Be16(0);
  header->checksum = checksum_of(sum_of(header, header->header_bytes()));
}

bool ipv4_checksum_ok(const Ipv4Header* header) noexcept {
  return fold_sum(sum_of(header, header->header_bytes())) == 0xffff;
}

bool verify_l4(const rte_mbuf* mbuf, std::uint32_t l3_offset, std::uint32_t l4_offset,
               std::uint8_t protocol) noexcept {
  const std::uint32_t smallest = smallest_l4(protocol);
  if (smallest == 0 || l3_offset >= l4_offset || l4_offset + smallest > mbuf->data_len) return false;
  const bool v6 = (*rte_pktmbuf_mtod_offset(mbuf, const std::uint8_t*, l3_offset) >> 4) == 6;
  L4Range range;
  if (v6 ? !l4_range_v6(mbuf, l3_offset, l4_offset, protocol, range)
         : !l4_range_v4(mbuf, l3_offset, l4_offset, protocol, range)) {
    return false;
  }
  if (range.length < smallest) return false;
  if (protocol == ip_proto::kUdp) {
    const auto& udp = *rte_pktmbuf_mtod_offset(mbuf, const UdpHeader*, l4_offset);
    if (udp.checksum.raw() == 0) return !v6;
    const std::uint32_t udp_length = udp.length.host();
    if (udp_length < sizeof(UdpHeader) || udp_length > range.length) return false;
    // Length is a 16-bit word of the pseudo-header in both families (the upper half of IPv6's is zero).
    range.pseudo_sum +=
        Be16(static_cast<std::uint16_t>(udp_length)).raw() +
        std::uint64_t{static_cast<std::uint16_t>(~Be16(static_cast<std::uint16_t>(range.length)).raw())};
    range.length = udp_length;
  }
  std::uint16_t sum = 0;
  if (!sum_mbuf(mbuf, l4_offset, range.length, sum)) return false;
  return fold_sum(range.pseudo_sum + sum) == 0xffff;
}

bool complete_l4(rte_mbuf* mbuf) noexcept {
  if (needs_segmentation(mbuf)) return false;
  if (!needs_l4_checksum(mbuf)) {
    clear_offload(mbuf);
    return true;
  }
  const auto kind = mbuf->ol_flags & RTE_MBUF_F_TX_L4_MASK;
  const std::uint32_t l4_offset = static_cast<std::uint32_t>(mbuf->l2_len + mbuf->l3_len);
  std::uint32_t field = l4_offset;
  if (kind == RTE_MBUF_F_TX_TCP_CKSUM)
    field += std::uint32_t{offsetof(TcpHeader, checksum)};
  else if (kind == RTE_MBUF_F_TX_UDP_CKSUM)
    field += std::uint32_t{offsetof(UdpHeader, checksum)};
  else
    return false;  // SCTP's CRC32c is no work that our ports announce
  if (field + sizeof(Be16) > mbuf->data_len) return false;
  std::uint16_t sum = 0;
  if (!sum_mbuf(mbuf, l4_offset, mbuf->pkt_len - l4_offset, sum)) return false;
  auto checksum = static_cast<std::uint16_t>(~sum);
  // Zero would mean "none" (RFC 768).
  if (kind == RTE_MBUF_F_TX_UDP_CKSUM && checksum == 0) checksum = 0xffff;
  *rte_pktmbuf_mtod_offset(mbuf, Be16*, field) = Be16::from_raw(checksum);
  clear_offload(mbuf);
  return true;
}

}  // namespace podwire::engine
