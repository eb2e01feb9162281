// Policies: what a first packet's decision costs, compiling one, and the walk over a million connections
// after a change. `rules`: of each side of every policy; half of them are about identities, half about
// blocks.
#include <benchmark/benchmark.h>
#include <rte_cycles.h>

#include <random>

#include "bench/micro/median.hpp"
#include "dataplane/tables/address_filter.hpp"
#include "dataplane/tables/flow_table.hpp"
#include "dataplane/tables/policy_view.hpp"

namespace podwire::engine::bench {
namespace {

constexpr DomainId kPolicyDomain{2};
constexpr std::uint32_t kPods = 5000;
constexpr std::size_t kQuestions = 1 << 16;

IpAddr pod(std::uint32_t number) {
  return IpAddr(Ipv4::from_u32(10u << 24 | number));
}
IpAddr stranger(std::uint32_t number) {
  return IpAddr(Ipv4::from_u32(11u << 24 | number * 256 | 7));
}

api::PolicySide side_of(std::uint32_t rules) {
  api::PolicySide side;
  for (std::uint32_t i = 0; i < rules; ++i) {
    auto& rule = side.rules.emplace_back();
    rule.protocol = api::RuleProtocol::kTcp;
    rule.ports.first = static_cast<std::uint16_t>(i % 5000);
    rule.ports.last = static_cast<std::uint16_t>(rule.ports.first + i % 7);
    if (i % 2 == 0) {
      rule.identities = {IdentityId(i % kPods + 1)};
    } else {
      rule.blocks = {{{IpAddr(Ipv4::from_u32(11u << 24 | i * 256)), 24}, {}}};
    }
  }
  return side;
}

api::Policy policy_of(std::uint32_t rules) {
  api::Policy policy;
  policy.id = PolicyId(1);
  policy.ingress = policy.egress = side_of(rules);
  return policy;
}

// Every pod has an identity of its own and the one policy.
struct World {
  explicit World(std::uint32_t rules) : set(policy_of(rules)), table4(kPods), members(kPods + 1) {
    for (std::uint32_t i = 1; i <= kPods; ++i) {
      table4.put(fib4_key(kPolicyDomain, pod(i).v4().to_u32(), 32), i);
      members[i] = PolicyMember{IdentityId(i), 1}.packed();
    }
    view.sets = {nullptr, &set};
    view.members4 = &table4;
    view.members6 = &table6;
    view.members = members.data();
    tables.policies = &view;
  }
  const PolicySet set;
  LookupTable<Key64> table4;
  LookupTable<Key192> table6;
  std::vector<std::atomic<std::uint64_t>> members;
  PolicyView view;
  Snapshot tables;
};

// Both ends are pods with the policy, or one of them is outside.
void first_packet(benchmark::State& state) {
  const World world(static_cast<std::uint32_t>(state.range(0)));
  std::mt19937 engine(7);
  const auto below = [&](std::uint32_t n) { return static_cast<std::uint32_t>(engine() % n); };
  std::vector<FlowKey> keys;
  for (std::size_t i = 0; i < kQuestions; ++i) {
    const auto a = pod(below(kPods) + 1);
    const auto b = i % 2 == 0 ? pod(below(kPods) + 1) : stranger(below(10'000));
    keys.push_back(make_flow_key(kPolicyDomain, ip_proto::kTcp, i % 4 < 2 ? a : b, i % 4 < 2 ? b : a, 40000,
                                 static_cast<std::uint16_t>(below(5000))));
  }
  std::vector<double> cycles;
  for ([[maybe_unused]] auto _ : state) {
    std::size_t allowed = 0;
    const auto begin = rte_rdtsc();
    for (const auto& key : keys) allowed += ask_policies(world.tables, key, key.reversed(), false).allowed;
    cycles.push_back(static_cast<double>(rte_rdtsc() - begin) / kQuestions);
    benchmark::DoNotOptimize(allowed);
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations() * kQuestions));
  state.counters["cycles_per_decision"] = median(std::move(cycles));
}

void compile(benchmark::State& state) {
  const auto policy = policy_of(static_cast<std::uint32_t>(state.range(0)));
  std::size_t bytes = 0;
  std::vector<double> cycles;
  for ([[maybe_unused]] auto _ : state) {
    const auto begin = rte_rdtsc();
    const PolicySet set(policy);
    cycles.push_back(static_cast<double>(rte_rdtsc() - begin));
    bytes = set.bytes();
  }
  state.counters["cycles_per_policy"] = median(std::move(cycles));
  state.counters["bytes"] = static_cast<double>(bytes);
}

// `concerned`: how many of the pods the change was about, 1 in 5,000 of the connections each.
void sweep(benchmark::State& state) {
  constexpr std::uint32_t kConnections = 1'000'000;
  const World world(100);
  FlowTable flows(1 << 20, 7);
  for (std::uint32_t i = 0; i < kConnections; ++i) {
    const auto key = make_flow_key(kPolicyDomain, ip_proto::kTcp, pod(i % kPods + 1), stranger(i), 40000, 80);
    flows.insert(key, key.reversed(), {FlowState::kEstablished}, 1, 100);
  }
  std::vector<DomainPrefix> addresses;
  for (std::uint32_t i = 1; i <= static_cast<std::uint32_t>(state.range(0)); ++i)
    addresses.push_back({kPolicyDomain, {pod(i), 32}});
  const AddressFilter filter(addresses);
  std::vector<double> cycles;
  for ([[maybe_unused]] auto _ : state) {
    std::size_t denied = 0;
    const auto begin = rte_rdtsc();
    flows.review(1, flows.capacity(), [&](const FlowKey& original, const FlowKey& reply, FlowState, PortId) {
      if (filter.may_contain(original.domain(), original.source()) ||
          filter.may_contain(reply.domain(), reply.source()))
        denied += ask_policies(world.tables, original, reply, false).allowed ? 0 : 1;
      return FlowTable::Judgement::kKeep;
    });
    cycles.push_back(static_cast<double>(rte_rdtsc() - begin));
    benchmark::DoNotOptimize(denied);
  }
  state.counters["cycles_per_connection"] = median(std::move(cycles)) / kConnections;
}

BENCHMARK(first_packet)
    ->Name("policy/first_packet")
    ->ArgName("rules")
    ->Arg(10)
    ->Arg(10'000)
    ->Unit(benchmark::kMicrosecond);
BENCHMARK(compile)
    ->Name("policy/compile")
    ->ArgName("rules")
    ->Arg(10)
    ->Arg(10'000)
    ->Unit(benchmark::kMicrosecond);
BENCHMARK(sweep)
    ->Name("policy/sweep")
    ->ArgName("concerned")
    ->Arg(1)
    ->Arg(1000)
    ->Arg(5000)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace podwire::engine::bench
