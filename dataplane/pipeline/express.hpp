// The express lane: what the stages would do with a plain frame (packet/plain_frame.hpp) from a pod, or out
// of a tunnel, done in three passes over the burst without metadata: recognise and hash, look up, rewrite and
// queue. It decides nothing that the stages would decide otherwise: whatever is not plain, not allowed, not
// known, too large or otherwise special is left to them as it came, in its place among the others, so that
// no flow is reordered. In stateful domains it takes what belongs to a connection whose state the packet
// does not change, translated ones included; what the uplink brings is either from tunnels, or answers to
// such and packets to pods that are reached without tunnels, burst by burst. Learning domains, the host port
// and VLAN ports take the stages' way always.
//
// Runs before the stages, on the worker's own thread. Counted as the stage "express".
#pragma once

#include <rte_cycles.h>

#include <algorithm>

#include "dataplane/pipeline/driver.hpp"
#include "dataplane/pipeline/express_lane.hpp"
#include "dataplane/ports/refused_frame.hpp"

namespace podwire::engine {

// A burst as it was received: mbufs and a count. Its packets came from where `first` says. The lane first,
// and Stages for what it does not take.
template <class Stages>
class Express {
 public:
  static void run(Context& ctx, Burst& burst, const PacketMeta& first) noexcept {
    const auto role = static_cast<api::PortRole>(first.ingress_role);
    bool taken = false;
    if (role == api::PortRole::kPod)
      taken = serve<false>(ctx, burst, first);
    else if (role == api::PortRole::kUplink)
      taken = serve<true>(ctx, burst, first) ||
              ((ctx.tables->translates || ctx.tables->routed != nullptr) && serve<false>(ctx, burst, first));
    if (!taken) {
      leave(ctx, burst, first);
      Stages::run(ctx, burst);
    }
    burst.count = 0;
  }

 private:
  // The stages get a turn each time that a packet is theirs; after so many they get all the rest of the
  // burst.
  static constexpr unsigned kTurns = 3;

  // False when all of the burst is for the stages.
  template <bool kTunnel>
  static bool serve(Context& ctx, Burst& burst, const PacketMeta& first) noexcept {
    auto& counters = ctx.counters->stages[kExpressCounter];
    std::uint64_t begin = ctx.booked_tsc;
    ExpressLane<kTunnel> lane(ctx, first);
    std::uint16_t i = lane.open() ? lane.serve_first(burst) : std::uint16_t{0};
    if (i == 0 && !(lane.open() && lane.recognise(burst, i))) {
      book(ctx, counters, begin);
      return false;
    }
    if (i != 0 && i < burst.count) lane.recognise(burst, i);
    std::uint64_t taken = i;
    unsigned turns = 0;
    do {
      const std::uint16_t next = lane.serve(burst, i);
      taken += static_cast<std::uint16_t>(next - i);
      i = next;
      if (i < burst.count) {
        const std::uint16_t from = i++;
        if (lane.knows(from) || ++turns == kTurns) i = burst.count;
        while (i < burst.count && !lane.knows(i)) ++i;
        set_aside(ctx, burst, first, from, i);
      }
      book(ctx, counters, begin);
      ctx.egress->settle();
      Stages::run(ctx, ctx.aside);
      if (i < burst.count) begin = rte_rdtsc();
    } while (i < burst.count);
    counters.packets.add(taken);
    counters.bursts.add(taken != 0);
    return true;
  }

  static void book(Context& ctx, StageCounters& counters, std::uint64_t begin) noexcept {
    ctx.booked_tsc = rte_rdtsc();
    counters.cycles.add(ctx.booked_tsc - begin);
  }

  static void set_aside(Context& ctx, const Burst& burst, const PacketMeta& first, std::uint16_t from,
                        std::uint16_t to) noexcept {
    std::copy(burst.mbufs.begin() + from, burst.mbufs.begin() + to, ctx.aside.mbufs.begin());
    ctx.aside.count = static_cast<std::uint16_t>(to - from);
    leave(ctx, ctx.aside, first);
  }

  // Makes the packets of `burst` the stages'.
  static void leave(Context& ctx, Burst& burst, const PacketMeta& first) noexcept {
    std::uint64_t flags = 0;
    for (std::uint16_t i = 0; i < burst.count; ++i) {
      burst.meta[i] = first;
      flags |= burst.mbufs[i]->ol_flags;
    }
    burst.leaving = 0;
    if ((flags & kBadOffloadFlag) != 0) [[unlikely]]
      drop_refused(ctx, burst);
  }

  [[gnu::cold, gnu::noinline]] static void drop_refused(Context& ctx, Burst& burst) noexcept {
    for (std::uint16_t i = 0; i < burst.count; ++i) {
      if ((burst.mbufs[i]->ol_flags & kBadOffloadFlag) != 0) burst.drop(i, refusal_of(burst.mbufs[i]));
    }
    ctx.counters->stages[0].dropped.add(collect(ctx, burst));
  }
};

}  // namespace podwire::engine
