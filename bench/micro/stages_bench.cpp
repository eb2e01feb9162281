// Every stage alone, with the traffic that it is there for (and with traffic that it only passes on), by
// burst size, flow count and state of the cache.
#include <benchmark/benchmark.h>
#include <rte_cycles.h>

#include "bench/micro/median.hpp"
#include "bench/micro/passes.hpp"

namespace podwire::engine::bench {
namespace {

struct Case {
  std::size_t stage;
  Traffic traffic;
};

const Case kCases[] = {
    {Pipeline::index_of<ParseStage>(), Traffic::kEncap},
    {Pipeline::index_of<ParseStage>(), Traffic::kEncap6},
    {Pipeline::index_of<ParseStage>(), Traffic::kDecap},
    {Pipeline::index_of<DecapStage>(), Traffic::kDecap},
    {Pipeline::index_of<HostStage>(), Traffic::kHost},
    {Pipeline::index_of<GuardStage>(), Traffic::kEncap},
    {Pipeline::index_of<GuardStage>(), Traffic::kEncap6},
    {Pipeline::index_of<DhcpStage>(), Traffic::kEncap},
    {Pipeline::index_of<GatewayStage>(), Traffic::kEncap},
    {Pipeline::index_of<GatewayStage>(), Traffic::kArp},
    {Pipeline::index_of<ForwardStage>(), Traffic::kBridge},
    {Pipeline::index_of<ForwardStage>(), Traffic::kLocal},
    {Pipeline::index_of<ForwardStage>(), Traffic::kEncap},
    {Pipeline::index_of<ForwardStage>(), Traffic::kEncap6},
    {Pipeline::index_of<FloodStage>(), Traffic::kEncap},
    {Pipeline::index_of<FloodStage>(), Traffic::kFlood},
    {Pipeline::index_of<RewriteStage>(), Traffic::kEncap},
    {Pipeline::index_of<RewriteStage>(), Traffic::kEncap6},
    {Pipeline::index_of<MergeStage>(), Traffic::kEncap},
    {Pipeline::index_of<MergeStage>(), Traffic::kDecapTcp},
    {Pipeline::index_of<FinalizeStage>(), Traffic::kEncap},
    {Pipeline::index_of<FinalizeStage>(), Traffic::kChecksum},
    {Pipeline::index_of<EncapStage>(), Traffic::kEncap},
    {Pipeline::index_of<EncapStage>(), Traffic::kEncap6},
    {Pipeline::index_of<FlowStage>(), Traffic::kEncap},
    {Pipeline::index_of<FlowStage>(), Traffic::kTracked},
    {Pipeline::index_of<TrackStage>(), Traffic::kTracked},
    {kEgress, Traffic::kLocal},
    {kExpressLane, Traffic::kLocal},
    {kExpressLane, Traffic::kEncap},
    {kExpressLane, Traffic::kEncap6},
    {kExpressLane, Traffic::kDecap},
    {kExpressLane, Traffic::kTracked},
};

Load load_of(const benchmark::State& state, Traffic traffic) {
  return {traffic, static_cast<unsigned>(state.range(0)), static_cast<unsigned>(state.range(1)),
          state.range(2) != 0};
}

struct Passes {
  std::vector<double> cycles, counted;
  std::int64_t packets = 0;

  void add(const Spent& spent) {
    cycles.push_back(spent.per_packet());
    counted.push_back(spent.counted_per_packet());
    packets += static_cast<std::int64_t>(spent.packets);
  }
  void report(benchmark::State& state) {
    state.SetItemsProcessed(packets);
    state.counters["cycles_per_packet"] = median(cycles);
    state.counters["driver_cycles_per_packet"] = median(counted);
  }
};

void run_case(benchmark::State& state, const Case& one) {
  const auto load = load_of(state, one.traffic);
  const auto hz = static_cast<double>(rte_get_tsc_hz());
  Passes passes;
  for (unsigned flow = 0; !load.cold && flow < load.flows; flow += kWarmPackets) run_stage(one.stage, load);
  for ([[maybe_unused]] auto _ : state) {
    const auto spent = run_stage(one.stage, load);
    state.SetIterationTime(static_cast<double>(spent.cycles) / hz);
    passes.add(spent);
  }
  passes.report(state);
}

void run_whole(benchmark::State& state, Traffic traffic) {
  const auto load = load_of(state, traffic);
  const auto hz = static_cast<double>(rte_get_tsc_hz());
  Passes passes;
  for (unsigned flow = 0; !load.cold && flow < load.flows; flow += kWarmPackets) {
    std::array<Spent, Pipeline::kCount> ignored{};
    run_pipeline(load, ignored);
  }
  for ([[maybe_unused]] auto _ : state) {
    std::array<Spent, Pipeline::kCount> by_stage{};
    auto spent = run_pipeline(load, by_stage);
    state.SetIterationTime(static_cast<double>(spent.cycles) / hz);
    for (const auto& stage : by_stage) spent.counted_cycles += stage.counted_cycles;
    spent.counted_packets = spent.packets;
    passes.add(spent);
  }
  passes.report(state);
}

void arguments(benchmark::internal::Benchmark* one) {
  one->ArgNames({"burst", "flows", "cold"})
      ->ArgsProduct({{4, 16, 32, 64}, {1, 1000, 10'000, 100'000}, {0, 1}})
      ->UseManualTime()
      ->Unit(benchmark::kMicrosecond);
}

[[maybe_unused]] const bool kRegistered = [] {
  for (const auto& one : kCases) {
    const auto name = "stage/" + std::string(stage_name(one.stage)) + "/" + name_of(one.traffic);
    arguments(benchmark::RegisterBenchmark(name.c_str(), run_case, one));
  }
  for (unsigned i = 0; i < static_cast<unsigned>(Traffic::kCount); ++i) {
    const auto traffic = static_cast<Traffic>(i);
    const auto name = std::string("pipeline/") + name_of(traffic);
    arguments(benchmark::RegisterBenchmark(name.c_str(), run_whole, traffic));
  }
  return true;
}();

}  // namespace
}  // namespace podwire::engine::bench
