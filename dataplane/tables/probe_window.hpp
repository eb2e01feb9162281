// ProbeWindow: the probes that are under way, as workers need to know them to tell an answer from a forgery.
// The main thread (tables/prober.hpp) writes, workers read; a worker that sees a slot a moment late loses one
// answer at most.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace podwire::engine {

class ProbeWindow {
 public:
  static constexpr std::size_t kSlots = 4096;

  // `nonce` is never 0.
  void open(std::size_t slot, std::uint64_t nonce) noexcept {
    nonces_[slot].store(nonce, std::memory_order_release);
  }
  void close(std::size_t slot) noexcept { nonces_[slot].store(0, std::memory_order_release); }

  bool expects(std::size_t slot, std::uint64_t nonce) const noexcept {
    return slot < kSlots && nonce != 0 && nonces_[slot].load(std::memory_order_acquire) == nonce;
  }

 private:
  std::array<std::atomic<std::uint64_t>, kSlots> nonces_{};
};

}  // namespace podwire::engine
