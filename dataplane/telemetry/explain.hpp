// Explain: where would this packet go, and who decides? Sends one packet through the real stages, on the main
// thread, with counters, events and egress of its own, and tells what each stage did. Changes nothing: no
// counter of the engine, no table, no packet on any port.
#pragma once

#include <rte_mempool.h>

#include "dataplane/tables/snapshot.hpp"
#include "dataplane/telemetry/explain_packet.hpp"

namespace podwire::engine {

struct ExplainSources {
  const Intent& intent;
  const Snapshot& tables;
  rte_mempool* pool = nullptr;
};

// The verb's reply, or what is wrong with its parameters.
Result<Json> explain(const Json& params, const ExplainSources& sources);

}  // namespace podwire::engine
