// The states of a connection and what leads from one to another. Pure functions, called by workers for every
// packet of a stateful domain.
//
// TCP follows RFC 9293 as somebody between the two ends sees it, without looking at sequence numbers or
// windows: a packet that is out of window moves the state as one inside would, except that nothing shortens a
// connection's life below 10 s. A RST from either side leads to kClose. A SYN within kTimeWait or kClose
// begins a new connection (port reuse), whichever side it comes from. A connection whose beginning was not
// seen (the engine was restarted) is picked up from an ACK or FIN unless the domain says strict_tcp. UDP,
// ICMP echo and all else have two states: until the other side has answered, and from then on. A connection
// that policies no longer allow is in kCut: nothing of it passes, and while that is remembered its other side
// cannot pick it up as a connection of its own. A SYN begins another.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "dataplane/headers/headers.hpp"

namespace podwire::engine {

enum class FlowState : std::uint8_t {
  kNone,
  kSynSent,      // SYN seen
  kSynSent2,     // SYN seen from both sides (simultaneous open)
  kSynReceived,  // SYN and its SYN-ACK
  kEstablished,
  kFinWait,    // one side, the closer, has sent FIN
  kCloseWait,  // the other side has acknowledged something since (half-closed: it may still send)
  kLastAck,    // both sides have sent FIN
  kTimeWait,   // and the closer has acknowledged since
  kClose,      // RST seen
  kCut,        // no longer allowed; of any protocol
  kUdpNew,
  kUdpReplied,
  kIcmpNew,
  kIcmpReplied,
  kOtherNew,
  kOtherReplied,
};
inline constexpr std::size_t kFlowStateCount = 17;

inline constexpr std::array<std::string_view, kFlowStateCount> kFlowStateNames{
    "none",        "syn_sent", "syn_sent2",    "syn_received", "established",  "fin_wait",
    "close_wait",  "last_ack", "time_wait",    "close",        "cut",          "udp_new",
    "udp_replied", "icmp_new", "icmp_replied", "other_new",    "other_replied"};

// Seconds without a packet after which a connection is forgotten: Linux's defaults (nf_conntrack_*_timeout),
// except that UDP counts as a stream from the first answer on. What was cut is remembered for longer than the
// ends wait before they ask whether the other is still there (tcp_keepalive_time, 7,200 s).
inline constexpr std::array<std::uint32_t, kFlowStateCount> kFlowTimeoutSeconds{
    0, 120, 120, 60, 432000, 120, 60, 30, 120, 10, 7500, 30, 120, 30, 30, 600, 600};

inline constexpr std::string_view name_of(FlowState state) {
  return kFlowStateNames[static_cast<std::size_t>(state)];
}
inline constexpr std::uint32_t timeout_of(FlowState state) {
  return kFlowTimeoutSeconds[static_cast<std::size_t>(state)];
}

// Half open, closing or cut: may make room for a new connection when the table is full.
inline constexpr bool is_replaceable(FlowState state) {
  switch (state) {
    case FlowState::kSynSent:
    case FlowState::kSynSent2:
    case FlowState::kSynReceived:
    case FlowState::kLastAck:
    case FlowState::kTimeWait:
    case FlowState::kClose:
    case FlowState::kCut:
    case FlowState::kUdpNew:
    case FlowState::kIcmpNew:
    case FlowState::kOtherNew:
      return true;
    default:
      return false;
  }
}

// Which way a packet goes: as the connection's first packet did, or back.
enum class Direction : std::uint8_t { kOriginal, kReply };

inline constexpr Direction opposite(Direction direction) {
  return direction == Direction::kOriginal ? Direction::kReply : Direction::kOriginal;
}

// What the table keeps of a connection's state, in a byte.
struct FlowPhase {
  FlowState state = FlowState::kNone;
  Direction closer = Direction::kOriginal;  // who sent the first FIN; from kFinWait to kLastAck

  constexpr std::uint8_t packed() const {
    return static_cast<std::uint8_t>(static_cast<unsigned>(state) | static_cast<unsigned>(closer) << 7);
  }
  static constexpr FlowPhase unpack(std::uint8_t byte) {
    return {static_cast<FlowState>(byte & 0x7f), static_cast<Direction>(byte >> 7)};
  }
  bool operator==(const FlowPhase&) const = default;
};

enum class TcpEvent : std::uint8_t { kSyn, kSynAck, kFin, kAck, kRst, kInvalid };

// By the flags; ECN and PSH say nothing here. Flags that no TCP sends together are kInvalid.
inline constexpr TcpEvent tcp_event(std::uint8_t flags) {
  constexpr unsigned kSyn = TcpHeader::kSyn, kFin = TcpHeader::kFin, kRst = TcpHeader::kRst,
                     kAck = TcpHeader::kAck;
  switch (flags & (kSyn | kFin | kRst | kAck)) {
    case kAck:
      return TcpEvent::kAck;
    case kSyn:
      return TcpEvent::kSyn;
    case kSyn | kAck:
      return TcpEvent::kSynAck;
    case kFin | kAck:
      return TcpEvent::kFin;
    case kRst:
    case kRst | kAck:
      return TcpEvent::kRst;
    default:
      return TcpEvent::kInvalid;
  }
}

struct FlowStep {
  enum class Outcome : std::uint8_t {
    kPass,     // the connection is in `phase` now
    kInvalid,  // does not belong to the connection as it stands
    kBegin,    // the connection is over: this is the first packet of another
  };
  Outcome outcome = Outcome::kPass;
  FlowPhase phase;
  bool operator==(const FlowStep&) const = default;
};

namespace conntrack {

// A cell: the state that follows, or one of these.
inline constexpr std::uint8_t kSame = 0xfd, kBad = 0xfe, kAnew = 0xff;

// By side, state (kSynSent to kCut) and event (kSyn to kRst). The side of the closing states is closer or
// other; of the others, original or reply.
inline constexpr auto kNext = [] {
  using S = FlowState;
  std::array<std::array<std::array<std::uint8_t, 5>, 11>, 2> next{};
  const auto row = [&next](int side, S state, std::array<std::uint8_t, 5> cells) {
    next[static_cast<std::size_t>(side)][static_cast<std::size_t>(state)] = cells;
  };
  const auto to = [](S state) { return static_cast<std::uint8_t>(state); };
  const auto close = to(S::kClose);
  //                              SYN               SYN-ACK              FIN              ACK RST
  row(0, S::kSynSent, {kSame, kBad, kBad, kBad, close});
  row(0, S::kSynSent2, {kSame, to(S::kSynReceived), kBad, kSame, close});
  row(0, S::kSynReceived, {kSame, kSame, to(S::kFinWait), to(S::kEstablished), close});
  row(0, S::kEstablished, {kSame, kSame, to(S::kFinWait), kSame, close});
  row(0, S::kFinWait, {kSame, kSame, kSame, kSame, close});
  row(0, S::kCloseWait, {kSame, kSame, kSame, kSame, close});
  row(0, S::kLastAck, {kSame, kSame, kSame, to(S::kTimeWait), close});
  row(0, S::kTimeWait, {kAnew, kSame, kSame, kSame, close});
  row(0, S::kClose, {kAnew, kSame, kSame, kSame, kSame});
  row(0, S::kCut, {kAnew, kBad, kBad, kBad, kBad});

  row(1, S::kSynSent, {to(S::kSynSent2), to(S::kSynReceived), kBad, kSame, close});
  row(1, S::kSynSent2, {kSame, to(S::kSynReceived), kBad, kSame, close});
  row(1, S::kSynReceived, {kSame, kSame, to(S::kFinWait), kSame, close});
  row(1, S::kEstablished, {kSame, kSame, to(S::kFinWait), kSame, close});
  row(1, S::kFinWait, {kSame, kSame, to(S::kLastAck), to(S::kCloseWait), close});
  row(1, S::kCloseWait, {kSame, kSame, to(S::kLastAck), kSame, close});
  row(1, S::kLastAck, {kSame, kSame, kSame, kSame, close});
  row(1, S::kTimeWait, {kAnew, kSame, kSame, kSame, close});
  row(1, S::kClose, {kAnew, kSame, kSame, kSame, kSame});
  row(1, S::kCut, {kAnew, kBad, kBad, kBad, kBad});
  return next;
}();

inline constexpr bool is_closing(FlowState state) {
  return state >= FlowState::kFinWait && state <= FlowState::kLastAck;
}

}  // namespace conntrack

// The next packet of a TCP connection in `phase` (kSynSent to kCut).
inline constexpr FlowStep tcp_step(FlowPhase phase, Direction direction, TcpEvent event) {
  using namespace conntrack;
  if (event == TcpEvent::kInvalid) return {FlowStep::Outcome::kInvalid, phase};
  const bool second = is_closing(phase.state) ? direction != phase.closer : direction == Direction::kReply;
  const auto cell =
      kNext[second ? 1 : 0][static_cast<std::size_t>(phase.state)][static_cast<std::size_t>(event)];
  switch (cell) {
    case kSame:
      return {FlowStep::Outcome::kPass, phase};
    case kBad:
      return {FlowStep::Outcome::kInvalid, phase};
    case kAnew:
      return {FlowStep::Outcome::kBegin, phase};
    default:
      break;
  }
  const auto next = static_cast<FlowState>(cell);
  if (next == FlowState::kFinWait) return {FlowStep::Outcome::kPass, {next, direction}};
  return {FlowStep::Outcome::kPass, {next, is_closing(next) ? phase.closer : Direction::kOriginal}};
}

// A TCP packet of no known connection.
inline constexpr FlowStep tcp_begin(TcpEvent event, bool strict) {
  if (event == TcpEvent::kSyn) return {FlowStep::Outcome::kPass, {FlowState::kSynSent}};
  if (!strict && event == TcpEvent::kAck) return {FlowStep::Outcome::kPass, {FlowState::kEstablished}};
  if (!strict && event == TcpEvent::kFin) return {FlowStep::Outcome::kPass, {FlowState::kFinWait}};
  return {FlowStep::Outcome::kInvalid, {}};
}

// A packet of a connection without states of its own: an answer makes it replied.
inline constexpr FlowPhase answer_step(FlowPhase phase, Direction direction) {
  if (direction == Direction::kOriginal) return phase;
  switch (phase.state) {
    case FlowState::kUdpNew:
      return {FlowState::kUdpReplied};
    case FlowState::kIcmpNew:
      return {FlowState::kIcmpReplied};
    case FlowState::kOtherNew:
      return {FlowState::kOtherReplied};
    default:
      return phase;
  }
}

inline constexpr FlowPhase answer_begin(std::uint8_t protocol) {
  if (protocol == ip_proto::kUdp) return {FlowState::kUdpNew};
  if (protocol == ip_proto::kIcmp || protocol == ip_proto::kIcmpv6) return {FlowState::kIcmpNew};
  return {FlowState::kOtherNew};
}

// Of a packet without TCP flags, in place of a TcpEvent.
inline constexpr unsigned kNoEvent = static_cast<unsigned>(TcpEvent::kInvalid) + 1;

namespace conntrack {

// By FlowPhase::packed() and direction: a bit for each event, and kNoEvent, that passes and changes nothing.
inline constexpr auto kUnchanged = [] {
  std::array<std::array<std::uint8_t, 2>, 256> unchanged{};
  for (unsigned byte = 0; byte < unchanged.size(); ++byte) {
    const auto phase = FlowPhase::unpack(static_cast<std::uint8_t>(byte));
    if (phase.state == FlowState::kNone || static_cast<std::size_t>(phase.state) >= kFlowStateCount) continue;
    for (const auto direction : {Direction::kOriginal, Direction::kReply}) {
      unsigned bits = answer_step(phase, direction) == phase ? 1u << kNoEvent : 0;
      if (phase.state >= FlowState::kSynSent && phase.state <= FlowState::kCut) {
        for (unsigned event = 0; event < kNoEvent; ++event) {
          const auto step = tcp_step(phase, direction, static_cast<TcpEvent>(event));
          if (step.outcome == FlowStep::Outcome::kPass && step.phase == phase) bits |= 1u << event;
        }
      }
      unchanged[byte][static_cast<std::size_t>(direction)] = static_cast<std::uint8_t>(bits);
    }
  }
  return unchanged;
}();

// tcp_event() by the flags it looks at.
inline constexpr auto kEvents = [] {
  std::array<TcpEvent, 32> events{};
  for (std::size_t flags = 0; flags < events.size(); ++flags)
    events[flags] = tcp_event(static_cast<std::uint8_t>(flags));
  return events;
}();

}  // namespace conntrack

// What most packets do: whether one with these TCP flags, or without any, passes and leaves the connection as
// it is. Agrees with tcp_step() and answer_step().
inline constexpr bool tcp_changes_nothing(FlowPhase phase, Direction direction, std::uint8_t flags) {
  const auto event = static_cast<unsigned>(conntrack::kEvents[flags % 32]);
  return (conntrack::kUnchanged[phase.packed()][static_cast<std::size_t>(direction)] >> event & 1) != 0;
}
inline constexpr bool answer_changes_nothing(FlowPhase phase, Direction direction) {
  return (conntrack::kUnchanged[phase.packed()][static_cast<std::size_t>(direction)] >> kNoEvent & 1) != 0;
}

}  // namespace podwire::engine
