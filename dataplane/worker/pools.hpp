// PacketPools: the engine's two mbuf pools. The main thread makes them once after EAL's start and destroys
// them after every port and worker is gone; any lcore allocates and frees.
#pragma once

#include <rte_mempool.h>

#include "dataplane/base/result.hpp"
#include "dataplane/ports/port.hpp"

namespace podwire::engine {

// Bytes of frame in one mbuf of the packet pool, behind RTE_PKTMBUF_HEADROOM.
inline constexpr std::uint16_t kPacketRoom = 2048;
// Bytes in one mbuf of the jumbo pool (it is never a first segment, so it has no headroom).
inline constexpr std::uint16_t kJumboRoom = 65535;

struct PoolOccupancy {
  unsigned size = 0, in_use = 0, jumbo_size = 0, jumbo_in_use = 0;
};

class PacketPools {
 public:
  // `packets` and `jumbos` are numbers of mbufs; `threads` is how many lcores will use them (the main one
  // included): their caches are sized so that they cannot starve each other.
  static Result<PacketPools> create(unsigned packets, unsigned jumbos, unsigned threads);
  PacketPools(PacketPools&&) noexcept;
  PacketPools& operator=(PacketPools&&) = delete;
  ~PacketPools();

  const Pools& get() const { return pools_; }
  // Counted while workers run: a little stale. Mbufs in the lcores' caches are not in use.
  PoolOccupancy occupancy() const;
  // Bytes of both pools.
  std::size_t bytes() const;

 private:
  PacketPools() = default;
  Pools pools_;
};

}  // namespace podwire::engine
