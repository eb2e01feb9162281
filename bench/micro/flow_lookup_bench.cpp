// Established connections found by their first packet's key, in bursts of 64, and what is known of them read:
// the connection table beside rte_hash with the same keys, both directions of a connection in it, and a line
// of memory for each.
#include <memory>

#include "bench/micro/lookups.hpp"
#include "dataplane/tables/flow_table.hpp"

namespace podwire::engine::bench {
namespace {

constexpr std::uint32_t kSeenAt = 1000;

FlowKey connection_key(std::uint32_t n) {
  return make_flow_key(DomainId(2), ip_proto::kTcp, IpAddr(Ipv4::from_u32(0x0a000000 + n / 60000)),
                       IpAddr(Ipv4::from_u32(0x0b000001)), static_cast<std::uint16_t>(1024 + n % 60000), 443);
}
std::vector<FlowKey> connection_keys(const benchmark::State& state) {
  std::vector<FlowKey> keys(static_cast<std::size_t>(state.range(0)));
  for (std::uint32_t i = 0; i < keys.size(); ++i) keys[i] = connection_key(i);
  return keys;
}

void own_find(benchmark::State& state) {
  const auto keys = connection_keys(state);
  // Two thirds full at most, so that every connection finds a place.
  FlowTable table(static_cast<std::uint32_t>(keys.size() + keys.size() / 2), 7);
  for (const auto& key : keys) table.insert(key, key.reversed(), {FlowState::kEstablished}, 1, kSeenAt);
  look_up(state, keys, [&](std::span<const FlowKey> asked) {
    std::array<FlowRef, kBurst> found;
    table.find_burst(asked, found);
    std::uint32_t sum = 0;
    for (const auto& ref : found) {
      FlowView view;
      if (table.read(ref, view)) sum += view.last_seen;
    }
    return sum;
  });
  state.counters["bytes_per_entry"] =
      static_cast<double>(table.bytes_reserved()) / static_cast<double>(table.capacity());
}

struct alignas(64) Known {
  std::uint32_t last_seen = kSeenAt;
};

void dpdk_find(benchmark::State& state) {
  const auto keys = connection_keys(state);
  const auto before = eal_bytes();
  const RteHash hash(2 * keys.size(), sizeof(FlowKey));
  std::vector<Known> known(2 * keys.size());
  bool filled = hash.table != nullptr;
  for (std::size_t i = 0; filled && i < known.size(); ++i) {
    const auto key = i % 2 == 0 ? keys[i / 2] : keys[i / 2].reversed();
    filled = rte_hash_add_key_data(hash.table, &key, &known[i]) == 0;
  }
  if (!filled) return state.SkipWithError("rte_hash takes no more");
  state.counters["bytes_per_entry"] =
      static_cast<double>(eal_bytes() - before) / static_cast<double>(keys.size()) + 2 * sizeof(Known);
  look_up(state, keys, [&](std::span<const FlowKey> asked) {
    std::uint32_t sum = 0;
    for (const auto* one : find_bulk(hash, asked)) sum += static_cast<const Known*>(one)->last_seen;
    return sum;
  });
}

void connection_counts(benchmark::internal::Benchmark* one) {
  one->ArgNames({"entries", "hot"})
      ->ArgsProduct({{1000, 10'000, 100'000, 1'000'000}, {0, 1}})
      ->Unit(benchmark::kMicrosecond);
}
BENCHMARK(own_find)->Name("table/connections/own")->Apply(connection_counts);
BENCHMARK(dpdk_find)->Name("table/connections/rte_hash")->Apply(connection_counts);

}  // namespace
}  // namespace podwire::engine::bench
