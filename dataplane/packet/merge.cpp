#include "dataplane/packet/merge.hpp"

#include <cstring>

#include "dataplane/packet/access.hpp"
#include "dataplane/packet/checksum.hpp"
#include "dataplane/packet/linearize.hpp"
#include "dataplane/packet/offload.hpp"
#include "dataplane/packet/segment.hpp"

namespace podwire::engine {

struct TcpMerger::Segment {
  const TcpHeader* tcp = nullptr;
  const std::uint8_t* l2 = nullptr;  // the frame
  const std::uint8_t* l3 = nullptr;
  std::uint32_t hash = 0;
  std::uint32_t ip_bytes = 0;
  std::uint32_t payload_bytes = 0;
  std::uint16_t header_bytes = 0;  // Ethernet to TCP options
  std::uint16_t l3_offset = 0;
  std::uint8_t tcp_bytes = 0;
  bool v6 = false;
  bool mergeable = false;
};

namespace {

constexpr std::uint32_t kLargestIp = 65535;

std::uint64_t load64(const void* at) noexcept {
  std::uint64_t value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// Of addresses and ports; equal flows have equal hashes, that is all that is asked of it.
std::uint32_t flow_hash(const std::uint8_t* addresses, bool v6, const TcpHeader& tcp) noexcept {
  constexpr std::uint64_t kOdd = 0x9e3779b97f4a7c15;
  std::uint32_t ports;
  std::memcpy(&ports, &tcp, sizeof ports);
  std::uint64_t h = (load64(addresses) ^ ports) * kOdd;
  if (v6) {
    h = (h ^ load64(addresses + 8)) * kOdd;
    h = (h ^ load64(addresses + 16)) * kOdd;
    h = (h ^ load64(addresses + 24)) * kOdd;
  }
  return static_cast<std::uint32_t>(h >> 32);
}

constexpr std::size_t kAddresses4 = offsetof(Ipv4Header, source);
constexpr std::size_t kAddresses6 = offsetof(Ipv6Header, source);

// IPv4: all but length, identification, checksum. IPv6: all but length.
bool same_ip(const std::uint8_t* a, const std::uint8_t* b, bool v6) noexcept {
  if (v6) return std::memcmp(a, b, 4) == 0 && std::memcmp(a + 6, b + 6, sizeof(Ipv6Header) - 6) == 0;
  return std::memcmp(a, b, 2) == 0 && std::memcmp(a + 6, b + 6, 4) == 0 &&
         load64(a + kAddresses4) == load64(b + kAddresses4);
}

bool checksum_good(const rte_mbuf* mbuf, std::uint16_t l3_offset, std::uint16_t l4_offset) noexcept {
  // Decap clears what the NIC said of the outer packet, so this is about the inner one.
  if ((mbuf->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_GOOD) return true;
  return verify_l4(mbuf, l3_offset, l4_offset, ip_proto::kTcp);
}

bool writable(const rte_mbuf* mbuf) noexcept {
  return RTE_MBUF_DIRECT(mbuf) && rte_mbuf_refcnt_read(mbuf) == 1;
}

}  // namespace

// False: not even the flow is known.
bool TcpMerger::parse(rte_mbuf* mbuf, const PacketMeta& meta, Segment& segment) noexcept {
  segment.v6 = meta.ether_type == ether_type::kIpv6;
  if (!segment.v6 && meta.ether_type != ether_type::kIpv4) return false;
  const std::uint16_t ip_header = segment.v6 ? sizeof(Ipv6Header) : sizeof(Ipv4Header);
  if (meta.l4_offset < meta.l3_offset + ip_header) return false;
  segment.tcp = header_at<TcpHeader>(mbuf, meta.l4_offset);
  if (segment.tcp == nullptr) return false;
  segment.l2 = header_unchecked<std::uint8_t>(mbuf, 0);
  segment.l3 = header_unchecked<std::uint8_t>(mbuf, meta.l3_offset);
  segment.l3_offset = meta.l3_offset;
  segment.hash = flow_hash(segment.l3 + (segment.v6 ? kAddresses6 : kAddresses4), segment.v6, *segment.tcp);

  if (segment.v6) {
    const auto* ip = reinterpret_cast<const Ipv6Header*>(segment.l3);
    segment.ip_bytes = std::uint32_t{sizeof(Ipv6Header)} + ip->payload_length.host();
  } else {
    segment.ip_bytes = reinterpret_cast<const Ipv4Header*>(segment.l3)->total_length.host();
  }
  segment.tcp_bytes = static_cast<std::uint8_t>(segment.tcp->header_bytes());
  segment.header_bytes = static_cast<std::uint16_t>(meta.l4_offset + segment.tcp_bytes);
  const std::uint32_t end = meta.l3_offset + segment.ip_bytes;
  const std::uint8_t flags = segment.tcp->flags;
  segment.mergeable = meta.l4_offset == meta.l3_offset + ip_header &&  // no options, no extension headers
                      segment.tcp_bytes >= sizeof(TcpHeader) && segment.header_bytes <= mbuf->data_len &&
                      segment.ip_bytes <= kLargestIp && end <= mbuf->pkt_len &&
                      end >= segment.header_bytes + std::uint32_t{kMinSegmentPayload} &&
                      (flags & TcpHeader::kAck) != 0 && (flags & ~(TcpHeader::kAck | TcpHeader::kPsh)) == 0 &&
                      !needs_l4_checksum(mbuf) && !needs_segmentation(mbuf) && writable(mbuf);
  segment.payload_bytes = segment.mergeable ? end - segment.header_bytes : 0;
  return true;
}

bool TcpMerger::same_flow(const Join& join, const Segment& segment, const PacketMeta& meta) noexcept {
  if (join.v6 != segment.v6 || join.egress != meta.egress || join.domain != meta.domain) {
    return false;
  }
  const auto* l3 = header_unchecked<std::uint8_t>(join.head, join.l3_offset);
  const auto* ports = header_unchecked<std::uint8_t>(join.head, join.l4_offset);
  const std::size_t at = join.v6 ? kAddresses6 : kAddresses4;
  return std::memcmp(l3 + at, segment.l3 + at, join.v6 ? 2 * sizeof(Ipv6) : 2 * sizeof(Ipv4)) == 0 &&
         std::memcmp(ports, segment.tcp, 2 * sizeof(Be16)) == 0;
}

bool TcpMerger::may_append(const Join& join, const Segment& segment) noexcept {
  if (segment.l3_offset != join.l3_offset || segment.tcp_bytes != join.tcp_bytes) return false;
  if (segment.tcp->sequence.host() != join.next_sequence || segment.payload_bytes > join.segment_bytes)
    return false;
  if (join.ip_bytes + segment.payload_bytes > kLargestIp) return false;
  const auto* head = header_unchecked<std::uint8_t>(join.head, 0);
  if (std::memcmp(head, segment.l2, join.l3_offset) != 0) return false;
  if (!same_ip(head + join.l3_offset, segment.l3, join.v6)) return false;
  if (!join.v6) {
    // Without DF the identification means something (RFC 6864): only a count can be restored.
    const auto* ip = reinterpret_cast<const Ipv4Header*>(segment.l3);
    const bool atomic = (ip->flags_fragment.host() & Ipv4Header::kDontFragment) != 0;
    if (!atomic && ip->identification.host() != join.next_identification) return false;
  }
  const auto* tcp = reinterpret_cast<const TcpHeader*>(head + join.l4_offset);
  return tcp->acknowledgment == segment.tcp->acknowledgment && tcp->window == segment.tcp->window &&
         tcp->urgent == segment.tcp->urgent && tcp->data_offset == segment.tcp->data_offset &&
         std::memcmp(tcp + 1, segment.tcp + 1, join.tcp_bytes - sizeof(TcpHeader)) == 0;
}

void TcpMerger::append(Join& join, rte_mbuf* mbuf, const Segment& segment) noexcept {
  join.push = (segment.tcp->flags & TcpHeader::kPsh) != 0;
  if (join.segments == 1) {
    // Padding behind the head's payload would end up in the stream.
    truncate(join.head, std::uint32_t{join.l3_offset} + join.ip_bytes);
    join.last = rte_pktmbuf_lastseg(join.head);
  }
  truncate(mbuf, std::uint32_t{segment.l3_offset} + segment.ip_bytes);
  rte_pktmbuf_adj(mbuf, segment.header_bytes);
  join.head->nb_segs = static_cast<std::uint16_t>(join.head->nb_segs + mbuf->nb_segs);
  join.head->pkt_len += mbuf->pkt_len;
  join.last->next = mbuf;
  join.last = rte_pktmbuf_lastseg(mbuf);
  mbuf->pkt_len = mbuf->data_len;
  mbuf->nb_segs = 1;
  join.ip_bytes += segment.payload_bytes;
  join.next_sequence += segment.payload_bytes;
  ++join.next_identification;
  ++join.segments;
}

void TcpMerger::open(rte_mbuf* mbuf, const PacketMeta& meta, const Segment& segment) noexcept {
  if (join_count_ == kBurstMax) return;
  Join& join = joins_[join_count_];
  join = Join{};
  join.head = mbuf;
  join.next_sequence = segment.tcp->sequence.host() + segment.payload_bytes;
  join.ip_bytes = segment.ip_bytes;
  join.segment_bytes = static_cast<std::uint16_t>(segment.payload_bytes);
  join.segments = 1;
  if (!segment.v6) {
    const auto* ip = reinterpret_cast<const Ipv4Header*>(segment.l3);
    join.next_identification = static_cast<std::uint16_t>(ip->identification.host() + 1);
  }
  join.l3_offset = meta.l3_offset;
  join.l4_offset = meta.l4_offset;
  join.egress = meta.egress;
  join.domain = meta.domain;
  join.tcp_bytes = segment.tcp_bytes;
  join.v6 = segment.v6;
  open_hash_[open_count_] = segment.hash;
  open_[open_count_++] = join_count_++;
}

void TcpMerger::close(std::uint16_t index) noexcept {
  open_[index] = open_[--open_count_];
}

bool TcpMerger::offer(rte_mbuf* mbuf, const PacketMeta& meta) noexcept {
  Segment segment;
  if (!parse(mbuf, meta, segment)) {
    barrier();
    return false;
  }
  for (std::uint16_t i = open_count_; i-- > 0;) {
    if (open_hash_[i] != segment.hash) continue;
    Join& join = joins_[open_[i]];
    if (!same_flow(join, segment, meta)) continue;
    if (!segment.mergeable || !may_append(join, segment) || join.head->nb_segs + mbuf->nb_segs > kMaxChain) {
      close(i);
      break;
    }
    // Only now is it worth reading the payload: a packet that joins nothing is passed on unread.
    join.verified = join.verified || checksum_good(join.head, join.l3_offset, join.l4_offset);
    if (!join.verified) {
      close(i);
      break;
    }
    if (!checksum_good(mbuf, meta.l3_offset, meta.l4_offset)) {
      close(i);
      return false;
    }
    append(join, mbuf, segment);
    if (join.push || segment.payload_bytes < join.segment_bytes) close(i);
    return true;
  }
  if (segment.mergeable && (segment.tcp->flags & TcpHeader::kPsh) == 0) open(mbuf, meta, segment);
  return false;
}

void TcpMerger::write_headers(const Join& join) noexcept {
  rte_mbuf* head = join.head;
  auto* tcp = header_unchecked<TcpHeader>(head, join.l4_offset);
  const std::uint32_t l4_bytes = join.ip_bytes - (join.l4_offset - join.l3_offset);
  std::uint64_t sum = 0;
  if (join.v6) {
    auto* ip = header_unchecked<Ipv6Header>(head, join.l3_offset);
    ip->payload_length = Be16(static_cast<std::uint16_t>(l4_bytes));
    sum = pseudo_header_sum(ip->source, ip->destination, ip_proto::kTcp, l4_bytes);
  } else {
    auto* ip = header_unchecked<Ipv4Header>(head, join.l3_offset);
    ip->total_length = Be16(static_cast<std::uint16_t>(join.ip_bytes));
    set_ipv4_checksum(ip);
    sum = pseudo_header_sum(ip->source, ip->destination, ip_proto::kTcp, l4_bytes);
  }
  if (join.push) tcp->flags |= TcpHeader::kPsh;
  tcp->checksum = Be16::from_raw(fold_sum(sum));
  head->ol_flags |=
      RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM | (join.v6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4);
  head->tx_offload = 0;
  head->l2_len = join.l3_offset & 0x7f;
  head->l3_len = static_cast<std::uint16_t>(join.l4_offset - join.l3_offset) & 0x1ff;
  head->l4_len = join.tcp_bytes;
  head->tso_segsz = join.segment_bytes;
}

void TcpMerger::finish() noexcept {
  for (std::uint16_t i = 0; i < join_count_; ++i) {
    if (joins_[i].segments > 1) write_headers(joins_[i]);
  }
}

}  // namespace podwire::engine
