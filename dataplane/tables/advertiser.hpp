// Advertiser: sends the router advertisements that nobody asked for, one every kAdvertiseSeconds for every
// lease with IPv6 addresses, and one at once when a lease changes. Hosts solicit only when their interface
// comes up, so without them a default route would run out. Through the Injector, booked as generated on the
// pod's port and domain; one that cannot be sent is booked as dropped, and its next one is early enough. Main
// thread only.
#pragma once

#include <rte_mempool.h>

#include "dataplane/tables/injector.hpp"
#include "dataplane/tables/snapshot.hpp"
#include "dataplane/telemetry/counters.hpp"

namespace podwire::engine {

class Advertiser {
 public:
  Advertiser(Injector& injector, WorkerCounters& counters, rte_mempool* pool, std::uint64_t now_ms)
      : injector_(injector), counters_(counters), pool_(pool), second_(now_ms / 1000) {}

  // Sends what has become due by now_ms on `ports`; their turns are spread over the interval by id. Workers
  // have the ports in their snapshot already.
  void tick(const std::vector<const PortEntry*>& ports, std::uint64_t now_ms);
  // Tells the port's endpoints their leases.
  void advertise(const PortEntry& port);

 private:
  void send(const PortEntry& port, const Lease& lease);

  Injector& injector_;
  WorkerCounters& counters_;
  rte_mempool* pool_;
  std::uint64_t second_;  // of the last tick
};

}  // namespace podwire::engine
