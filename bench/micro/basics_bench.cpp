// Hash functions, the publisher, and what a change of one endpoint costs among 100,000.
#include <benchmark/benchmark.h>
#include <rte_cycles.h>
#include <rte_hash.h>
#include <rte_hash_crc.h>
#include <rte_jhash.h>

#include "bench/micro/median.hpp"
#include "bench/micro/node.hpp"

namespace podwire::engine::bench {
namespace {

// `work(i)` again and again: cycles for one, as they overlap in a loop.
template <class Work>
void repeat(benchmark::State& state, const char* unit, int times, Work work) {
  std::vector<double> cycles;
  for ([[maybe_unused]] auto _ : state) {
    const auto begin = rte_rdtsc();
    for (std::uint64_t i = 0; i < static_cast<std::uint64_t>(times); ++i) {
      benchmark::DoNotOptimize(i);
      benchmark::DoNotOptimize(work(i));
    }
    cycles.push_back(static_cast<double>(rte_rdtsc() - begin) / times);
  }
  state.counters[unit] = median(std::move(cycles));
}

constexpr int kHashes = 4096;

template <std::size_t Words, class Word = std::uint64_t>
std::array<Word, Words> words_of(std::uint64_t i) {
  std::array<Word, Words> words;
  for (std::size_t w = 0; w < Words; ++w) words[w] = static_cast<Word>(i * (w + 3));
  return words;
}

void own_hash8(benchmark::State& state) {
  repeat(state, "cycles_per_hash", kHashes, [](std::uint64_t i) { return Key64{i}.hash(); });
}
void own_hash24(benchmark::State& state) {
  repeat(state, "cycles_per_hash", kHashes, [](std::uint64_t i) {
    const auto words = words_of<3>(i);
    return Key192{{words[0], words[1], words[2]}}.hash();
  });
}
// `Word` is what the function reads its key as.
template <rte_hash_function Hash, std::size_t Words, class Word = std::uint64_t>
void hash_of_dpdk(benchmark::State& state) {
  repeat(state, "cycles_per_hash", kHashes, [](std::uint64_t i) {
    const auto words = words_of<Words, Word>(i);
    return Hash(words.data(), sizeof words, 0);
  });
}

// Of packets in the cache, as encap asks for it.
void own_flow_hash(benchmark::State& state, Traffic traffic) {
  auto& node = BenchNode::get();
  static Burst burst;
  node.receive(node.frames(traffic), 0, kBurstMax, kBurstMax, false, burst);
  ParseStage::run(node.context(), burst);
  repeat(state, "cycles_per_hash", kBurstMax,
         [&](std::uint64_t i) { return compute_flow_hash(burst.mbufs[i], burst.meta[i]); });
  rte_pktmbuf_free_bulk(burst.mbufs.data(), burst.count);
}

// What a worker pays a loop.
void publisher_loop(benchmark::State& state) {
  auto& publisher = BenchNode::get().publisher();
  publisher.online(0);
  repeat(state, "cycles_per_loop", 1000, [&](std::uint64_t) {
    const auto* tables = publisher.load();
    publisher.quiescent(0);
    return tables;
  });
  publisher.offline(0);
}
// What the main thread pays for a snapshot, the copy included, with every worker asleep.
void publisher_publish(benchmark::State& state) {
  Publisher publisher(1);
  publisher.publish(std::make_unique<Snapshot>(*BenchNode::get().context().tables));
  repeat(state, "cycles_per_publish", 16, [&](std::uint64_t) {
    publisher.publish(std::make_unique<Snapshot>(*publisher.load()));
    publisher.reclaim();
    return publisher.load();
  });
}
void move_endpoint(benchmark::State& state) {
  auto& node = BenchNode::get();
  repeat(state, "cycles_per_change", 16, [&](std::uint64_t i) {
    node.move_endpoint(static_cast<unsigned>(i) * 4099 % kRemoteEndpoints);
    return i;
  });
}

BENCHMARK(own_hash8)->Name("hash/own/8_bytes");
BENCHMARK(own_hash24)->Name("hash/own/24_bytes");
BENCHMARK(hash_of_dpdk<rte_hash_crc, 1>)->Name("hash/rte_hash_crc/8_bytes");
BENCHMARK(hash_of_dpdk<rte_hash_crc, 3>)->Name("hash/rte_hash_crc/24_bytes");
BENCHMARK(hash_of_dpdk<rte_jhash, 2, std::uint32_t>)->Name("hash/rte_jhash/8_bytes");
BENCHMARK(hash_of_dpdk<rte_jhash, 6, std::uint32_t>)->Name("hash/rte_jhash/24_bytes");
BENCHMARK_CAPTURE(own_flow_hash, v4, Traffic::kEncap)->Name("hash/flow/ipv4");
BENCHMARK_CAPTURE(own_flow_hash, v6, Traffic::kEncap6)->Name("hash/flow/ipv6");
BENCHMARK(publisher_loop)->Name("publisher/load_and_quiescent");
BENCHMARK(publisher_publish)->Name("publisher/publish");
BENCHMARK(move_endpoint)->Name("programmer/move_one_endpoint");

}  // namespace
}  // namespace podwire::engine::bench
