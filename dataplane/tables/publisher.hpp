// Publisher: hands snapshots from the main thread to the workers (RCU). Workers load the pointer once a burst
// and report quiescence after it; what the main thread retires is freed when every worker has been quiescent
// since. A sleeping worker is offline and holds nothing. Waiting uses rte_rcu_qsbr_start/check (inline, so
// that ThreadSanitizer sees them), not the library's blocking wait.
#pragma once

#include <rte_rcu_qsbr.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "dataplane/tables/snapshot.hpp"

namespace podwire::engine {

class Publisher {
 public:
  // `workers` is 1..kMaxWorkers. Needs no EAL.
  explicit Publisher(unsigned workers);
  ~Publisher();
  Publisher(const Publisher&) = delete;
  Publisher& operator=(const Publisher&) = delete;

  // Main thread. How to make a sleeping worker look at its snapshot (writes its eventfd).
  void set_waker(std::function<void()> wake_all) { wake_all_ = std::move(wake_all); }
  // Main thread. Makes `next` current; the former snapshot is freed once unused. Does not wait.
  void publish(std::unique_ptr<const Snapshot> next);
  // Main thread. Runs `free` once no worker can still hold what was reachable before this call.
  void retire(std::function<void()> free);
  // Main thread. Waits until every worker has been quiescent (or offline) since the call; then frees what was
  // retired before it.
  void synchronize();
  // Any thread but a worker's. Waits as synchronize() does and frees nothing.
  void wait_quiescent() const;
  // Main thread. Frees what no worker can hold any more; does not wait. publish, retire and synchronize do it
  // too.
  void reclaim();
  // Main thread. Waits until every worker has rebuilt its poll list from a snapshot with at least this
  // ports_generation; wakes sleepers. After it no worker polls, or sleeps on, a removed port. False after
  // `timeout_ms`.
  bool wait_ports_seen(std::uint64_t ports_generation, int timeout_ms);
  const Snapshot* current_for_main() const { return current_.load(std::memory_order_relaxed); }

  // Worker threads.
  void online(unsigned worker) noexcept;
  void offline(unsigned worker) noexcept;
  const Snapshot* load() const noexcept { return current_.load(std::memory_order_acquire); }
  void quiescent(unsigned worker) noexcept;
  void report_ports_seen(unsigned worker, std::uint64_t ports_generation) noexcept;

 private:
  struct Retired {
    std::uint64_t token;
    std::function<void()> free;
  };
  void free_first(std::size_t count);

  std::atomic<const Snapshot*> current_{nullptr};
  std::unique_ptr<rte_rcu_qsbr, void (*)(rte_rcu_qsbr*)> qsbr_;
  std::vector<std::atomic<std::uint64_t>> ports_seen_;
  std::deque<Retired> retired_;  // tokens ascend
  std::function<void()> wake_all_;
};

}  // namespace podwire::engine
