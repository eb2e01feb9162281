// NeighborProber: sends the ARP requests and neighbour solicitations that Neighbors asks for, through the
// Injector. Every frame is booked as generated on its uplink and the underlay domain; one that cannot be sent
// is booked as dropped. Main thread only.
#pragma once

#include <rte_mempool.h>

#include "dataplane/tables/injector.hpp"
#include "dataplane/tables/intent.hpp"
#include "dataplane/tables/neighbors.hpp"
#include "dataplane/tables/snapshot.hpp"
#include "dataplane/telemetry/counters.hpp"

namespace podwire::engine {

class NeighborProber {
 public:
  NeighborProber(Injector& injector, WorkerCounters& counters, rte_mempool* pool)
      : injector_(injector), counters_(counters), pool_(pool) {}

  // Asks on `uplink` who has key.address; `mac` zero: everybody, else that one.
  void ask(const Intent& intent, const PortEntry& uplink, const NeighborKey& key, const MacAddr& mac);

 private:
  Injector& injector_;
  WorkerCounters& counters_;
  rte_mempool* pool_;
};

}  // namespace podwire::engine
