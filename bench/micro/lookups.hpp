// What benchmarks of look-ups share: keys in random order, the loop that asks for them burst by burst, and
// rte_hash as we would use it. One thread.
#pragma once

#include <benchmark/benchmark.h>
#include <rte_cycles.h>
#include <rte_hash.h>
#include <rte_hash_crc.h>
#include <rte_malloc.h>

#include <algorithm>
#include <array>
#include <random>
#include <span>
#include <vector>

#include "bench/micro/median.hpp"

namespace podwire::engine::bench {

inline constexpr std::size_t kBurst = 64, kHotKeys = 1000, kSequence = 1 << 20;

// Indices of keys in the order in which they are asked for; a power of two of them.
inline std::vector<std::uint32_t> sequence(std::size_t keys, bool hot) {
  std::mt19937 random(7);
  std::uniform_int_distribution<std::uint32_t> one(
      0, static_cast<std::uint32_t>(hot ? std::min(keys, kHotKeys) : keys) - 1);
  std::vector<std::uint32_t> order(kSequence);
  for (auto& index : order) index = one(random);
  return order;
}

// Of DPDK's heap.
inline std::size_t eal_bytes() {
  rte_malloc_socket_stats stats{};
  rte_malloc_get_socket_stats(0, &stats);
  return stats.heap_allocsz_bytes;
}

// Runs `burst(keys of the burst)` over the whole sequence, again and again.
template <class Key, class Work>
void look_up(benchmark::State& state, const std::vector<Key>& keys, Work burst) {
  const auto order = sequence(keys.size(), state.range(1) != 0);
  std::vector<Key> asked(kSequence);
  std::ranges::transform(order, asked.begin(), [&](std::uint32_t i) { return keys[i]; });
  std::size_t at = 0;
  std::vector<double> cycles;
  for ([[maybe_unused]] auto _ : state) {
    const auto begin = rte_rdtsc();
    for (int i = 0; i < 64; ++i) {
      benchmark::DoNotOptimize(burst(std::span(asked).subspan(at, kBurst)));
      at = (at + kBurst) % kSequence;
    }
    cycles.push_back(static_cast<double>(rte_rdtsc() - begin) / 64 / kBurst);
  }
  const auto lookups = static_cast<double>(state.iterations()) * 64 * kBurst;
  state.SetItemsProcessed(static_cast<std::int64_t>(lookups));
  state.counters["cycles_per_lookup"] = median(std::move(cycles));
}

// With lock-free readers, as ours; freed with its owner.
struct RteHash {
  RteHash(std::size_t entries, std::uint32_t key_bytes) {
    rte_hash_parameters parameters{};
    parameters.name = "micro";
    parameters.entries = static_cast<std::uint32_t>(entries);
    parameters.key_len = key_bytes;
    parameters.hash_func = rte_hash_crc;
    parameters.socket_id = SOCKET_ID_ANY;
    parameters.extra_flag = RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF | RTE_HASH_EXTRA_FLAGS_EXT_TABLE;
    table = rte_hash_create(&parameters);
  }
  ~RteHash() { rte_hash_free(table); }
  RteHash(const RteHash&) = delete;
  RteHash& operator=(const RteHash&) = delete;
  rte_hash* table;
};

template <class Key>
bool fill(rte_hash* table, const std::vector<Key>& keys) {
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (rte_hash_add_key_data(table, &keys[i], reinterpret_cast<void*>(i + 1)) != 0) return false;
  }
  return true;
}

// What a burst of keys leads to; null: not there.
template <class Key>
std::array<void*, kBurst> find_bulk(const RteHash& hash, std::span<const Key> asked) {
  std::array<const void*, kBurst> pointers;
  std::array<void*, kBurst> data{};
  for (std::size_t i = 0; i < kBurst; ++i) pointers[i] = &asked[i];
  std::uint64_t hits = 0;
  rte_hash_lookup_bulk_data(hash.table, pointers.data(), kBurst, &hits, data.data());
  return data;
}

}  // namespace podwire::engine::bench
