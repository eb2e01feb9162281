// Workers that insert, find, change and remove the same connections while the main thread ages: whatever is
// found is whole, and nothing is lost. Meant for ThreadSanitizer as well.
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <thread>
#include <vector>

#include "dataplane/tables/flow_table.hpp"

namespace podwire::engine {
namespace {

FlowKey key_of(std::uint32_t n) {
  return make_flow_key(DomainId(2), ip_proto::kTcp, IpAddr(Ipv4::from_u32(0x0a000000 + n)),
                       IpAddr(Ipv4::from_u32(0x0b000000 + n)), static_cast<std::uint16_t>(n), 80);
}

constexpr std::uint32_t kOwners = 3, kLimit = 80;
PortId owner_of(std::uint32_t n) {
  return PortId(static_cast<std::uint16_t>(1 + n % kOwners));
}

// Everything of connection n says n.
void check(const FlowTable& table, FlowRef ref, std::uint32_t n, std::atomic<int>& wrong) {
  FlowView view;
  FlowKey key;
  if (!table.read_key(ref, ref.direction(), key) || !table.read(ref, view)) return;  // gone meanwhile
  if (key.source_port() != static_cast<std::uint16_t>(n) &&
      key.destination_port() != static_cast<std::uint16_t>(n))
    ++wrong;
  if (view.decision.adjacency != 0 && (view.decision.adjacency != n + 1 || view.decision.generation != n + 1))
    ++wrong;
}

void work(FlowTable& table, std::uint32_t seed, std::uint32_t connections, std::atomic<int>& wrong) {
  std::uint32_t random = seed;
  for (int i = 0; i < 40000; ++i) {
    random = random * 1664525 + 1013904223;
    const auto n = (random >> 8) % connections;
    const auto key = (random >> 30) % 2 == 0 ? key_of(n) : key_of(n).reversed();
    const auto ref = table.find(key);
    if (!ref) {
      table.insert(key, key.reversed(), {FlowState::kSynSent}, 1, random % 100, {owner_of(n), kLimit});
      continue;
    }
    check(table, ref, n, wrong);
    switch (random >> 28) {
      case 0:
        table.remove(ref);
        break;
      case 1:
      case 2:
        table.set_decision(ref, {n + 1, n + 1, true});
        break;
      case 3:
        table.update(ref, [&](FlowPhase phase) { return tcp_step(phase, ref.direction(), TcpEvent::kSyn); });
        break;
      default:
        table.touch(ref, random % 100);
    }
  }
}

TEST(FlowTableConcurrency, NothingTornNothingLost) {
  constexpr std::uint32_t kConnections = 300;
  FlowTable table(200, 11);  // fewer than wanted, so that they evict each other all the while
  std::atomic<int> wrong{0};
  std::vector<std::thread> workers;
  for (std::uint32_t i = 0; i < 3; ++i)
    workers.emplace_back([&table, &wrong, i] { work(table, i + 1, kConnections, wrong); });
  for (int i = 0; i < 2000; ++i) table.age(150, 64, [](const FlowKey&, PortId) { return false; });
  for (auto& worker : workers) worker.join();
  EXPECT_EQ(wrong, 0);

  // Every entry can be reached from both sides, and all the entries there are can be used.
  std::uint32_t listed = 0;
  std::map<PortId, std::uint32_t> begun;
  table.for_each(0, [&](std::uint32_t index, const FlowView& original, const FlowView& reply) {
    ++listed;
    ++begun[table.owner_of({index * 2, 0})];
    EXPECT_EQ(table.find(original.key).line + 1, table.find(reply.key).line);
    return true;
  });
  EXPECT_LE(listed, 200u);
  for (std::uint32_t n = 0; n < kOwners; ++n) {
    EXPECT_EQ(table.begun_by(owner_of(n)), begun[owner_of(n)]);
    EXPECT_LE(begun[owner_of(n)], kLimit);
  }
  const auto all = [](const FlowKey&, PortId) { return true; };
  std::size_t forgotten = 0;
  for (int i = 0; i < 10; ++i) forgotten += table.age(150, 1000, all);
  EXPECT_EQ(forgotten, listed);
  for (std::uint32_t n = 0; n < kOwners; ++n) EXPECT_EQ(table.begun_by(owner_of(n)), 0u);
  std::uint32_t fit = 0;
  for (std::uint32_t n = 0; n < 200; ++n) {
    const auto outcome =
        table.insert(key_of(n), key_of(n).reversed(), {FlowState::kEstablished}, 1, 0).outcome;
    fit += outcome == FlowTable::Insertion::Outcome::kNew ? 1 : 0;
  }
  EXPECT_GT(fit, 190u);
}

// The table grows under the feet of those who look for what has long been there.
TEST(FlowTableConcurrency, NothingIsMissedWhileItGrows) {
  constexpr std::uint32_t kThere = 3000, kWorkers = 2, kMore = 20000;
  FlowTable table(kThere + kWorkers * kMore, 12);
  const auto add = [&table](std::uint32_t n) {
    return table.insert(key_of(n), key_of(n).reversed(), {FlowState::kEstablished}, 1, 0).outcome ==
           FlowTable::Insertion::Outcome::kNew;
  };
  for (std::uint32_t n = 0; n < kThere; ++n) ASSERT_TRUE(add(n));
  const auto pairs = table.pairs();
  std::atomic<std::uint32_t> missed{0}, refused{0}, busy{kWorkers};
  std::vector<std::thread> threads;
  for (std::uint32_t worker = 0; worker < kWorkers; ++worker) {
    threads.emplace_back([&, first = kThere + worker * kMore] {
      for (std::uint32_t n = first; n < first + kMore; ++n) {
        refused += add(n) ? 0 : 1;
        missed += table.find(key_of(n)) && table.find(key_of(n).reversed()) ? 0 : 1;
      }
      --busy;
    });
  }
  while (busy != 0) {
    for (std::uint32_t n = 0; n < kThere; ++n) {
      const FlowKey keys[] = {key_of(n), key_of(n).reversed()};
      FlowRef found[2];
      table.find_burst(keys, found);
      missed += (found[0] ? 0 : 1) + (found[1] ? 0 : 1);
    }
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(missed, 0u);
  EXPECT_EQ(refused, 0u);
  EXPECT_GT(table.pairs(), 4 * pairs);
  for (std::uint32_t n = 0; n < kThere + kWorkers * kMore; ++n) {
    const auto ref = table.find(key_of(n));
    ASSERT_TRUE(ref) << n;
    ASSERT_EQ(table.find(key_of(n).reversed()).line, ref.line + 1) << n;
    ASSERT_TRUE(table.remove(ref)) << n;
    ASSERT_FALSE(table.find(key_of(n))) << n;
  }
}

}  // namespace
}  // namespace podwire::engine
