// A switch that forwards up to its capacity and loses the rest, for tests of searches: no time passes.
#pragma once

#include <cmath>
#include <random>

#include "bench/trafficgen/trial.hpp"

namespace podwire::trafficgen::tests {

struct SimulatedDevice {
  double capacity = 5e6;          // frames a second and direction
  double generator_limit = 20e6;  // what can be offered
  double noise = 0;               // share of the trials that lose 100 frames for another reason
  double disturbed_share = 0;     // share of the trials in which the generator is held up, and loses 100
  unsigned trials = 0;
  std::mt19937 random{1};

  bool happens(double share) { return std::uniform_real_distribution<double>(0, 1)(random) < share; }

  Result<TrialResult> run(const TrialPlan& plan) {
    ++trials;
    TrialResult result;
    result.plan = plan;
    result.seconds = plan.seconds;
    const double offered = std::min(plan.rate, generator_limit);
    double lost = 0;
    if (happens(noise)) lost += 100;
    if (happens(disturbed_share)) {
      result.disturbed = true;
      lost += 100;
    }
    auto& d = result.direction[0];
    d.active = true;
    d.sent = static_cast<std::uint64_t>(offered * plan.seconds);
    const double received = std::min(offered, capacity) * plan.seconds - lost;
    d.received = std::min(d.sent, static_cast<std::uint64_t>(std::max(received, 0.0)));
    if (plan.latency) {
      d.latency.emplace();
      for (std::uint64_t i = 1; i <= 1000; ++i) d.latency->add(i * 1000);
    }
    return result;
  }
};

}  // namespace podwire::trafficgen::tests
