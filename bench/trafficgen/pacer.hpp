// Pacer: when which frame is due, open loop: the schedule does not wait for the switch. Frames that are due
// for longer than `patience`, because the generator is too slow, are struck off the schedule: a burst of them
// would be the generator's loss and look like the switch's. Time in which the generator did not run is taken
// out by skip(). One thread; no DPDK in here; times are TSC cycles.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

namespace podwire::trafficgen {

class Pacer {
 public:
  // `rate` in frames a second; infinity: `burst` frames are always due.
  Pacer(double rate, double cycles_per_second, double patience_seconds, unsigned burst)
      : frames_per_cycle_(rate / cycles_per_second),
        patience_(std::max(rate * patience_seconds, 2.0 * burst)),
        burst_(burst),
        unpaced_(rate == std::numeric_limits<double>::infinity()) {}

  void start(std::uint64_t now) noexcept {
    start_ = now;
    done_ = 0;
  }
  // The schedule rests for `cycles`, in which another program had the CPU.
  void skip(std::uint64_t cycles) noexcept { start_ += cycles; }
  // How many frames to send at `now`, at most a burst. They count as done.
  unsigned take(std::uint64_t now) noexcept {
    if (unpaced_) return burst_;
    const double scheduled = static_cast<double>(static_cast<std::int64_t>(now - start_)) * frames_per_cycle_;
    double due = scheduled - done_;
    if (due < 1) return 0;
    if (due > patience_) {
      const double kept = static_cast<double>(burst_);
      done_ = scheduled - kept;
      due = kept;
    }
    const auto frames = static_cast<unsigned>(std::min(due, static_cast<double>(burst_)));
    done_ += frames;
    ++bursts_;
    if (due > 2 * burst_) ++behind_;
    return frames;
  }
  // Share of the bursts after which more than another one was due already: near 1, the generator is at its
  // limit.
  double behind() const noexcept {
    return bursts_ == 0 ? 0 : static_cast<double>(behind_) / static_cast<double>(bursts_);
  }

 private:
  double frames_per_cycle_;
  double patience_;  // in frames
  unsigned burst_;
  bool unpaced_;
  std::uint64_t start_ = 0;
  double done_ = 0;
  std::uint64_t bursts_ = 0, behind_ = 0;
};

}  // namespace podwire::trafficgen
