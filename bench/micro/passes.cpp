#include "bench/micro/passes.hpp"

#include <rte_atomic.h>
#include <rte_cycles.h>

#include <algorithm>
#include <utility>

#include "dataplane/pipeline/express.hpp"
#include "dataplane/worker/egress.hpp"

namespace podwire::engine::bench {
namespace {

constexpr unsigned kColdPackets = 262'144;

// Stages First.. of the pipeline, Count of them, as a pipeline of its own.
template <class... Stages>
std::tuple<Stages...> stages_of(StageList<Stages...>);
using AllStages = decltype(stages_of(Pipeline{}));
template <std::size_t First, std::size_t... I>
StageList<std::tuple_element_t<First + I, AllStages>...> slice(std::index_sequence<I...>);
template <std::size_t First, std::size_t Count>
using Slice = decltype(slice<First>(std::make_index_sequence<Count>{}));

// Bursts one after another, without the unused places of a Burst.
class Queue final : public EgressSink {
 public:
  Queue() {
    mbufs_.reserve(kColdPackets);
    metas_.reserve(kColdPackets);
  }
  void take(Burst& burst) noexcept override {
    mbufs_.insert(mbufs_.end(), burst.mbufs.begin(), burst.mbufs.begin() + burst.count);
    metas_.insert(metas_.end(), burst.meta.begin(), burst.meta.begin() + burst.count);
    counts_.push_back(burst.count);
    burst.count = 0;
  }
  std::size_t bursts() const { return counts_.size(); }
  void get(std::size_t number, std::size_t& at, Burst& burst) const {
    burst.count = counts_[number];
    burst.leaving = 0;
    std::copy_n(mbufs_.begin() + static_cast<std::ptrdiff_t>(at), burst.count, burst.mbufs.begin());
    std::copy_n(metas_.begin() + static_cast<std::ptrdiff_t>(at), burst.count, burst.meta.begin());
    at += burst.count;
  }
  // Reads what stages look at of the burst at `at`, the room for an outer header included.
  void touch(std::size_t number, std::size_t at) const {
    unsigned sum = 0;
    for (std::size_t i = at; i < at + counts_[number]; ++i) {
      const auto* mbuf = reinterpret_cast<const volatile std::uint8_t*>(mbufs_[i]);
      const auto* data = rte_pktmbuf_mtod(mbufs_[i], const volatile std::uint8_t*);
      sum += mbuf[0] + mbuf[RTE_CACHE_LINE_SIZE];
      for (int line = -1; line < 2; ++line) sum += data[line * RTE_CACHE_LINE_SIZE];
    }
    const volatile unsigned sink = sum;
    static_cast<void>(sink);
  }
  void clear() {
    mbufs_.clear();
    metas_.clear();
    counts_.clear();
  }

 private:
  std::vector<rte_mbuf*> mbufs_;
  std::vector<PacketMeta> metas_;
  std::vector<std::uint16_t> counts_;
};

// Where packets go that have been measured.
class KeepingSink final : public EgressSink {
 public:
  explicit KeepingSink(Kept& kept) : kept_(kept) {}
  void take(Burst& burst) noexcept override {
    kept_.mbufs.insert(kept_.mbufs.end(), burst.mbufs.begin(), burst.mbufs.begin() + burst.count);
    burst.count = 0;
  }

 private:
  Kept& kept_;
};

std::uint64_t clock_cycles() {
  static const std::uint64_t least = [] {
    std::uint64_t best = ~std::uint64_t{0};
    for (int i = 0; i < 10'000; ++i) {
      const auto begin = rte_rdtsc();
      best = std::min(best, rte_rdtsc() - begin);
    }
    return best;
  }();
  return least;
}

Spent counted(const StageCounters& counters) {
  return {0, 0, counters.packets.get(), counters.cycles.get()};
}
Spent since(const Spent& before, const StageCounters& counters) {
  return {0, 0, counters.packets.get() - before.counted_packets,
          counters.cycles.get() - before.counted_cycles};
}

// Bursts as they reach what is measured, in `queue`: behind the first Stages stages.
template <std::size_t Stages>
void prepare(BenchNode& node, const Load& load, Queue& queue) {
  static std::size_t next_flow = 0;
  auto& ctx = node.context();
  const auto& frames = node.frames(load.traffic);
  const auto flows = std::min<std::size_t>(load.flows, frames.count());
  ctx.egress = &queue;
  queue.clear();
  const unsigned packets = load.cold ? kColdPackets : kWarmPackets;
  static Burst burst;
  for (unsigned done = 0; done < packets; done += load.burst) {
    node.receive(frames, next_flow, flows, load.burst, load.cold, burst);
    next_flow = (next_flow + load.burst) % flows;
    if constexpr (Stages == 0)
      queue.take(burst);
    else
      Slice<0, Stages>::run(ctx, burst);
  }
}

// Hands every burst to `work`, timed one by one.
template <class Work>
Spent measure(const Queue& queue, bool cold, Work work) {
  Spent spent;
  static Burst burst;
  std::size_t at = 0;
  for (std::size_t i = 0; i < queue.bursts(); ++i) {
    if (!cold) queue.touch(i, at);
    queue.get(i, at, burst);
    spent.packets += burst.count;
    rte_mb();  // nothing of it is under way any more
    const auto begin = rte_rdtsc();
    work(burst);
    const auto took = rte_rdtsc() - begin;
    spent.cycles += took - std::min(took, clock_cycles());
  }
  return spent;
}

Queue& queue_of_bursts() {
  static Queue queue;
  return queue;
}

template <std::size_t Stage>
Spent run_one(const Load& load) {
  auto& node = BenchNode::get();
  auto& queue = queue_of_bursts();
  prepare<Stage>(node, load, queue);
  KeepingSink sink(node.kept());
  auto& ctx = node.context();
  ctx.egress = &sink;
  const auto& counters = node.counters().stages[Pipeline::kStageCounterBase];
  const auto before = counted(counters);
  auto spent = measure(queue, load.cold, [&](Burst& burst) { Slice<Stage, 1>::run(ctx, burst); });
  const auto driver = since(before, counters);
  spent.counted_packets = driver.counted_packets;
  spent.counted_cycles = driver.counted_cycles;
  node.kept().free();
  return spent;
}

EgressQueues& worker_queues(BenchNode& node) {
  static HandoverRings rings(1, 1024);
  static EgressQueues egress(0, rings, {nullptr}, node.own_counters(), kMaxStages - 1);
  egress.rebuild(*node.context().tables);
  egress.begin(node.context().tables);
  return egress;
}

Spent run_express(const Load& load) {
  auto& node = BenchNode::get();
  auto& ctx = node.context();
  auto& queue = queue_of_bursts();
  prepare<0>(node, load, queue);
  auto& egress = worker_queues(node);
  ctx.egress = &egress;
  const auto& counters = node.counters().stages[kExpressCounter];
  const auto before = counted(counters);
  auto spent = measure(queue, load.cold, [&](Burst& burst) {
    const PacketMeta first = burst.meta[0];
    ctx.booked_tsc = rte_rdtsc();
    Express<Pipeline>::run(ctx, burst, first);
  });
  egress.flush();
  const auto driver = since(before, counters);
  spent.counted_packets = driver.counted_packets;
  spent.counted_cycles = driver.counted_cycles;
  node.kept().free();
  return spent;
}

Spent run_egress(const Load& load) {
  auto& node = BenchNode::get();
  auto& egress = worker_queues(node);
  auto& queue = queue_of_bursts();
  prepare<Pipeline::kCount>(node, load, queue);
  const auto& counters = node.counters().stages[kMaxStages - 1];
  const auto before = counted(counters);
  auto spent = measure(queue, load.cold, [&](Burst& burst) {
    egress.take(burst);
    egress.flush();
  });
  const auto driver = since(before, counters);
  spent.counted_packets = driver.counted_packets;
  spent.counted_cycles = driver.counted_cycles;
  node.kept().free();
  return spent;
}

template <std::size_t... Stage>
constexpr auto all_passes(std::index_sequence<Stage...>) {
  return std::array{&run_one<Stage>..., &run_egress, &run_express};
}
constexpr auto kPasses = all_passes(std::make_index_sequence<Pipeline::kCount>{});

}  // namespace

void Spent::add(const Spent& other) {
  packets += other.packets;
  cycles += other.cycles;
  counted_packets += other.counted_packets;
  counted_cycles += other.counted_cycles;
}

std::string_view stage_name(std::size_t stage) {
  if (stage < Pipeline::kCount) return Pipeline::kNames[stage];
  return stage == kEgress ? "egress" : "express";
}

Spent run_stage(std::size_t stage, const Load& load) {
  return kPasses[stage](load);
}

Spent run_pipeline(const Load& load, std::array<Spent, Pipeline::kCount>& by_stage) {
  auto& node = BenchNode::get();
  auto& queue = queue_of_bursts();
  prepare<0>(node, load, queue);
  KeepingSink sink(node.kept());
  auto& ctx = node.context();
  ctx.egress = &sink;
  const auto* counters = node.counters().stages + Pipeline::kStageCounterBase;
  std::array<Spent, Pipeline::kCount> before;
  for (std::size_t i = 0; i < Pipeline::kCount; ++i) before[i] = counted(counters[i]);
  const auto spent = measure(queue, load.cold, [&](Burst& burst) { Pipeline::run(ctx, burst); });
  for (std::size_t i = 0; i < Pipeline::kCount; ++i) by_stage[i].add(since(before[i], counters[i]));
  node.kept().free();
  return spent;
}

}  // namespace podwire::engine::bench
