// Address translation of packets in place: addresses and ports exchanged for others, every checksum that
// covers them kept right by the difference (RFC 1624), so that damage on the way stays visible to the
// receiver. Called by workers; allocates nothing, knows no connections.
//
// Left out: headers further in that quote addresses (FTP and the like), AH, and the CRC32c of SCTP packets
// that an ICMP error quotes.
#pragma once

#include <rte_mbuf.h>

#include <array>
#include <cstdint>

#include "dataplane/packet/meta.hpp"

namespace podwire::engine {

// The ends of a packet as they stand on the wire.
struct PacketEnds {
  // Source and destination; of IPv4 four bytes each at the beginning.
  std::array<std::uint8_t, 32> addresses{};
  // Source and destination port; of ICMP echo its identifier twice.
  std::uint32_t ports = 0;

  PacketEnds reversed(bool v4) const noexcept;
  bool operator==(const PacketEnds&) const = default;
};

// Makes a parsed IPv4 or IPv6 packet with the ends `before` one with the ends `after`, of the same family.
// Later fragments get the addresses only. A UDP checksum of zero over IPv4 stays zero; where the checksum is
// still to be completed (packet/offload.hpp) only its pseudo-header changes; SCTP's CRC32c is changed with
// its ports. False, packet unchanged: the ports of a fragmented SCTP packet, whose CRC32c covers what is not
// here.
[[nodiscard]] bool translate(rte_mbuf* mbuf, PacketMeta& meta, const PacketEnds& before,
                             const PacketEnds& after) noexcept;

// The same for an ICMP error about a packet that went the other way: `before` are the ends that a packet of
// the error's own direction has, and `after` those that it gets. The quoted packet gets the other ends as
// well (RFC 5508 section 4). The error's source stays when it is a router's on the way, unless `hide_source`.
// False, packet unchanged: the error does not go where the quoted packet came from.
[[nodiscard]] bool translate_error(rte_mbuf* mbuf, PacketMeta& meta, const PacketEnds& before,
                                   const PacketEnds& after, bool hide_source) noexcept;

}  // namespace podwire::engine
