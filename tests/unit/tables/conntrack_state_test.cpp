// The TCP state machine row by row, whole lives of connections, and the two states of everything else.
#include "dataplane/tables/conntrack_state.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace podwire::engine {
namespace {

constexpr auto kOut = Direction::kOriginal, kBack = Direction::kReply;
using E = TcpEvent;
using S = FlowState;
using O = FlowStep::Outcome;

struct Row {
  FlowPhase before;
  Direction direction;
  TcpEvent event;
  FlowStep after;
};

FlowStep pass(FlowState state, Direction closer = kOut) {
  return {O::kPass, {state, closer}};
}

const std::vector<Row> kRows{
    // Opening.
    {{S::kSynSent}, kOut, E::kSyn, pass(S::kSynSent)},
    {{S::kSynSent}, kOut, E::kAck, {O::kInvalid, {S::kSynSent}}},
    {{S::kSynSent}, kOut, E::kSynAck, {O::kInvalid, {S::kSynSent}}},
    {{S::kSynSent}, kBack, E::kFin, {O::kInvalid, {S::kSynSent}}},
    {{S::kSynSent}, kBack, E::kSynAck, pass(S::kSynReceived)},
    {{S::kSynSent}, kBack, E::kAck, pass(S::kSynSent)},  // challenge of an old half-open connection
    {{S::kSynReceived}, kBack, E::kSynAck, pass(S::kSynReceived)},
    {{S::kSynReceived}, kBack, E::kAck, pass(S::kSynReceived)},
    {{S::kSynReceived}, kOut, E::kAck, pass(S::kEstablished)},
    {{S::kSynReceived}, kOut, E::kSyn, pass(S::kSynReceived)},
    {{S::kEstablished}, kBack, E::kSynAck, pass(S::kEstablished)},  // our ACK was lost
    {{S::kEstablished}, kOut, E::kSyn, pass(S::kEstablished)},      // answered by a challenge ACK (RFC 5961)
    // Simultaneous open.
    {{S::kSynSent}, kBack, E::kSyn, pass(S::kSynSent2)},
    {{S::kSynSent2}, kOut, E::kSynAck, pass(S::kSynReceived)},
    {{S::kSynSent2}, kBack, E::kSynAck, pass(S::kSynReceived)},
    // Closing by the original side.
    {{S::kEstablished}, kOut, E::kFin, pass(S::kFinWait, kOut)},
    {{S::kFinWait, kOut}, kOut, E::kFin, pass(S::kFinWait, kOut)},
    {{S::kFinWait, kOut}, kOut, E::kAck, pass(S::kFinWait, kOut)},
    {{S::kFinWait, kOut}, kBack, E::kAck, pass(S::kCloseWait, kOut)},
    {{S::kFinWait, kOut}, kBack, E::kFin, pass(S::kLastAck, kOut)},
    {{S::kCloseWait, kOut}, kBack, E::kAck, pass(S::kCloseWait, kOut)},
    {{S::kCloseWait, kOut}, kOut, E::kAck, pass(S::kCloseWait, kOut)},
    {{S::kCloseWait, kOut}, kBack, E::kFin, pass(S::kLastAck, kOut)},
    {{S::kLastAck, kOut}, kBack, E::kFin, pass(S::kLastAck, kOut)},
    {{S::kLastAck, kOut}, kBack, E::kAck, pass(S::kLastAck, kOut)},
    {{S::kLastAck, kOut}, kOut, E::kAck, pass(S::kTimeWait)},
    // Closing by the reply side.
    {{S::kEstablished}, kBack, E::kFin, pass(S::kFinWait, kBack)},
    {{S::kFinWait, kBack}, kBack, E::kFin, pass(S::kFinWait, kBack)},
    {{S::kFinWait, kBack}, kOut, E::kAck, pass(S::kCloseWait, kBack)},
    {{S::kCloseWait, kBack}, kOut, E::kFin, pass(S::kLastAck, kBack)},
    {{S::kLastAck, kBack}, kOut, E::kAck, pass(S::kLastAck, kBack)},
    {{S::kLastAck, kBack}, kBack, E::kAck, pass(S::kTimeWait)},
    // FIN before the handshake's last ACK was seen.
    {{S::kSynReceived}, kBack, E::kFin, pass(S::kFinWait, kBack)},
    // Port reuse, from either side.
    {{S::kTimeWait}, kOut, E::kSyn, {O::kBegin, {S::kTimeWait}}},
    {{S::kTimeWait}, kBack, E::kSyn, {O::kBegin, {S::kTimeWait}}},
    {{S::kTimeWait}, kBack, E::kFin, pass(S::kTimeWait)},
    {{S::kClose}, kOut, E::kSyn, {O::kBegin, {S::kClose}}},
    {{S::kClose}, kBack, E::kAck, pass(S::kClose)},
};

TEST(TcpStep, FollowsTheTable) {
  for (const auto& row : kRows) {
    EXPECT_EQ(tcp_step(row.before, row.direction, row.event), row.after)
        << name_of(row.before.state) << ", direction " << static_cast<int>(row.direction) << ", event "
        << static_cast<int>(row.event);
  }
}

TEST(TcpStep, EndsEveryStateInCloseOnARst) {
  for (auto state = S::kSynSent; state <= S::kClose; state = static_cast<S>(static_cast<int>(state) + 1)) {
    for (const auto direction : {kOut, kBack}) {
      EXPECT_EQ(tcp_step({state}, direction, E::kRst), pass(S::kClose)) << name_of(state);
    }
  }
  EXPECT_EQ(timeout_of(S::kClose), 10u);
}

TEST(TcpStep, RefusesImpossibleFlagsInEveryState) {
  for (auto state = S::kSynSent; state <= S::kClose; state = static_cast<S>(static_cast<int>(state) + 1)) {
    EXPECT_EQ(tcp_step({state}, kOut, E::kInvalid), (FlowStep{O::kInvalid, {state}}));
  }
}

TEST(TcpStep, NeverLeavesItsStates) {
  for (auto state = S::kSynSent; state <= S::kClose; state = static_cast<S>(static_cast<int>(state) + 1)) {
    for (const auto direction : {kOut, kBack}) {
      for (const auto event : {E::kSyn, E::kSynAck, E::kFin, E::kAck, E::kRst}) {
        for (const auto closer : {kOut, kBack}) {
          const auto step = tcp_step({state, closer}, direction, event);
          EXPECT_GE(step.phase.state, S::kSynSent);
          EXPECT_LE(step.phase.state, S::kClose);
        }
      }
    }
  }
}

FlowPhase play(std::vector<std::pair<Direction, TcpEvent>> packets) {
  auto step = tcp_begin(packets.front().second, true);
  EXPECT_EQ(step.outcome, O::kPass);
  for (std::size_t i = 1; i < packets.size(); ++i) {
    step = tcp_step(step.phase, packets[i].first, packets[i].second);
    EXPECT_EQ(step.outcome, O::kPass) << "packet " << i;
  }
  return step.phase;
}

TEST(TcpStep, LivesOfConnections) {
  const std::pair<Direction, TcpEvent> syn{kOut, E::kSyn}, syn_ack{kBack, E::kSynAck}, ack{kOut, E::kAck};
  EXPECT_EQ(play({syn, syn_ack, ack}).state, S::kEstablished);
  EXPECT_EQ(play({syn, {kBack, E::kRst}}).state, S::kClose);  // refused
  EXPECT_EQ(play({syn, syn_ack, ack, {kOut, E::kFin}, {kBack, E::kFin}, {kOut, E::kAck}}).state,
            S::kTimeWait);
  // Half-close: the client is done, the server sends on for a while.
  EXPECT_EQ(
      play({syn, syn_ack, ack, {kOut, E::kFin}, {kBack, E::kAck}, {kBack, E::kAck}, {kOut, E::kAck}}).state,
      S::kCloseWait);
  EXPECT_EQ(play({syn, {kBack, E::kSyn}, {kOut, E::kSynAck}, syn_ack, ack}).state, S::kEstablished);
}

TEST(TcpBegin, TakesASynAndWithoutStrictWhatIsUnderWay) {
  EXPECT_EQ(tcp_begin(E::kSyn, true), pass(S::kSynSent));
  EXPECT_EQ(tcp_begin(E::kAck, false), pass(S::kEstablished));
  EXPECT_EQ(tcp_begin(E::kFin, false), pass(S::kFinWait));
  for (const auto event : {E::kAck, E::kFin, E::kSynAck, E::kRst, E::kInvalid})
    EXPECT_EQ(tcp_begin(event, true).outcome, O::kInvalid);
  for (const auto event : {E::kSynAck, E::kRst, E::kInvalid})
    EXPECT_EQ(tcp_begin(event, false).outcome, O::kInvalid);
}

TEST(TcpEventOf, ReadsTheFlags) {
  constexpr auto kFin = TcpHeader::kFin, kSyn = TcpHeader::kSyn, kRst = TcpHeader::kRst,
                 kAck = TcpHeader::kAck;
  const auto of = [](int flags) { return tcp_event(static_cast<std::uint8_t>(flags)); };
  EXPECT_EQ(of(kSyn), E::kSyn);
  EXPECT_EQ(of(kSyn | TcpHeader::kEce | TcpHeader::kCwr), E::kSyn);
  EXPECT_EQ(of(kSyn | kAck), E::kSynAck);
  EXPECT_EQ(of(kAck), E::kAck);
  EXPECT_EQ(of(kAck | TcpHeader::kPsh | TcpHeader::kUrg), E::kAck);
  EXPECT_EQ(of(kFin | kAck | TcpHeader::kPsh), E::kFin);
  EXPECT_EQ(of(kRst), E::kRst);
  EXPECT_EQ(of(kRst | kAck), E::kRst);
  for (const int flags : {0, +kFin, kSyn | kFin, kSyn | kRst, kSyn | kFin | kAck, kFin | kRst | kAck})
    EXPECT_EQ(of(flags), E::kInvalid) << flags;
}

TEST(AnswerStep, IsRepliedByTheOtherSideOnly) {
  EXPECT_EQ(answer_begin(ip_proto::kUdp).state, S::kUdpNew);
  EXPECT_EQ(answer_begin(ip_proto::kIcmpv6).state, S::kIcmpNew);
  EXPECT_EQ(answer_begin(ip_proto::kEsp).state, S::kOtherNew);
  EXPECT_EQ(answer_step({S::kUdpNew}, kOut).state, S::kUdpNew);
  EXPECT_EQ(answer_step({S::kUdpNew}, kBack).state, S::kUdpReplied);
  EXPECT_EQ(answer_step({S::kUdpReplied}, kBack).state, S::kUdpReplied);
  EXPECT_EQ(answer_step({S::kIcmpNew}, kBack).state, S::kIcmpReplied);
  EXPECT_EQ(answer_step({S::kOtherNew}, kBack).state, S::kOtherReplied);
}

TEST(FlowPhase, SurvivesPacking) {
  for (int state = 0; state < static_cast<int>(kFlowStateCount); ++state) {
    for (const auto closer : {kOut, kBack}) {
      const FlowPhase phase{static_cast<S>(state), closer};
      EXPECT_EQ(FlowPhase::unpack(phase.packed()), phase);
    }
  }
}

TEST(IsReplaceable, SparesWhatIsEstablishedOrHalfClosed) {
  for (const auto state :
       {S::kEstablished, S::kFinWait, S::kCloseWait, S::kUdpReplied, S::kIcmpReplied, S::kOtherReplied})
    EXPECT_FALSE(is_replaceable(state)) << name_of(state);
  for (const auto state : {S::kSynSent, S::kSynReceived, S::kTimeWait, S::kClose, S::kCut, S::kUdpNew})
    EXPECT_TRUE(is_replaceable(state)) << name_of(state);
}

TEST(ConntrackStateTest, WhatChangesNothingIsWhatTheStepsSay) {
  for (unsigned state = 1; state < kFlowStateCount; ++state) {
    for (const auto closer : {Direction::kOriginal, Direction::kReply}) {
      const FlowPhase phase{static_cast<FlowState>(state), closer};
      for (const auto direction : {Direction::kOriginal, Direction::kReply}) {
        EXPECT_EQ(answer_changes_nothing(phase, direction), answer_step(phase, direction) == phase);
        if (phase.state < FlowState::kSynSent || phase.state > FlowState::kCut) continue;
        for (unsigned flags = 0; flags < 256; ++flags) {
          const auto byte = static_cast<std::uint8_t>(flags);
          const auto step = tcp_step(phase, direction, tcp_event(byte));
          EXPECT_EQ(tcp_changes_nothing(phase, direction, byte),
                    step.outcome == FlowStep::Outcome::kPass && step.phase == phase)
              << state << ' ' << flags;
        }
      }
    }
  }
}

}  // namespace
}  // namespace podwire::engine
