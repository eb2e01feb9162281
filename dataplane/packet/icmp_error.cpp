#include "dataplane/packet/icmp_error.hpp"

#include <algorithm>
#include <cstring>

#include "dataplane/packet/access.hpp"
#include "dataplane/packet/checksum.hpp"
#include "dataplane/packet/ipv6_chain.hpp"
#include "dataplane/packet/linearize.hpp"
#include "dataplane/packet/offload.hpp"

namespace podwire::engine {

namespace {

constexpr std::uint32_t kLargestError4 = 576;   // RFC 1812 section 4.3.2.3
constexpr std::uint32_t kLargestError6 = 1280;  // RFC 4443 section 2.4 (c)
constexpr std::uint8_t kErrorTtl = 64;
constexpr std::uint8_t kErrorTos = 0xc0;  // internetwork control (RFC 1812 section 4.3.2.5)
constexpr std::uint8_t kRedirect6 = 137;

// A source that stands for exactly one host (RFC 1122 section 3.2.2).
bool is_host(const Ipv4& address) noexcept {
  return address.bytes[0] != 0 && !address.is_loopback() && address.bytes[0] < 0xe0;
}

// ICMP messages that errors may be sent about: queries. Types we do not know might be errors.
bool is_query(std::uint8_t type) noexcept {
  return type == icmp::kEchoReply || type == icmp::kEchoRequest || (type >= 13 && type <= 18);
}

bool deserves_error(rte_mbuf* mbuf, const PacketMeta& meta, const Ipv4Header& ip) noexcept {
  if (ip.is_later_fragment() || !is_host(ip.source)) return false;
  if (ip.destination.is_multicast() || ip.destination.is_broadcast()) return false;
  if (header_unchecked<EtherHeader>(mbuf, 0)->destination.is_multicast()) return false;
  if (ip.protocol != ip_proto::kIcmp) return true;
  const auto* type = header_at<std::uint8_t>(mbuf, std::uint32_t{meta.l3_offset} + ip.header_bytes());
  return type != nullptr && is_query(*type);
}

bool deserves_error(rte_mbuf* mbuf, const PacketMeta& meta, const Ipv6Header& ip,
                    std::uint8_t error) noexcept {
  if (ip.source.is_zero() || ip.source.is_multicast() || ip.source.is_loopback()) return false;
  const bool to_many =
      ip.destination.is_multicast() || header_unchecked<EtherHeader>(mbuf, 0)->destination.is_multicast();
  // Path MTU discovery works for multicast too (RFC 4443 section 2.4 (e.3)).
  if (to_many && error != icmp6::kPacketTooBig) return false;
  const auto chain = walk_ipv6_chain(mbuf, meta.l3_offset);
  if (!chain.complete || chain.later_fragment) return false;
  if (chain.protocol != ip_proto::kIcmpv6) return true;
  const auto* type = header_at<std::uint8_t>(mbuf, chain.offset);
  return type != nullptr && *type >= icmp6::kEchoRequest && *type != kRedirect6;
}

// Makes `bytes` of room between the frame's layer 2 and what is quoted, and turns the frame round.
// The caller has checked the headroom.
void make_room(rte_mbuf* mbuf, std::uint16_t l3_offset, std::uint16_t bytes,
               const MacAddr& our_mac) noexcept {
  clear_offload(mbuf);
  const auto* old_start = rte_pktmbuf_mtod(mbuf, const std::uint8_t*);
  auto* start = reinterpret_cast<std::uint8_t*>(rte_pktmbuf_prepend(mbuf, bytes));
  std::memmove(start, old_start, l3_offset);
  auto* ether = header_unchecked<EtherHeader>(mbuf, 0);
  ether->destination = ether->source;
  ether->source = our_mac;
}

// Sum of the finished ICMP message, from its header to the end of the packet.
std::uint16_t message_sum(const rte_mbuf* mbuf, std::uint32_t offset) noexcept {
  std::uint16_t sum = 0;
  // The range ends where the packet ends, so it lies in it.
  (void)sum_mbuf(mbuf, offset, mbuf->pkt_len - offset, sum);
  return sum;
}

void set_meta(PacketMeta& meta, std::uint16_t ip_header, std::uint8_t protocol) noexcept {
  meta.l4_offset = static_cast<std::uint16_t>(meta.l3_offset + ip_header);
  meta.ip_proto = protocol;
  meta.is_fragment = false;
}

}  // namespace

bool make_icmp4_error(rte_mbuf* mbuf, PacketMeta& meta, const MacAddr& our_mac, const Ipv4& our_address,
                      std::uint8_t type, std::uint8_t code, std::uint32_t rest) noexcept {
  constexpr std::uint16_t kAdded = sizeof(Ipv4Header) + sizeof(IcmpHeader);
  const auto* quoted = header_at<Ipv4Header>(mbuf, meta.l3_offset);
  if (quoted == nullptr || meta.l3_offset < sizeof(EtherHeader) || rte_pktmbuf_headroom(mbuf) < kAdded)
    return false;
  if (quoted->header_bytes() < sizeof(Ipv4Header) || quoted->total_length.host() < quoted->header_bytes())
    return false;
  if (!deserves_error(mbuf, meta, *quoted)) return false;

  const Ipv4 asker = quoted->source;
  const std::uint32_t quote = std::min<std::uint32_t>(quoted->total_length.host(), kLargestError4 - kAdded);
  truncate(mbuf, meta.l3_offset + quote);
  make_room(mbuf, meta.l3_offset, kAdded, our_mac);

  auto* ip = header_unchecked<Ipv4Header>(mbuf, meta.l3_offset);
  *ip = Ipv4Header{};
  ip->version_ihl = 0x45;
  ip->dscp_ecn = kErrorTos;
  ip->total_length = Be16(static_cast<std::uint16_t>(mbuf->pkt_len - meta.l3_offset));
  // Atomic, so it needs no identification (RFC 6864 section 4.1).
  ip->flags_fragment = Be16(Ipv4Header::kDontFragment);
  ip->ttl = kErrorTtl;
  ip->protocol = ip_proto::kIcmp;
  ip->source = our_address;
  ip->destination = asker;
  set_ipv4_checksum(ip);
  set_meta(meta, sizeof(Ipv4Header), ip_proto::kIcmp);
  auto* message = header_unchecked<IcmpHeader>(mbuf, meta.l4_offset);
  *message = IcmpHeader{type, code, Be16(0), Be32(rest)};
  message->checksum = checksum_of(message_sum(mbuf, meta.l4_offset));
  return true;
}

bool make_icmp6_error(rte_mbuf* mbuf, PacketMeta& meta, const MacAddr& our_mac, const Ipv6& our_address,
                      std::uint8_t type, std::uint8_t code, std::uint32_t rest) noexcept {
  constexpr std::uint16_t kAdded = sizeof(Ipv6Header) + sizeof(IcmpHeader);
  const auto* quoted = header_at<Ipv6Header>(mbuf, meta.l3_offset);
  if (quoted == nullptr || meta.l3_offset < sizeof(EtherHeader) || rte_pktmbuf_headroom(mbuf) < kAdded)
    return false;
  if (!deserves_error(mbuf, meta, *quoted, type)) return false;

  const Ipv6 asker = quoted->source;
  const std::uint32_t whole = std::uint32_t{sizeof(Ipv6Header)} + quoted->payload_length.host();
  truncate(mbuf, meta.l3_offset + std::min<std::uint32_t>(whole, kLargestError6 - kAdded));
  make_room(mbuf, meta.l3_offset, kAdded, our_mac);

  auto* ip = header_unchecked<Ipv6Header>(mbuf, meta.l3_offset);
  ip->version_class_flow = Be32(std::uint32_t{6} << 28);
  const std::uint32_t bytes = mbuf->pkt_len - meta.l3_offset - std::uint32_t{sizeof(Ipv6Header)};
  ip->payload_length = Be16(static_cast<std::uint16_t>(bytes));
  ip->next_header = ip_proto::kIcmpv6;
  ip->hop_limit = kErrorTtl;
  ip->source = our_address;
  ip->destination = asker;
  set_meta(meta, sizeof(Ipv6Header), ip_proto::kIcmpv6);
  auto* message = header_unchecked<IcmpHeader>(mbuf, meta.l4_offset);
  *message = IcmpHeader{type, code, Be16(0), Be32(rest)};
  message->checksum = checksum_of(message_sum(mbuf, meta.l4_offset) +
                                  pseudo_header_sum(ip->source, ip->destination, ip_proto::kIcmpv6, bytes));
  return true;
}

}  // namespace podwire::engine
