// RateLimiter: the pace of one direction of one port, shared by the workers that serve it. The generic cell
// rate algorithm (ITU-T I.371 annex A, virtual scheduling): one moment is kept, at which everything that has
// passed so far would have passed at exactly the rate. Who finds that moment in the past may pass, whatever
// the size, and pays afterwards, so that packets of 64 KiB and small bursts need no special care and the rate
// is exact in the long run. A pause earns at most the burst.
//
// Any worker: one atomic word, no lock. Times are TSC cycles.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "dataplane/api/objects.hpp"

namespace podwire::engine {

class RateLimiter {
 public:
  // Sleeping threads are late by a millisecond or more on a busy machine; a burst that does not bridge that
  // loses the rate. So there is a floor of 5 ms, and of one segmentation packet of 64 KiB.
  static constexpr std::uint64_t kLeastBurstMs = 5;
  static constexpr std::uint64_t kLeastBurstBytes = 64 * 1024;

  RateLimiter(const api::RateLimit& limit, std::uint64_t tsc_hz)
      : bytes_per_s_(std::max<std::uint64_t>(limit.rate_bps / 8, 1)),
        tsc_hz_(tsc_hz),
        burst_bytes_(std::max({limit.burst_bytes, kLeastBurstBytes, bytes_per_s_ * kLeastBurstMs / 1000})),
        burst_cycles_(fractions_of(burst_bytes_) / kFraction) {}

  bool may_pass(std::uint64_t now) const noexcept { return due() <= now; }
  // From when on something may pass.
  std::uint64_t due() const noexcept {
    return (next_.load(std::memory_order_relaxed) + kFraction - 1) / kFraction;
  }
  // What may pass at `now` without getting into debt.
  std::uint64_t credit_bytes(std::uint64_t now) const noexcept {
    const auto next = due();
    if (next > now) return 0;
    const auto earned = std::min(now - next, burst_cycles_);
    return static_cast<std::uint64_t>(static_cast<unsigned __int128>(earned) * bytes_per_s_ / tsc_hz_);
  }
  void charge(std::uint64_t now, std::uint64_t bytes) noexcept {
    const auto cost = fractions_of(bytes);
    auto next = next_.load(std::memory_order_relaxed);
    // The first packets meet a clock that may be younger than the burst.
    const auto earliest = (now - std::min(now, burst_cycles_)) * kFraction;
    while (!next_.compare_exchange_weak(next, std::max(next, earliest) + cost, std::memory_order_relaxed)) {
    }
  }

  std::uint64_t bytes_per_s() const noexcept { return bytes_per_s_; }
  std::uint64_t burst_bytes() const noexcept { return burst_bytes_; }

 private:
  // Of a cycle, so that small packets at high rates are not counted short; wraps after a decade.
  static constexpr std::uint64_t kFraction = 16;

  std::uint64_t fractions_of(std::uint64_t bytes) const noexcept {
    return static_cast<std::uint64_t>(static_cast<unsigned __int128>(bytes) * tsc_hz_ * kFraction /
                                      bytes_per_s_);
  }

  const std::uint64_t bytes_per_s_, tsc_hz_, burst_bytes_, burst_cycles_;
  std::atomic<std::uint64_t> next_{0};
};

}  // namespace podwire::engine
