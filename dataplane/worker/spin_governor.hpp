// SpinGovernor: whether a worker goes on polling before it sleeps. Only queues that are polled without a
// system call are worth it (a tap's reader is woken as fast as it polls), and only on a core of its own:
// where pods' threads compete for the core, polling takes from them the time they need to answer, and the
// scheduler takes its revenge in slices of milliseconds. Being preempted shows as a gap between two looks at
// an idle loop, which needs no system call to see. One a worker.
#pragma once

#include <cstdint>

namespace podwire::engine {

class SpinGovernor {
 public:
  // `spin_us`: how long to poll after the last packet; 0: never.
  SpinGovernor(std::uint64_t tsc_hz, std::uint32_t spin_us)
      : spin_cycles_(spin_us * tsc_hz / 1'000'000), gap_cycles_(tsc_hz / 10'000), hold_cycles_(tsc_hz) {}

  // A packet came from a queue that is polled without a system call.
  void packet_polled(std::uint64_t now) noexcept { last_packet_ = now; }
  // After a loop without packets that began at `now`.
  bool may_spin(std::uint64_t now) noexcept {
    const bool preempted = spinning_ && now - last_look_ > gap_cycles_;
    if (preempted) held_until_ = now + hold_cycles_;
    last_look_ = now;
    spinning_ = now - last_packet_ < spin_cycles_ && now >= held_until_;
    return spinning_;
  }
  // The loop did something else meanwhile: the time until the next look says nothing.
  void stop_watching() noexcept { spinning_ = false; }

 private:
  const std::uint64_t spin_cycles_;
  const std::uint64_t gap_cycles_;   // 100 us; an idle loop takes a few
  const std::uint64_t hold_cycles_;  // 1 s without polling after a preemption
  std::uint64_t last_packet_ = 0;
  std::uint64_t last_look_ = 0;
  std::uint64_t held_until_ = 0;
  bool spinning_ = false;
};

}  // namespace podwire::engine
