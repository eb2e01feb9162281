// PollList: the receive queues that one worker owns and the epoll set it sleeps on. Rebuilt when the
// snapshot's ports_generation changes; what stays is not touched. Called by its worker only.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "dataplane/base/result.hpp"
#include "dataplane/base/unique_fd.hpp"
#include "dataplane/packet/meta.hpp"
#include "dataplane/tables/snapshot.hpp"

namespace podwire::engine {

// The worker that polls `queue` of `port`. Ports with one queue are spread over the workers by their id.
inline unsigned queue_owner(PortId port, std::uint16_t queue, unsigned workers) noexcept {
  return (port.value() + queue) % workers;
}

struct PolledQueue {
  PortId port;
  std::uint16_t queue = 0;
  PacketMeta meta;  // what its packets begin with: ingress, domain, role
  Port* device = nullptr;
  int fd = -1;                     // -1: none, polled by time
  bool when_ready = false;         // rx_burst costs a system call: only after the descriptor said so
  bool lost = false;               // the descriptor's errors do not end: not polled any more
  std::uint16_t errors = 0;        // in a row, without a packet in between
  RateLimiter* limiter = nullptr;  // of what comes from the pod; null: none
  bool held = false;               // not to be received from until the limiter says so
};

class PollList {
 public:
  // `wake_fd` ends waits. One epoll instance a worker.
  static Result<std::unique_ptr<PollList>> create(unsigned worker, unsigned workers, int wake_fd);

  // Allocates and makes system calls.
  void rebuild(const Snapshot& tables);

  // Asks the descriptors; waits up to `timeout_us` (0: not at all). Afterwards ready() holds queues to
  // receive from, and woken() tells whether the wake descriptor was readable.
  void wait(std::uint64_t timeout_us) noexcept;
  // Around a sleep: whether no queue has work, with every peer asked for a signal; and the end of that.
  bool arm() noexcept;
  void disarm() noexcept;
  std::span<PolledQueue* const> ready() const noexcept { return {ready_.data(), ready_count_}; }
  bool woken() const noexcept { return woken_; }
  void forget_ready() noexcept { ready_count_ = 0; }

  // Queues to poll in every loop.
  std::span<PolledQueue* const> always() const noexcept { return always_; }
  // Whether some queue is found by asking its descriptor only.
  bool asks_descriptors() const noexcept { return asks_descriptors_; }
  // How long a sleep may last: shortly with a queue that has no descriptor.
  std::uint64_t sleep_us() const noexcept { return sleep_us_; }

  // The queue's pod has used up its rate: it does not count as ready, nor end a sleep, before its limiter
  // lets it pass.
  void hold(PolledQueue& queue) noexcept;
  // Ends the holds that are over at `now`, a TSC value.
  void release_held(std::uint64_t now) noexcept;
  // When the next of them is over; UINT64_MAX without any.
  std::uint64_t next_release() const noexcept;

 private:
  PollList(unsigned worker, unsigned workers) : worker_(worker), workers_(workers) {}
  void add(const PortEntry& port, std::uint16_t queue);
  void classify();
  bool on_error(PolledQueue& queue) noexcept;
  void remove_fd(PolledQueue& queue) noexcept;

  static constexpr std::size_t kMaxReady = 64;
  void watch(PolledQueue& queue, std::uint32_t events) noexcept;

  static constexpr std::uint64_t kLongSleepUs = 100'000;
  static constexpr std::uint64_t kShortSleepUs = 1'000;
  const unsigned worker_, workers_;
  UniqueFd epoll_;
  std::vector<std::unique_ptr<PolledQueue>> queues_;  // by port and queue
  std::vector<PolledQueue*> always_;
  std::vector<PolledQueue*> held_;  // its capacity is reserved by rebuild
  std::array<PolledQueue*, kMaxReady> ready_{};
  std::size_t ready_count_ = 0;
  bool woken_ = false;
  bool asks_descriptors_ = false;
  std::uint64_t sleep_us_ = kLongSleepUs;
};

}  // namespace podwire::engine
