// Our exact-match table beside rte_hash, and our longest-prefix match beside rte_lpm and rte_fib: single
// lookups, and bursts of 64 (hash all, prefetch, compare). `hot`: 1,000 keys take turns; else all of them, in
// random order, so that large tables are met cold.
#include <benchmark/benchmark.h>
#include <rte_cycles.h>
#include <rte_fib.h>
#include <rte_lpm.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <vector>

#include "bench/micro/lookups.hpp"
#include "dataplane/tables/snapshot.hpp"

namespace podwire::engine::bench {
namespace {

constexpr DomainId kDomain{2};

// Hosts of 10/8, scattered.
std::uint32_t address_of(std::uint32_t index) {
  return 10u << 24 | (index * 2654435761u >> 8 & 0xff'ffff);
}
std::vector<std::uint32_t> addresses(std::size_t count) {
  std::vector<std::uint32_t> all(count);
  for (std::uint32_t i = 0; i < count; ++i) all[i] = address_of(i);
  return all;
}

template <class Key>
Key key_of(std::uint32_t index) {
  if constexpr (sizeof(Key) == sizeof(Key64)) {
    return fib4_key(kDomain, address_of(index), 32);
  } else {
    Ipv6 address{{0xfd, 0, 0, 0x10, 2, 0x44}};
    const auto low = address_of(index);
    std::memcpy(address.bytes.data() + 12, &low, sizeof low);
    return fib6_key(kDomain, address, 128);
  }
}
template <class Key>
std::vector<Key> keys_of(std::size_t count) {
  std::vector<Key> keys(count);
  for (std::uint32_t i = 0; i < count; ++i) keys[i] = key_of<Key>(i);
  return keys;
}

template <class Key>
LookupTable<Key> filled(const std::vector<Key>& keys) {
  LookupTable<Key> table(keys.size());
  for (std::uint32_t i = 0; i < keys.size(); ++i) table.put(keys[i], i + 1);
  return table;
}

template <class Key>
void own_table(benchmark::State& state, bool batched) {
  const auto keys = keys_of<Key>(static_cast<std::size_t>(state.range(0)));
  const auto table = filled(keys);
  look_up(state, keys, [&](std::span<const Key> asked) {
    std::uint32_t sum = 0;
    if (!batched) {
      for (const auto& key : asked) sum += table.find(key);
      return sum;
    }
    std::array<std::uint64_t, kBurst> hashes;
    for (std::size_t i = 0; i < kBurst; ++i) {
      hashes[i] = asked[i].hash();
      table.prefetch(hashes[i]);
    }
    for (std::size_t i = 0; i < kBurst; ++i) sum += table.find_hashed(asked[i], hashes[i]);
    return sum;
  });
  state.counters["bytes_per_entry"] = static_cast<double>(table.bytes()) / static_cast<double>(keys.size());
}

template <class Key>
void dpdk_hash(benchmark::State& state, bool batched) {
  const auto keys = keys_of<Key>(static_cast<std::size_t>(state.range(0)));
  const auto before = eal_bytes();
  const RteHash hash(keys.size(), sizeof(Key));
  if (hash.table == nullptr || !fill(hash.table, keys)) return state.SkipWithError("rte_hash takes no more");
  state.counters["bytes_per_entry"] =
      static_cast<double>(eal_bytes() - before) / static_cast<double>(keys.size());
  look_up(state, keys, [&](std::span<const Key> asked) {
    std::uintptr_t sum = 0;
    if (!batched) {
      for (const auto& key : asked) {
        void* data = nullptr;
        rte_hash_lookup_data(hash.table, &key, &data);
        sum += reinterpret_cast<std::uintptr_t>(data);
      }
      return sum;
    }
    for (const auto* one : find_bulk(hash, asked)) sum += reinterpret_cast<std::uintptr_t>(one);
    return sum;
  });
}

// Filling a table: cycles per key.
void own_insert(benchmark::State& state) {
  const auto keys = keys_of<Key64>(static_cast<std::size_t>(state.range(0)));
  std::vector<double> cycles;
  for ([[maybe_unused]] auto _ : state) {
    const auto begin = rte_rdtsc();
    const auto table = filled(keys);
    cycles.push_back(static_cast<double>(rte_rdtsc() - begin) / static_cast<double>(keys.size()));
    benchmark::DoNotOptimize(table.size());
  }
  state.counters["cycles_per_insert"] = median(std::move(cycles));
}
void dpdk_insert(benchmark::State& state) {
  const auto keys = keys_of<Key64>(static_cast<std::size_t>(state.range(0)));
  std::vector<double> cycles;
  for ([[maybe_unused]] auto _ : state) {
    const auto begin = rte_rdtsc();
    const RteHash hash(keys.size(), sizeof(Key64));
    if (hash.table == nullptr || !fill(hash.table, keys))
      return state.SkipWithError("rte_hash takes no more");
    cycles.push_back(static_cast<double>(rte_rdtsc() - begin) / static_cast<double>(keys.size()));
  }
  state.counters["cycles_per_insert"] = median(std::move(cycles));
}

// Our FIB: host routes beside routes of so many shorter lengths, which make a look-up try more often when the
// host route is not there. `misses`: every address is one of the shortest's.
void own_fib(benchmark::State& state, int lengths, bool misses) {
  constexpr int kLengths[] = {32, 24, 20, 16, 8};
  const auto all = addresses(static_cast<std::size_t>(state.range(0)));
  LookupTable<Key64> table(all.size() + 8);
  DomainEntry domain;
  domain.id = kDomain;
  for (int i = 0; i < lengths; ++i) domain.fib4_lengths |= std::uint64_t{1} << kLengths[i];
  const std::uint32_t first = misses ? 11u << 24 : 10u << 24;
  const int shortest = kLengths[lengths - 1];
  if (lengths > 1) table.put(fib4_key(kDomain, first & ~std::uint32_t{0} << (32 - shortest), shortest), 1);
  for (std::uint32_t i = 0; i < all.size(); ++i) table.put(fib4_key(kDomain, all[i], 32), i + 2);
  Snapshot tables;
  tables.fib4 = &table;
  auto asked = all;
  if (misses) {
    for (auto& ip : asked) ip = first | (ip & 0xff);
  }
  look_up(state, asked, [&](std::span<const std::uint32_t> burst) {
    std::uint32_t sum = 0;
    for (const auto ip : burst) sum += find_route(tables, domain, Ipv4::from_u32(ip));
    return sum;
  });
  state.counters["bytes_per_entry"] = static_cast<double>(table.bytes()) / static_cast<double>(all.size());
}

// Kept from one call to the next: adding a rule takes time in proportion to those that are there.
struct Lpm {
  explicit Lpm(const std::vector<std::uint32_t>& all) : rules(all.size()) {
    const auto before = eal_bytes();
    rte_lpm_config config{};
    config.max_rules = static_cast<std::uint32_t>(all.size());
    config.number_tbl8s = 1 << 16;
    table = rte_lpm_create("micro", SOCKET_ID_ANY, &config);
    good = table != nullptr;
    for (std::uint32_t i = 0; good && i < all.size(); ++i)
      good = rte_lpm_add(table, all[i], 32, i & 0xffffff) == 0;
    bytes = eal_bytes() - before;
  }
  ~Lpm() { rte_lpm_free(table); }
  Lpm(const Lpm&) = delete;
  Lpm& operator=(const Lpm&) = delete;
  const std::size_t rules;
  rte_lpm* table;
  bool good;
  std::size_t bytes = 0;
};

void dpdk_lpm(benchmark::State& state, bool batched) {
  static Lpm* lpm = nullptr;  // never destroyed at the end, when EAL is gone
  const auto all = addresses(static_cast<std::size_t>(state.range(0)));
  if (lpm == nullptr || lpm->rules != all.size()) {
    delete lpm;
    lpm = new Lpm(all);
  }
  if (!lpm->good) return state.SkipWithError("rte_lpm takes no more rules");
  state.counters["bytes_per_entry"] = static_cast<double>(lpm->bytes) / static_cast<double>(all.size());
  look_up(state, all, [&](std::span<const std::uint32_t> asked) {
    std::uint32_t sum = 0;
    std::array<std::uint32_t, kBurst> hops{};
    if (batched) {
      rte_lpm_lookup_bulk(lpm->table, asked.data(), hops.data(), kBurst);
    } else {
      for (std::size_t i = 0; i < kBurst; ++i) rte_lpm_lookup(lpm->table, asked[i], &hops[i]);
    }
    for (const auto hop : hops) sum += hop;
    return sum;
  });
}

void dpdk_fib(benchmark::State& state, rte_fib_lookup_type type) {
  const auto all = addresses(static_cast<std::size_t>(state.range(0)));
  const auto before = eal_bytes();
  rte_fib_conf config{};
  config.type = RTE_FIB_DIR24_8;
  config.max_routes = static_cast<int>(all.size()) + 1;
  config.rib_ext_sz = 0;
  config.dir24_8.nh_sz = RTE_FIB_DIR24_8_4B;
  config.dir24_8.num_tbl8 = 1 << 16;
  rte_fib* fib = rte_fib_create("micro", SOCKET_ID_ANY, &config);
  if (fib == nullptr) return state.SkipWithError("rte_fib: no memory");
  bool good = rte_fib_select_lookup(fib, type) == 0;
  for (std::uint32_t i = 0; good && i < all.size(); ++i) good = rte_fib_add(fib, all[i], 32, i + 1) == 0;
  if (good) {
    state.counters["bytes_per_entry"] =
        static_cast<double>(eal_bytes() - before) / static_cast<double>(all.size());
    look_up(state, all, [&](std::span<const std::uint32_t> asked) {
      std::array<std::uint64_t, kBurst> hops;
      rte_fib_lookup_bulk(fib, const_cast<std::uint32_t*>(asked.data()), hops.data(), kBurst);
      return std::accumulate(hops.begin(), hops.end(), std::uint64_t{0});
    });
  } else {
    state.SkipWithError("rte_fib takes no more routes, or this CPU has no such look-up");
  }
  rte_fib_free(fib);
}

void sizes(benchmark::internal::Benchmark* one) {
  one->ArgNames({"entries", "hot"})
      ->ArgsProduct({{1000, 10'000, 100'000, 1'000'000}, {0, 1}})
      ->Unit(benchmark::kMicrosecond);
}
// rte_lpm_add takes time that grows with the number of rules: a million would take half an hour.
void lpm_sizes(benchmark::internal::Benchmark* one) {
  one->ArgNames({"entries", "hot"})
      ->ArgsProduct({{1000, 10'000, 100'000}, {0, 1}})
      ->Unit(benchmark::kMicrosecond);
}
void insert_sizes(benchmark::internal::Benchmark* one) {
  one->ArgName("entries")->Arg(1000)->Arg(10'000)->Arg(100'000)->Arg(1'000'000)->Unit(
      benchmark::kMicrosecond);
}

constexpr auto own_table8 = &own_table<Key64>, own_table24 = &own_table<Key192>;
constexpr auto rte_hash8 = &dpdk_hash<Key64>, rte_hash24 = &dpdk_hash<Key192>;

BENCHMARK_CAPTURE(own_table8, single, false)->Name("table/LookupTable/key8/single")->Apply(sizes);
BENCHMARK_CAPTURE(own_table8, burst, true)->Name("table/LookupTable/key8/burst")->Apply(sizes);
BENCHMARK_CAPTURE(rte_hash8, single, false)->Name("table/rte_hash/key8/single")->Apply(sizes);
BENCHMARK_CAPTURE(rte_hash8, burst, true)->Name("table/rte_hash/key8/burst")->Apply(sizes);
BENCHMARK_CAPTURE(own_table24, single, false)->Name("table/LookupTable/key24/single")->Apply(sizes);
BENCHMARK_CAPTURE(own_table24, burst, true)->Name("table/LookupTable/key24/burst")->Apply(sizes);
BENCHMARK_CAPTURE(rte_hash24, single, false)->Name("table/rte_hash/key24/single")->Apply(sizes);
BENCHMARK_CAPTURE(rte_hash24, burst, true)->Name("table/rte_hash/key24/burst")->Apply(sizes);
BENCHMARK(own_insert)->Name("insert/LookupTable/key8")->Apply(insert_sizes);
BENCHMARK(dpdk_insert)->Name("insert/rte_hash/key8")->Apply(insert_sizes);
BENCHMARK_CAPTURE(own_fib, hosts, 1, false)->Name("fib/own/1_length_hit")->Apply(sizes);
BENCHMARK_CAPTURE(own_fib, two, 2, true)->Name("fib/own/2_lengths_miss")->Apply(sizes);
BENCHMARK_CAPTURE(own_fib, five, 5, true)->Name("fib/own/5_lengths_miss")->Apply(sizes);
BENCHMARK_CAPTURE(dpdk_lpm, single, false)->Name("fib/rte_lpm/single")->Apply(lpm_sizes);
BENCHMARK_CAPTURE(dpdk_lpm, burst, true)->Name("fib/rte_lpm/burst")->Apply(lpm_sizes);
BENCHMARK_CAPTURE(dpdk_fib, scalar, RTE_FIB_LOOKUP_DIR24_8_SCALAR_MACRO)
    ->Name("fib/rte_fib/scalar")
    ->Apply(sizes);
BENCHMARK_CAPTURE(dpdk_fib, avx512, RTE_FIB_LOOKUP_DIR24_8_VECTOR_AVX512)
    ->Name("fib/rte_fib/avx512")
    ->Apply(sizes);

}  // namespace
}  // namespace podwire::engine::bench
