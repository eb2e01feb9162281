// Waker: how other threads get a worker out of its sleep. A wake-up cannot be lost: the worker announces its
// sleep before it looks at its rings for the last time, and the eventfd stays readable until the worker has
// read it.
#pragma once

#include <atomic>

#include "dataplane/base/result.hpp"
#include "dataplane/base/unique_fd.hpp"

namespace podwire::engine {

class Waker {
 public:
  Result<void> open();
  int fd() const { return fd_.get(); }

  // Any thread: wakes the worker, or makes its next sleep end at once.
  void wake() noexcept;
  // Any thread, after pushing onto one of the worker's rings: a system call only when the worker sleeps.
  void wake_if_asleep() noexcept {
    // Read-modify-writes of one object are totally ordered: either this sees the worker's announcement, or
    // the worker's announcement sees this and with it what was pushed before.
    if (asleep_.exchange(false, std::memory_order_acq_rel)) wake();
  }

  // The worker. Between announce_sleep and its blocking call it looks at its rings once more.
  void announce_sleep() noexcept { asleep_.exchange(true, std::memory_order_acq_rel); }
  void announce_awake() noexcept { asleep_.store(false, std::memory_order_relaxed); }
  // After the descriptor was reported readable.
  void consume() noexcept;

 private:
  std::atomic<bool> asleep_{false};
  UniqueFd fd_;
};

}  // namespace podwire::engine
