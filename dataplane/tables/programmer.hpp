// Programmer: turns intent (api objects) into what workers read, and is the only writer of the live tables.
// Checks a patch or replace as a whole, opens and closes ports, keeps tables and snapshot in step with the
// objects, resolves underlay neighbours, keeps packets that wait for one, learns and ages MAC addresses. Main
// thread only; it waits for workers (microseconds) but never for a peer.
//
// Order of every change, so that a worker never follows a reference that its snapshot does not hold: new
// ports, domains, VTEPs and paths are published first; then table entries change in place; then what is gone
// is left out of the snapshot; then it is destroyed.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "dataplane/api/objects.hpp"
#include "dataplane/base/unique_fd.hpp"
#include "dataplane/ports/port.hpp"
#include "dataplane/tables/injector.hpp"
#include "dataplane/tables/publisher.hpp"
#include "dataplane/telemetry/counters.hpp"
#include "dataplane/worker/event.hpp"

namespace podwire::engine {

class FlowTable;  // tables/flow_table.hpp
class Intent;     // tables/intent.hpp

// What the programmer works with; everything outlives it.
struct ProgrammerEnvironment {
  Publisher* publisher = nullptr;
  Injector* injector = nullptr;
  WorkerCounters* counters = nullptr;  // the main thread's own
  rte_mempool* pool = nullptr;         // for ARP and ND frames
  // open_port() of ports/port.hpp with its environment bound.
  std::function<Result<std::unique_ptr<Port>>(const api::Port&, std::vector<UniqueFd>)> open_port;
  // Called when an id that was not in use becomes a port or domain (its counters then count from here). May
  // be empty.
  std::function<void(PortId)> port_added;
  std::function<void(DomainId)> domain_added;
  // Called when a policy gets `slot` of WorkerCounters::policies. May be empty.
  std::function<void(std::uint32_t slot)> policy_added;
  FlowTable* flows = nullptr;  // whose connections policies may end; may be null
};

struct ObjectCounts {
  std::size_t ports = 0, vteps = 0, domains = 0, endpoints = 0, routes = 0, services = 0, policies = 0,
              neighbors = 0, fdb = 0;
};

class Programmer {
 public:
  // `now_ms` here and below: monotonic milliseconds.
  Programmer(ProgrammerEnvironment environment, std::uint64_t now_ms);
  // Closes all ports and frees parked packets. Workers must have stopped.
  ~Programmer();
  Programmer(const Programmer&) = delete;
  Programmer& operator=(const Programmer&) = delete;

  // Verb `patch`: `remove` first, then `put`; all or nothing. Deleting what is not there succeeds (a retry
  // after a lost reply). Tap ports in message order take `descriptors` of `fds` each. Returns the generation;
  // by then every worker has seen it.
  Result<std::uint64_t> patch(api::ObjectSet put, const api::IdSet& remove, std::vector<UniqueFd> fds,
                              std::uint64_t now_ms);
  // Verbs `replace_*`. begin drops an unfinished replace. commit applies the difference to what is there.
  void replace_begin();
  Result<void> replace_chunk(api::ObjectSet put, std::vector<UniqueFd> fds);
  Result<std::uint64_t> replace_commit(std::uint64_t now_ms);
  void replace_abort();  // the writer has gone

  // From the workers' rings; takes ownership of event.mbuf. Call flush() after a drain: it publishes what the
  // events changed and releases packets whose next hop is known now.
  void on_event(const Event& event, std::uint64_t now_ms);
  void flush(std::uint64_t now_ms);
  // Every 100 ms or so: neighbour questions and retries, ageing, ports that could not be closed at once.
  // Flushes.
  void tick(std::uint64_t now_ms);

  // Verbs `dump` {noun, after_id, limit}, `fdb` {domain}, `neighbors` {}, `port_descriptors` {id}.
  Result<Json> dump(const Json& params) const;
  Result<Json> fdb(const Json& params, std::uint64_t now_ms) const;
  Result<Json> neighbors(const Json& params, std::uint64_t now_ms) const;
  Result<std::vector<UniqueFd>> port_descriptors(PortId id) const;

  // Verbs `probe` {probes}, `probe_results` {ids}, `unknown_vnis` {}: tables/prober.hpp.
  Result<Json> probe(const Json& params, std::uint64_t now_ms);
  Result<Json> probe_results(const Json& params, std::uint64_t now_ms) const;
  Json unknown_vnis(std::uint64_t now_ms) const;

  std::uint64_t generation() const;  // 0 before the first change
  ObjectCounts counts() const;
  std::uint32_t policy_slot(PolicyId id) const;  // in WorkerCounters::policies; 0: no such policy
  const Intent& intent() const;                  // the objects as programmed
  const Port* device(PortId id) const;           // null when there is no such port

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace podwire::engine
