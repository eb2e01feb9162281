// IPv4 fragmentation (RFC 791 section 3.2). Called by workers; allocates from the pool only.
#pragma once

#include <rte_mbuf.h>
#include <rte_mempool.h>

#include <cstdint>

#include "dataplane/packet/segment.hpp"

namespace podwire::engine {

// Appends fragments of at most `mtu` IP bytes to `out`. `packet` must carry no offload work (complete_l4
// first); it is trimmed to its IP length and otherwise stays as it was, the caller's. Fragments may share its
// bytes (indirect mbufs), so it is freed after, never written. kMalformed: not IPv4, DF set, or an MTU below
// 68 (RFC 791). Nothing is appended or leaked unless kDone.
[[nodiscard]] PieceOutcome fragment_ipv4(rte_mbuf* packet, std::uint16_t l3_offset, std::uint16_t mtu,
                                         rte_mempool* pool, PieceList& out) noexcept;

}  // namespace podwire::engine
