#include "dataplane/ports/vhost_address_map.hpp"

#include <gtest/gtest.h>

#include <array>
#include <map>
#include <random>

namespace podwire::engine {
namespace {

class VhostAddressMapTest : public ::testing::Test {
 protected:
  using Range = VhostAddressMap::Range;
  using Ranges = std::vector<Range>;
  static constexpr std::uint64_t kPage = 4096, kMemory = 0x7f00'0000'0000, kPages = 64;

  VhostAddressMapTest() { map_.set_memory({{kMemory, kPages * kPage}, {1ull << 32, kPage}}); }

  // The device's page `device` is the memory's page `memory`; what has to be forgotten before that, in pages.
  Ranges add(std::uint64_t device, std::uint64_t memory, std::uint64_t pages = 1) {
    Ranges forget;
    EXPECT_EQ(map_.add({device * kPage, pages * kPage}, kMemory + memory * kPage, forget), "");
    for (auto& range : forget) range = {range.first / kPage, range.bytes / kPage};
    return forget;
  }

  VhostAddressMap map_;
};

TEST_F(VhostAddressMapTest, ApartTheyMayLieAnywhere) {
  EXPECT_EQ(add(10, 63), Ranges());
  EXPECT_EQ(add(12, 63), Ranges());
  EXPECT_EQ(add(8, 0), Ranges());
}

TEST_F(VhostAddressMapTest, NextToEachOtherTheyMayNotLeadOutOfTheMemory) {
  EXPECT_EQ(add(10, 63), Ranges());
  EXPECT_EQ(add(11, 0), (Ranges{{10, 1}})) << "a buffer over both would end behind the last page";
  EXPECT_EQ(add(10, 63), (Ranges{{11, 1}}));
  EXPECT_EQ(add(9, 62), Ranges()) << "in one piece";
  EXPECT_EQ(add(30, 63), Ranges());
  EXPECT_EQ(add(32, 5), Ranges());
  EXPECT_EQ(add(31, 63), (Ranges{{32, 1}, {30, 1}})) << "on either side";
}

TEST_F(VhostAddressMapTest, LongRunsCountFromWhereTheyBegin) {
  EXPECT_EQ(add(20, 61), Ranges());
  EXPECT_EQ(add(21, 5), Ranges());
  EXPECT_EQ(add(22, 7), Ranges());
  EXPECT_EQ(add(23, 9), (Ranges{{22, 1}}));
  EXPECT_EQ(add(22, 7), (Ranges{{21, 1}}));
}

TEST_F(VhostAddressMapTest, AFewBytesOfASmallRegionAreBoundedByIt) {
  Ranges forget;
  EXPECT_EQ(map_.add({0, 2 * kPage}, (1ull << 32) + kPage - 16, forget), "");
  EXPECT_EQ(map_.add({16, 8}, kMemory, forget), "") << "the first was cut to 16 bytes";
  EXPECT_EQ(forget, (Ranges{{0, 16}}));
}

TEST_F(VhostAddressMapTest, TheSameMayBeToldAgainAndNothingElse) {
  Ranges forget;
  add(10, 1, 2);
  EXPECT_EQ(add(10, 1, 2), Ranges());
  for (const auto& [first, pages, user] :
       std::initializer_list<std::array<std::uint64_t, 3>>{{10, 2, 5}, {10, 1, 1}, {11, 1, 2}, {9, 2, 1}}) {
    EXPECT_NE(map_.add({first * kPage, pages * kPage}, kMemory + user * kPage, forget), "") << first;
  }
  map_.remove({11 * kPage, 1});
  EXPECT_TRUE(map_.empty()) << "the library forgets it as a whole";
  EXPECT_EQ(add(10, 5), Ranges());
  map_.remove({9 * kPage, kPage});
  map_.remove({11 * kPage, kPage});
  EXPECT_FALSE(map_.empty());
  map_.remove(VhostAddressMap::kAll);
  EXPECT_TRUE(map_.empty());
  EXPECT_EQ(map_.add({0, kPage}, 5, forget), "") << "the library refuses what is in no memory";
  EXPECT_TRUE(map_.empty() && forget.empty());
}

TEST_F(VhostAddressMapTest, PiecesOfARangeAreSeen) {
  add(10, 1);
  add(11, 2);
  add(12, 9);
  EXPECT_TRUE(map_.in_one_piece({10 * kPage, 2 * kPage}));
  EXPECT_TRUE(map_.in_one_piece({12 * kPage, kPage}));
  EXPECT_TRUE(map_.in_one_piece({11 * kPage, kPage}));
  EXPECT_FALSE(map_.in_one_piece({11 * kPage, kPage + 1}));
  EXPECT_FALSE(map_.in_one_piece({12 * kPage - 1, 2}));
  EXPECT_TRUE(map_.in_one_piece({13 * kPage, kPage})) << "nothing is known of it";
}

TEST_F(VhostAddressMapTest, WhereThereAreTooManyEachHasItsTurnToGo) {
  constexpr std::uint64_t kMost = VhostAddressMap::kMost;
  for (std::uint64_t i = 0; i < kMost; ++i) ASSERT_EQ(add(2 * i, 0), Ranges());
  EXPECT_EQ(add(2 * kMost, 0), (Ranges{{2, 1}}));
  EXPECT_EQ(add(2 * kMost + 2, 0), (Ranges{{4, 1}}));
  EXPECT_EQ(add(2, 0), (Ranges{{6, 1}}));
}

// The library as it is: sorted by address, looks up across what follows without a gap.
TEST_F(VhostAddressMapTest, WhateverIsToldTheLibraryStaysWithinTheMemory) {
  std::mt19937 dice(1);
  std::map<std::uint64_t, std::array<std::uint64_t, 2>> library;  // device's page: memory's page, pages
  const auto forget = [&](const Range& range) {
    std::erase_if(library, [&](const auto& one) {
      return one.first < range.first + range.bytes && range.first < one.first + one.second[1];
    });
  };
  for (int i = 0; i < 20'000; ++i) {
    const std::uint64_t device = dice() % 100, pages = dice() % 8 == 0 ? 1 + dice() % 8 : 1;
    if (dice() % 4 == 0) {
      map_.remove({device * kPage, pages * kPage});
      forget({device, pages});
      continue;
    }
    const std::uint64_t memory = dice() % 3 == 0 ? 60 + dice() % 4 : dice() % kPages;
    Ranges first;
    if (!map_.add({device * kPage, pages * kPage}, kMemory + memory * kPage, first).empty()) continue;
    for (const auto& range : first) forget({range.first / kPage, range.bytes / kPage});
    library.try_emplace(device, std::array{memory, std::min(pages, kPages - memory)});
    for (auto from = library.begin(); from != library.end(); ++from) {
      auto end = from->first + from->second[1];
      for (auto next = std::next(from); next != library.end() && next->first == end; ++next)
        end += next->second[1];
      ASSERT_LE(from->second[0] + (end - from->first), kPages) << i;
    }
  }
}

}  // namespace
}  // namespace podwire::engine
