// Merge: TCP segments that came out of a tunnel in one burst are joined when their egress takes packets of up
// to 64 KiB, so that a pod's kernel sees one packet for many. The joined ones are booked as merged.
#pragma once

#include "dataplane/packet/merge.hpp"
#include "dataplane/pipeline/accounting.hpp"
#include "dataplane/pipeline/context.hpp"

namespace podwire::engine {

struct MergeStage {
  static constexpr std::string_view kName = "merge";

  static void run(Context& ctx, Burst& burst) noexcept {
    std::uint16_t candidates = 0;
    for (std::uint16_t i = 0; i < burst.count; ++i) {
      if (may_join(burst.meta[i])) ++candidates;
    }
    if (candidates > 1) join(ctx, burst);
  }

 private:
  static bool may_join(const PacketMeta& meta) noexcept {
    return meta.from_tunnel && meta.verdict == Verdict::kForward && meta.ip_proto == ip_proto::kTcp;
  }

  static void join(Context& ctx, Burst& burst) noexcept {
    TcpMerger merger;
    PortId egress;
    bool takes_large = false;
    for (std::uint16_t i = 0; i < burst.count; ++i) {
      const auto& meta = burst.meta[i];
      if (!may_join(meta)) continue;
      if (meta.egress != egress) {
        egress = meta.egress;
        const auto* port = ctx.tables->port(egress);
        takes_large = port != nullptr && !port->cut_segments && port->device->capabilities().segmentation &&
                      port->device->capabilities().multi_segment;
      }
      if (!takes_large) continue;
      if (meta.is_fragment || meta.l4_offset == 0) {
        merger.barrier();
      } else if (merger.offer(burst.mbufs[i], meta)) {
        book(*ctx.counters, meta, &LedgerCounters::merged);
        burst.leave(i, Verdict::kTaken);
      }
    }
    merger.finish();
  }
};

}  // namespace podwire::engine
