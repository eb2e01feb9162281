// Injector: how the main thread puts a packet into a worker's pipeline at kResumeStage
// (pipeline/pipeline.hpp): its own ARP and ND frames as Verdict::kForward, packets that waited for a
// neighbour as Verdict::kTunnel. worker/worker_set.hpp implements it. Main thread only.
#pragma once

#include <rte_mbuf.h>

#include "dataplane/packet/meta.hpp"

namespace podwire::engine {

class Injector {
 public:
  virtual ~Injector() = default;
  // Takes the packet over. False: no worker can take it now; the packet stays the caller's. Books nothing:
  // the caller has booked how the packet came to be (generated, parked_out), the worker books what becomes of
  // it.
  virtual bool inject(rte_mbuf* mbuf, const PacketMeta& meta) = 0;
};

}  // namespace podwire::engine
