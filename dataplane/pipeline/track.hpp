// Track: notes new connections once forward has decided, and the way that a connection's packets take where
// the flow stage found none or an outdated one. What forward dropped or answered begins nothing. In place;
// only packets that the flow stage gave a task are looked at.
#pragma once

#include "dataplane/pipeline/flow_owner.hpp"
#include "dataplane/pipeline/nat.hpp"

namespace podwire::engine {

struct TrackStage {
  static constexpr std::string_view kName = "track";

  static void run(Context& ctx, Burst& burst) noexcept {
    if (!ctx.tables->stateful || ctx.flow_tasks == 0) [[likely]]
      return;
    ctx.flows->prefetch_evictions(ctx.flow_tasks);
    for (std::uint16_t i = 0; i < burst.count; ++i) {
      auto& meta = burst.meta[i];
      if (meta.flow_task == FlowTask::kNone) continue;
      const auto task = std::exchange(meta.flow_task, FlowTask::kNone);
      const bool leaves = meta.verdict == Verdict::kForward || meta.verdict == Verdict::kTunnel ||
                          meta.verdict == Verdict::kFlood;
      const auto* domain = ctx.tables->domain(meta.domain);
      if (!leaves || meta.generated || domain == nullptr) continue;
      note(ctx, burst, i, *domain, task);
    }
  }

 private:
  static void note(Context& ctx, Burst& burst, std::uint16_t i, const DomainEntry& domain,
                   FlowTask task) noexcept {
    auto& flows = *ctx.flows;
    const auto& meta = burst.meta[i];
    FlowKey key;
    const auto packet = read_flow_packet(&flows, burst.mbufs[i], meta, ctx.now_s, key, true);
    if (meta.translated) key = load_arrival(burst.mbufs[i]).key;
    const auto ref = task == FlowTask::kInsert ? begin(ctx, burst, i, domain, packet, key) : flows.find(key);
    if (!ref || domain.learning || meta.adjacency == 0 || meta.verdict == Verdict::kFlood) return;
    if (meta.translated && !goes_by_its_key(flows, ref, meta.domain)) return;
    const auto generation = ctx.tables->adjacencies[meta.adjacency].generation.get();
    // Tables that changed since the burst was looked up may have led elsewhere by now: the next packet tells.
    if (ctx.tables->adjacencies[0].generation.get() != ctx.adjacency_changes) return;
    flows.set_decision(ref, {meta.adjacency, generation, meta.routed});
  }

  // Whether packets of this direction leave in `domain` by what the connection's keys say. One that goes on
  // into a joined domain over a tunnel is not known there: its way is looked up packet by packet.
  static bool goes_by_its_key(const FlowTable& flows, FlowRef ref, DomainId domain) noexcept {
    FlowKey other;
    return flows.read_other_key(ref, other) && other.domain() == domain;
  }

  static FlowTable::Insertion insert(Context& ctx, Burst& burst, std::uint16_t i, const DomainEntry& domain,
                                     const FlowPacket& packet, const FlowKey& key) noexcept {
    if (burst.meta[i].translated) [[unlikely]]
      return nat::insert(ctx, burst, i);
    const auto phase = begin_flow(packet, key.protocol(), domain.strict_tcp).phase;
    const auto result = ctx.flows->insert(key, key.reversed(), phase, domain.rules_generation, ctx.now_s,
                                          flow_owner(ctx, burst.meta[i].ingress));
    if (result.outcome != FlowTable::Insertion::Outcome::kTaken) [[likely]]
      return result;
    return nat::insert_aside(ctx, burst, i, key, phase);
  }

  static FlowRef begin(Context& ctx, Burst& burst, std::uint16_t i, const DomainEntry& domain,
                       const FlowPacket& packet, const FlowKey& key) noexcept {
    const auto result = insert(ctx, burst, i, domain, packet, key);
    auto& counters = ctx.counters->flows;
    if (result.evicted != 0) counters.evicted.add(result.evicted);
    switch (result.outcome) {
      case FlowTable::Insertion::Outcome::kNew:
        counters.inserted.add(1);
        break;
      case FlowTable::Insertion::Outcome::kThere: {
        // Another packet of this burst, or another worker, was first.
        const auto ref = result.ref;
        ctx.flows->update(ref, [&](FlowPhase now) { return step_flow(packet, now, ref.direction()); });
        break;
      }
      case FlowTable::Insertion::Outcome::kFull:
        counters.refused.add(1);
        burst.drop(i, DropReason::flow_table_full);
        break;
      case FlowTable::Insertion::Outcome::kLimit:
        drop_for_flow_limit(ctx, burst, i);
        break;
      case FlowTable::Insertion::Outcome::kTaken:
        counters.refused.add(1);
        if (burst.meta[i].verdict != Verdict::kDrop) burst.drop(i, DropReason::nat_ports_exhausted);
        break;
    }
    return result.ref;
  }
};

}  // namespace podwire::engine
