// Ledger: one snapshot of the equation in telemetry/counters.hpp, summed over all writers. LedgerBook adds
// what the counters do not know: a port or domain id that was removed and comes back counts from zero. Main
// thread only.
#pragma once

#include <cstdint>
#include <map>

#include "dataplane/base/json.hpp"
#include "dataplane/telemetry/counter_set.hpp"

namespace podwire::engine {

// Signed, because while packets are under way one term may be ahead of another, and what is parked may have
// come before the baseline.
struct Ledger {
  std::int64_t received = 0, generated = 0, clones = 0, segments = 0;
  std::int64_t sent = 0, dropped = 0, consumed = 0, parked = 0, merged = 0;

  // 0 when no packet is under way.
  std::int64_t balance() const {
    return received + generated + clones + segments - sent - dropped - consumed - parked - merged;
  }
  void add(const LedgerCounters& counters);
  Ledger minus(const Ledger& other) const;
  bool operator==(const Ledger&) const = default;
};
Json to_json(const Ledger& ledger);

// First packets that a policy did not allow, by its side.
struct Denials {
  std::uint64_t ingress = 0, egress = 0;
};

class LedgerBook {
 public:
  explicit LedgerBook(const CounterSet& counters) : counters_(counters) {}

  // The id was not in use and is now: it counts from here.
  void port_added(PortId id) { port_baselines_[id] = sum_port(id); }
  void domain_added(DomainId id) { domain_baselines_[id] = sum_domain(id); }

  void policy_added(std::uint32_t slot) { policy_baselines_[slot] = sum_policy(slot); }

  Ledger engine() const;
  Ledger port(PortId id) const;
  Ledger domain(DomainId id) const;
  Denials policy(std::uint32_t slot) const;

 private:
  Ledger sum_port(PortId id) const;
  Ledger sum_domain(DomainId id) const;
  Denials sum_policy(std::uint32_t slot) const;

  const CounterSet& counters_;
  std::map<PortId, Ledger> port_baselines_;
  std::map<DomainId, Ledger> domain_baselines_;
  std::map<std::uint32_t, Denials> policy_baselines_;
};

}  // namespace podwire::engine
