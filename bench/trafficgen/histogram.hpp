// Histogram: counts values in log-linear buckets, 128 to each power of two, so that a percentile is wrong by
// less than 1 % whatever its size; smallest and largest are exact. One thread; no DPDK in here. Units are the
// caller's (the generator counts TSC cycles).
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace podwire::trafficgen {

class Histogram {
 public:
  Histogram() : buckets_(kBuckets) {}

  void add(std::uint64_t value) noexcept {
    ++buckets_[index_of(value)];
    ++count_;
    low_ = std::min(low_, value);
    high_ = std::max(high_, value);
  }
  void clear() noexcept {
    std::fill(buckets_.begin(), buckets_.end(), 0);
    count_ = high_ = 0;
    low_ = std::numeric_limits<std::uint64_t>::max();
  }

  std::uint64_t count() const noexcept { return count_; }
  std::uint64_t lowest() const noexcept { return count_ == 0 ? 0 : low_; }
  std::uint64_t highest() const noexcept { return high_; }
  // The smallest value that at least `share` (0 to 1) of all values do not exceed; 0 when there are none.
  std::uint64_t percentile(double share) const noexcept;

 private:
  static constexpr unsigned kSubBits = 7;
  static constexpr std::uint64_t kSub = 1u << kSubBits;
  static constexpr std::size_t kBuckets = (64 - kSubBits + 1) * kSub;

  static std::size_t index_of(std::uint64_t value) noexcept {
    if (value < kSub) return value;
    const auto shift = static_cast<unsigned>(std::bit_width(value)) - kSubBits - 1;
    return (shift + 1) * kSub + ((value >> shift) - kSub);
  }
  static std::uint64_t middle_of(std::size_t index) noexcept;

  std::vector<std::uint64_t> buckets_;
  std::uint64_t count_ = 0;
  std::uint64_t low_ = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t high_ = 0;
};

}  // namespace podwire::trafficgen
