// Booking of packets in the ledger (telemetry/counters.hpp). Every function books for the engine, the
// packet's ingress port and its domain alike, so the three ledgers cannot disagree.
#pragma once

#include "dataplane/pipeline/context.hpp"

namespace podwire::engine {

// What booking needs to know of a packet that is queued somewhere.
inline PacketMeta meta_of(Account account) noexcept {
  PacketMeta meta;
  meta.ingress = account.ingress();
  meta.domain = account.domain();
  return meta;
}

// Books `n` on one column of all three ledgers.
inline void book(WorkerCounters& counters, const PacketMeta& meta, Counter LedgerCounters::*column,
                 std::uint64_t n = 1) noexcept {
  (counters.engine.*column).add(n);
  (counters.ports[meta.ingress.value()].ledger.*column).add(n);
  (counters.domains[meta.domain.value()].*column).add(n);
}

inline void book_drop(WorkerCounters& counters, const PacketMeta& meta, DropReason reason) noexcept {
  book(counters, meta, &LedgerCounters::dropped);
  counters.drops[static_cast<std::size_t>(reason)].add(1);
}

// The packet turns out to belong to `domain` (decap, host path).
inline void move_to_domain(WorkerCounters& counters, PacketMeta& meta, DomainId domain) noexcept {
  counters.domains[meta.domain.value()].moved_out.add(1);
  counters.domains[domain.value()].received.add(1);
  meta.domain = domain;
}

}  // namespace podwire::engine
