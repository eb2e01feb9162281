#include "dataplane/telemetry/status.hpp"

#include <rte_lcore.h>
#include <rte_memory.h>
#include <unistd.h>

#include <set>

#include "dataplane/tables/intent.hpp"

namespace podwire::engine {
namespace {

Json port_json(const api::Port& port, const Port* device) {
  Json j{{"id", port.id.value()},
         {"name", port.name},
         {"kind", api::kPortKindNames[static_cast<std::size_t>(port.kind)]},
         {"role", api::kPortRoleNames[static_cast<std::size_t>(port.role)]},
         {"domain", port.domain.value()},
         {"mac", to_string(device == nullptr || !port.mac.is_zero() ? port.mac : device->mac())},
         {"mtu", device == nullptr ? port.mtu : device->mtu()},
         {"queues", device == nullptr ? port.queues : device->rx_queues()},
         {"link", device != nullptr && device->link_up() ? "up" : "down"},
         {"last_error", device == nullptr ? "the port is not open" : device->last_error()}};
  if (!port.devargs.empty()) j["devargs"] = port.devargs;
  if (port.vlan != 0) j["vlan"] = port.vlan;
  if (device != nullptr) j["device"] = device->describe();
  return j;
}

Json worker_json(unsigned index, unsigned lcore, WorkerSet& workers, const Intent& intent,
                 const Programmer& programmer) {
  Json cpus = Json::array();
  const auto set = rte_lcore_cpuset(lcore);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  // Ports of which it polls a queue.
  std::set<PortId> polled;
  for (const auto& [id, port] : intent.ports()) {
    const auto* device = programmer.device(id);
    for (std::uint16_t queue = 0; device != nullptr && queue < device->rx_queues(); ++queue) {
      if (workers.owner(id, queue) == index) polled.insert(id);
    }
  }
  return {{"index", index},
          {"cpus", std::move(cpus)},
          {"ports", polled.size()},
          {"busy_ratio", workers.busy_ratio(index)}};
}

Json memory_json(const StatusSources& s) {
  const auto mbufs = s.pools.occupancy();
  return {{"mode", s.memory_mode},
          {"bytes", rte_eal_get_physmem_size()},
          {"mbufs",
           {{"size", mbufs.size},
            {"in_use", mbufs.in_use},
            {"jumbo_size", mbufs.jumbo_size},
            {"jumbo_in_use", mbufs.jumbo_in_use}}}};
}

}  // namespace

Json make_status(const StatusSources& s) {
  const auto& intent = s.programmer.intent();
  Json ports = Json::array();
  for (const auto& [id, port] : intent.ports()) ports.push_back(port_json(port, s.programmer.device(id)));
  Json workers = Json::array();
  const auto& lcores = s.workers.lcores();
  for (unsigned i = 0; i < lcores.size(); ++i) {
    workers.push_back(worker_json(i, lcores[i], s.workers, intent, s.programmer));
  }
  const auto counts = s.programmer.counts();
  return {{"version", PODWIRE_VERSION},
          {"pid", ::getpid()},
          {"instance", s.instance},
          {"uptime_s", s.uptime_s},
          {"generation", s.programmer.generation()},
          {"idle", s.busy ? "busy" : "adaptive"},
          {"memory", memory_json(s)},
          {"workers", std::move(workers)},
          {"flows",
           {{"capacity", s.flows.capacity()},
            {"entries", flow_entries(s.counters)},
            {"bytes", s.flows.bytes_reserved()}}},
          {"counts",
           {{"ports", counts.ports},
            {"vteps", counts.vteps},
            {"domains", counts.domains},
            {"endpoints", counts.endpoints},
            {"routes", counts.routes},
            {"services", counts.services},
            {"neighbors", counts.neighbors},
            {"fdb", counts.fdb},
            {"policies", counts.policies}}},
          {"ports", std::move(ports)}};
}

}  // namespace podwire::engine
