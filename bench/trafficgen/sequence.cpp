#include "bench/trafficgen/sequence.hpp"

namespace podwire::trafficgen {

void SequenceTracker::record_out_of_order(std::uint32_t number) noexcept {
  if (number > next_) {
    const auto gap = number - next_;
    if (gap >= kWindow) {
      seen_.fill(0);
    } else {
      for (auto missing = next_; missing != number; ++missing) forget(missing);
    }
    remember(number);
    next_ = number + 1;
    ++unique_;
    return;
  }
  if (next_ - number > kWindow) {
    ++stale_;
  } else if (is_seen(number)) {
    ++duplicated_;
  } else {
    remember(number);
    ++unique_;
    ++reordered_;
  }
}

}  // namespace podwire::trafficgen
