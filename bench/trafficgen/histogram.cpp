#include "bench/trafficgen/histogram.hpp"

#include <cmath>

namespace podwire::trafficgen {

std::uint64_t Histogram::middle_of(std::size_t index) noexcept {
  if (index < kSub) return index;
  const auto shift = index / kSub - 1;
  return ((kSub + index % kSub) << shift) + ((std::uint64_t{1} << shift) >> 1);
}

std::uint64_t Histogram::percentile(double share) const noexcept {
  if (count_ == 0) return 0;
  const auto wanted = std::clamp<std::uint64_t>(
      static_cast<std::uint64_t>(std::ceil(share * static_cast<double>(count_))), 1, count_);
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    seen += buckets_[i];
    if (seen >= wanted) return std::clamp(middle_of(i), low_, high_);
  }
  return high_;
}

}  // namespace podwire::trafficgen
