// New connections in a table of 2^20, in bursts of 64 as a worker meets them: looked up, not found, put in.
// The table is empty (after use, so that its memory is there), or full of connections that may be replaced,
// of established ones with some that may be replaced between them, or of established ones alone. Keys never
// come twice, so slots and entries are met cold.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "bench/micro/lookups.hpp"
#include "dataplane/tables/flow_table.hpp"

namespace podwire::engine::bench {
namespace {

static_assert(kBurst == FlowTable::kBurst);
constexpr std::uint32_t kCapacity = 1u << 20, kNow = 1000;
constexpr FlowPhase kHalfOpen{FlowState::kSynSent}, kHeld{FlowState::kEstablished};

enum class Filling { kEmpty, kReplaceable, kMixed, kEstablished };

FlowKey key_of(std::uint32_t n) {
  return make_flow_key(DomainId(2), ip_proto::kTcp, IpAddr(Ipv4::from_u32(0x0a000000 + n / 60000)),
                       IpAddr(Ipv4::from_u32(0x0b000001)), static_cast<std::uint16_t>(1024 + n % 60000), 80);
}

class Source {
 public:
  FlowKey next() { return key_of(next_++); }

 private:
  std::uint32_t next_ = 0;
};

std::unique_ptr<FlowTable> filled(Filling filling, Source& source) {
  auto table = std::make_unique<FlowTable>(kCapacity, 7);
  std::vector<FlowKey> keys;
  for (std::uint32_t i = 0; i < kCapacity; ++i) {
    const auto key = source.next();
    const bool held = filling == Filling::kEstablished || (filling == Filling::kMixed && i % 16 != 0);
    table->insert(key, key.reversed(), held ? kHeld : kHalfOpen, 1, kNow);
    if (filling == Filling::kEmpty) keys.push_back(key);
  }
  for (const auto& key : keys) table->remove(table->find(key));
  return table;
}

void insert_burst(FlowTable& table, std::span<const FlowKey> keys, std::array<std::uint64_t, 8>& outcomes) {
  std::array<FlowRef, kBurst> found;
  table.find_burst(keys, found);
  for (const auto& key : keys) table.prefetch_insertion(key, key.reversed());
  table.prefetch_evictions(keys.size());
  for (const auto& key : keys) {
    const auto result = table.insert(key, key.reversed(), kHalfOpen, 1, kNow, {PortId(11)});
    ++outcomes[static_cast<std::size_t>(result.outcome)];
  }
}

void insert(benchmark::State& state, Filling filling) {
  Source source;
  const auto table = filled(filling, source);
  std::array<std::uint64_t, 8> outcomes{};
  std::vector<double> cycles;
  std::uint64_t asked = 0;
  for ([[maybe_unused]] auto _ : state) {
    // The empty one is not to be half full in the end.
    if (filling == Filling::kEmpty && asked + 64 * kBurst > kCapacity / 2) break;
    double spent = 0;
    for (int i = 0; i < 64; ++i) {
      std::array<FlowKey, kBurst> keys;
      for (auto& key : keys) key = source.next();
      const auto begin = rte_rdtsc();
      insert_burst(*table, keys, outcomes);
      spent += static_cast<double>(rte_rdtsc() - begin);
    }
    cycles.push_back(spent / 64 / kBurst);
    asked += 64 * kBurst;
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(asked));
  state.counters["least_cycles"] = cycles.empty() ? 0 : *std::min_element(cycles.begin(), cycles.end());
  state.counters["cycles_per_insert"] = median(std::move(cycles));
  using Outcome = FlowTable::Insertion::Outcome;
  state.counters["refused_ratio"] =
      static_cast<double>(outcomes[static_cast<std::size_t>(Outcome::kFull)]) / static_cast<double>(asked);
  state.counters["bytes_per_connection"] = static_cast<double>(table->bytes_reserved()) / kCapacity;
}

void rounds(benchmark::internal::Benchmark* one) {
  one->Iterations(100)->Unit(benchmark::kMicrosecond);
}
BENCHMARK_CAPTURE(insert, empty, Filling::kEmpty)->Name("flows/insert/empty")->Apply(rounds);
BENCHMARK_CAPTURE(insert, replaceable, Filling::kReplaceable)
    ->Name("flows/insert/full_of_replaceable")
    ->Apply(rounds);
BENCHMARK_CAPTURE(insert, mixed, Filling::kMixed)->Name("flows/insert/one_replaceable_in_16")->Apply(rounds);
BENCHMARK_CAPTURE(insert, established, Filling::kEstablished)
    ->Name("flows/insert/full_of_established")
    ->Apply(rounds);

}  // namespace
}  // namespace podwire::engine::bench
