// Context: what a worker hands to the stages with every burst. One a worker; explain has one of its own on
// the main thread whose events go nowhere and whose egress only records.
#pragma once

#include <rte_mempool.h>

#include <cstdint>

#include "dataplane/packet/burst.hpp"
#include "dataplane/pipeline/egress_sink.hpp"
#include "dataplane/tables/snapshot.hpp"
#include "dataplane/telemetry/counters.hpp"
#include "dataplane/worker/event.hpp"

namespace podwire::engine {

// Where stages leave events. False: the ring is full; the sink has counted the loss.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual bool push(const Event& event) noexcept = 0;
};

// Token bucket for ICMP errors (RFC 4443 section 2.4 (f), RFC 1812 section 4.3.2.8).
struct IcmpLimiter {
  std::uint64_t last_tsc = 0;
  std::uint64_t tokens = 100;
};

// Token bucket for events about what was dropped: a flood of it must not fill the ring. See
// pipeline/event_token.hpp.
struct EventLimiter {
  std::uint64_t last_tsc = 0;
  std::uint32_t tokens = 5;
  std::uint32_t left_out = 0;  // since the last event
};

// MACs this worker reported lately, so that a steady flow is not a steady stream of learn events.
class LearnFilter {
 public:
  struct Slot {
    std::uint64_t key = 0;    // fdb_key word
    std::uint64_t where = 0;  // port or VTEP
    std::uint32_t second = 0;

    // Whether (key, where) is to be reported now: it is new, it moved, or the last report is kRefreshSeconds
    // old.
    bool is_news(DomainId domain, const MacAddr& mac, std::uint64_t seen_where,
                 std::uint32_t now_s) noexcept {
      const auto seen_key = fdb_key(domain, mac).word;
      if (key == seen_key && where == seen_where && now_s - second < kRefreshSeconds) return false;
      *this = {seen_key, seen_where, now_s};
      return true;
    }
  };
  Slot& slot_of(DomainId domain, const MacAddr& mac) noexcept {
    return slots_[fdb_key(domain, mac).hash() % kSlots];
  }

 private:
  static constexpr std::size_t kSlots = 1024;
  static constexpr std::uint32_t kRefreshSeconds = 5;
  Slot slots_[kSlots];
};

class FlowTable;
struct PolicyAnswer;  // tables/policy_view.hpp

struct Context {
  const Snapshot* tables = nullptr;
  WorkerCounters* counters = nullptr;
  rte_mempool* pool = nullptr;  // for clones, fragments and segments only
  EventSink* events = nullptr;
  EgressSink* egress = nullptr;
  FlowTable* flows = nullptr;    // null: connections are not remembered, every packet is a first one
  std::uint64_t now_tsc = 0;     // read once per burst
  std::uint64_t booked_tsc = 0;  // until when the burst's cycles are counted
  std::uint64_t tsc_hz = 0;
  std::uint32_t now_s = 0;  // monotonic seconds
  IcmpLimiter icmp;
  EventLimiter denials;
  EventLimiter unknown_vnis;
  PolicyAnswer* policy_answer = nullptr;  // explain's: what the policies said last
  LearnFilter learned;
  Burst aside;  // what the express lane leaves to the stages
  // Between the flow stage and the track stage.
  std::uint32_t flow_tasks = 0;         // packets of the burst with one
  std::uint32_t adjacency_changes = 0;  // generation of adjacency slot 0 when the burst was looked up
};

}  // namespace podwire::engine
