// What a trial is asked to do and what came of it. Plain data between the exchange loop (which needs two
// devices) and the measurements (which do not).
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>

#include "bench/trafficgen/histogram.hpp"
#include "dataplane/base/result.hpp"

namespace podwire::trafficgen {

inline constexpr double kUnpaced = std::numeric_limits<double>::infinity();

struct TrialPlan {
  double rate = 0;  // frames a second in each active direction; kUnpaced: as many as go out
  double seconds = 1;
  bool latency = false;  // fill the histograms
};

struct DirectionResult {
  bool active = false;
  std::uint64_t sent = 0;            // the device took them
  std::uint64_t refused = 0;         // due, but the device had no room: the switch did not take earlier ones
  std::uint64_t received = 0;        // different frames of this trial that came out at the other side
  std::uint64_t reordered = 0;       // of these, after a frame that was sent later
  std::uint64_t duplicated = 0;      // came once more
  std::uint64_t stale = 0;           // so late that it cannot be told which
  std::optional<Histogram> latency;  // TSC cycles

  std::uint64_t offered() const { return sent + refused; }
  std::uint64_t lost() const { return offered() - received; }
  double loss() const {
    return offered() == 0 ? 0 : static_cast<double>(lost()) / static_cast<double>(offered());
  }
};

struct TrialResult {
  TrialPlan plan;
  double seconds = 0;                        // for which was sent, without the times in which we were held up
  std::array<DirectionResult, 2> direction;  // A to B, B to A
  double held_up = 0;           // share of the trial in which another program had our CPU, 0 to 1
  double behind = 0;            // share of the bursts with the generator at its limit
  double longest_stall_us = 0;  // for which the generator looked at neither side
  bool disturbed = false;       // that was long enough for a receive ring to run over
  std::uint64_t foreign = 0;    // frames that are not of this trial

  // Of the worse direction, 0 to 1.
  double loss() const;
  // Of all directions together, frames a second.
  double offered_rate() const;
  double received_rate() const;
  unsigned directions() const;
};

// Runs one trial; fails only when no further trial can succeed (a link is down).
using RunTrial = std::function<Result<TrialResult>(const TrialPlan&)>;
// Told a line for a person now and then.
using Tell = std::function<void(const std::string&)>;

}  // namespace podwire::trafficgen
