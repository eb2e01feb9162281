// Eal: DPDK's environment for as long as it lives, on one lcore, and the signals that end a measurement. Main
// thread only; one in a process.
#pragma once

#include <memory>

#include "bench/trafficgen/options.hpp"

namespace podwire::trafficgen {

class Eal {
 public:
  static Result<std::unique_ptr<Eal>> start(const Settings& settings, const Tell& tell);
  Eal(const Eal&) = delete;
  Eal& operator=(const Eal&) = delete;
  ~Eal();

 private:
  Eal() = default;
};

// SIGINT and SIGTERM set what interrupted() tells.
void catch_signals();
bool interrupted() noexcept;

// While one lives, the calling thread is under SCHED_FIFO, if that is wanted and the kernel allows it.
class Realtime {
 public:
  static constexpr int kPriority = 50;
  explicit Realtime(bool wanted) noexcept;
  Realtime(const Realtime&) = delete;
  Realtime& operator=(const Realtime&) = delete;
  ~Realtime();
  bool applied() const noexcept { return applied_; }

 private:
  bool applied_ = false;
};

// While one lives, a memory fault ends the process with a message instead of a core dump: DPDK's net_memif
// and net_virtio_user unmap what they share with a peer that leaves, under the thread that uses it.
class SharedMemoryInUse {
 public:
  explicit SharedMemoryInUse(bool in_use) noexcept;
  SharedMemoryInUse(const SharedMemoryInUse&) = delete;
  SharedMemoryInUse& operator=(const SharedMemoryInUse&) = delete;
  ~SharedMemoryInUse();
};

}  // namespace podwire::trafficgen
