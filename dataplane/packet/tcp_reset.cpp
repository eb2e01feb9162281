#include "dataplane/packet/tcp_reset.hpp"

#include <utility>

#include "dataplane/packet/access.hpp"
#include "dataplane/packet/checksum.hpp"
#include "dataplane/packet/linearize.hpp"
#include "dataplane/packet/offload.hpp"

namespace podwire::engine {
namespace {

constexpr std::uint8_t kResetTtl = 64;

// Turns the header round; returns the sum of the pseudo-header.
std::uint64_t turn_round(Ipv4Header& ip) noexcept {
  ip.dscp_ecn = 0;
  ip.total_length = Be16(sizeof(Ipv4Header) + sizeof(TcpHeader));
  ip.identification = Be16(0);
  ip.flags_fragment = Be16(Ipv4Header::kDontFragment);  // atomic (RFC 6864 section 4.1)
  ip.ttl = kResetTtl;
  std::swap(ip.source, ip.destination);
  set_ipv4_checksum(&ip);
  return pseudo_header_sum(ip.source, ip.destination, ip_proto::kTcp, sizeof(TcpHeader));
}

std::uint64_t turn_round(Ipv6Header& ip) noexcept {
  ip.version_class_flow = Be32(std::uint32_t{6} << 28);
  ip.payload_length = Be16(sizeof(TcpHeader));
  ip.hop_limit = kResetTtl;
  std::swap(ip.source, ip.destination);
  return pseudo_header_sum(ip.source, ip.destination, ip_proto::kTcp, sizeof(TcpHeader));
}

// Sequence numbers that the segment takes.
std::uint32_t segment_length(const TcpHeader& tcp, std::uint32_t l4_bytes) noexcept {
  const std::uint32_t payload = l4_bytes > tcp.header_bytes() ? l4_bytes - tcp.header_bytes() : 0;
  return payload + ((tcp.flags & TcpHeader::kSyn) != 0 ? 1 : 0) +
         ((tcp.flags & TcpHeader::kFin) != 0 ? 1 : 0);
}

}  // namespace

bool make_tcp_reset(rte_mbuf* mbuf, PacketMeta& meta, const MacAddr& our_mac) noexcept {
  const bool v4 = meta.ether_type == ether_type::kIpv4;
  const std::uint32_t ip_bytes = v4 ? sizeof(Ipv4Header) : sizeof(Ipv6Header);
  if (meta.ip_proto != ip_proto::kTcp || meta.is_fragment || meta.l4_offset != meta.l3_offset + ip_bytes)
    return false;
  auto* tcp = header_at<TcpHeader>(mbuf, meta.l4_offset);
  if (tcp == nullptr || (tcp->flags & TcpHeader::kRst) != 0) return false;
  const std::uint32_t l4_bytes =
      v4 ? header_unchecked<Ipv4Header>(mbuf, meta.l3_offset)->total_length.host() - ip_bytes
         : header_unchecked<Ipv6Header>(mbuf, meta.l3_offset)->payload_length.host();
  TcpHeader reset{};
  reset.source_port = tcp->destination_port;
  reset.destination_port = tcp->source_port;
  reset.data_offset = sizeof(TcpHeader) / 4 << 4;
  reset.flags = TcpHeader::kRst;
  if ((tcp->flags & TcpHeader::kAck) != 0) {
    reset.sequence = tcp->acknowledgment;
  } else {
    reset.flags |= TcpHeader::kAck;
    reset.acknowledgment = Be32(tcp->sequence.host() + segment_length(*tcp, l4_bytes));
  }
  truncate(mbuf, meta.l4_offset + std::uint32_t{sizeof(TcpHeader)});
  clear_offload(mbuf);
  const auto pseudo = v4 ? turn_round(*header_unchecked<Ipv4Header>(mbuf, meta.l3_offset))
                         : turn_round(*header_unchecked<Ipv6Header>(mbuf, meta.l3_offset));
  reset.checksum = checksum_of(sum_bytes(&reset, sizeof reset) + pseudo);
  *tcp = reset;
  auto* ether = header_unchecked<EtherHeader>(mbuf, 0);
  ether->destination = ether->source;
  ether->source = our_mac;
  return true;
}

}  // namespace podwire::engine
