// The highest rate without loss (RFC 2544 section 26.1) by bisection. Pure: what a probe is, the caller says.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "bench/trafficgen/trial.hpp"

namespace podwire::trafficgen {

enum class Verdict {
  kPassed,
  kLost,        // more frames than allowed did not arrive
  kNotOffered,  // the generator could not send at that rate
};

struct SearchRange {
  double high = 0;           // not searched above
  double start = 0;          // where the first probe is made
  double resolution = 0.01;  // bounds this close together (relative to the upper) end the search
  double lowest = 1;         // nor below
};

struct Probe {
  double rate = 0;
  Verdict verdict = Verdict::kLost;
  TrialResult trial;  // the one that decided it
};

struct SearchResult {
  double rate = 0;            // 0: none passed
  std::vector<Probe> probes;  // in the order in which they were made
  // What kept the rate from being higher: what the next higher probe failed for; kPassed when none did.
  Verdict limit = Verdict::kPassed;

  // The probe that passed at `rate`; null when none did.
  const Probe* best() const;
};

Result<SearchResult> find_rate(const SearchRange& range, const std::function<Result<Probe>(double)>& probe);

}  // namespace podwire::trafficgen
