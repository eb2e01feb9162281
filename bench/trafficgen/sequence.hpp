// SequenceTracker: tells lost, late and repeated frames of one direction apart by their numbers, 0 upwards
// from 0. What overtakes may be up to kWindow numbers ahead; a number that comes later than that counts as
// stale, because nobody remembers whether it came before. One thread; no DPDK in here.
#pragma once

#include <array>
#include <cstdint>

namespace podwire::trafficgen {

class SequenceTracker {
 public:
  static constexpr std::uint32_t kWindow = 1 << 16;

  void record(std::uint32_t number) noexcept {
    if (number == next_) {  // the common case
      remember(number);
      ++next_;
      ++unique_;
      return;
    }
    record_out_of_order(number);
  }

  std::uint64_t unique() const noexcept { return unique_; }        // different frames that arrived
  std::uint64_t reordered() const noexcept { return reordered_; }  // of these, after one sent later
  std::uint64_t duplicated() const noexcept { return duplicated_; }
  std::uint64_t stale() const noexcept { return stale_; }

 private:
  void record_out_of_order(std::uint32_t number) noexcept;
  bool is_seen(std::uint32_t number) const noexcept {
    return (seen_[number % kWindow / 64] >> (number % 64) & 1) != 0;
  }
  void remember(std::uint32_t number) noexcept {
    seen_[number % kWindow / 64] |= std::uint64_t{1} << (number % 64);
  }
  void forget(std::uint32_t number) noexcept {
    seen_[number % kWindow / 64] &= ~(std::uint64_t{1} << (number % 64));
  }
  // Numbers below `next_` that are still in the window have their bit set when they came. A number that
  // enters the window takes the place of one that leaves it.
  std::array<std::uint64_t, kWindow / 64> seen_{};
  std::uint32_t next_ = 0;
  std::uint64_t unique_ = 0, reordered_ = 0, duplicated_ = 0, stale_ = 0;
};

}  // namespace podwire::trafficgen
