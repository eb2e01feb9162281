#include "bench/trafficgen/trial.hpp"

#include <algorithm>

namespace podwire::trafficgen {

double TrialResult::loss() const {
  return std::max(direction[0].loss(), direction[1].loss());
}

double TrialResult::offered_rate() const {
  const auto frames = direction[0].offered() + direction[1].offered();
  return seconds > 0 ? static_cast<double>(frames) / seconds : 0;
}

double TrialResult::received_rate() const {
  const auto frames = direction[0].received + direction[1].received;
  return seconds > 0 ? static_cast<double>(frames) / seconds : 0;
}

unsigned TrialResult::directions() const {
  return static_cast<unsigned>(direction[0].active) + static_cast<unsigned>(direction[1].active);
}

}  // namespace podwire::trafficgen
