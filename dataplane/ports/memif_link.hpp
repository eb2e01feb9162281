// Link: everything that one connected memif peer shares with us. The main thread makes it during the
// handshake and destroys it when no worker can hold it any more; between, each ring belongs to one worker. No
// DPDK in here.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/base/unique_fd.hpp"
#include "dataplane/ports/memif_ring.hpp"

namespace podwire::engine::memif {

struct alignas(64) IncomingQueue {
  IncomingRing ring;
  UniqueFd signal;      // the peer writes it
  bool polled = false;  // the worker has looked at the ring, and masks the signal while it does
};

struct alignas(64) OutgoingQueue {
  OutgoingRing ring;
  UniqueFd signal;  // we write it
};

struct PeerFacts {
  std::string name;       // of the program, as it says
  std::string interface;  // of its side, as it says
  std::uint16_t version = 0;
};

struct Link {
  Role role = Role::kServer;
  PeerFacts peer;
  std::vector<Region> regions;  // by index
  std::vector<IncomingQueue> incoming;
  std::vector<OutgoingQueue> outgoing;
  std::atomic<std::uint32_t> buffer_bytes{0};  // of the peer's empty buffers (server: as last seen) or ours

  // Set by the fault guard when memory behind a region vanishes.
  std::atomic<bool> condemned{false};
  // The first fault; from then on no worker uses the link.
  std::atomic<RingFault> fault{RingFault::kNone};

  bool usable() const noexcept { return fault.load(std::memory_order_relaxed) == RingFault::kNone; }
  std::uint64_t region_bytes() const {
    std::uint64_t sum = 0;
    for (const auto& region : regions) sum += region.bytes();
    return sum;
  }
};

}  // namespace podwire::engine::memif
