// Multipath groups: weights become at most 64 entries; regions are reused by size only after recycling.
#include <gtest/gtest.h>

#include <algorithm>

#include "dataplane/tables/path_arena.hpp"

namespace podwire::engine {
namespace {

using Weights = std::vector<std::pair<std::uint32_t, std::uint32_t>>;

long count(const std::vector<std::uint32_t>& paths, std::uint32_t slot) {
  return std::count(paths.begin(), paths.end(), slot);
}

TEST(ExpandWeights, ReducesByTheCommonDivisor) {
  EXPECT_EQ(expand_weights(Weights{{7, 10}, {8, 10}}), (std::vector<std::uint32_t>{7, 8}));
  EXPECT_EQ(expand_weights(Weights{{7, 20}, {8, 10}}), (std::vector<std::uint32_t>{7, 7, 8}));
}

TEST(ExpandWeights, KeepsSharesWithin64Entries) {
  const auto paths = expand_weights(Weights{{1, 255}, {2, 1}, {3, 128}});
  EXPECT_EQ(paths.size(), kMaxPaths);
  EXPECT_EQ(count(paths, 2), 1);
  EXPECT_NEAR(static_cast<double>(count(paths, 1)), 64.0 * 255 / 384, 1.0);
  EXPECT_NEAR(static_cast<double>(count(paths, 3)), 64.0 * 128 / 384, 1.0);
}

TEST(ExpandWeights, EveryOneOf64NextHopsHasAnEntry) {
  Weights weights;
  for (std::uint32_t slot = 1; slot <= 64; ++slot) weights.emplace_back(slot, slot == 1 ? 256 : 1 + slot % 3);
  const auto paths = expand_weights(weights);
  EXPECT_EQ(paths.size(), kMaxPaths);
  for (std::uint32_t slot = 1; slot <= 64; ++slot) EXPECT_EQ(count(paths, slot), 1) << slot;
}

TEST(PathArena, ReusesRegionsOfTheSameSizeOnceRecycled) {
  PathArena arena;
  const std::vector<std::uint32_t> three{1, 2, 3};
  const auto first = arena.allocate(three);
  arena.release(first);
  const auto second = arena.allocate(three);
  EXPECT_NE(second.first, first.first);  // readers may still follow the first
  arena.recycle(arena.take_released());
  const auto third = arena.allocate(three);
  EXPECT_EQ(third.first, first.first);
  EXPECT_EQ(arena.paths().size(), 6u);
}

}  // namespace
}  // namespace podwire::engine
