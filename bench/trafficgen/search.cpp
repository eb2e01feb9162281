#include "bench/trafficgen/search.hpp"

#include <algorithm>

namespace podwire::trafficgen {

const Probe* SearchResult::best() const {
  for (const auto& probe : probes) {
    if (probe.verdict == Verdict::kPassed && probe.rate == rate) return &probe;
  }
  return nullptr;
}

Result<SearchResult> find_rate(const SearchRange& range, const std::function<Result<Probe>(double)>& probe) {
  SearchResult result;
  double low = 0, high = range.high;
  double next = range.start > 0 ? std::min(range.start, high) : high;
  // A first probe next to the upper end is one at it.
  if (next > high * (1 - range.resolution)) next = high;
  while (true) {
    PODWIRE_TRY(Probe made, probe(next));
    result.probes.push_back(made);
    if (made.verdict == Verdict::kPassed) {
      low = result.rate = next;
      if (next == range.high) break;
    } else {
      high = next;
      result.limit = made.verdict;
    }
    if (high - low <= range.resolution * high || high < range.lowest) break;
    next = (low + high) / 2;
  }
  return result;
}

}  // namespace podwire::trafficgen
