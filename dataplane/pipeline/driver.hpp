// The stage driver: runs a static list of stages over a burst, and after each collects the packets that left,
// frees them in bulk and counts packets, cycles and drops. Stages never do any of that themselves.
//
// A stage is a struct with
//   static constexpr std::string_view kName;
//   static void run(Context&, Burst&) noexcept;                      // in place: packets continue or leave
// or, for a stage that makes more packets than it got (flood, finalize),
//   static bool wanted(const Context&, const Burst&) noexcept;       // false: the burst passes untouched
//   template <class Emit> static void run(Context&, Burst&, Emit&&) noexcept;
//     // emits every packet that goes on, in order, as emit(mbuf, meta); drops the others with burst.drop()
#pragma once

#include <rte_cycles.h>
#include <rte_mbuf.h>

#include <string_view>
#include <tuple>

#include "dataplane/pipeline/accounting.hpp"
#include "dataplane/pipeline/context.hpp"

namespace podwire::engine {

// Removes leaving packets from the burst; returns how many were dropped.
inline std::uint16_t collect(Context& ctx, Burst& burst) noexcept {
  if (burst.leaving == 0) [[likely]]
    return 0;
  std::array<rte_mbuf*, kBurstMax> to_free;
  unsigned free_count = 0;
  std::uint16_t kept = 0;
  std::uint16_t dropped = 0;
  for (std::uint16_t i = 0; i < burst.count; ++i) {
    const auto& meta = burst.meta[i];
    switch (meta.verdict) {
      case Verdict::kDrop:
        book_drop(*ctx.counters, meta, meta.reason);
        to_free[free_count++] = burst.mbufs[i];
        ++dropped;
        break;
      case Verdict::kConsumed:
        book(*ctx.counters, meta, &LedgerCounters::consumed);
        to_free[free_count++] = burst.mbufs[i];
        break;
      case Verdict::kParked:
        book(*ctx.counters, meta, &LedgerCounters::parked_in);
        break;
      case Verdict::kTaken:
        break;
      default:
        if (kept != i) {
          burst.mbufs[kept] = burst.mbufs[i];
          burst.meta[kept] = meta;
        }
        ++kept;
    }
  }
  if (free_count != 0) rte_pktmbuf_free_bulk(to_free.data(), free_count);
  burst.count = kept;
  burst.leaving = 0;
  return dropped;
}

// Explain's hook; the workers' instantiation has none and pays nothing.
struct NoObserver {
  void after_stage(std::string_view, const Burst&) noexcept {}
};

template <class Stage>
concept InPlaceStage = requires(Context& ctx, Burst& burst) {
  Stage::run(ctx, burst);
};

// Before the stages' counters come those of "receive" and "express", after them "transmit".
inline constexpr std::size_t kExpressCounter = 1;

template <class... Stages>
class StageList {
 public:
  static constexpr std::size_t kCount = sizeof...(Stages);
  static constexpr std::string_view kNames[] = {Stages::kName...};

  // Index of a stage, for packets that come back in the middle (parked ones).
  template <class Wanted>
  static constexpr std::size_t index_of() {
    std::size_t index = 0;
    bool found = false;
    ((found = found || std::is_same_v<Stages, Wanted>, index += found ? 0 : 1), ...);
    return index;
  }

  // Runs stages First.. over `burst`, then hands what is left to ctx.egress. The burst is empty afterwards.
  // Stage counters live at kStageCounterBase + stage index.
  template <std::size_t First = 0, class Observer = NoObserver>
  static void run(Context& ctx, Burst& burst, Observer&& observer = {}) noexcept {
    if (burst.count != 0) run_since<First>(ctx, burst, observer, rte_rdtsc());
  }

  static constexpr std::size_t kStageCounterBase = kExpressCounter + 1;

 private:
  // The same, with what has passed since `begin`: a stage begins when the one before it ended, so that the
  // clock, which takes as long as a packet's way through a stage, is read once for each.
  template <std::size_t First, class Observer>
  static void run_since(Context& ctx, Burst& burst, Observer& observer, std::uint64_t begin) noexcept {
    if (burst.count == 0) return;
    if constexpr (First < kCount) {
      using Stage = std::tuple_element_t<First, std::tuple<Stages...>>;
      auto& counters = ctx.counters->stages[kStageCounterBase + First];
      const std::uint16_t packets = burst.count;
      std::uint16_t dropped = 0;
      if constexpr (InPlaceStage<Stage>) {
        Stage::run(ctx, burst);
        dropped = observed_collect<Stage>(ctx, burst, observer);
      } else if (!Stage::wanted(ctx, burst)) {
        observer.after_stage(Stage::kName, burst);
      } else {
        expand<First, Stage>(ctx, burst, observer, counters, begin);
        return;
      }
      const std::uint64_t end = rte_rdtsc();
      count(counters, packets, dropped, end - begin);
      run_since<First + 1>(ctx, burst, observer, end);
    } else {
      ctx.egress->take(burst);
    }
  }

  static void count(StageCounters& counters, std::uint16_t packets, std::uint16_t dropped,
                    std::uint64_t cycles) noexcept {
    counters.packets.add(packets);
    counters.bursts.add(1);
    if (dropped != 0) counters.dropped.add(dropped);
    counters.cycles.add(cycles);
  }

  template <class Stage, class Observer>
  static std::uint16_t observed_collect(Context& ctx, Burst& burst, Observer& observer) noexcept {
    observer.after_stage(Stage::kName, burst);
    return collect(ctx, burst);
  }

  template <std::size_t Index, class Stage, class Observer>
  static void expand(Context& ctx, Burst& burst, Observer& observer, StageCounters& counters,
                     std::uint64_t begin) noexcept {
    const std::uint16_t packets = burst.count;
    std::uint64_t downstream = 0;  // cycles of later stages inside this one's run
    Burst out;
    const auto forward = [&]() noexcept {
      const std::uint64_t from = rte_rdtsc();
      observer.after_stage(Stage::kName, out);
      run<Index + 1>(ctx, out, observer);
      out.count = 0;
      downstream += rte_rdtsc() - from;
    };
    Stage::run(ctx, burst, [&](rte_mbuf* mbuf, const PacketMeta& meta) noexcept {
      out.push(mbuf, meta);
      if (out.full()) forward();
    });
    // What was emitted is no longer the burst's; only drops are left to collect.
    for (std::uint16_t i = 0; i < burst.count; ++i) {
      if (burst.meta[i].verdict != Verdict::kDrop) burst.leave(i, Verdict::kTaken);
    }
    burst.leaving = burst.count;
    const auto dropped = observed_collect<Stage>(ctx, burst, observer);
    if (out.count != 0) forward();
    count(counters, packets, dropped, rte_rdtsc() - begin - downstream);
  }
};

}  // namespace podwire::engine
