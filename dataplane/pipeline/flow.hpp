// Flow: connection tracking of stateful domains. A packet of a known connection moves its state and takes the
// way that the connection remembers, as long as the adjacency there has not changed since: one lookup however
// many rules and routes there are. The first packet of a connection is dropped if its port has begun as many
// as it may; else it is checked against the domain's rules and the policies of both ends, and if they allow
// it, forward decides and the track stage notes the connection. After a change of rules a connection is
// checked once more, in its original direction, and cut if they forbid it; after a change of policies the
// main thread has cut what they no longer allow (tables/programmer_policies.cpp). In domains that learn,
// forward decides for every packet: it is what keeps learned MACs fresh. Connections that are translated
// (pipeline/nat.hpp) get their other ends here; of the underlay, which the host stage leaves to this one
// while there are such, all else goes on to the node or from it. Connections with
// joined domains (tables/joined.hpp) go the same way as translated ones. In place; other domains pay a look
// at the snapshot a burst.
#pragma once

#include <algorithm>

#include "dataplane/pipeline/flow_owner.hpp"
#include "dataplane/pipeline/nat.hpp"
#include "dataplane/pipeline/node_path.hpp"
#include "dataplane/pipeline/policy.hpp"
#include "dataplane/pipeline/service_aim.hpp"
#include "dataplane/tables/led.hpp"
#include "dataplane/tables/rule_set.hpp"

namespace podwire::engine {

struct FlowStage {
  static constexpr std::string_view kName = "flow";

  static void run(Context& ctx, Burst& burst) noexcept {
    if (!ctx.tables->stateful) [[likely]]
      return;
    ctx.flow_tasks = 0;
    ctx.adjacency_changes = ctx.tables->adjacencies[0].generation.get();
    Batch batch;
    gather(ctx, burst, batch);
    if (batch.count == 0) return;
    if (ctx.flows != nullptr) {
      ctx.flows->find_burst({batch.keys.data(), batch.count}, {batch.found.data(), batch.count});
    } else {
      std::fill_n(batch.found.begin(), batch.count, FlowRef{});
    }
    for (std::uint16_t k = 0; k < batch.count; ++k) {
      if (!batch.found[k] || !serve_known(ctx, burst, batch, k)) batch.first[batch.first_count++] = k;
    }
    if (batch.first_count != 0) serve_first(ctx, burst, batch);
  }

 private:
  struct Batch {
    std::uint16_t count = 0, first_count = 0;
    std::array<FlowKey, kBurstMax> keys;
    std::array<FlowRef, kBurstMax> found;
    std::array<FlowPacket, kBurstMax> packets;
    std::array<std::uint16_t, kBurstMax> at;     // in the burst
    std::array<std::uint16_t, kBurstMax> first;  // which begin a connection, if they may
    std::array<const DomainEntry*, kBurstMax> domains;
    std::uint64_t aimed = 0;  // a bit each: key and domain are those of a service's backend
  };

  static void gather(Context& ctx, Burst& burst, Batch& batch) noexcept {
    const DomainEntry* domain = nullptr;
    for (std::uint16_t i = 0; i < burst.count; ++i) {
      const auto& meta = burst.meta[i];
      if (meta.verdict != Verdict::kUndecided || meta.generated) continue;
      if (domain == nullptr || domain->id != meta.domain) domain = ctx.tables->domain(meta.domain);
      if (domain == nullptr) continue;
      const bool outside = domain->id == kUnderlayDomain && ctx.tables->translates;
      if (!domain->stateful && !outside) continue;
      const auto k = batch.count;
      const auto packet = batch.packets[k] =
          read_flow_packet(ctx.flows, burst.mbufs[i], meta, ctx.now_s, batch.keys[k]);
      if (outside && packet.kind != FlowPacket::Kind::kTracked && packet.kind != FlowPacket::Kind::kRelated) {
        leave_to_node(ctx, burst, i, packet);
        continue;
      }
      if (packet.kind == FlowPacket::Kind::kUntracked) continue;
      if (packet.kind == FlowPacket::Kind::kRefused) [[unlikely]] {
        burst.drop(i, packet.reason);
        continue;
      }
      batch.at[k] = i;
      batch.domains[k] = domain;
      ++batch.count;
    }
  }

  // What is no connection's of a pod goes on to the node or from it, but for a floating address's: the node
  // has no such address, and could only send it back.
  static void leave_to_node(Context& ctx, Burst& burst, std::uint16_t i, const FlowPacket& packet) noexcept {
    if (ctx.tables->outside != nullptr &&
        ctx.tables->outside->behind(destination_of(burst.mbufs[i], burst.meta[i])) != nullptr) {
      burst.drop(i, packet.kind == FlowPacket::Kind::kRefused ? packet.reason : DropReason::flow_invalid);
      return;
    }
    node_path::pass(ctx, burst, i);
  }

  // False: it is no packet of this connection, which has ended.
  static bool serve_known(Context& ctx, Burst& burst, const Batch& batch, std::uint16_t k) noexcept {
    const auto i = batch.at[k];
    const auto& packet = batch.packets[k];
    const auto& domain = *batch.domains[k];
    const auto ref = batch.found[k];
    auto& flows = *ctx.flows;
    FlowView view;
    if (!flows.read(ref, view)) return false;
    if (view.phase.state == FlowState::kCut) [[unlikely]]
      return serve_cut(ctx, burst, batch, k, view);
    if (view.decision.translated) [[unlikely]]
      return serve_translated(ctx, burst, batch, k, view);
    if (packet.kind != FlowPacket::Kind::kTracked) [[unlikely]]
      return packet.kind == FlowPacket::Kind::kRelated;
    const auto passage = step_known(ctx, ref, view, packet, domain);
    if (passage.outcome == FlowStep::Outcome::kInvalid) [[unlikely]]
      burst.drop(i, passage.reason);
    if (passage.outcome != FlowStep::Outcome::kPass) [[unlikely]]
      return passage.outcome == FlowStep::Outcome::kInvalid;
    if (!follow_remembered(ctx, burst.mbufs[i], burst.meta[i], domain, view.decision)) [[unlikely]] {
      if (view.decision.adjacency != 0) ctx.counters->flows.reresolved.add(1);
      give_task(ctx, burst.meta[i], domain.learning ? FlowTask::kNone : FlowTask::kRefresh);
    }
    return true;
  }

  struct Passage {
    FlowStep::Outcome outcome;
    DropReason reason;  // with kInvalid
  };
  // What a packet of a known connection that has to obey the rules of `domain` does to it. kBegin: the
  // connection has ended, and this is no packet of it.
  [[gnu::always_inline]] static Passage step_known(Context& ctx, FlowRef ref, const FlowView& view,
                                                   const FlowPacket& packet,
                                                   const DomainEntry& domain) noexcept {
    auto& flows = *ctx.flows;
    if (view.rules_generation != domain.rules_generation) [[unlikely]] {
      if (!still_allowed(ctx, ref, domain)) return {FlowStep::Outcome::kInvalid, DropReason::policy_denied};
    }
    auto step = step_flow(packet, view.phase, ref.direction());
    if (step.outcome == FlowStep::Outcome::kPass && !(step.phase == view.phase)) [[unlikely]]
      step = flows.update(ref, [&](FlowPhase now) { return step_flow(packet, now, ref.direction()); });
    if (step.outcome == FlowStep::Outcome::kBegin) [[unlikely]] {
      if (flows.remove(ref)) ctx.counters->flows.removed.add(1);
    } else if (step.outcome == FlowStep::Outcome::kPass) {
      flows.touch(ref, ctx.now_s);
    }
    return {step.outcome, DropReason::flow_invalid};
  }

  // The same for a connection with other ends outside; an ICMP error about it goes along.
  [[gnu::noinline]] static bool serve_translated(Context& ctx, Burst& burst, const Batch& batch,
                                                 std::uint16_t k, const FlowView& view) noexcept {
    const auto i = batch.at[k];
    const auto& packet = batch.packets[k];
    const auto ref = batch.found[k];
    FlowKey other;
    if (!ctx.flows->read_other_key(ref, other)) return false;
    const bool is_error = packet.kind == FlowPacket::Kind::kRelated;
    if (!is_error) {
      if (packet.kind != FlowPacket::Kind::kTracked) return false;
      const auto* ruling = nat::ruling_domain(*ctx.tables, ref.direction(), batch.keys[k], other);
      if (ruling == nullptr || !ruling->stateful) return false;
      const auto passage = step_known(ctx, ref, view, packet, *ruling);
      if (passage.outcome == FlowStep::Outcome::kInvalid) burst.drop(i, passage.reason);
      if (passage.outcome != FlowStep::Outcome::kPass) return passage.outcome == FlowStep::Outcome::kInvalid;
    }
    if (batch.domains[k]->learning && !burst.meta[i].from_tunnel)
      learn_source(ctx, burst.mbufs[i], burst.meta[i]);
    if (!nat::serve_known(ctx, burst, i, batch.keys[k], other, view.decision, is_error) && !is_error) {
      if (view.decision.adjacency != 0) ctx.counters->flows.reresolved.add(1);
      give_task(ctx, burst.meta[i], FlowTask::kRefresh);
    }
    return true;
  }

  [[gnu::cold, gnu::noinline]] static bool still_allowed(Context& ctx, FlowRef ref,
                                                         const DomainEntry& domain) noexcept {
    FlowKey original, reply;
    ctx.counters->flows.rechecked.add(1);
    if (!ctx.flows->read_key(ref, Direction::kOriginal, original) ||
        !ctx.flows->read_key(ref, Direction::kReply, reply))
      return false;
    const bool allowed = domain.rules->allows(reply.words[0] != 0 ? ruled_key(original, reply) : original);
    // Were it forgotten, its other side could begin it anew where the rules allow that direction.
    if (!allowed && ctx.flows->cut(ref)) ctx.counters->flows.cut.add(1);
    ctx.flows->set_rules_generation(ref, domain.rules_generation);
    return allowed;
  }

  // Of a connection that rules or policies did not allow any more when it was looked at last. False: it is
  // the first packet of another.
  [[gnu::cold, gnu::noinline]] static bool serve_cut(Context& ctx, Burst& burst, const Batch& batch,
                                                     std::uint16_t k, const FlowView& view) noexcept {
    const auto ref = batch.found[k];
    FlowKey original, reply;
    if (!ctx.flows->read_key(ref, Direction::kOriginal, original) ||
        !ctx.flows->read_key(ref, Direction::kReply, reply))
      return false;
    if (reply == FlowKey{}) reply = original.reversed();
    const auto* ruling = nat::ruling_domain(*ctx.tables, Direction::kOriginal, original, reply);
    if (ruling != nullptr && ruling->stateful && ruling->rules_generation != view.rules_generation) {
      ctx.counters->flows.rechecked.add(1);
      ctx.flows->set_rules_generation(ref, ruling->rules_generation);
      const auto owner = ctx.flows->owner_of(ref);
      const bool allowed =
          rules_allow(*ctx.tables, original, reply) && admitted(*ctx.tables, original, reply) &&
          is_led_to_backend(*ctx.tables, original, reply) &&
          (ctx.tables->policies == nullptr ||
           ask_policies(*ctx.tables, original, reply, owner && owner == ctx.tables->host_port).allowed);
      if (allowed && ctx.flows->restore(ref)) return serve_known(ctx, burst, batch, k);
    }
    return refuse_cut(ctx, burst, batch.at[k], batch.packets[k], ref);
  }

  static bool rules_allow(const Snapshot& tables, const FlowKey& original, const FlowKey& reply) noexcept {
    if (is_foreign(original, reply) && !ServiceAim::own_rules_allow(tables, original)) return false;
    const auto* ruling = nat::ruling_domain(tables, Direction::kOriginal, original, reply);
    return ruling == nullptr || !ruling->stateful || ruling->rules->allows(ruled_key(original, reply));
  }

  // Whether the service that it asks for, if any, is for this client.
  static bool admitted(const Snapshot& tables, const FlowKey& original, const FlowKey& reply) noexcept {
    return tables.services == nullptr || tables.services->admits(original, reply);
  }

  // False: it is the first packet of another connection, which rules and policies allow.
  static bool refuse_cut(Context& ctx, Burst& burst, std::uint16_t i, const FlowPacket& packet,
                         FlowRef ref) noexcept {
    const bool tracked_tcp = packet.kind == FlowPacket::Kind::kTracked && packet.has_event;
    const bool syn = tracked_tcp && packet.event == TcpEvent::kSyn;
    // A SYN asks for itself, in its own direction, which need not be that of the connection that was cut.
    const auto from = syn ? ref.direction() : Direction::kOriginal;
    const auto back = from == Direction::kOriginal ? Direction::kReply : Direction::kOriginal;
    FlowKey original, reply;
    if (!ctx.flows->read_key(ref, from, original) || !ctx.flows->read_key(ref, back, reply)) return false;
    if (reply == FlowKey{}) reply = original.reversed();
    if (original == FlowKey{}) original = reply.reversed();
    if (!admitted(*ctx.tables, original, reply)) {
      burst.drop(i, DropReason::service_source_refused);
      return true;
    }
    if (syn && rules_allow(*ctx.tables, original, reply) &&
        policies_allow(ctx, burst.meta[i], original, reply)) {
      if (ctx.flows->remove(ref)) ctx.counters->flows.removed.add(1);
      return false;
    }
    // Its ends may try for as long as they like; a new one would begin with a SYN.
    if (tracked_tcp) ctx.flows->touch(ref, ctx.now_s);
    if (!syn) policies_allow(ctx, burst.meta[i], original, reply);  // counts
    burst.drop(i, DropReason::policy_denied);
    return true;
  }

  // Whether forward would decide as it did then, and if so the same.
  static bool follow_remembered(const Context& ctx, rte_mbuf* mbuf, PacketMeta& meta,
                                const DomainEntry& domain, const FlowDecision& decision) noexcept {
    const auto& tables = *ctx.tables;
    if (decision.adjacency == 0) return false;
    const auto& adjacency = tables.adjacencies[decision.adjacency];
    if (adjacency.generation.get() != decision.generation) return false;
    const auto destination = header_unchecked<EtherHeader>(mbuf, 0)->destination;
    if (decision.routed) {
      if (destination != domain.gateway_mac && !(meta.from_tunnel && is_our_vtep_mac(tables, destination)))
        return false;
    } else if (destination != adjacency.mac || (adjacency.kind == Adjacency::Kind::kPort &&
                                                adjacency.port == meta.ingress && !meta.from_tunnel)) {
      return false;
    }
    if (adjacency.kind == Adjacency::Kind::kVtep && meta.from_tunnel) return false;
    return follow(tables, domain, decision.adjacency, meta, decision.routed);
  }

  static bool is_our_vtep_mac(const Snapshot& tables, const MacAddr& mac) noexcept {
    return std::any_of(tables.local_vteps.begin(), tables.local_vteps.end(),
                       [&](const LocalVtep& vtep) { return vtep.mac == mac; });
  }

  static void give_task(Context& ctx, PacketMeta& meta, FlowTask task) noexcept {
    meta.flow_task = task;
    if (task != FlowTask::kNone) ++ctx.flow_tasks;
  }

  // Packets that may begin connections: those of one domain are put to its rules together.
  static void serve_first(Context& ctx, Burst& burst, Batch& batch) noexcept {
    std::array<std::uint16_t, kBurstMax> asked;
    std::array<const FlowKey*, kBurstMax> keys;
    std::size_t count = 0;
    const DomainEntry* domain = nullptr;
    const auto ask = [&] {
      if (count != 0) put_to_rules(ctx, burst, batch, *domain, {asked.data(), count}, {keys.data(), count});
      count = 0;
    };
    for (std::uint16_t n = 0; n < batch.first_count; ++n) {
      const auto k = batch.first[n];
      const auto& packet = batch.packets[k];
      const bool may_aim = ctx.tables->services != nullptr || ctx.tables->outside != nullptr;
      if (may_aim && !aim(ctx, burst, batch, k)) [[unlikely]]
        continue;
      if (batch.domains[k]->id == kUnderlayDomain) {
        if (!ServiceAim::refuse_host(ctx, burst, batch.at[k], batch.keys[k]))
          leave_to_node(ctx, burst, batch.at[k], packet);
        continue;
      }
      if (batch.domains[k] != domain) ask();
      domain = batch.domains[k];
      const bool related = packet.kind == FlowPacket::Kind::kRelated;
      if (related || (packet.kind == FlowPacket::Kind::kTracked &&
                      begin_flow(packet, batch.keys[k].protocol(), domain->strict_tcp).outcome !=
                          FlowStep::Outcome::kPass)) {
        burst.drop(batch.at[k], DropReason::flow_invalid);
        continue;
      }
      if (ctx.flows != nullptr && packet.kind == FlowPacket::Kind::kTracked &&
          flow_limit_reached(ctx, burst.meta[batch.at[k]].ingress)) {
        drop_for_flow_limit(ctx, burst, batch.at[k]);
        continue;
      }
      asked[count] = k;
      keys[count++] = &batch.keys[k];
    }
    ask();
  }

  // False: the service that it asks for refuses it.
  [[gnu::noinline]] static bool aim(Context& ctx, Burst& burst, Batch& batch, std::uint16_t k) noexcept {
    const auto outcome =
        ServiceAim::aim(ctx, burst, batch.at[k], batch.packets[k], batch.keys[k], batch.domains[k]);
    if (outcome == ServiceAim::Outcome::kAimed) batch.aimed |= std::uint64_t{1} << k;
    return outcome != ServiceAim::Outcome::kGone;
  }

  static void put_to_rules(Context& ctx, Burst& burst, const Batch& batch, const DomainEntry& domain,
                           std::span<const std::uint16_t> asked,
                           std::span<const FlowKey* const> keys) noexcept {
    std::array<bool, kBurstMax> allowed;
    if (domain.rules->allows_all()) {
      allowed.fill(true);
    } else {
      domain.rules->classify(keys, {allowed.data(), keys.size()});
    }
    for (std::size_t n = 0; n < asked.size(); ++n) {
      const auto k = asked[n];
      if (!allowed[n] || !is_permitted(ctx, burst, batch, k)) {
        burst.drop(batch.at[k], DropReason::policy_denied);
      } else if (batch.packets[k].kind == FlowPacket::Kind::kTracked) {
        begin(ctx, burst, batch, k, domain);
      }
    }
  }

  // By the policies of both ends. A client that asked for a service is who it was when it came.
  static bool is_permitted(Context& ctx, const Burst& burst, const Batch& batch, std::uint16_t k) noexcept {
    const auto i = batch.at[k];
    const auto& key = batch.keys[k];
    const bool aimed = (batch.aimed >> k & 1) != 0;
    return policies_allow(ctx, burst.meta[i], aimed ? load_arrival(burst.mbufs[i]).key : key, key.reversed());
  }

  // A connection that is allowed, unless it finds no ends outside.
  static void begin(Context& ctx, Burst& burst, const Batch& batch, std::uint16_t k,
                    const DomainEntry& domain) noexcept {
    const auto i = batch.at[k];
    if ((ctx.tables->translates || domain.joined) &&
        !nat::begin(ctx, burst, i, domain, batch.keys[k], batch.packets[k], (batch.aimed >> k & 1) != 0))
        [[unlikely]]
      return;
    if (ctx.flows == nullptr) return;
    give_task(ctx, burst.meta[i], FlowTask::kInsert);
    ctx.flows->prefetch_insertion(batch.keys[k], batch.keys[k].reversed());
  }
};

}  // namespace podwire::engine
