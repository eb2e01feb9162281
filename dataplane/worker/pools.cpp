#include "dataplane/worker/pools.hpp"

#include <rte_errno.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <utility>

#include "dataplane/packet/meta.hpp"

namespace podwire::engine {
namespace {

// Caches of all lcores together may hold at most a quarter of the pool (a cache holds up to one and a half
// times its nominal size), so that free mbufs hidden in one lcore's cache never starve another.
unsigned cache_size(unsigned mbufs, unsigned threads, unsigned wanted) {
  return std::min({wanted, mbufs / (6 * std::max(threads, 1u)), unsigned{RTE_MEMPOOL_CACHE_MAX_SIZE}});
}

Result<rte_mempool*> create_pool(const char* what, unsigned mbufs, unsigned cache, unsigned data_room) {
  static std::atomic<unsigned> serial{0};
  const std::string name = std::string("podwire_") + what + std::to_string(serial++);
  rte_mempool* pool = rte_pktmbuf_pool_create(name.c_str(), mbufs, cache, kMbufPrivateBytes,
                                              static_cast<std::uint16_t>(data_room), SOCKET_ID_ANY);
  if (pool != nullptr) return pool;
  const auto mib = (std::uint64_t{mbufs} * (sizeof(rte_mbuf) + kMbufPrivateBytes + data_room)) >> 20;
  return Error{ErrorCode::kExhausted, "no memory for " + std::to_string(mbufs) + " " + what + " of " +
                                          std::to_string(data_room) + " bytes (" + std::to_string(mib) +
                                          " MiB): " + rte_strerror(rte_errno) +
                                          "; raise memory_mib or lower mbufs and jumbo_mbufs in the engine's "
                                          "configuration"};
}

}  // namespace

Result<PacketPools> PacketPools::create(unsigned packets, unsigned jumbos, unsigned threads) {
  PacketPools pools;
  PODWIRE_TRY(pools.pools_.packets, create_pool("mbufs", packets, cache_size(packets, threads, 256),
                                                kPacketRoom + RTE_PKTMBUF_HEADROOM));
  PODWIRE_TRY(pools.pools_.jumbo,
              create_pool("jumbo_mbufs", jumbos, cache_size(jumbos, threads, 32), kJumboRoom));
  return pools;
}

PacketPools::PacketPools(PacketPools&& other) noexcept : pools_(std::exchange(other.pools_, {})) {}

PacketPools::~PacketPools() {
  rte_mempool_free(pools_.packets);
  rte_mempool_free(pools_.jumbo);
}

PoolOccupancy PacketPools::occupancy() const {
  return {pools_.packets->size, rte_mempool_in_use_count(pools_.packets), pools_.jumbo->size,
          rte_mempool_in_use_count(pools_.jumbo)};
}

std::size_t PacketPools::bytes() const {
  const auto of = [](const rte_mempool* pool) {
    return std::size_t{pool->size} * (pool->header_size + pool->elt_size + pool->trailer_size);
  };
  return of(pools_.packets) + of(pools_.jumbo);
}

}  // namespace podwire::engine
