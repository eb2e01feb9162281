#include "dataplane/packet/answer_frame.hpp"

#include <algorithm>
#include <cstring>

#include "dataplane/packet/access.hpp"
#include "dataplane/packet/checksum.hpp"
#include "dataplane/packet/linearize.hpp"
#include "dataplane/packet/offload.hpp"

namespace podwire::engine {
namespace {

constexpr std::uint8_t kTtl = 64;
constexpr std::uint8_t kDiscoveryHopLimit = 255;  // RFC 4861: proof that no router forwarded it

template <class T>
T* header_in(AnswerBuffer& buffer, std::size_t offset) noexcept {
  static_assert(alignof(T) == 1);
  return reinterpret_cast<T*>(buffer.data() + offset);
}

void put_ether(AnswerBuffer& buffer, const MacAddr& destination, const MacAddr& source,
               std::uint16_t type) noexcept {
  *header_in<EtherHeader>(buffer, 0) = {destination, source, Be16(type)};
}

void put_ipv6(AnswerBuffer& buffer, const Ends<Ipv6>& ends, std::uint8_t protocol, std::uint8_t hop_limit,
              std::size_t bytes) noexcept {
  put_ether(buffer, ends.destination_mac, ends.source_mac, ether_type::kIpv6);
  *header_in<Ipv6Header>(buffer, sizeof(EtherHeader)) = {Be32(std::uint32_t{6} << 28),
                                                         Be16(static_cast<std::uint16_t>(bytes)),
                                                         protocol,
                                                         hop_limit,
                                                         ends.source,
                                                         ends.destination};
}

// The UDP header before the message, its checksum over `pseudo` too.
void put_udp(AnswerBuffer& buffer, std::size_t message, std::uint16_t source_port,
             std::uint16_t destination_port, std::size_t bytes, std::uint64_t pseudo) noexcept {
  auto* udp = header_in<UdpHeader>(buffer, message - sizeof(UdpHeader));
  *udp = {Be16(source_port), Be16(destination_port), Be16(static_cast<std::uint16_t>(bytes + sizeof *udp)),
          Be16(0)};
  const auto sum = checksum_of(sum_bytes(udp, bytes + sizeof *udp) + pseudo);
  udp->checksum = sum.raw() == 0 ? Be16(0xffff) : sum;  // RFC 768: zero means none
}

}  // namespace

std::span<std::uint8_t> message_room(AnswerBuffer& buffer, std::size_t offset, std::uint16_t mtu) noexcept {
  const std::size_t end = sizeof(EtherHeader) + std::min<std::size_t>(mtu, kAnswerIpBytes);
  if (end <= offset) return {};
  return {buffer.data() + offset, end - offset};
}

std::span<const std::uint8_t> finish_udp4(AnswerBuffer& buffer, const Ends<Ipv4>& ends,
                                          std::uint16_t source_port, std::uint16_t destination_port,
                                          std::size_t bytes) noexcept {
  put_ether(buffer, ends.destination_mac, ends.source_mac, ether_type::kIpv4);
  auto* ip = header_in<Ipv4Header>(buffer, sizeof(EtherHeader));
  *ip = Ipv4Header{};
  ip->version_ihl = 0x45;
  const auto udp_bytes = static_cast<std::uint16_t>(bytes + sizeof(UdpHeader));
  ip->total_length = Be16(static_cast<std::uint16_t>(udp_bytes + sizeof *ip));
  ip->flags_fragment = Be16(Ipv4Header::kDontFragment);  // atomic: needs no identification (RFC 6864)
  ip->ttl = kTtl;
  ip->protocol = ip_proto::kUdp;
  ip->source = ends.source;
  ip->destination = ends.destination;
  set_ipv4_checksum(ip);
  put_udp(buffer, kUdp4Message, source_port, destination_port, bytes,
          pseudo_header_sum(ends.source, ends.destination, ip_proto::kUdp, udp_bytes));
  return {buffer.data(), kUdp4Message + bytes};
}

std::span<const std::uint8_t> finish_udp6(AnswerBuffer& buffer, const Ends<Ipv6>& ends,
                                          std::uint16_t source_port, std::uint16_t destination_port,
                                          std::size_t bytes) noexcept {
  const auto udp_bytes = static_cast<std::uint16_t>(bytes + sizeof(UdpHeader));
  put_ipv6(buffer, ends, ip_proto::kUdp, kTtl, udp_bytes);
  put_udp(buffer, kUdp6Message, source_port, destination_port, bytes,
          pseudo_header_sum(ends.source, ends.destination, ip_proto::kUdp, udp_bytes));
  return {buffer.data(), kUdp6Message + bytes};
}

std::span<const std::uint8_t> finish_icmp6(AnswerBuffer& buffer, const Ends<Ipv6>& ends,
                                           std::size_t bytes) noexcept {
  put_ipv6(buffer, ends, ip_proto::kIcmpv6, kDiscoveryHopLimit, bytes);
  auto* message = header_in<IcmpHeader>(buffer, kIcmp6Message);
  message->checksum = Be16(0);
  message->checksum = checksum_of(
      sum_bytes(message, bytes) +
      pseudo_header_sum(ends.source, ends.destination, ip_proto::kIcmpv6, static_cast<std::uint32_t>(bytes)));
  return {buffer.data(), kIcmp6Message + bytes};
}

bool put_frame(rte_mbuf* mbuf, PacketMeta& meta, std::span<const std::uint8_t> frame) noexcept {
  const auto bytes = static_cast<std::uint16_t>(frame.size());
  // Of a chain the last segment's tailroom counts for appending, but only the first one stays.
  const std::uint32_t room = std::uint32_t{mbuf->buf_len} - mbuf->data_off;
  if (bytes > room) return false;
  clear_offload(mbuf);
  truncate(mbuf, std::min(bytes, mbuf->data_len));
  if (mbuf->pkt_len < bytes) rte_pktmbuf_append(mbuf, static_cast<std::uint16_t>(bytes - mbuf->pkt_len));
  std::memcpy(rte_pktmbuf_mtod(mbuf, void*), frame.data(), bytes);
  const bool v4 = header_unchecked<EtherHeader>(mbuf, 0)->type == Be16(ether_type::kIpv4);
  meta.ether_type = v4 ? ether_type::kIpv4 : ether_type::kIpv6;
  meta.l3_offset = sizeof(EtherHeader);
  meta.l4_offset =
      static_cast<std::uint16_t>(sizeof(EtherHeader) + (v4 ? sizeof(Ipv4Header) : sizeof(Ipv6Header)));
  meta.ip_proto = v4 ? header_unchecked<Ipv4Header>(mbuf, meta.l3_offset)->protocol
                     : header_unchecked<Ipv6Header>(mbuf, meta.l3_offset)->next_header;
  meta.is_fragment = false;
  return true;
}

}  // namespace podwire::engine
