#include "dataplane/ports/device_pool.hpp"

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_mbuf.h>
#include <rte_mbuf_pool_ops.h>
#include <rte_memzone.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <unordered_set>
#include <vector>

#include "dataplane/packet/meta.hpp"

namespace podwire::engine {
namespace {

std::vector<std::unique_ptr<DevicePool>>& retired_pools() {
  // Never destroyed: EAL is gone before static objects are, and its memory with it.
  static auto& pools = *new std::vector<std::unique_ptr<DevicePool>>;
  return pools;
}

// Takes everything that is free out of the pool. It has no caches, so this is all of it.
std::vector<void*> take_free(rte_mempool* pool) {
  std::vector<void*> free(rte_mempool_avail_count(pool));
  while (!free.empty() && rte_mempool_get_bulk(pool, free.data(), static_cast<unsigned>(free.size())) != 0) {
    free.pop_back();
  }
  return free;
}

struct InUseScan {
  std::unordered_set<const void*> free;
  std::size_t in_use = 0;
};

void scan_one(rte_mempool*, void* opaque, void* object, unsigned) {
  auto* scan = static_cast<InUseScan*>(opaque);
  const auto* mbuf = static_cast<const rte_mbuf*>(object);
  if (mbuf->port != RTE_MBUF_PORT_INVALID && !scan->free.contains(object)) ++scan->in_use;
}

}  // namespace

Result<std::unique_ptr<DevicePool>> DevicePool::create(const std::string& port_name, unsigned mbufs,
                                                       std::uint16_t room) {
  static std::atomic<unsigned> serial{0};
  const std::string name = "podwire_dev" + std::to_string(serial++);
  const auto failed = [&](const char* step, std::size_t bytes) {
    return Error{ErrorCode::kExhausted,
                 "port " + port_name + ": no memory for its own " + std::to_string(mbufs) +
                     " packet buffers (" + step + ", " + std::to_string(bytes >> 20) + " MiB): " +
                     rte_strerror(rte_errno) + "; raise memory_mib in the engine's configuration"};
  };
  // The memory waits in the list of retired pools, if anywhere.
  collect_device_pools();
  const unsigned data_room = room + RTE_PKTMBUF_HEADROOM;
  const unsigned element = static_cast<unsigned>(sizeof(rte_mbuf)) + kMbufPrivateBytes + data_room;
  std::unique_ptr<DevicePool> pool(new DevicePool);
  // No per-lcore caches: packets_in_use must see every free mbuf; the driver allocates in bulk. Objects are
  // packed across page boundaries, because AF_XDP computes the umem's size from their number alone.
  constexpr unsigned kFlags = RTE_MEMPOOL_F_NO_IOVA_CONTIG;
  pool->pool_ = rte_mempool_create_empty(name.c_str(), mbufs, element, 0, sizeof(rte_pktmbuf_pool_private),
                                         SOCKET_ID_ANY, kFlags);
  if (pool->pool_ == nullptr) return failed("pool header", 0);
  if (rte_mempool_set_ops_byname(pool->pool_, rte_mbuf_best_mempool_ops(), nullptr) != 0)
    return failed("ring", 0);
  rte_pktmbuf_pool_private layout{};
  layout.mbuf_data_room_size = static_cast<std::uint16_t>(data_room);
  layout.mbuf_priv_size = kMbufPrivateBytes;
  rte_pktmbuf_pool_init(pool->pool_, &layout);

  const std::size_t page = static_cast<std::size_t>(::getpagesize());
  const std::size_t bytes = std::size_t{mbufs} * rte_mempool_calc_obj_size(element, kFlags, nullptr) + page;
  pool->memory_ = rte_memzone_reserve_aligned(name.c_str(), bytes, SOCKET_ID_ANY, RTE_MEMZONE_IOVA_CONTIG,
                                              static_cast<unsigned>(page));
  if (pool->memory_ == nullptr) return failed("buffers", bytes);
  const int added = rte_mempool_populate_iova(pool->pool_, static_cast<char*>(pool->memory_->addr),
                                              pool->memory_->iova, pool->memory_->len, nullptr, nullptr);
  if (added != static_cast<int>(mbufs)) return failed("population", bytes);
  rte_mempool_obj_iter(pool->pool_, rte_pktmbuf_init, nullptr);
  return pool;
}

DevicePool::~DevicePool() {
  if (pool_ != nullptr) rte_mempool_free(pool_);
  if (memory_ != nullptr) rte_memzone_free(memory_);
}

bool DevicePool::packets_in_use() const {
  const auto free = take_free(pool_);
  InUseScan scan{{free.begin(), free.end()}, 0};
  rte_mempool_obj_iter(pool_, scan_one, &scan);
  if (!free.empty()) rte_mempool_put_bulk(pool_, free.data(), static_cast<unsigned>(free.size()));
  return scan.in_use != 0;
}

void retire_device_pool(std::unique_ptr<DevicePool> pool) {
  retired_pools().push_back(std::move(pool));
  collect_device_pools();
}

std::size_t collect_device_pools() {
  std::erase_if(retired_pools(), [](const auto& pool) { return !pool->packets_in_use(); });
  return retired_pools().size();
}

}  // namespace podwire::engine
