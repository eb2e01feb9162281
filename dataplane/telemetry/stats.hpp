// The reply to `stats`: counters of ports, stages, drops, domains and workers, summed over all writers. Main
// thread only; reads while workers count, so it is exact only when no packet is under way.
#pragma once

#include <span>
#include <string_view>

#include "dataplane/base/json.hpp"
#include "dataplane/tables/programmer.hpp"
#include "dataplane/telemetry/ledger.hpp"

namespace podwire::engine {

class FlowTable;

// Stage names by index in WorkerCounters::stages: "receive", the pipeline's, "transmit".
std::span<const std::string_view> stage_names();

struct StatsSources {
  const Programmer& programmer;
  const CounterSet& counters;
  const LedgerBook& ledgers;
  const FlowTable& flows;
  std::uint64_t tsc_hz = 0;
};
// `all_drops`: also reasons that never occurred.
Json make_stats(const StatsSources& sources, bool all_drops);

}  // namespace podwire::engine
