// Worker: one lcore's poll loop. Receives from the queues it owns, runs the pipeline over each burst, flushes
// what goes out, sleeps when there is nothing to do. Everything in here is called on the worker's own thread,
// except what says otherwise. It allocates only when the snapshot's ports change.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "dataplane/pipeline/driver.hpp"
#include "dataplane/pipeline/express.hpp"
#include "dataplane/tables/publisher.hpp"
#include "dataplane/worker/egress.hpp"
#include "dataplane/worker/flow_sampler.hpp"
#include "dataplane/worker/poll_list.hpp"
#include "dataplane/worker/spin_governor.hpp"
#include "dataplane/worker/spsc_ring.hpp"
#include "dataplane/worker/waker.hpp"

namespace podwire::engine {

// The pipeline as the worker sees it: one indirect call a burst.
struct PipelineHooks {
  // Received packets, all of which begin with the same metadata; the burst has none yet.
  void (*receive)(Context&, Burst&, const PacketMeta&) noexcept = nullptr;
  void (*resume)(Context&, Burst&) noexcept = nullptr;  // injected ones
  std::size_t transmit_stage = 0;                       // index in WorkerCounters::stages
};

template <class Stages, std::size_t Resume>
PipelineHooks hooks_for() {
  static_assert(Stages::kStageCounterBase + Stages::kCount < kMaxStages);
  return {[](Context& ctx, Burst& burst, const PacketMeta& first) noexcept {
            Express<Stages>::run(ctx, burst, first);
          },
          [](Context& ctx, Burst& burst) noexcept { Stages::template run<Resume>(ctx, burst); },
          Stages::kStageCounterBase + Stages::kCount};
}

struct IdlePolicy {
  bool busy = false;           // never sleep
  std::uint32_t spin_us = 50;  // adaptive: how long to poll before sleeping; see worker/spin_governor.hpp
  std::uint16_t burst = kBurstMax;  // packets taken from a queue at a time, 1..kBurstMax
};

// A packet from the main thread; its metadata is saved in the mbuf.
struct InjectedPacket {
  rte_mbuf* mbuf = nullptr;
};

class Worker final : public EventSink {
 public:
  struct Shared {  // of all workers; outlives them
    Publisher& publisher;
    HandoverRings& handover;
    PipelineHooks pipeline;
    IdlePolicy idle;
    Pools pools;
    int events_fd = -1;                   // eventfd of the main thread
    std::atomic<bool>* events_announced;  // set by the first worker to push since the main thread looked
    FlowTable* flows = nullptr;           // may be null
  };
  static Result<std::unique_ptr<Worker>> create(unsigned index, unsigned workers, const Shared& shared,
                                                WorkerCounters& counters);

  // Makes the egress side; after every Worker exists, since each needs the others' wakers.
  void connect(std::vector<Waker*> wakers);

  // The loop; returns after request_stop.
  void run() noexcept;

  // Any thread.
  void request_stop() noexcept;
  Waker& waker() noexcept { return waker_; }
  // Main thread: the worker's rings from and to it.
  SpscRing<InjectedPacket>& inject_ring() noexcept { return inject_; }
  SpscRing<Event>& event_ring() noexcept { return events_; }
  // Main thread. From now on the worker shows `sampler` what it receives; null: nobody any more, and the
  // former one is the main thread's again once the worker has been quiescent.
  void sample(FlowSampler* sampler) noexcept { sampler_.store(sampler, std::memory_order_seq_cst); }
  // Main thread, after run has returned: frees and books what is left in the rings towards this worker.
  void drop_leftovers() noexcept;

  bool push(const Event& event) noexcept override;

 private:
  Worker(unsigned index, unsigned workers, const Shared& shared, WorkerCounters& counters);
  void follow_snapshot();
  void ask_descriptors(std::uint64_t now) noexcept;
  unsigned serve_all() noexcept;
  unsigned receive(PolledQueue& queue) noexcept;
  std::uint16_t room_for(PolledQueue& queue, std::uint64_t now) noexcept;
  void charge(const PolledQueue& queue, std::uint64_t now) noexcept;
  void book_received(const PolledQueue& queue, std::uint16_t count, std::uint64_t bytes) noexcept;
  unsigned accept_injected() noexcept;
  bool may_sleep(std::uint64_t now) noexcept;
  void sleep() noexcept;
  std::uint64_t sleep_us() const noexcept;
  bool work_waits() const noexcept;
  void announce_events() noexcept;

  static constexpr std::size_t kInjectCapacity = 2048;
  static constexpr std::size_t kEventCapacity = 4096;
  static constexpr unsigned kHandedPerLoop = 64;

  const unsigned index_, workers_;
  const Shared shared_;
  WorkerCounters& counters_;
  Waker waker_;
  std::unique_ptr<PollList> polled_;
  std::unique_ptr<EgressQueues> egress_;
  SpscRing<InjectedPacket> inject_{kInjectCapacity};
  SpscRing<Event> events_{kEventCapacity};
  bool pushed_events_ = false;
  std::atomic<bool> stop_{false};
  bool ports_known_ = false;
  std::uint64_t ports_generation_ = 0;
  SpinGovernor governor_;
  const std::uint64_t ask_cycles_;
  std::uint64_t last_ask_tsc_ = 0;
  bool polled_found_packets_ = false;  // the last loop, in queues that are always polled
  std::atomic<FlowSampler*> sampler_{nullptr};
  Context ctx_;
  Burst burst_;
};

}  // namespace podwire::engine
