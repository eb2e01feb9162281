// Flood: one copy for every other port of the domain, and, unless the frame came from a tunnel, for every
// VTEP of its flood list (split horizon). The original serves the last member.
#pragma once

#include "dataplane/pipeline/accounting.hpp"
#include "dataplane/pipeline/context.hpp"

namespace podwire::engine {

struct FloodStage {
  static constexpr std::string_view kName = "flood";

  static bool wanted(const Context&, const Burst& burst) noexcept {
    for (std::uint16_t i = 0; i < burst.count; ++i) {
      if (burst.meta[i].verdict == Verdict::kFlood) return true;
    }
    return false;
  }

  template <class Emit>
  static void run(Context& ctx, Burst& burst, Emit&& emit) noexcept {
    for (std::uint16_t i = 0; i < burst.count; ++i) {
      if (burst.meta[i].verdict == Verdict::kFlood) {
        flood(ctx, burst, i, emit);
      } else {
        emit(burst.mbufs[i], burst.meta[i]);
      }
    }
  }

 private:
  // Each member waits until the next one is known, so that the last can have the original.
  template <class Emit>
  static void flood(Context& ctx, Burst& burst, std::uint16_t i, Emit&& emit) noexcept {
    const PacketMeta original = burst.meta[i];
    const auto* domain = ctx.tables->domain(original.domain);
    if (domain == nullptr) {
      burst.drop(i, DropReason::port_no_domain);
      return;
    }
    bool any = false;
    PacketMeta waiting = original;
    const auto member = [&](const PacketMeta& next) noexcept {
      if (any) send_copy(ctx, burst.mbufs[i], waiting, emit);
      waiting = next;
      any = true;
    };
    for (const auto port : domain->flood_ports) {
      if (port == original.ingress && !original.from_tunnel) continue;
      PacketMeta next = original;
      next.verdict = Verdict::kForward;
      next.egress = port;
      member(next);
    }
    if (!original.from_tunnel) {
      for (const auto vtep : domain->flood_vteps) {
        PacketMeta next = original;
        next.verdict = Verdict::kTunnel;
        next.vtep = vtep;
        next.vni = domain->vni;
        member(next);
      }
    }
    if (any) {
      emit(burst.mbufs[i], waiting);
    } else {
      burst.drop(i, DropReason::flood_no_members);
    }
  }

  template <class Emit>
  static void send_copy(Context& ctx, rte_mbuf* mbuf, const PacketMeta& meta, Emit&& emit) noexcept {
    book(*ctx.counters, meta, &LedgerCounters::clones);
    rte_mbuf* copy = rte_pktmbuf_copy(mbuf, ctx.pool, 0, UINT32_MAX);
    if (copy == nullptr) {
      book_drop(*ctx.counters, meta, DropReason::no_mbufs);
      return;
    }
    emit(copy, meta);
  }
};

}  // namespace podwire::engine
