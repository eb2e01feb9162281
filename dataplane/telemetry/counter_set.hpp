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

// Connections in the table, by what was counted.
inline std::uint64_t flow_entries(const CounterSet& counters) {
  std::int64_t entries = 0;
  for (const auto& one : counters.all) {
    const auto& flows = one->flows;
    entries += static_cast<std::int64_t>(flows.inserted.get() - flows.evicted.get() - flows.removed.get() -
                                         flows.expired.get());
  }
  return entries < 0 ? 0 : static_cast<std::uint64_t>(entries);  // read while workers count
}

}  // namespace podwire::engine
