// The reply to `status`, without the epoch (the verb server knows that): version, memory, workers, ports.
// Main thread only.
#pragma once

#include <string>

#include "dataplane/base/json.hpp"
#include "dataplane/tables/flow_table.hpp"
#include "dataplane/tables/programmer.hpp"
#include "dataplane/telemetry/counter_set.hpp"
#include "dataplane/worker/pools.hpp"
#include "dataplane/worker/worker_set.hpp"

namespace podwire::engine {

struct StatusSources {
  const Programmer& programmer;
  WorkerSet& workers;  // its busy ratio is since the last look
  const PacketPools& pools;
  const FlowTable& flows;
  const CounterSet& counters;
  std::string instance;
  std::string memory_mode;  // "2 MiB hugepages" or "4 KiB pages"
  bool busy = false;
  std::uint64_t uptime_s = 0;
};
Json make_status(const StatusSources& sources);

}  // namespace podwire::engine
