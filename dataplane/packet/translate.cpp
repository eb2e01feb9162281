#include "dataplane/packet/translate.hpp"

#include <algorithm>
#include <cstring>

#include "dataplane/packet/access.hpp"
#include "dataplane/packet/checksum.hpp"
#include "dataplane/packet/ipv6_chain.hpp"
#include "dataplane/packet/offload.hpp"

namespace podwire::engine {
namespace {

// What a sum of 16-bit words gains when `count` bytes of it change; an even count at an even place.
std::uint64_t gain(const void* before, const void* after, std::size_t count) noexcept {
  std::uint64_t sum = 0;
  for (std::size_t at = 0; at < count; at += 2) {
    std::uint16_t was, is;
    std::memcpy(&was, static_cast<const std::uint8_t*>(before) + at, sizeof was);
    std::memcpy(&is, static_cast<const std::uint8_t*>(after) + at, sizeof is);
    sum += static_cast<std::uint16_t>(~was);
    sum += is;
  }
  return sum;
}

// The checksum of bytes whose sum gained so much.
Be16 updated(Be16 checksum, std::uint64_t gained) noexcept {
  return checksum_of(std::uint64_t{static_cast<std::uint16_t>(~checksum.raw())} + gained);
}

std::size_t address_bytes(bool v4) noexcept {
  return v4 ? 4 : 16;
}

// What the ends' change means to a checksum over addresses, and to one over ports.
struct Gains {
  Gains(bool v4, const PacketEnds& before, const PacketEnds& after) noexcept
      : addresses(gain(before.addresses.data(), after.addresses.data(), 2 * address_bytes(v4))),
        ports(gain(&before.ports, &after.ports, sizeof before.ports)),
        echo(gain(&before.ports, &after.ports, sizeof before.ports / 2)) {}
  std::uint64_t addresses;
  std::uint64_t ports;
  std::uint64_t echo;  // the identifier alone
};

// Where a checksum field of `protocol` is, from the header's start; 0: it has none that sums words.
std::uint32_t checksum_at(std::uint8_t protocol) noexcept {
  switch (protocol) {
    case ip_proto::kTcp:
      return offsetof(TcpHeader, checksum);
    case ip_proto::kUdp:
      return offsetof(UdpHeader, checksum);
    case ip_proto::kIcmp:
    case ip_proto::kIcmpv6:
      return offsetof(IcmpHeader, checksum);
    default:
      return 0;
  }
}

bool is_icmp(std::uint8_t protocol) noexcept {
  return protocol == ip_proto::kIcmp || protocol == ip_proto::kIcmpv6;
}

bool has_ports(std::uint8_t protocol) noexcept {
  return protocol == ip_proto::kTcp || protocol == ip_proto::kUdp || protocol == ip_proto::kSctp;
}

// RFC 9260 appendix A: the reflected polynomial.
constexpr auto kCrc32c = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
    table[byte] = crc;
  }
  return table;
}();

// CRCs are linear: the CRC of a packet whose first four bytes change by `difference` changes by the CRC,
// begun at zero, of the difference and as many zeros as follow it.
std::uint32_t crc32c_change(std::uint32_t difference, std::uint32_t packet_bytes) noexcept {
  std::uint32_t crc = 0;
  for (std::uint32_t at = 0; at < packet_bytes; ++at) {
    const std::uint32_t byte = at < 4 ? difference >> 8 * at & 0xff : 0;
    crc = kCrc32c[(crc ^ byte) & 0xff] ^ crc >> 8;
  }
  return crc;
}

// Bytes of the IP packet behind `offset`, padding of the frame left out.
std::uint32_t bytes_from(rte_mbuf* mbuf, const PacketMeta& meta, std::uint32_t offset) noexcept {
  std::uint32_t end = meta.l3_offset;
  if (meta.ether_type == ether_type::kIpv4) {
    end += header_unchecked<Ipv4Header>(mbuf, meta.l3_offset)->total_length.host();
  } else {
    end += std::uint32_t{sizeof(Ipv6Header)} +
           header_unchecked<Ipv6Header>(mbuf, meta.l3_offset)->payload_length.host();
  }
  return end > offset ? end - offset : 0;
}

// Writes addresses into the IP header at `offset`; an IPv4 header's checksum follows.
void set_addresses(rte_mbuf* mbuf, std::uint32_t offset, bool v4, const PacketEnds& after) noexcept {
  if (v4) {
    auto* ip = header_unchecked<Ipv4Header>(mbuf, offset);
    const auto gained = gain(&ip->source, after.addresses.data(), 8);
    std::memcpy(&ip->source, after.addresses.data(), 8);
    ip->checksum = updated(ip->checksum, gained);
  } else {
    std::memcpy(&header_unchecked<Ipv6Header>(mbuf, offset)->source, after.addresses.data(), 32);
  }
}

// Other messages than echo have no ports, and nothing to change but what covers their addresses.
void set_echo(rte_mbuf* mbuf, std::uint32_t l4, bool v4, const PacketEnds& before, const PacketEnds& after,
              const Gains& gains) noexcept {
  if (before.ports != after.ports)
    std::memcpy(header_unchecked<std::uint8_t>(mbuf, l4 + offsetof(IcmpHeader, rest)), &after.ports, 2);
  auto* message = header_unchecked<IcmpHeader>(mbuf, l4);
  message->checksum = updated(message->checksum, gains.echo + (v4 ? 0 : gains.addresses));
}

void set_ports(rte_mbuf* mbuf, std::uint8_t protocol, std::uint32_t l4, const PacketEnds& after,
               const Gains& gains) noexcept {
  std::memcpy(header_unchecked<std::uint8_t>(mbuf, l4), &after.ports, sizeof after.ports);
  auto* checksum = header_unchecked<Be16>(mbuf, l4 + checksum_at(protocol));
  if (needs_l4_checksum(mbuf)) {
    *checksum = Be16::from_raw(fold_sum(checksum->raw() + gains.addresses));
    return;
  }
  const bool udp = protocol == ip_proto::kUdp;
  if (udp && checksum->raw() == 0) return;
  *checksum = updated(*checksum, gains.addresses + gains.ports);
  if (udp && checksum->raw() == 0) *checksum = Be16(0xffff);
}

void set_sctp_ports(rte_mbuf* mbuf, const PacketMeta& meta, const PacketEnds& before,
                    const PacketEnds& after) noexcept {
  constexpr std::uint32_t kCrcAt = 8;
  auto* header = header_at<std::array<std::uint8_t, 12>>(mbuf, meta.l4_offset);
  if (header == nullptr) return;  // too short for SCTP: nobody takes it
  std::memcpy(header->data(), &after.ports, sizeof after.ports);
  std::uint32_t crc;
  std::memcpy(&crc, header->data() + kCrcAt, sizeof crc);
  crc ^= crc32c_change(before.ports ^ after.ports, bytes_from(mbuf, meta, meta.l4_offset));
  std::memcpy(header->data() + kCrcAt, &crc, sizeof crc);
}

// The packet that an ICMP error quotes: where its headers are, as far as they are there.
struct Quoted {
  std::uint32_t ip = 0;
  std::uint32_t l4 = 0;
  std::uint32_t end = 0;  // of what may be looked at
  std::uint8_t protocol = 0;
};

bool find_quoted(rte_mbuf* mbuf, const PacketMeta& meta, bool v4, Quoted& quoted) noexcept {
  quoted.ip = meta.l4_offset + std::uint32_t{sizeof(IcmpHeader)};
  quoted.end =
      std::min<std::uint32_t>(mbuf->data_len, meta.l4_offset + bytes_from(mbuf, meta, meta.l4_offset));
  if (v4) {
    const auto* ip = header_at<Ipv4Header>(mbuf, quoted.ip);
    if (ip == nullptr || ip->header_bytes() < sizeof(Ipv4Header)) return false;
    quoted.protocol = ip->protocol;
    quoted.l4 = quoted.ip + ip->header_bytes();
  } else {
    const auto* ip = header_at<Ipv6Header>(mbuf, quoted.ip);
    if (ip == nullptr) return false;
    const auto chain = walk_ipv6_chain(mbuf, static_cast<std::uint16_t>(quoted.ip), *ip);
    quoted.protocol = chain.protocol;
    quoted.l4 = chain.offset;
  }
  return quoted.l4 <= quoted.end;
}

// Gives the quoted packet the ends `after`. Returns what the sum of the message gains.
std::uint64_t translate_quoted(rte_mbuf* mbuf, const Quoted& quoted, bool v4, const PacketEnds& before,
                               const PacketEnds& after) noexcept {
  const Gains gains(v4, before, after);
  std::uint64_t gained = gains.addresses;
  if (v4) {
    const Be16 was = header_unchecked<Ipv4Header>(mbuf, quoted.ip)->checksum;
    set_addresses(mbuf, quoted.ip, v4, after);
    gained += gain(&was, &header_unchecked<Ipv4Header>(mbuf, quoted.ip)->checksum, sizeof was);
  } else {
    set_addresses(mbuf, quoted.ip, v4, after);
  }
  const bool icmp = is_icmp(quoted.protocol);
  if (!icmp && !has_ports(quoted.protocol)) return gained;
  if (quoted.l4 + 8 > quoted.end) return gained;
  const std::size_t identifier = icmp ? 2 : 4;
  std::memcpy(header_unchecked<std::uint8_t>(mbuf, quoted.l4 + (icmp ? 4 : 0)), &after.ports, identifier);
  gained += icmp ? gains.echo : gains.ports;
  const auto at = checksum_at(quoted.protocol);
  if (at == 0 || quoted.l4 + at + sizeof(Be16) > quoted.end) return gained;
  auto* checksum = header_unchecked<Be16>(mbuf, quoted.l4 + at);
  const Be16 was = *checksum;
  if (quoted.protocol == ip_proto::kUdp && was.raw() == 0) return gained;
  const auto covered = (icmp ? gains.echo : gains.ports) + (icmp && v4 ? 0 : gains.addresses);
  *checksum = updated(was, covered);
  if (quoted.protocol == ip_proto::kUdp && checksum->raw() == 0) *checksum = Be16(0xffff);
  return gained + gain(&was, checksum, sizeof was);
}

}  // namespace

PacketEnds PacketEnds::reversed(bool v4) const noexcept {
  PacketEnds back;
  const auto half = address_bytes(v4);
  std::memcpy(back.addresses.data(), addresses.data() + half, half);
  std::memcpy(back.addresses.data() + half, addresses.data(), half);
  back.ports = ports >> 16 | ports << 16;
  return back;
}

bool translate(rte_mbuf* mbuf, PacketMeta& meta, const PacketEnds& before, const PacketEnds& after) noexcept {
  const bool v4 = meta.ether_type == ether_type::kIpv4;
  const bool sctp = meta.ip_proto == ip_proto::kSctp;
  if (sctp && meta.is_fragment && before.ports != after.ports) return false;
  set_addresses(mbuf, meta.l3_offset, v4, after);
  meta.flow_hash = 0;
  if (meta.l4_offset == 0) return true;
  const Gains gains(v4, before, after);
  if (sctp) {
    if (before.ports != after.ports) set_sctp_ports(mbuf, meta, before, after);
  } else if (has_ports(meta.ip_proto)) {
    set_ports(mbuf, meta.ip_proto, meta.l4_offset, after, gains);
  } else if (meta.ip_proto == (v4 ? ip_proto::kIcmp : ip_proto::kIcmpv6)) {
    set_echo(mbuf, meta.l4_offset, v4, before, after, gains);
  }
  return true;
}

bool translate_error(rte_mbuf* mbuf, PacketMeta& meta, const PacketEnds& before, const PacketEnds& after,
                     bool hide_source) noexcept {
  const bool v4 = meta.ether_type == ether_type::kIpv4;
  const auto half = address_bytes(v4);
  PacketEnds outer;
  std::memcpy(outer.addresses.data(),
              v4 ? static_cast<const void*>(&header_unchecked<Ipv4Header>(mbuf, meta.l3_offset)->source)
                 : static_cast<const void*>(&header_unchecked<Ipv6Header>(mbuf, meta.l3_offset)->source),
              2 * half);
  Quoted quoted;
  if (std::memcmp(outer.addresses.data() + half, before.addresses.data() + half, half) != 0 ||
      !find_quoted(mbuf, meta, v4, quoted)) {
    return false;
  }
  PacketEnds changed = outer;
  std::memcpy(changed.addresses.data() + half, after.addresses.data() + half, half);
  if (hide_source || std::memcmp(outer.addresses.data(), before.addresses.data(), half) == 0)
    std::memcpy(changed.addresses.data(), after.addresses.data(), half);
  auto gained = translate_quoted(mbuf, quoted, v4, before.reversed(v4), after.reversed(v4));
  if (!v4) gained += gain(outer.addresses.data(), changed.addresses.data(), 2 * half);
  set_addresses(mbuf, meta.l3_offset, v4, changed);
  auto* message = header_unchecked<IcmpHeader>(mbuf, meta.l4_offset);
  message->checksum = updated(message->checksum, gained);
  meta.flow_hash = 0;
  return true;
}

}  // namespace podwire::engine
