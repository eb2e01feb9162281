// Prober: asks other nodes' gateways through the tunnel whether they can be reached. An echo request from the
// domain's own gateway address takes the route and the tunnel that pods' packets to there take, but no policy
// and no connection tracking: it enters the pipeline behind them, as ARP requests do. The answer is taken by
// the gateway stage before either. At most ProbeWindow::kSlots probes at a time; each is waited for
// kTimeoutMs, and its outcome kept until as many others have been sent. Main thread only; it never waits.
//
// Beside it the unknown VNIs that peers' packets came with, at most kMostVnis of them.
#pragma once

#include <rte_mempool.h>

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "dataplane/base/json.hpp"
#include "dataplane/tables/injector.hpp"
#include "dataplane/tables/probe_window.hpp"
#include "dataplane/tables/snapshot.hpp"
#include "dataplane/tables/underlay.hpp"
#include "dataplane/telemetry/counters.hpp"
#include "dataplane/worker/event.hpp"

namespace podwire::engine {

class Prober {
 public:
  static constexpr std::uint64_t kTimeoutMs = 2000;
  static constexpr std::size_t kMostAtOnce = 256;  // in one call
  static constexpr std::size_t kMostVnis = 1024;

  using FindReach = std::function<VtepReach(std::uint32_t slot)>;

  Prober(Injector& injector, WorkerCounters& counters, rte_mempool* pool)
      : injector_(injector), counters_(counters), pool_(pool) {}

  const ProbeWindow& window() const { return window_; }

  // Verb `probe` {probes: [{domain, to, bytes}]}: sends them. Reply, in their order: {id, vtep} of those that
  // are under way, {problem, message} of the others: no_domain, no_gateway, no_tunnel, too_long (with the
  // limit), too_short, no_mbufs, busy. `now_ms` here and below: monotonic milliseconds.
  Result<Json> send(const Json& params, const Snapshot& tables, std::uint64_t now_ms);
  // Verb `probe_results` {ids: [...]}. Reply, in their order: {id, state} with state waiting, answered (with
  // rtt_us), damaged (the answer's checksum is wrong), lost, or unknown (too long ago); waiting and lost with
  // what `reach` says of the tunnel's next hop: gone, no_source, no_route, unresolved, resolved.
  Result<Json> results(const Json& params, const FindReach& reach, std::uint64_t now_ms) const;
  // Verb `unknown_vnis`: [{address, vni, age_ms}], the last seen first.
  Json unknown_vnis(std::uint64_t now_ms) const;

  void answered(const Event& event);
  void note_unknown_vni(const Event& event, std::uint64_t now_ms);
  void tick(std::uint64_t now_ms);

 private:
  enum class State : std::uint8_t { kFree, kWaiting, kAnswered, kDamaged, kLost };
  struct Probe {
    State state = State::kFree;
    std::uint32_t id = 0;
    std::uint32_t vtep = 0;
    DomainId domain;
    IpAddr to;
    std::uint64_t nonce = 0;
    std::uint64_t sent_ms = 0, sent_tsc = 0, rtt_tsc = 0;
  };
  struct Wish;

  Json send_one(const Wish& wish, const Snapshot& tables, std::uint64_t now_ms);
  Probe* free_slot();
  bool inject(Probe& probe, const Wish& wish, const Adjacency& way, const DomainEntry& domain,
              const IpAddr& source, const Snapshot& tables);

  Injector& injector_;
  WorkerCounters& counters_;
  rte_mempool* pool_;
  ProbeWindow window_;
  std::vector<Probe> probes_ = std::vector<Probe>(ProbeWindow::kSlots);
  std::size_t next_ = 0;                                          // slot
  std::uint32_t generation_ = 0;                                  // of ids
  std::map<std::pair<IpAddr, Vni>, std::uint64_t> unknown_vnis_;  // when it was last seen
};

}  // namespace podwire::engine
