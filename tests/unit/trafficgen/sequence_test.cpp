#include "bench/trafficgen/sequence.hpp"

#include <gtest/gtest.h>

namespace podwire::trafficgen {
namespace {

constexpr auto kWindow = SequenceTracker::kWindow;

TEST(SequenceTracker, CountsFramesInOrder) {
  SequenceTracker t;
  for (std::uint32_t i = 0; i < 3 * kWindow; ++i) t.record(i);
  EXPECT_EQ(t.unique(), 3 * kWindow);
  EXPECT_EQ(t.reordered() + t.duplicated() + t.stale(), 0u);
}

TEST(SequenceTracker, TellsLossFromReordering) {
  SequenceTracker t;
  for (const std::uint32_t number : {0, 1, 4, 5, 3, 9}) t.record(number);  // 2, 6, 7, 8 are missing
  EXPECT_EQ(t.unique(), 6u);
  EXPECT_EQ(t.reordered(), 1u);
  EXPECT_EQ(t.duplicated(), 0u);
}

TEST(SequenceTracker, TellsDuplicatesFromLateFrames) {
  SequenceTracker t;
  for (const std::uint32_t number : {0, 0, 5, 2, 2, 5, 3}) t.record(number);
  EXPECT_EQ(t.unique(), 4u);
  EXPECT_EQ(t.reordered(), 2u);
  EXPECT_EQ(t.duplicated(), 3u);
}

TEST(SequenceTracker, KnowsLateFramesForOneWindow) {
  SequenceTracker t;
  t.record(0);
  t.record(kWindow);  // 1 is the oldest that is remembered
  t.record(1);
  t.record(0);
  EXPECT_EQ(t.reordered(), 1u);
  EXPECT_EQ(t.stale(), 1u);
  EXPECT_EQ(t.unique(), 3u);
}

TEST(SequenceTracker, ForgetsWhatCameBeforeALongGap) {
  SequenceTracker t;
  for (std::uint32_t i = 0; i < kWindow; ++i) t.record(i);
  t.record(5 * kWindow);
  // The same places in the window as numbers that came long ago.
  for (std::uint32_t i = 1; i < kWindow; ++i) t.record(4 * kWindow + i);
  EXPECT_EQ(t.duplicated(), 0u);
  EXPECT_EQ(t.reordered(), kWindow - 1);
  EXPECT_EQ(t.unique(), 2 * kWindow);
}

TEST(SequenceTracker, ForgetsWhatAShortGapJumpsOver) {
  SequenceTracker t;
  for (std::uint32_t i = 0; i < kWindow; ++i) t.record(i);
  t.record(kWindow + 10);
  t.record(kWindow + 5);
  t.record(kWindow + 5);
  EXPECT_EQ(t.reordered(), 1u);
  EXPECT_EQ(t.duplicated(), 1u);
}

}  // namespace
}  // namespace podwire::trafficgen
