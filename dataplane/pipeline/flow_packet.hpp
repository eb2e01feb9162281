// What a packet of a stateful domain means to connection tracking: its FlowKey, and what it does to the
// connection's state. Fragments after the first get their ports from the fragment table. Pure but for that.
#pragma once

#include "dataplane/packet/access.hpp"
#include "dataplane/packet/ipv6_chain.hpp"
#include "dataplane/packet/meta.hpp"
#include "dataplane/tables/flow_table.hpp"

namespace podwire::engine {

struct FlowPacket {
  enum class Kind : std::uint8_t {
    kTracked,    // of the connection with `key`
    kUntracked,  // neighbour discovery, multicast listeners, not IP: as in a stateless domain
    kRules,      // to many: no connection, the rules decide on every packet
    kRelated,    // an ICMP error; `key` is that of packets that go its way: the one it is about, reversed
    kRefused,    // for `reason`
  };
  Kind kind = Kind::kUntracked;
  DropReason reason{};
  bool has_event = false;  // TCP, but for later fragments: `event` counts
  bool may_begin = true;   // a connection may begin with it, as far as its protocol goes
  TcpEvent event = TcpEvent::kInvalid;
};

namespace flow_packet_detail {

inline FlowPacket refused(DropReason reason) noexcept {
  FlowPacket packet;
  packet.kind = FlowPacket::Kind::kRefused;
  packet.reason = reason;
  return packet;
}

inline std::uint32_t load32(const void* from) noexcept {
  std::uint32_t word;
  std::memcpy(&word, from, sizeof word);
  return word;
}

// Echo is tracked by its identifier, in the place of both ports.
inline std::uint32_t echo_ports(const IcmpHeader& icmp) noexcept {
  const std::uint32_t id = load32(&icmp.rest) & 0xffff;
  return id | id << 16;
}

// Multicast listener discovery and neighbour discovery.
inline bool is_link_message(std::uint8_t type) noexcept {
  return (type >= 130 && type <= icmp6::kNeighborAdvertisement + 1) || type == 143;
}

inline FlowPacket read_icmp(const IcmpHeader& icmp, bool v4, std::uint32_t& ports) noexcept {
  FlowPacket packet;
  packet.kind = FlowPacket::Kind::kTracked;
  const auto type = icmp.type;
  if (type == (v4 ? icmp::kEchoRequest : icmp6::kEchoRequest)) {
    ports = echo_ports(icmp);
  } else if (type == (v4 ? icmp::kEchoReply : icmp6::kEchoReply)) {
    ports = echo_ports(icmp);
    packet.may_begin = false;
  } else if (v4 ? type == icmp::kUnreachable || type == icmp::kTimeExceeded || type == icmp::kParameterProblem
                : type >= icmp6::kUnreachable && type <= 4) {
    packet.kind = FlowPacket::Kind::kRelated;
  } else if (!v4 && is_link_message(type)) {
    packet.kind = FlowPacket::Kind::kUntracked;
  }
  return packet;
}

// Of a packet with `protocol`'s header at `offset`, which lies whole in the first segment.
inline FlowPacket read_l4(rte_mbuf* mbuf, std::uint8_t protocol, std::uint32_t offset, bool v4,
                          std::uint32_t& ports) noexcept {
  FlowPacket packet;
  packet.kind = FlowPacket::Kind::kTracked;
  ports = 0;
  if (protocol == ip_proto::kTcp) [[likely]] {
    const auto* tcp = header_unchecked<TcpHeader>(mbuf, offset);
    ports = load32(tcp);
    packet.has_event = true;
    packet.event = tcp_event(tcp->flags);
  } else if (protocol == ip_proto::kUdp || protocol == ip_proto::kSctp) {
    ports = load32(header_unchecked<UdpHeader>(mbuf, offset));
  } else if (protocol == (v4 ? ip_proto::kIcmp : ip_proto::kIcmpv6)) {
    packet = read_icmp(*header_unchecked<IcmpHeader>(mbuf, offset), v4, ports);
  }
  return packet;
}

inline bool has_ports(std::uint8_t protocol) noexcept {
  return protocol == ip_proto::kTcp || protocol == ip_proto::kUdp || protocol == ip_proto::kSctp ||
         protocol == ip_proto::kIcmp || protocol == ip_proto::kIcmpv6;
}

// Of a fragment whose data begin at `offset` eighths and have so many bytes.
inline FragmentPiece piece_of(std::uint16_t offset, std::uint32_t bytes, bool last) noexcept {
  // Of others than the last, the length is a multiple of 8 (RFC 791, RFC 8200 section 4.5).
  if (!last && bytes % 8 != 0) return {};
  const std::uint32_t end = offset + (bytes + 7) / 8;
  return {offset, static_cast<std::uint16_t>(std::min<std::uint32_t>(end, 0xffff)), last};
}

// The identification as on the wire, and what the fragment covers; false where the fragment header is out of
// reach.
inline bool read_fragment_header(rte_mbuf* mbuf, const PacketMeta& meta, std::uint32_t& id,
                                 FragmentPiece& piece) noexcept {
  if (meta.ether_type == ether_type::kIpv4) {
    const auto* ip = header_unchecked<Ipv4Header>(mbuf, meta.l3_offset);
    const std::uint16_t field = ip->flags_fragment.host();
    id = ip->identification.raw();
    piece =
        piece_of(field & Ipv4Header::kOffsetMask, std::uint32_t{ip->total_length.host()} - ip->header_bytes(),
                 (field & Ipv4Header::kMoreFragments) == 0);
    return true;
  }
  const auto* ip = header_unchecked<Ipv6Header>(mbuf, meta.l3_offset);
  std::uint8_t next = ip->next_header;
  std::uint32_t offset = meta.l3_offset + std::uint32_t{sizeof(Ipv6Header)};
  const std::uint32_t end = offset + ip->payload_length.host();
  for (int headers = 0; headers < 8; ++headers) {
    const auto* extension = header_at<Ipv6FragmentHeader>(mbuf, offset);  // 8 bytes, as every one has
    if (extension == nullptr) return false;
    if (next == ip_proto::kFragment) {
      id = extension->identification.raw();
      const std::uint16_t field = extension->offset_flags.host();
      const std::uint32_t data = offset + std::uint32_t{sizeof *extension};
      piece = piece_of(field >> 3, end > data ? end - data : 0, (field & 1) == 0);
      return true;
    }
    next = extension->next_header;
    offset += (extension->reserved + 1u) * 8;  // where the others have their length
  }
  return false;
}

// `again`: it was read before, and counts once.
[[gnu::cold, gnu::noinline]] inline FlowPacket read_fragment(FlowTable* table, rte_mbuf* mbuf,
                                                             const PacketMeta& meta, std::uint32_t now_s,
                                                             FlowKey& key, bool again) noexcept {
  using Verdict = FragmentTable::Verdict;
  const bool v4 = meta.ether_type == ether_type::kIpv4;
  std::uint32_t id = 0;
  FragmentPiece piece;
  if (!read_fragment_header(mbuf, meta, id, piece)) return refused(DropReason::fragment_unmatched);
  FlowKey datagram = key;
  datagram.set_head(meta.domain, meta.ip_proto, v4, id);
  std::uint32_t ports = 0;
  FlowPacket packet;
  packet.kind = FlowPacket::Kind::kTracked;
  auto verdict = Verdict::kFollows;
  if (meta.l4_offset != 0) {
    packet = read_l4(mbuf, meta.ip_proto, meta.l4_offset, v4, ports);
    const bool atomic = piece.first == 0 && piece.last;  // nothing else belongs to it (RFC 6946)
    if (table != nullptr && !atomic && !again)
      verdict = table->fragments().note_first(datagram, table->hash(datagram), piece, ports, now_s);
  } else if (has_ports(meta.ip_proto)) {
    if (table == nullptr) return {};  // nothing to look at
    const auto hash = table->hash(datagram);
    verdict = again ? table->fragments().look(datagram, hash, now_s, ports)
                    : table->fragments().find(datagram, hash, piece, now_s, ports);
    packet.may_begin = meta.ip_proto != ip_proto::kTcp;
  }
  if (verdict == Verdict::kUnmatched) return refused(DropReason::fragment_unmatched);
  if (verdict == Verdict::kInvalid) return refused(DropReason::fragment_invalid);
  key.set_head(meta.domain, meta.ip_proto, v4, ports);
  return packet;
}

// The key of the packet that an ICMP error quotes, reversed. (With address translation the domain knows no
// other.)
[[gnu::cold, gnu::noinline]] inline FlowPacket read_quoted(rte_mbuf* mbuf, const PacketMeta& meta,
                                                           FlowKey& key) noexcept {
  const bool v4 = meta.ether_type == ether_type::kIpv4;
  const std::uint32_t at = meta.l4_offset + std::uint32_t{sizeof(IcmpHeader)};
  std::uint8_t protocol = 0;
  std::uint32_t l4 = 0;
  if (v4) {
    const auto* ip = header_at<Ipv4Header>(mbuf, at);
    if (ip == nullptr || ip->is_later_fragment() || ip->header_bytes() < sizeof(Ipv4Header))
      return refused(DropReason::flow_invalid);
    protocol = ip->protocol;
    l4 = at + ip->header_bytes();
    std::memcpy(&key.words[1], &ip->source, 8);
  } else {
    const auto* ip = header_at<Ipv6Header>(mbuf, at);
    if (ip == nullptr) return refused(DropReason::flow_invalid);
    const auto chain = walk_ipv6_chain(mbuf, static_cast<std::uint16_t>(at), *ip);
    if (chain.later_fragment) return refused(DropReason::flow_invalid);
    protocol = chain.protocol;
    l4 = chain.offset;
    std::memcpy(&key.words[1], &ip->source, 32);
  }
  std::uint32_t ports = 0;
  if (has_ports(protocol)) {
    const auto* quoted = header_at<UdpHeader>(mbuf, l4);  // all that is sure to be quoted (RFC 792)
    if (quoted == nullptr) return refused(DropReason::flow_invalid);
    const bool echo = protocol == ip_proto::kIcmp || protocol == ip_proto::kIcmpv6;
    ports = echo ? echo_ports(*header_unchecked<IcmpHeader>(mbuf, l4)) : load32(quoted);
  }
  key.set_head(meta.domain, protocol, v4, ports);
  key = key.reversed();
  FlowPacket packet;
  packet.kind = FlowPacket::Kind::kRelated;
  return packet;
}

}  // namespace flow_packet_detail

// `meta` is parsed. `table` may be null: then later fragments and ICMP errors are not looked at. `again`:
// this very packet was read before.
inline FlowPacket read_flow_packet(FlowTable* table, rte_mbuf* mbuf, const PacketMeta& meta,
                                   std::uint32_t now_s, FlowKey& key, bool again = false) noexcept {
  using namespace flow_packet_detail;
  bool to_many = false;
  const bool v4 = meta.ether_type == ether_type::kIpv4;
  if (v4) [[likely]] {
    const auto* ip = header_unchecked<Ipv4Header>(mbuf, meta.l3_offset);
    std::memcpy(&key.words[1], &ip->source, 8);
    to_many = ip->destination.bytes[0] >= 0xe0;  // multicast, broadcast
  } else if (meta.ether_type == ether_type::kIpv6) {
    const auto* ip = header_unchecked<Ipv6Header>(mbuf, meta.l3_offset);
    std::memcpy(&key.words[1], &ip->source, 32);
    to_many = ip->destination.is_multicast();
  } else {
    return {};
  }
  FlowPacket packet;
  if (meta.is_fragment) [[unlikely]] {
    packet = read_fragment(table, mbuf, meta, now_s, key, again);
  } else if (meta.l4_offset == 0) [[unlikely]] {
    if (has_ports(meta.ip_proto)) return refused(DropReason::flow_invalid);
    packet.kind = FlowPacket::Kind::kTracked;
    key.set_head(meta.domain, meta.ip_proto, v4, 0);
  } else {
    std::uint32_t ports = 0;
    packet = read_l4(mbuf, meta.ip_proto, meta.l4_offset, v4, ports);
    key.set_head(meta.domain, meta.ip_proto, v4, ports);
  }
  if (packet.kind == FlowPacket::Kind::kRelated) [[unlikely]] {
    if (table == nullptr || meta.l4_offset == 0) return {};
    return read_quoted(mbuf, meta, key);
  }
  if (to_many && packet.kind == FlowPacket::Kind::kTracked) packet.kind = FlowPacket::Kind::kRules;
  return packet;
}

// Where a connection starts that this packet begins, or why it cannot.
inline FlowStep begin_flow(const FlowPacket& packet, std::uint8_t protocol, bool strict_tcp) noexcept {
  if (!packet.may_begin) return {FlowStep::Outcome::kInvalid, {}};
  if (packet.has_event) return tcp_begin(packet.event, strict_tcp);
  return {FlowStep::Outcome::kPass, answer_begin(protocol)};
}

// What it does to one that is known.
inline FlowStep step_flow(const FlowPacket& packet, FlowPhase phase, Direction direction) noexcept {
  if (packet.has_event) return tcp_step(phase, direction, packet.event);
  return {FlowStep::Outcome::kPass, answer_step(phase, direction)};
}

}  // namespace podwire::engine
