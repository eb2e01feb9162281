// Encap: packets bound for a tunnel get the VTEP's outer headers, and those that leave on the underlay
// without one their next hop's MAC. Where the underlay next hop is not resolved yet they are parked with the
// main thread, which sends them on when it is.
#pragma once

#include "dataplane/packet/flow_hash.hpp"
#include "dataplane/packet/marking.hpp"
#include "dataplane/pipeline/context.hpp"
#include "dataplane/tunnels/vxlan.hpp"

namespace podwire::engine {

struct EncapStage {
  static constexpr std::string_view kName = "encap";

  static void run(Context& ctx, Burst& burst) noexcept {
    for (std::uint16_t i = 0; i < burst.count; ++i) {
      auto& meta = burst.meta[i];
      if (meta.verdict != Verdict::kTunnel) continue;
      const auto* vtep = meta.vtep < ctx.tables->vteps.size() ? &ctx.tables->vteps[meta.vtep] : nullptr;
      if (vtep == nullptr || !vtep->known) {
        burst.drop(i, DropReason::vtep_unknown);
      } else if (!vtep->has_source) {
        burst.drop(i, DropReason::vtep_no_source);
      } else if (!vtep->resolved) {
        park(ctx, burst, i);
      } else if (vtep->direct) {
        put_direct(burst, i, *vtep);
      } else if (!vxlan::prepend(burst.mbufs[i], *vtep, meta.vni, flow_hash(burst.mbufs[i], meta),
                                 traffic_class_of(burst.mbufs[i], meta))) {
        burst.drop(i, DropReason::encap_no_headroom);
      } else {
        meta.verdict = Verdict::kForward;
        meta.egress = vtep->egress;
      }
    }
  }

 private:
  // Without a tunnel: the next hop's MACs, and the uplink's tag if there is one.
  static void put_direct(Burst& burst, std::uint16_t i, const VtepEntry& hop) noexcept {
    auto* mbuf = burst.mbufs[i];
    constexpr std::uint16_t kMacs = 2 * sizeof(MacAddr);
    if (rte_pktmbuf_prepend(mbuf, static_cast<std::uint16_t>(hop.header_bytes - kMacs)) == nullptr) {
      burst.drop(i, DropReason::encap_no_headroom);
      return;
    }
    std::memcpy(rte_pktmbuf_mtod(mbuf, std::uint8_t*), hop.header.data(), hop.header_bytes);
    burst.meta[i].verdict = Verdict::kForward;
    burst.meta[i].egress = hop.egress;
  }

  static void park(Context& ctx, Burst& burst, std::uint16_t i) noexcept {
    const auto& meta = burst.meta[i];
    save_meta(burst.mbufs[i], meta);
    Event event;
    event.kind = Event::Kind::kPark;
    event.vtep = meta.vtep;
    event.mbuf = burst.mbufs[i];
    if (ctx.events->push(event)) {
      burst.leave(i, Verdict::kParked);
    } else {
      burst.drop(i, DropReason::neighbor_queue_full);
    }
  }
};

}  // namespace podwire::engine
