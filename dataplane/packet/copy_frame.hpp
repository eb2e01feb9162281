// copy_frame: a packet out of bytes that lie side by side. For the main thread.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>
#include <span>

namespace podwire::engine {

// Chained when it does not fit one mbuf, as ports deliver it. Null when the pool is empty, or for no bytes.
rte_mbuf* copy_frame(rte_mempool* pool, std::span<const std::uint8_t> bytes) noexcept;

}  // namespace podwire::engine
