#include "dataplane/telemetry/ledger.hpp"

namespace podwire::engine {
namespace {

std::int64_t value(const Counter& counter) {
  return static_cast<std::int64_t>(counter.get());
}

template <class Id>
Ledger since(const std::map<Id, Ledger>& baselines, Id id, const Ledger& now) {
  const auto at = baselines.find(id);
  return at == baselines.end() ? now : now.minus(at->second);
}

}  // namespace

void Ledger::add(const LedgerCounters& c) {
  received += value(c.received) - value(c.moved_out);
  generated += value(c.generated);
  clones += value(c.clones);
  segments += value(c.segments);
  sent += value(c.sent);
  dropped += value(c.dropped);
  consumed += value(c.consumed);
  parked += value(c.parked_in) - value(c.parked_out);
  merged += value(c.merged);
}

Ledger Ledger::minus(const Ledger& o) const {
  Ledger d = *this;
  d.received -= o.received;
  d.generated -= o.generated;
  d.clones -= o.clones;
  d.segments -= o.segments;
  d.sent -= o.sent;
  d.dropped -= o.dropped;
  d.consumed -= o.consumed;
  d.parked -= o.parked;
  d.merged -= o.merged;
  return d;
}

Json to_json(const Ledger& l) {
  return {{"received", l.received}, {"generated", l.generated}, {"clones", l.clones},
          {"segments", l.segments}, {"sent", l.sent},           {"dropped", l.dropped},
          {"consumed", l.consumed}, {"parked", l.parked},       {"merged", l.merged},
          {"balance", l.balance()}};
}

Ledger LedgerBook::engine() const {
  Ledger sum;
  for (const auto& counters : counters_.all) sum.add(counters->engine);
  return sum;
}

Ledger LedgerBook::sum_port(PortId id) const {
  Ledger sum;
  if (id.value() >= kMaxPorts) return sum;
  for (const auto& counters : counters_.all) sum.add(counters->ports[id.value()].ledger);
  return sum;
}

Ledger LedgerBook::sum_domain(DomainId id) const {
  Ledger sum;
  if (id.value() >= kMaxDomains) return sum;
  for (const auto& counters : counters_.all) sum.add(counters->domains[id.value()]);
  return sum;
}

Denials LedgerBook::sum_policy(std::uint32_t slot) const {
  Denials sum;
  for (const auto& counters : counters_.all) {
    sum.ingress += counters->policies[slot].denied_ingress.get();
    sum.egress += counters->policies[slot].denied_egress.get();
  }
  return sum;
}

Denials LedgerBook::policy(std::uint32_t slot) const {
  auto sum = sum_policy(slot);
  const auto at = policy_baselines_.find(slot);
  if (at == policy_baselines_.end()) return sum;
  sum.ingress -= at->second.ingress;
  sum.egress -= at->second.egress;
  return sum;
}

Ledger LedgerBook::port(PortId id) const {
  return since(port_baselines_, id, sum_port(id));
}
Ledger LedgerBook::domain(DomainId id) const {
  return since(domain_baselines_, id, sum_domain(id));
}

}  // namespace podwire::engine
