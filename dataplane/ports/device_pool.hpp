// DevicePool: an mbuf pool of one physical port's own, for drivers that cannot share the engine's. AF_XDP
// makes the whole pool its umem (which must be one piece of memory), keeps thousands of its mbufs in the
// kernel and does not give those back when it is closed. Mbufs received from such a port may still be on
// their way through the engine when the port goes, so a pool is freed once none is; until then it waits in
// here. Main thread only.
#pragma once

#include <rte_mempool.h>

#include <memory>
#include <string>

#include "dataplane/base/result.hpp"

namespace podwire::engine {

class DevicePool {
 public:
  // `room` bytes of frame behind the headroom.
  static Result<std::unique_ptr<DevicePool>> create(const std::string& port_name, unsigned mbufs,
                                                    std::uint16_t room);
  DevicePool(const DevicePool&) = delete;
  DevicePool& operator=(const DevicePool&) = delete;
  ~DevicePool();

  rte_mempool* get() const { return pool_; }
  // Whether a packet of this pool is still in use in the engine. Exact once the device is closed, given that
  // the port writes its number into rte_mbuf::port of what it received and RTE_MBUF_PORT_INVALID into what it
  // sent: that is what allocation leaves there, so mbufs that the driver kept for the kernel do not count.
  bool packets_in_use() const;

 private:
  DevicePool() = default;
  rte_mempool* pool_ = nullptr;
  const struct rte_memzone* memory_ = nullptr;
};

// Takes a pool whose device is closed: frees it now if no packet of it is in use, otherwise at a later call.
void retire_device_pool(std::unique_ptr<DevicePool> pool);
// Frees what can be freed of the pools retired before; returns how many are left.
std::size_t collect_device_pools();

}  // namespace podwire::engine
