// Chained packets made contiguous, and cut to length. Called by workers.
#pragma once

#include <rte_mbuf.h>
#include <rte_mempool.h>

#include <cstdint>

namespace podwire::engine {

// The packet in one mbuf: itself when it is or fits its own tailroom, else a copy from `pool` (the chain is
// freed). Offload fields are kept, headroom is the pool's. Null when it fits no mbuf of the pool or none is
// left: `packet` is the caller's as before.
[[nodiscard]] rte_mbuf* linearize(rte_mbuf* packet, rte_mempool* pool) noexcept;

// Cuts a packet to its first `length` bytes, freeing segments no longer needed; nothing happens to a shorter
// one.
void truncate(rte_mbuf* packet, std::uint32_t length) noexcept;

// True when this packet's bytes are seen by no other mbuf, so that they may be written.
[[nodiscard]] bool exclusively_owned(const rte_mbuf* packet) noexcept;

}  // namespace podwire::engine
