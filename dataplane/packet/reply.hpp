// Answers made in place from the question: echo, ARP, neighbour advertisement. Called by workers; allocates
// nothing. The frame is turned round: to its source, from `our_mac`, VLAN tag kept. All return false, packet
// unchanged, when the packet is not the well-formed question. Whether the question was for us is the caller's
// check. meta offsets stay right; verdict and the like are the caller's.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>

#include "dataplane/headers/headers.hpp"
#include "dataplane/packet/meta.hpp"

namespace podwire::engine {

// Echo request to echo reply (RFC 792; RFC 4443 section 4.2): addresses swapped, TTL 64. The request's
// checksum is carried over, so that damage stays visible to the asker.
[[nodiscard]] bool make_echo4_reply(rte_mbuf* mbuf, PacketMeta& meta, const MacAddr& our_mac) noexcept;
[[nodiscard]] bool make_echo6_reply(rte_mbuf* mbuf, PacketMeta& meta, const MacAddr& our_mac) noexcept;

// ARP request to a reply saying that its target address is at `our_mac` (RFC 826).
[[nodiscard]] bool make_arp_reply(rte_mbuf* mbuf, const PacketMeta& meta, const MacAddr& our_mac) noexcept;

// The question of a neighbour solicitation that passes RFC 4861 section 7.1.1 (checksum included); null
// otherwise.
[[nodiscard]] const NeighborMessage* valid_solicitation(rte_mbuf* mbuf, const PacketMeta& meta) noexcept;

// Neighbour solicitation to the advertisement that its target is at `our_mac` (RFC 4861 section 7.2.4).
// `flags`: icmp6::kNaRouter and kNaOverride as wanted; solicited is set here unless the question came from
// the unspecified address (duplicate address detection), which is answered to all nodes.
[[nodiscard]] bool make_neighbor_advertisement(rte_mbuf* mbuf, PacketMeta& meta, const MacAddr& our_mac,
                                               std::uint32_t flags) noexcept;

}  // namespace podwire::engine
