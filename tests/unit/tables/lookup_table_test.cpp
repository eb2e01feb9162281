// LookupTable and GrowingTable: exact match, tombstones, room, and growth.
#include "dataplane/tables/lookup_table.hpp"

#include <gtest/gtest.h>

#include <unordered_map>

#include "dataplane/tables/growing_table.hpp"

namespace podwire::engine {
namespace {

TEST(LookupTable, FindsWhatWasPutAndNothingElse) {
  LookupTable<Key64> table(4);
  EXPECT_EQ(table.find({1}), 0u);
  EXPECT_TRUE(table.put({1}, 10));
  EXPECT_TRUE(table.put({0}, 20));  // key 0 is as good as any
  EXPECT_TRUE(table.put({1}, 11));
  EXPECT_EQ(table.find({1}), 11u);
  EXPECT_EQ(table.find({0}), 20u);
  EXPECT_EQ(table.find({2}), 0u);
  EXPECT_EQ(table.size(), 2u);
}

TEST(LookupTable, ErasedKeysComeBackInTheirSlot) {
  LookupTable<Key64> table(4);
  table.put({1}, 10);
  const auto room = table.room();
  EXPECT_EQ(table.erase({1}), 10u);
  EXPECT_EQ(table.erase({1}), 0u);
  EXPECT_EQ(table.erase({7}), 0u);
  EXPECT_EQ(table.find({1}), 0u);
  EXPECT_EQ(table.room(), room);  // the tombstone stays
  table.put({1}, 12);
  EXPECT_EQ(table.find({1}), 12u);
  EXPECT_EQ(table.room(), room);
}

TEST(LookupTable, RefusesNewKeysWhenHalfFull) {
  LookupTable<Key64> table(8);
  const auto room = table.room();
  for (std::uint64_t i = 0; i < room; ++i) EXPECT_TRUE(table.put({i}, 1));
  EXPECT_TRUE(table.needs_rebuild());
  EXPECT_FALSE(table.put({9999}, 1));
  EXPECT_TRUE(table.put({0}, 2));  // known keys still change
}

TEST(GrowingTable, AgreesWithAMapThroughChurn) {
  GrowingTable<Key64> table;
  std::unordered_map<std::uint64_t, std::uint32_t> expected;
  Garbage garbage;
  std::uint64_t random = 1;
  int replaced = 0;
  for (int step = 0; step < 20000; ++step) {
    random = mix(random + 1);
    const std::uint64_t key = random % 700;
    if (random >> 32 & 1) {
      const auto value = static_cast<std::uint32_t>(random >> 40) + 1;
      replaced += table.reserve(1, garbage);
      table.put({key}, value);
      expected[key] = value;
    } else {
      table.erase({key});
      expected.erase(key);
    }
  }
  for (std::uint64_t key = 0; key < 700; ++key) {
    const auto it = expected.find(key);
    EXPECT_EQ(table.find({key}), it == expected.end() ? 0 : it->second) << key;
  }
  EXPECT_EQ(static_cast<int>(garbage.size()), replaced);
  EXPECT_LT(replaced, 20);  // growth is amortised
}

TEST(GrowingTable, KeysOfBothWidthsDoNotCollide) {
  const DomainId a(2), b(3);
  EXPECT_NE(fib4_key(a, 0x0a000000, 8), fib4_key(a, 0x0a000000, 16));
  EXPECT_NE(fib4_key(a, 0x0a000000, 8), fib4_key(b, 0x0a000000, 8));
  EXPECT_NE(fib6_key(a, Ipv6(), 0), fib6_key(a, Ipv6(), 128));
  EXPECT_NE(fib6_key(a, Ipv6(), 0), fib6_key(b, Ipv6(), 0));
}

}  // namespace
}  // namespace podwire::engine
