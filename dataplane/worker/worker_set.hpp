// WorkerSet: all workers, their launch and end, and the main thread's way to them: packets in, events out,
// wake-ups. Called by the main thread only, unless a function says otherwise. Order of destruction: stop(),
// then the Programmer takes the last events (drain_events), then ports, WorkerSet, pools.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "dataplane/base/result.hpp"
#include "dataplane/tables/injector.hpp"
#include "dataplane/telemetry/counter_set.hpp"
#include "dataplane/worker/worker.hpp"

namespace podwire::engine {

class WorkerSet final : public Injector {
 public:
  struct Config {
    FlowTable* flows = nullptr;    // of all workers; may be null
    std::vector<unsigned> lcores;  // one worker each; not the main lcore
    IdlePolicy idle;
    PipelineHooks pipeline;  // hooks_for<Pipeline, kResumeStage>()
    Pools pools;
  };
  // `counters` has an element for every worker and one for the main thread. Sets the publisher's waker.
  static Result<std::unique_ptr<WorkerSet>> create(const Config& config, Publisher& publisher,
                                                   CounterSet& counters);
  ~WorkerSet() override;  // stops

  Result<void> start();
  // Ends the workers and waits for them. Packets still between workers are freed and booked as port_gone;
  // what they told the main thread stays for drain_events.
  void stop();

  // Takes the packet unless the ring of the worker that it belongs to is full. See tables/injector.hpp.
  bool inject(rte_mbuf* mbuf, const PacketMeta& meta) override;

  // Readable when events wait. Level triggered: drain_events resets it.
  int event_fd() const { return events_fd_.get(); }
  // Calls visit(const Event&) for every event that waits, at most `limit`; the visitor owns a parked mbuf.
  // Returns how many there were.
  template <class Visit>
  std::size_t drain_events(Visit visit, std::size_t limit = 8192);

  // Shows what each worker receives to the sampler of its index; none at all: to nobody. When it returns, no
  // worker has one of the former samplers any more.
  void sample(std::span<FlowSampler* const> samplers);

  // Any thread.
  void wake_all() noexcept;
  unsigned count() const { return static_cast<unsigned>(workers_.size()); }
  const std::vector<unsigned>& lcores() const { return config_.lcores; }
  // Which worker receives from this queue.
  unsigned owner(PortId port, std::uint16_t queue) const { return queue_owner(port, queue, count()); }
  // Share of the time since the last call (or the start) that worker `index` had packets in hand, 0..1.
  double busy_ratio(unsigned index);

 private:
  struct BusySample {
    std::uint64_t busy = 0, total = 0;
    double ratio = 0;
  };
  WorkerSet(const Config& config, Publisher& publisher, CounterSet& counters);
  void reset_event_fd() noexcept;
  void announce_more_events() noexcept;

  Config config_;
  Publisher& publisher_;
  CounterSet& counters_;
  HandoverRings handover_;
  UniqueFd events_fd_;
  std::atomic<bool> events_announced_{false};
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<BusySample> busy_;
  bool running_ = false;
};

template <class Visit>
std::size_t WorkerSet::drain_events(Visit visit, std::size_t limit) {
  reset_event_fd();  // before looking: an event pushed meanwhile makes it readable again
  std::size_t drained = 0;
  Event event;
  for (auto& worker : workers_) {
    for (std::size_t n = 0; n < limit / workers_.size() && worker->event_ring().pop(event); ++n, ++drained)
      visit(event);
    if (!worker->event_ring().empty()) announce_more_events();
  }
  return drained;
}

}  // namespace podwire::engine
