// Questions for neighbour resolution, built into a fresh mbuf. Called by the engine's main thread.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>

#include "dataplane/headers/headers.hpp"
#include "dataplane/packet/meta.hpp"

namespace podwire::engine {

// What both need. `destination` zero: to everybody (broadcast, solicited-node multicast); else a unicast
// probe.
struct NeighborQuestion {
  MacAddr source_mac;
  MacAddr destination;
  std::uint16_t vlan = 0;  // 802.1Q id, 0: untagged
};

// "Who has `target`?" (RFC 826), 60 bytes or 64 with the tag. `source` 0.0.0.0 is an RFC 5227 probe.
// Fills l3_offset, ether_type of `meta`. False when the mbuf is not empty or too small.
[[nodiscard]] bool build_arp_request(rte_mbuf* mbuf, PacketMeta& meta, const NeighborQuestion& question,
                                     const Ipv4& source, const Ipv4& target) noexcept;

// Neighbour solicitation (RFC 4861 section 4.3) with our link-layer address as option, left out when `source`
// is unspecified. Fills l3_offset, l4_offset, ether_type and ip_proto of `meta`.
[[nodiscard]] bool build_neighbor_solicitation(rte_mbuf* mbuf, PacketMeta& meta,
                                               const NeighborQuestion& question, const Ipv6& source,
                                               const Ipv6& target) noexcept;

}  // namespace podwire::engine
