// TCP connections as the world treats them: lost and reordered packets, both sides at once, half-closed,
// reset, ports used again. Crafted packets through the whole pipeline; each is followed by the state that it
// leads to.
#include "tests/eal/pipeline/flow_fixture.hpp"

namespace podwire::engine::tests {
namespace {

using S = FlowState;
constexpr bool kForth = true, kBack = false;

class Conntrack : public FlowSwitch {
 protected:
  struct Step {
    bool forth;  // pod 1 to pod 2
    std::uint8_t flags;
    FlowState state;  // afterwards
  };

  // Every one of them passes.
  void play(const std::vector<Step>& steps) {
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const auto& step = steps[i];
      receive(step.forth ? kPod1 : kPod2, step.forth ? tcp_out(step.flags) : tcp_back(step.flags));
      EXPECT_EQ(name_of(tcp_state()), name_of(step.state)) << "after packet " << i;
    }
    EXPECT_EQ(ports_out().size(), steps.size());
  }
  void open() {
    play({{kForth, kSyn, S::kSynSent}, {kBack, kSynAck, S::kSynReceived}, {kForth, kAck, S::kEstablished}});
  }
  void close() {
    play({{kForth, kFinAck, S::kFinWait}, {kBack, kFinAck, S::kLastAck}, {kForth, kAck, S::kTimeWait}});
  }
  bool exists() const { return static_cast<bool>(flows_.find(key(ip_proto::kTcp, 4000, 80))); }
  std::size_t forget_after(std::uint32_t seconds) {
    ctx_.now_s += seconds;
    return flows_.age(ctx_.now_s, 4096, [](const FlowKey&, PortId) { return false; });
  }
};

TEST_F(Conntrack, LostPacketsOfTheHandshakeAreSentAgain) {
  play({{kForth, kSyn, S::kSynSent},
        {kForth, kSyn, S::kSynSent},  // the first was lost behind us, or its answer before us
        {kBack, kSynAck, S::kSynReceived},
        {kForth, kSyn, S::kSynReceived},  // the answer was lost behind us
        {kBack, kSynAck, S::kSynReceived},
        {kForth, kAck, S::kEstablished},
        {kBack, kSynAck, S::kEstablished},  // that ACK was lost
        {kForth, kAck, S::kEstablished}});
  EXPECT_EQ(counted().inserted.get(), 1u);
}

TEST_F(Conntrack, ALostAckOfTheHandshakeIsMadeUpForByData) {
  play({{kForth, kSyn, S::kSynSent},
        {kBack, kSynAck, S::kSynReceived},
        {kForth, static_cast<std::uint8_t>(kAck | TcpHeader::kPsh), S::kEstablished}});
}

TEST_F(Conntrack, DataThatOvertakesTheHandshakesLastAck) {
  play({{kForth, kSyn, S::kSynSent},
        {kBack, kSynAck, S::kSynReceived},
        {kBack, kAck, S::kSynReceived},  // the server's first data, ours to it is late
        {kForth, kAck, S::kEstablished}});
}

TEST_F(Conntrack, LostFinsAndTheirAcksAreSentAgain) {
  open();
  play({{kForth, kFinAck, S::kFinWait},
        {kForth, kFinAck, S::kFinWait},
        {kBack, kAck, S::kCloseWait},
        {kForth, kFinAck, S::kCloseWait},  // that ACK was lost
        {kBack, kAck, S::kCloseWait},
        {kBack, kFinAck, S::kLastAck},
        {kBack, kFinAck, S::kLastAck},
        {kForth, kAck, S::kTimeWait},
        {kBack, kFinAck, S::kTimeWait},  // the last ACK was lost
        {kForth, kAck, S::kTimeWait}});
}

TEST_F(Conntrack, DataThatComesAfterTheFinItPreceded) {
  open();
  play({{kForth, kFinAck, S::kFinWait}, {kForth, kAck, S::kFinWait}, {kBack, kAck, S::kCloseWait}});
}

// The closer's ACK of a FIN that has not come by here yet says nothing; the FIN does.
TEST_F(Conntrack, AnAckThatOvertakesWhatItAcknowledges) {
  open();
  play({{kForth, kFinAck, S::kFinWait},
        {kForth, kAck, S::kFinWait},
        {kBack, kFinAck, S::kLastAck},
        {kForth, kAck, S::kTimeWait}});
}

TEST_F(Conntrack, BothSidesOpenAtOnce) {
  play({{kForth, kSyn, S::kSynSent},
        {kBack, kSyn, S::kSynSent2},
        {kForth, kSynAck, S::kSynReceived},
        {kBack, kSynAck, S::kSynReceived},
        {kForth, kAck, S::kEstablished},
        {kBack, kAck, S::kEstablished}});
  EXPECT_EQ(counted().inserted.get(), 1u);
}

TEST_F(Conntrack, BothSidesOpenAtOnceAndLosePackets) {
  play({{kForth, kSyn, S::kSynSent},
        {kBack, kSyn, S::kSynSent2},
        {kForth, kSyn, S::kSynSent2},
        {kBack, kSyn, S::kSynSent2},
        {kBack, kSynAck, S::kSynReceived},
        {kForth, kSynAck, S::kSynReceived},
        {kForth, kAck, S::kEstablished}});
}

TEST_F(Conntrack, BothSidesCloseAtOnce) {
  open();
  play({{kForth, kFinAck, S::kFinWait},
        {kBack, kFinAck, S::kLastAck},
        {kBack, kAck, S::kLastAck},
        {kForth, kAck, S::kTimeWait},
        {kBack, kAck, S::kTimeWait}});
}

TEST_F(Conntrack, AHalfClosedConnectionCarriesDataAsLongAsThereIsSome) {
  open();
  play({{kForth, kFinAck, S::kFinWait}, {kBack, kAck, S::kCloseWait}});
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(forget_after(timeout_of(S::kCloseWait) - 1), 0u);
    play({{kBack, kAck, S::kCloseWait}, {kForth, kAck, S::kCloseWait}});
  }
  EXPECT_EQ(forget_after(timeout_of(S::kCloseWait)), 1u);
}

TEST_F(Conntrack, AHalfClosedConnectionOfTheServer) {
  open();
  play({{kBack, kFinAck, S::kFinWait},
        {kForth, kAck, S::kCloseWait},
        {kForth, kAck, S::kCloseWait},
        {kForth, kFinAck, S::kLastAck},
        {kBack, kAck, S::kTimeWait}});
}

TEST_F(Conntrack, ARefusedOneMayBeTriedAgainAtOnce) {
  play({{kForth, kSyn, S::kSynSent}, {kBack, kRst, S::kClose}, {kForth, kSyn, S::kSynSent}});
  EXPECT_EQ(counted().inserted.get(), 2u);
  EXPECT_EQ(counted().removed.get(), 1u);
}

TEST_F(Conntrack, AResetEndsItForBothSidesWithinSeconds) {
  open();
  // What was under way behind the RST still comes through; nothing brings it back to life.
  play({{kBack, kRst, S::kClose}, {kForth, kAck, S::kClose}, {kBack, kRst, S::kClose}});
  EXPECT_EQ(forget_after(timeout_of(S::kClose)), 1u);
  EXPECT_FALSE(exists());
}

// Windows are not looked at, so a forged RST is no different from a true one: the connection lives on as long
// as it is used, and only then.
TEST_F(Conntrack, AForgedResetDoesNotStopAConnectionThatIsUsed) {
  open();
  play({{kBack, kRst, S::kClose}});
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(forget_after(timeout_of(S::kClose) - 1), 0u);
    play({{kForth, kAck, S::kClose}, {kBack, kAck, S::kClose}});
  }
}

TEST_F(Conntrack, PortsAreUsedAgainInTimeWait) {
  open();
  close();
  open();
  EXPECT_EQ(counted().inserted.get(), 2u);
  EXPECT_EQ(flows_.find(key(ip_proto::kTcp, 4000, 80)).direction(), Direction::kOriginal);
}

TEST_F(Conntrack, PortsAreUsedAgainInTimeWaitByTheOtherSide) {
  open();
  close();
  play({{kBack, kSyn, S::kSynSent}, {kForth, kSynAck, S::kSynReceived}, {kBack, kAck, S::kEstablished}});
  EXPECT_EQ(flows_.find(key(ip_proto::kTcp, 4000, 80)).direction(), Direction::kReply);
  EXPECT_EQ(flows_.begun_by(kPod1), 0u);
  EXPECT_EQ(flows_.begun_by(kPod2), 1u);
}

TEST_F(Conntrack, LatePacketsDoNotEndTimeWait) {
  open();
  close();
  play({{kBack, kAck, S::kTimeWait}, {kForth, kAck, S::kTimeWait}, {kBack, kFinAck, S::kTimeWait}});
  EXPECT_EQ(counted().inserted.get(), 1u);
}

// The client has crashed and begins anew with the port that it had: the server's challenge ACK makes it reset
// the old one (RFC 5961 section 4).
TEST_F(Conntrack, ACrashedClientsPortIsUsedAgainAfterItsReset) {
  open();
  play({{kForth, kSyn, S::kEstablished},
        {kBack, kAck, S::kEstablished},
        {kForth, kRst, S::kClose},
        {kForth, kSyn, S::kSynSent},
        {kBack, kSynAck, S::kSynReceived},
        {kForth, kAck, S::kEstablished}});
}

TEST_F(Conntrack, WhatTheStateForbidsIsDroppedAndChangesNothing) {
  play({{kForth, kSyn, S::kSynSent}});
  receive(kPod1, tcp_out(kAck));
  receive(kPod1, tcp_out(kSynAck));
  receive(kPod1, tcp_out(kFinAck));
  receive(kPod2, tcp_back(kFinAck));
  receive(kPod2, tcp_back(TcpHeader::kSyn | TcpHeader::kFin));
  EXPECT_EQ(ports_out().size(), 0u);
  expect_dropped(DropReason::flow_invalid, 5);
  EXPECT_EQ(tcp_state(), S::kSynSent);
  play({{kBack, kSynAck, S::kSynReceived}});
}

}  // namespace
}  // namespace podwire::engine::tests
