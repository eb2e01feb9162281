// The median of what was measured: a sample that the machine interrupts is thousands of cycles off.
#pragma once

#include <algorithm>
#include <vector>

namespace podwire::engine::bench {

inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace podwire::engine::bench
