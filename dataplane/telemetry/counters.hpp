// Counters: each worker writes its own WorkerCounters and nobody else's; telemetry reads them all with
// relaxed loads and sums. The ledger's equation, exact at quiescence for the engine, each ingress port and
// each domain:
//   received + generated + clones + segments = sent + dropped + consumed + parked + merged
// Per port, every term is booked on the packet's *ingress* port (`sent` is "left the engine, came from
// here"); what a port transmitted is `egress_packets`. Per domain, on the domain that decided the packet's
// fate: a packet that decap or the host path moves to another domain is booked as received there, not in the
// underlay.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/base/ids.hpp"
#include "dataplane/pipeline/drop_reason.hpp"

namespace podwire::engine {

inline constexpr std::size_t kMaxPorts = 4096;    // port ids are 1..kMaxPorts-1
inline constexpr std::size_t kMaxDomains = 8192;  // domain ids are 1..kMaxDomains-1
inline constexpr std::size_t kMaxPolicies = 8192;
inline constexpr std::size_t kPolicySlots = 2 * kMaxPolicies + 1;  // all replaced in one change; 0 is none
inline constexpr std::size_t kMaxStages = 24;
inline constexpr std::size_t kMaxWorkers = 16;

// A counter with one writer: plain add for it, relaxed load for readers.
class Counter {
 public:
  void add(std::uint64_t n) noexcept {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  std::uint64_t get() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

struct LedgerCounters {
  Counter received, generated, clones, segments;
  Counter sent, dropped, consumed, parked_in, parked_out, merged;
  Counter moved_out;  // domains only: received here, then found to belong to another domain (subtracted from
                      // received)
};

struct PortCounters {
  LedgerCounters ledger;  // by ingress port
  Counter ingress_bytes;
  Counter egress_packets, egress_bytes;  // what tx_burst took
  Counter flows_limited;                 // dropped for flow_limit
};

struct StageCounters {
  Counter packets, bursts, dropped, cycles;
};

// Of connections. In the table are inserted - evicted - removed - expired.
struct FlowCounters {
  Counter inserted;    // new ones
  Counter evicted;     // half open or closing ones that made room
  Counter removed;     // ended before their time: by a rule, or by a new connection of the same ports
  Counter expired;     // main thread
  Counter refused;     // no room: the packet was dropped
  Counter rechecked;   // looked at again after a change of rules
  Counter reresolved;  // whose way was looked up again
  Counter cut;         // main thread: that policies no longer allow; in the table until they are forgotten
};

// First packets of connections that a policy did not allow.
struct PolicyCounters {
  Counter denied_ingress, denied_egress;
};

struct WorkerCounters {
  std::vector<PortCounters> ports = std::vector<PortCounters>(kMaxPorts);
  std::vector<LedgerCounters> domains = std::vector<LedgerCounters>(kMaxDomains);
  LedgerCounters engine;
  std::vector<PolicyCounters> policies = std::vector<PolicyCounters>(kPolicySlots);
  Counter drops[kDropReasonCount];
  StageCounters stages[kMaxStages];
  FlowCounters flows;
  Counter polls, empty_polls, sleeps, events_lost, busy_cycles, total_cycles;
};

}  // namespace podwire::engine
