// What the first packet of a connection to a service pays for finding it and choosing a backend; and what one
// change of a service costs the main thread.
#include <benchmark/benchmark.h>
#include <rte_cycles.h>

#include <random>
#include <vector>

#include "bench/micro/median.hpp"
#include "dataplane/headers/headers.hpp"
#include "dataplane/tables/service_table.hpp"

namespace podwire::engine::bench {
namespace {

constexpr DomainId kServicesDomain{2};
constexpr std::size_t kConnections = 1 << 16;

std::vector<api::Service> services_of(std::size_t count, std::size_t backends, std::uint32_t affinity_s) {
  std::vector<api::Service> all(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    all[i].id = ServiceId(i + 1);
    all[i].domain = kServicesDomain;
    all[i].affinity_s = affinity_s;
    api::ServiceFrontend frontend;
    frontend.domain = kServicesDomain;
    frontend.address = IpAddr(Ipv4::from_u32((10u << 24) + (96u << 16) + i));
    frontend.port = 80;
    all[i].frontends = {frontend};
    for (std::uint32_t b = 0; b < backends; ++b)
      all[i].backends.push_back({IpAddr(Ipv4::from_u32((10u << 24) + (244u << 16) + b)), 8080});
  }
  return all;
}

ServiceTable table_of(const std::vector<api::Service>& services) {
  std::vector<ServiceTable::Item> items;
  for (const auto& service : services) items.push_back({&service, make_service_entry(service, nullptr)});
  return {items, {}};
}

void find_and_choose(benchmark::State& state) {
  const auto services =
      services_of(static_cast<std::size_t>(state.range(0)), 10, static_cast<std::uint32_t>(state.range(1)));
  const auto table = table_of(services);
  std::mt19937 engine(7);
  std::uniform_int_distribution<std::uint32_t> random;
  std::vector<FlowKey> keys;
  for (std::size_t i = 0; i < kConnections; ++i) {
    keys.push_back(make_flow_key(kServicesDomain, ip_proto::kTcp,
                                 IpAddr(Ipv4::from_u32(random(engine) >> 8 | 10u << 24)),
                                 *services[random(engine) % services.size()].frontends[0].address,
                                 static_cast<std::uint16_t>(random(engine)), 80));
  }
  std::vector<double> cycles;
  for ([[maybe_unused]] auto _ : state) {
    const auto begin = rte_rdtsc();
    for (const auto& key : keys) {
      const auto* service = table.find(key);
      benchmark::DoNotOptimize(ServiceTable::choose(*service, key, 1000));
    }
    cycles.push_back(static_cast<double>(rte_rdtsc() - begin) / kConnections);
  }
  state.counters["cycles_per_connection"] = median(std::move(cycles));
}

void make_entry(benchmark::State& state) {
  const auto services = services_of(1, static_cast<std::size_t>(state.range(0)), 0);
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(make_service_entry(services[0], nullptr));
}

}  // namespace

BENCHMARK(find_and_choose)
    ->Name("service/find_and_choose")
    ->ArgNames({"entries", "affinity_s"})
    ->Args({1000, 0})
    ->Args({1000, 60})
    ->Args({10'000, 0});
BENCHMARK(make_entry)
    ->Name("service/make_entry")
    ->ArgNames({"backends"})
    ->Arg(2)
    ->Arg(10)
    ->Arg(100)
    ->Arg(1000)
    ->Unit(benchmark::kMicrosecond);

}  // namespace podwire::engine::bench
