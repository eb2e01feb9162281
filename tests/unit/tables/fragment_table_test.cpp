// Which ports fragments get, and which are refused.
#include "dataplane/tables/fragment_table.hpp"

#include <gtest/gtest.h>

#include "dataplane/headers/headers.hpp"

namespace podwire::engine {
namespace {

using FragmentVerdict = FragmentTable::Verdict;
constexpr std::uint64_t kSomeHash = 5;

FlowKey datagram_of(std::uint32_t n) {
  return make_flow_key(DomainId(7), ip_proto::kUdp, IpAddr(Ipv4::from_u32(0x0a000000 + n)),
                       IpAddr(Ipv4::from_u32(0x0b000001)), 1000, 53);
}

class FragmentTableTest : public ::testing::Test {
 protected:
  FragmentVerdict first(std::uint16_t end, std::uint32_t now = 100, bool last = false,
                        std::uint32_t ports = 0x1234) {
    return table_.note_first(datagram_of(1), kSomeHash, {0, end, last}, ports, now);
  }
  FragmentVerdict later(std::uint16_t begin, std::uint16_t end, bool last = false, std::uint32_t now = 100) {
    return table_.find(datagram_of(1), kSomeHash, {begin, end, last}, now, ports_);
  }

  FragmentTable table_;
  std::uint32_t ports_ = 0;
};

TEST_F(FragmentTableTest, RemembersPortsForAWhile) {
  EXPECT_EQ(later(4, 8), FragmentVerdict::kUnmatched);
  EXPECT_EQ(first(4), FragmentVerdict::kFollows);
  EXPECT_EQ(later(4, 8, false, 130), FragmentVerdict::kFollows);
  EXPECT_EQ(ports_, 0x1234u);
  EXPECT_EQ(later(8, 12, false, 131), FragmentVerdict::kUnmatched);
  EXPECT_EQ(table_.find(datagram_of(2), kSomeHash, {4, 8, false}, 100, ports_), FragmentVerdict::kUnmatched);
}

TEST_F(FragmentTableTest, TheOldestOfASetMakesRoom) {
  for (std::uint32_t i = 0; i < 5; ++i)
    table_.note_first(datagram_of(i), kSomeHash, {0, 4, false}, i, 100 + i);
  EXPECT_EQ(table_.find(datagram_of(0), kSomeHash, {4, 8, false}, 104, ports_), FragmentVerdict::kUnmatched);
  for (std::uint32_t i = 1; i < 5; ++i) {
    EXPECT_EQ(table_.find(datagram_of(i), kSomeHash, {4, 8, false}, 104, ports_), FragmentVerdict::kFollows)
        << i;
    EXPECT_EQ(ports_, i);
  }
}

TEST_F(FragmentTableTest, AnyOrderIsRight) {
  EXPECT_EQ(first(4), FragmentVerdict::kFollows);
  EXPECT_EQ(later(12, 15, true), FragmentVerdict::kFollows);
  EXPECT_EQ(later(8, 12), FragmentVerdict::kFollows);
  EXPECT_EQ(later(4, 8), FragmentVerdict::kFollows);
}

TEST_F(FragmentTableTest, WhatOverlapsIsRefusedAndNothingElse) {
  const struct {
    const char* what;
    FragmentPiece piece;
  } kCases[] = {{"the header again", {1, 3, false}},
                {"the end of the first", {3, 6, false}},
                {"the same once more", {8, 12, false}},
                {"around another", {6, 14, false}},
                {"one eighth", {11, 12, false}},
                {"an end before what has come", {4, 6, true}},
                {"nothing", {20, 20, false}}};
  std::uint32_t now = 100;
  for (const auto& one : kCases) {
    SCOPED_TRACE(one.what);
    now += FragmentTable::kReuseSeconds + 1;
    ASSERT_EQ(first(4, now), FragmentVerdict::kFollows);
    ASSERT_EQ(later(8, 12, false, now), FragmentVerdict::kFollows);
    EXPECT_EQ(table_.find(datagram_of(1), kSomeHash, one.piece, now, ports_), FragmentVerdict::kInvalid);
    EXPECT_EQ(first(4, now, false, 0x5678), FragmentVerdict::kInvalid) << "another first";
    EXPECT_EQ(later(4, 8, false, now), FragmentVerdict::kFollows) << "what fits";
    EXPECT_EQ(ports_, 0x1234u);
  }
}

TEST_F(FragmentTableTest, NothingComesBehindTheEnd) {
  ASSERT_EQ(first(4), FragmentVerdict::kFollows);
  ASSERT_EQ(later(8, 10, true), FragmentVerdict::kFollows);
  EXPECT_EQ(later(10, 12), FragmentVerdict::kInvalid);
}

TEST_F(FragmentTableTest, AnotherDatagramMayHaveTheIdentificationOfAWholeOrOldOne) {
  ASSERT_EQ(first(4), FragmentVerdict::kFollows);
  ASSERT_EQ(later(4, 6, true), FragmentVerdict::kFollows);
  EXPECT_EQ(first(4, 100, false, 0x5678), FragmentVerdict::kFollows);
  EXPECT_EQ(later(4, 6), FragmentVerdict::kFollows);
  EXPECT_EQ(ports_, 0x5678u);
  EXPECT_EQ(first(4, 103), FragmentVerdict::kInvalid) << "incomplete, and young";
  EXPECT_EQ(first(4, 106), FragmentVerdict::kFollows);
}

TEST_F(FragmentTableTest, TooManySpansApartAreRefused) {
  ASSERT_EQ(first(1), FragmentVerdict::kFollows);
  std::uint16_t at = 2;
  for (std::size_t i = 1; i < FragmentTable::kSpans; ++i, at = static_cast<std::uint16_t>(at + 2))
    EXPECT_EQ(later(at, static_cast<std::uint16_t>(at + 1)), FragmentVerdict::kFollows);
  EXPECT_EQ(later(at, static_cast<std::uint16_t>(at + 1)), FragmentVerdict::kInvalid);
}

}  // namespace
}  // namespace podwire::engine
