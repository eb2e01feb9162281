// What is measured of one frame size and flow count: rates by search, repeated, then latency at shares of the
// rate. Pure: trials are run by whom the caller names, so that tests measure a device that they simulate.
#pragma once

#include <optional>
#include <vector>

#include "bench/trafficgen/frames.hpp"
#include "bench/trafficgen/search.hpp"

namespace podwire::trafficgen {

struct Method {
  double trial_seconds = 2;
  unsigned trials = 1;            // at each rate; the median of their losses decides
  unsigned retries = 2;           // more trials instead of ones that the generator itself disturbed
  double resolution = 0.01;       // relative
  std::vector<double> losses{0};  // tolerated, 0 to 1, ascending: 0 is the NDR, others are PDRs
  unsigned repeat = 3;            // searches
  double warm_up_seconds = 1;     // before each cell, at half the rate that was forwarded
  double max_rate = kUnpaced;     // frames a second and direction
  std::vector<double> latency_shares{0.5, 0.9};  // of the first rate; empty: no latency
  double latency_seconds = 5;
};

struct RateResult {
  double loss = 0;  // tolerated
  std::vector<SearchResult> searches;

  double median() const;  // frames a second and direction
  double lowest() const;
  double highest() const;
  double spread() const;  // (highest - lowest) / median; 0 when there is no rate
  // Of the search whose rate is nearest to the median.
  const SearchResult& typical() const;
};

struct LatencyResult {
  double share = 0;
  TrialResult trial;
};

struct Cell {
  FrameSize size;
  std::uint32_t flows = 1;
  double max_offered = 0;    // frames a second and direction, as fast as the generator goes
  double max_forwarded = 0;  // what came of that
  std::vector<RateResult> rates;
  std::vector<LatencyResult> latency;
};

Result<Cell> measure(const Method& method, FrameSize size, std::uint32_t flows, const RunTrial& run,
                     const Tell& tell);

}  // namespace podwire::trafficgen
