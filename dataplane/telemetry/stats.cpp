#include "dataplane/telemetry/stats.hpp"

#include <array>

#include "dataplane/pipeline/pipeline.hpp"
#include "dataplane/tables/flow_table.hpp"
#include "dataplane/tables/intent.hpp"

namespace podwire::engine {
namespace {

constexpr std::size_t kStages = Pipeline::kStageCounterBase + Pipeline::kCount + 1;
static_assert(kStages <= kMaxStages);

constexpr auto kStageNames = [] {
  std::array<std::string_view, kStages> names{};
  names[0] = "receive";
  names[kExpressCounter] = "express";
  for (std::size_t i = 0; i < Pipeline::kCount; ++i)
    names[Pipeline::kStageCounterBase + i] = Pipeline::kNames[i];
  names[kStages - 1] = "transmit";
  return names;
}();

template <class Get>
std::uint64_t sum(const CounterSet& counters, Get get) {
  std::uint64_t total = 0;
  for (const auto& one : counters.all) total += get(*one).get();
  return total;
}

Json queue_json(const QueueCounters& q) {
  return {{"received_packets", q.received_packets},
          {"received_bytes", q.received_bytes},
          {"sent_packets", q.sent_packets},
          {"sent_bytes", q.sent_bytes}};
}

// Connections that packets from the port began.
Json port_flows_json(const api::Port& port, const CounterSet& counters, const FlowTable& table) {
  const auto refused = sum(counters, [&](const WorkerCounters& w) -> const Counter& {
    return w.ports[port.id.value()].flows_limited;
  });
  const bool pod = port.role == api::PortRole::kPod;
  const auto limit = port.flow_limit != 0 ? port.flow_limit : pod ? table.default_limit() : 0;
  return {{"entries", table.begun_by(port.id)},
          {"limit", limit == 0 ? Json() : Json(limit)},
          {"refused", refused}};
}

Json port_json(const api::Port& port, const Port* device, const Ledger& ledger) {
  QueueCounters total;
  Json queues = Json::array();
  const auto count = device == nullptr ? 0 : std::max(device->rx_queues(), device->tx_queues());
  for (std::uint16_t queue = 0; queue < count; ++queue) {
    const auto one = device->queue_counters(queue);
    total.received_packets += one.received_packets;
    total.received_bytes += one.received_bytes;
    total.sent_packets += one.sent_packets;
    total.sent_bytes += one.sent_bytes;
    Json j{{"queue", queue}};
    j.update(queue_json(one));
    queues.push_back(std::move(j));
  }
  Json j{{"id", port.id.value()},
         {"name", port.name},
         {"kind", api::kPortKindNames[static_cast<std::size_t>(port.kind)]},
         {"role", api::kPortRoleNames[static_cast<std::size_t>(port.role)]},
         {"domain", port.domain.value()}};
  j.update(queue_json(total));
  j["dropped_packets"] = ledger.dropped;
  j["queues"] = std::move(queues);
  j["ledger"] = to_json(ledger);
  return j;
}

Json stages_json(const CounterSet& counters) {
  Json stages = Json::array();
  for (std::size_t i = 0; i < kStages; ++i) {
    const auto of = [&](Counter StageCounters::*field) {
      return sum(counters, [&](const WorkerCounters& w) -> const Counter& { return w.stages[i].*field; });
    };
    const auto packets = of(&StageCounters::packets);
    const auto cycles = of(&StageCounters::cycles);
    stages.push_back({{"name", kStageNames[i]},
                      {"packets", packets},
                      {"bursts", of(&StageCounters::bursts)},
                      {"dropped", of(&StageCounters::dropped)},
                      {"cycles", cycles},
                      {"cycles_per_packet",
                       packets == 0 ? 0.0 : static_cast<double>(cycles) / static_cast<double>(packets)}});
  }
  return stages;
}

Json drops_json(const CounterSet& counters, bool all) {
  Json drops = Json::array();
  for (std::size_t i = 0; i < kDropReasonCount; ++i) {
    const auto packets = sum(counters, [&](const WorkerCounters& w) -> const Counter& { return w.drops[i]; });
    if (packets == 0 && !all) continue;
    drops.push_back({{"reason", kDropReasonNames[i]}, {"packets", packets}, {"help", kDropReasonHelp[i]}});
  }
  return drops;
}

// By state as they were on the last way through the table, up to ten seconds ago.
Json flows_json(const CounterSet& counters, const FlowTable& table) {
  const auto of = [&](Counter FlowCounters::*field) {
    return sum(counters, [&](const WorkerCounters& w) -> const Counter& { return w.flows.*field; });
  };
  const auto inserted = of(&FlowCounters::inserted), evicted = of(&FlowCounters::evicted),
             removed = of(&FlowCounters::removed), expired = of(&FlowCounters::expired);
  Json by_state = Json::object();
  for (std::size_t state = 1; state < kFlowStateCount; ++state) {
    if (const auto count = table.by_state()[state]) by_state[std::string(kFlowStateNames[state])] = count;
  }
  return {{"capacity", table.capacity()},
          {"entries", inserted - evicted - removed - expired},
          {"inserted", inserted},
          {"evicted", evicted},
          {"removed", removed},
          {"expired", expired},
          {"cut", of(&FlowCounters::cut)},
          {"refused", of(&FlowCounters::refused)},
          {"rechecked", of(&FlowCounters::rechecked)},
          {"reresolved", of(&FlowCounters::reresolved)},
          {"by_state", std::move(by_state)}};
}

Json domains_json(const StatsSources& s) {
  Json domains = Json::array();
  domains.push_back({{"id", kUnderlayDomain.value()},
                     {"name", "underlay"},
                     {"ledger", to_json(s.ledgers.domain(kUnderlayDomain))}});
  for (const auto& [id, domain] : s.programmer.intent().domains()) {
    domains.push_back({{"id", id.value()},
                       {"name", domain.name},
                       {"vni", domain.vni.value()},
                       {"ledger", to_json(s.ledgers.domain(id))}});
  }
  return domains;
}

// Those that have denied something, the first of them by id: a reply is one line.
Json policies_json(const StatsSources& s) {
  constexpr std::size_t kMost = 500;
  Json list = Json::array();
  std::size_t total = 0;
  for (const auto& [id, policy] : s.programmer.intent().policies()) {
    const auto denials = s.ledgers.policy(s.programmer.policy_slot(id));
    if (denials.ingress + denials.egress == 0 || ++total > kMost) continue;
    list.push_back({{"id", id.value()},
                    {"name", policy.name},
                    {"denied_ingress", denials.ingress},
                    {"denied_egress", denials.egress}});
  }
  return {{"denying", std::move(list)}, {"total", total}, {"truncated", total > kMost}};
}

}  // namespace

std::span<const std::string_view> stage_names() {
  return kStageNames;
}

Json make_stats(const StatsSources& s, bool all_drops) {
  Json ports = Json::array();
  for (const auto& [id, port] : s.programmer.intent().ports()) {
    ports.push_back(port_json(port, s.programmer.device(id), s.ledgers.port(id)));
    ports.back()["flows"] = port_flows_json(port, s.counters, s.flows);
  }
  const auto of = [&](Counter WorkerCounters::*field) {
    return sum(s.counters, [&](const WorkerCounters& w) -> const Counter& { return w.*field; });
  };
  return {{"generation", s.programmer.generation()},
          {"tsc_hz", s.tsc_hz},
          {"ports", std::move(ports)},
          {"stages", stages_json(s.counters)},
          {"drops", drops_json(s.counters, all_drops)},
          {"ledger", to_json(s.ledgers.engine())},
          {"domains", domains_json(s)},
          {"flows", flows_json(s.counters, s.flows)},
          {"policies", policies_json(s)},
          {"worker",
           {{"polls", of(&WorkerCounters::polls)},
            {"empty_polls", of(&WorkerCounters::empty_polls)},
            {"sleeps", of(&WorkerCounters::sleeps)},
            {"events_lost", of(&WorkerCounters::events_lost)},
            {"busy_cycles", of(&WorkerCounters::busy_cycles)},
            {"total_cycles", of(&WorkerCounters::total_cycles)}}}};
}

}  // namespace podwire::engine
