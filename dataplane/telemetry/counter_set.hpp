// CounterSet: every writer's WorkerCounters in one place. `all[i]` belongs to worker i, the last one to the
// main thread (what it books itself: parked packets it drops, ARP it generates, injected frames). Built
// before the workers start and kept until they have stopped; each element has one writing thread, telemetry
// reads them all.
#pragma once

#include <memory>
#include <vector>

#include "dataplane/telemetry/counters.hpp"

namespace podwire::engine {

struct CounterSet {
  CounterSet() = default;
  explicit CounterSet(unsigned workers) {
    for (unsigned i = 0; i <= workers; ++i) all.push_back(std::make_unique<WorkerCounters>());
  }
  WorkerCounters& worker(unsigned index) { return *all[index]; }
  WorkerCounters& main() { return *all.back(); }

  std::vector<std::unique_ptr<WorkerCounters>> all;
};

}  // namespace podwire::engine
