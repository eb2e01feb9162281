// Bursts between memif rings and mbufs: every packet is copied, so that the peer cannot change what has been
// checked. Called by the worker that owns the ring.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>
#include <span>

#include "dataplane/ports/memif_ring.hpp"
#include "dataplane/ports/port.hpp"

namespace podwire::engine::memif {

struct ReceiveLimits {
  std::uint32_t frame_bytes = 0;  // longer frames are refused
  unsigned jumbos = 0;            // mbufs of the jumbo pool that a burst may take, one a frame that needs it
};

struct Received {
  std::uint16_t packets = 0;
  std::uint16_t oversized = 0;  // of these: refused for their length (ports/refused_frame.hpp)
  // The rest waits in the ring:
  bool no_buffers = false;  // there were none left
  bool held = false;        // the burst had its share
  std::uint64_t bytes = 0;
  RingFault fault = RingFault::kNone;
};
// Up to out.size() frames out of the ring.
Received receive(IncomingRing& ring, const Pools& pools, const ReceiveLimits& limits,
                 std::span<rte_mbuf*> out) noexcept;

struct Sent {
  std::uint16_t packets = 0;
  std::uint64_t bytes = 0;
  std::uint32_t buffer_bytes = 0;  // of the first buffer that was looked at; 0: none was
  RingFault fault = RingFault::kNone;
};
// A prefix of `in` into the ring; does not free the mbufs.
Sent transmit(OutgoingRing& ring, std::span<rte_mbuf* const> in) noexcept;

}  // namespace podwire::engine::memif
