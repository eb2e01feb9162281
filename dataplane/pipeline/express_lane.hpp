// ExpressLane: what pipeline/express.hpp knows of one burst from one port, of a pod or (kTunnel) of the
// underlay, while it serves it. On the worker's own stack.
#pragma once

#include "dataplane/packet/flow_hash.hpp"
#include "dataplane/pipeline/express_filter.hpp"
#include "dataplane/pipeline/express_nat.hpp"
#include "dataplane/pipeline/express_routed.hpp"
#include "dataplane/pipeline/express_way.hpp"
#include "dataplane/tunnels/vxlan.hpp"

namespace podwire::engine {

template <bool kTunnel>
class ExpressLane : public ExpressFilter<kTunnel> {
  using Filter = ExpressFilter<kTunnel>;

 public:
  ExpressLane(Context& ctx, const PacketMeta& first) noexcept : Filter(*ctx.tables, first), ctx_(ctx) {}

  // What the burst begins with, while it is for the lane, in fewer passes: of stateless domains with tables
  // in the cache all at once, of stateful domains in three steps. Returns the index of the first packet that
  // was not served so.
  std::uint16_t serve_first(const Burst& burst) noexcept {
    if (marks_ || answers_) return 0;
    const bool at_once = tables_are_cached();
    std::uint16_t i = 0;
    for (unsigned run = 0; run < kRuns && i < burst.count; ++run) {
      const auto from = i;
      while (at_once && i < burst.count && serve_at_once(burst.mbufs[i])) ++i;
      if ((kTunnel || tracks_) && ctx_.flows != nullptr && i < burst.count) i = serve_connections(burst, i);
      if (i == from) break;
    }
    if (i != 0) settle();
    return i;
  }

  // Passes one and two, from packet `from` on. False when nothing there is for the lane.
  bool recognise(const Burst& burst, std::uint16_t from) noexcept {
    std::uint32_t any = 0, tracked = 0;
    for (std::uint16_t i = from; i < burst.count; ++i) {
      auto& plan = plans_[i];
      plan.slot = 0;
      plan.wanted = plan.tracked = false;
      if (!is_plain(burst.mbufs[i])) continue;
      if (!kTunnel && answers_) {
        any |= recognise_arrival(burst.mbufs[i], plan);
        tracked += plan.tracked;
      } else if (tracks_) {
        plan.domain = domain_;
        plan.tracked = true;
        ++tracked;
      } else {
        plan.wanted = choose_table<false>(burst.mbufs[i], plan);
      }
      any |= plan.wanted;
    }
    if (any != 0) look_up(from, burst.count);
    if (tracked != 0) any |= look_up_connections(burst, from);
    if (marks_ && any != 0) [[unlikely]]
      mark(burst, from);
    return any != 0;
  }

  bool knows(std::uint16_t i) const noexcept { return plans_[i].slot != 0; }

  // Pass three: serves packets from `i` on, up to one that is for the stages, which stays as it came. Returns
  // the index of that one.
  std::uint16_t serve(const Burst& burst, std::uint16_t i) noexcept {
    if (translates_ || answers_) [[unlikely]] {
      while (i < burst.count && serve_apart(burst.mbufs[i], i)) ++i;
    } else {
      while (i < burst.count && serve(burst.mbufs[i], plans_[i])) ++i;
    }
    settle();
    return i;
  }

 private:
  using Filter::answers_, Filter::domain_, Filter::domain_bits_, Filter::domain_of_port_, Filter::gateway_;
  using Filter::ingress_, Filter::is_plain, Filter::kOuter, Filter::local_, Filter::longest_, Filter::marks_;
  using Filter::own_, Filter::short_, Filter::sources_are_plain_, Filter::tables_, Filter::tracks_;

  static constexpr unsigned kRuns = 4;                // of packets of stateless and stateful domains by turns
  static constexpr std::size_t kCached = 128 * 1024;  // bytes of tables

  // What is known of one packet between the passes.
  struct Plan {
    std::uint32_t slot;  // adjacency; 0: for the stages
    bool routed;
    bool wanted;      // to be looked up in a table
    bool tracked;     // to be looked up among the connections
    bool entered;     // from the uplink, for a pod that is reached without a tunnel
    bool translated;  // with `tracked`: the connection has other ends
    const DomainEntry* domain;
    std::uint64_t key;
    std::uint64_t hash;
  };

  bool tables_are_cached() const noexcept { return tables_.fdb->bytes() + tables_.fib4->bytes() <= kCached; }

  void settle() noexcept {
    way_.leave(ingress_);
    book_moved();
  }

  [[gnu::always_inline]] bool serve_at_once(rte_mbuf* mbuf) noexcept {
    Plan plan;
    return is_plain(mbuf) && !tracks_ && choose_table<true>(mbuf, plan) && serve(mbuf, plan);
  }

  // A packet of a stateful domain between the steps.
  struct Probe {
    const DomainEntry* domain;
    std::uint64_t hash;
    std::uint32_t candidate;
  };

  [[gnu::noinline]] std::uint16_t serve_connections(const Burst& burst, std::uint16_t from) noexcept {
    std::array<Probe, kBurstMax> probes;
    const auto& flows = *ctx_.flows;
    const auto pairs = flows.pairs();
    std::uint16_t end = from;
    for (; end < burst.count && is_plain(burst.mbufs[end]) && tracks_; ++end) {
      const auto [head, addresses] = plain_connection_words(frame_of(burst.mbufs[end]), domain_->id);
      auto& probe = probes[end];
      probe.domain = domain_;
      probe.hash = flows.hash_v4(head, addresses);
      flows.prefetch(probe.hash, pairs);
    }
    for (std::uint16_t i = from; i < end; ++i) probes[i].candidate = flows.candidate(probes[i].hash, pairs);
    std::uint16_t i = from;
    while (i < end && serve_connection(burst.mbufs[i], probes[i])) ++i;
    return i;
  }

  [[gnu::always_inline]] bool serve_connection(rte_mbuf* mbuf, const Probe& probe) noexcept {
    const auto* frame = frame_of(mbuf);
    const auto [head, addresses] = plain_connection_words(frame, probe.domain->id);
    FlowView view;
    const auto ref = ctx_.flows->find_candidate(probe.candidate, probe.hash, head, addresses, view);
    if (!ref || view.decision.adjacency == 0) return false;
    Plan plan;
    plan.domain = probe.domain;
    plan.slot = view.decision.adjacency;
    plan.routed = view.decision.routed;
    if (view.decision.translated)
      return serve_translated_connection(mbuf, *plan.domain, ref, view.decision, view.phase,
                                         view.rules_generation);
    return follow_connection(ctx_, frame, ref, view, *plan.domain, to_gateway(frame, *plan.domain)) &&
           serve(mbuf, plan);
  }

  // Of the connection what its FlowView has.
  [[gnu::noinline]] bool serve_translated_connection(rte_mbuf* mbuf, const DomainEntry& domain, FlowRef ref,
                                                     FlowDecision decision, FlowPhase phase,
                                                     std::uint32_t rules_generation) noexcept {
    FlowView view;
    view.decision = decision;
    view.phase = phase;
    view.rules_generation = rules_generation;
    PlainLeaving leaving;
    return follow_translated(ctx_, frame_of(mbuf), domain, ref, view, leaving) &&
           serve_translated(mbuf, domain, decision.adjacency, leaving);
  }

  bool to_gateway(const std::uint8_t* frame, const DomainEntry& domain) const noexcept {
    const MacAddr destination = reinterpret_cast<const EtherHeader*>(frame)->destination;
    return destination == domain.gateway_mac || (kTunnel && destination == local_->mac);
  }

  // What the uplink brings without a tunnel: for a pod that is reached so, or else perhaps an answer to a
  // connection that is translated. Whether it is known already where it goes.
  [[gnu::noinline]] bool recognise_arrival(const rte_mbuf* mbuf, Plan& plan) const noexcept {
    const auto* frame = frame_of(mbuf);
    if (is_martian(tables_, frame)) [[unlikely]]
      return false;
    const auto* domain = plain_entry(tables_, frame, tables_.port(ingress_)->mac);
    plan.entered = plan.routed = domain != nullptr;
    plan.domain = plan.entered ? domain : domain_;
    plan.tracked = plan.entered ? domain->stateful : tables_.translates;
    if (plan.entered && !plan.tracked) plan.slot = plain_entry_slot(tables_, *domain, frame);
    return plan.slot != 0;
  }

  // What the guard stage does with packets that pass. The stages may mark one again: it stays as it is.
  [[gnu::cold, gnu::noinline]] void mark(const Burst& burst, std::uint16_t from) const noexcept {
    for (std::uint16_t i = from; i < burst.count; ++i) {
      if (knows(i)) mark_plain(rte_pktmbuf_mtod(burst.mbufs[i], std::uint8_t*), *domain_);
    }
  }

  // Which table decides, and the key in it. False: the stages decide.
  template <bool kAtOnce>
  [[gnu::always_inline]] bool choose_table(const rte_mbuf* mbuf, Plan& plan) const noexcept {
    const auto* frame = rte_pktmbuf_mtod_offset(mbuf, const std::uint8_t*, kOuter);
    Key64 key = fdb_key_of(domain_bits_, frame);
    plan.domain = domain_;
    plan.routed = key.word == gateway_ || (kTunnel && key.word == own_);
    const LookupTable<Key64>* table = tables_.fdb;
    if (plan.routed) {
      const std::uint32_t address = load_be32(frame + plain::kDestination);
      const auto& first = tables_.long_prefixes->may_have(domain_->id, address) ? longest_ : short_;
      if (!is_plain_address(address) || first.length < 0 || frame[plain::kTtl] <= 1 ||
          !(sources_are_plain_ || is_plain_address(load_be32(frame + plain::kSource))))
        return false;
      key = fib4_key(domain_->id, address & first.mask, first.length);
      table = tables_.fib4;
    }
    const auto hash = key.hash();
    if constexpr (kAtOnce) {
      plan.slot = find(*table, key, hash, plan);
      return plan.slot != 0;
    } else {
      plan.key = key.word;
      plan.hash = hash;
      table->prefetch(hash);
      return true;
    }
  }

  void look_up(std::uint16_t from, std::uint16_t count) noexcept {
    for (std::uint16_t i = from; i < count; ++i) {
      auto& plan = plans_[i];
      if (!plan.wanted) continue;
      plan.slot = find(plan.routed ? *tables_.fib4 : *tables_.fdb, {plan.key}, plan.hash, plan);
      __builtin_prefetch(&tables_.adjacencies[plan.slot]);
    }
  }

  static const std::uint8_t* frame_of(const rte_mbuf* mbuf) noexcept {
    return rte_pktmbuf_mtod_offset(mbuf, const std::uint8_t*, kOuter);
  }

  // Packets of stateful domains, up to the first of the burst that is for the stages: it may change what the
  // others mean. Whether there is any.
  [[gnu::noinline]] bool look_up_connections(const Burst& burst, std::uint16_t from) noexcept {
    if (ctx_.flows == nullptr) return false;
    std::array<FlowKey, kBurstMax> keys;
    std::array<FlowRef, kBurstMax> found;
    std::uint16_t count = 0;
    for (std::uint16_t i = from; i < burst.count && (plans_[i].tracked || plans_[i].slot != 0); ++i) {
      if (plans_[i].tracked)
        keys[count++] = plain_connection_key(frame_of(burst.mbufs[i]), plans_[i].domain->id);
    }
    ctx_.flows->find_burst({keys.data(), count}, {found.data(), count});
    std::uint16_t known = 0;
    for (std::uint16_t i = from; known < count; ++i) {
      auto& plan = plans_[i];
      if (!plan.tracked) continue;
      const auto* frame = frame_of(burst.mbufs[i]);
      FlowView view;
      if (!found[known] || !ctx_.flows->read(found[known], view) || view.decision.adjacency == 0) break;
      plan.translated = view.decision.translated;
      if (!plan.translated) {
        if (!follow_connection(ctx_, frame, found[known], view, *plan.domain,
                               entered(plan) || to_gateway(frame, *plan.domain)))
          break;
      } else {
        if (entered(plan) || !follow_translated(ctx_, frame, *plan.domain, found[known], view, leaving_[i]))
          break;
        translates_ = true;
      }
      plan.slot = view.decision.adjacency;
      plan.routed = view.decision.routed;
      ++known;
    }
    return known != 0;
  }

  bool entered(const Plan& plan) const noexcept { return !kTunnel && answers_ && plan.entered; }

  [[gnu::always_inline]] std::uint32_t find(const LookupTable<Key64>& table, const Key64& key,
                                            std::uint64_t hash, const Plan& plan) const noexcept {
    const auto slot = table.find_hashed(key, hash);
    if (slot == 0 && plan.routed) [[unlikely]]
      return shorter_match(tables_, *plan.domain, key.word);
    return slot;
  }

  [[gnu::always_inline]] void change_way(const Adjacency& to, const DomainEntry& domain) noexcept {
    if (!kTunnel && way_.turn(ctx_, to, domain)) return;
    way_.leave(ingress_);
    way_.find(ctx_, to, domain, !kTunnel);
  }

  // The same for a packet of `domain` whose connection has other ends, `leaving`.
  [[gnu::always_inline]] bool serve_translated(rte_mbuf* mbuf, const DomainEntry& domain, std::uint32_t slot,
                                               const PlainLeaving& leaving) noexcept {
    const auto& adjacency = tables_.adjacencies[slot];
    const bool outside = adjacency.kind == Adjacency::Kind::kUnderlay;
    if (leaving.domain != &domain && (kTunnel || (!outside && !answers_ && !domain.joined))) return false;
    if (adjacency.place() != way_.place || leaving.domain != way_.domain)
      change_way(adjacency, *leaving.domain);
    if (mbuf->data_len - std::uint32_t{kOuter} > way_.limit) return false;
    auto* frame = rte_pktmbuf_mtod_offset(mbuf, std::uint8_t*, kOuter);
    if constexpr (kTunnel) {
      if (outside || (way_.joins_tcp && frame[plain::kProtocol] == ip_proto::kTcp)) return false;
    }
    const bool tunnel = way_.vtep != nullptr && !outside;
    if (tunnel && mbuf->data_off < way_.vtep->header_bytes) return false;
    translate_plain(frame, leaving);
    route_plain(frame, adjacency.mac, leaving.domain->gateway_mac);
    if (tunnel)
      vxlan::put_before(mbuf, *way_.vtep, leaving.domain->vni, plain_hash(frame), frame[plain::kTos]);
    if (outside) std::memcpy(frame, way_.vtep->header.data(), 2 * sizeof(MacAddr));
    if constexpr (kTunnel)
      strip(mbuf, domain);
    else if (leaving.domain != &domain)
      count_moved(*leaving.domain);
    way_.append(mbuf);
    return true;
  }

  // The same for a packet from the uplink to a pod that is reached without a tunnel.
  [[gnu::noinline]] bool serve_entered(rte_mbuf* mbuf, const Plan& plan) noexcept {
    const auto& adjacency = tables_.adjacencies[plan.slot];
    if (adjacency.kind != Adjacency::Kind::kPort) return false;
    if (adjacency.place() != way_.place || plan.domain != way_.domain) {
      way_.leave(ingress_);
      way_.find(ctx_, adjacency, *plan.domain, false);
    }
    if (mbuf->data_len > way_.limit) return false;
    route_plain(rte_pktmbuf_mtod(mbuf, std::uint8_t*), adjacency.mac, plan.domain->gateway_mac);
    count_moved(*plan.domain);
    way_.append(mbuf);
    return true;
  }

  // A packet of a burst some of which are translated, or which the uplink brought without a tunnel.
  bool serve_apart(rte_mbuf* mbuf, std::uint16_t i) noexcept {
    const auto& plan = plans_[i];
    if (plan.slot == 0) return false;
    if (plan.tracked && plan.translated) return serve_translated(mbuf, *plan.domain, plan.slot, leaving_[i]);
    return answers_ ? serve_entered(mbuf, plan) : serve(mbuf, plan);
  }

  [[gnu::always_inline]] bool serve(rte_mbuf* mbuf, const Plan& plan) noexcept {
    if (plan.slot == 0) return false;
    auto* frame = rte_pktmbuf_mtod_offset(mbuf, std::uint8_t*, kOuter);
    const auto* to = &tables_.adjacencies[plan.slot];
    if (to->place() != way_.place || plan.domain != way_.domain) {
      if (to->kind == Adjacency::Kind::kMultipath) to = &path_of(tables_, *to, frame);
      change_way(*to, *plan.domain);
    }
    const auto& adjacency = *to;
    const std::uint32_t length = mbuf->data_len - std::uint32_t{kOuter};
    if (length > way_.limit) return false;
    if (way_.vtep != nullptr) {
      if (mbuf->data_off < way_.vtep->header_bytes) return false;
    } else if constexpr (kTunnel) {
      if (way_.joins_tcp && frame[plain::kProtocol] == ip_proto::kTcp) return false;
    } else if (!plan.routed && adjacency.port == ingress_) {
      return false;
    }
    if (plan.routed) route_plain(frame, adjacency.mac, plan.domain->gateway_mac);
    if constexpr (kTunnel) strip(mbuf, *plan.domain);
    if (way_.vtep != nullptr) put_outer(mbuf, frame, *plan.domain);
    way_.append(mbuf);
    return true;
  }

  // The tunnel's headers, or without one the next hop's MACs.
  [[gnu::always_inline]] void put_outer(rte_mbuf* mbuf, std::uint8_t* frame,
                                        const DomainEntry& domain) const noexcept {
    if (way_.vtep->direct) [[unlikely]]
      std::memcpy(frame, way_.vtep->header.data(), 2 * sizeof(MacAddr));
    else
      vxlan::put_before(mbuf, *way_.vtep, domain.vni, plain_hash(frame), frame[plain::kTos]);
  }

  [[gnu::always_inline]] void strip(rte_mbuf* mbuf, const DomainEntry& domain) noexcept {
    mbuf->data_off = static_cast<std::uint16_t>(mbuf->data_off + kOuter);
    mbuf->data_len = static_cast<std::uint16_t>(mbuf->data_len - kOuter);
    mbuf->pkt_len = mbuf->data_len;
    // What the NIC said of checksums was about the outer headers.
    mbuf->ol_flags &= ~(RTE_MBUF_F_RX_L4_CKSUM_MASK | RTE_MBUF_F_RX_IP_CKSUM_MASK);
    count_moved(domain);
  }

  [[gnu::always_inline]] void count_moved(const DomainEntry& domain) noexcept {
    if (&domain != moved_to_) [[unlikely]] {
      book_moved();
      moved_to_ = &domain;
    }
    ++moved_;
  }

  [[gnu::noinline]] void book_moved() noexcept {
    if (moved_ == 0) return;
    ctx_.counters->domains[domain_of_port_.value()].moved_out.add(moved_);
    ctx_.counters->domains[moved_to_->id.value()].received.add(moved_);
    moved_ = 0;
  }

  Context& ctx_;
  bool translates_ = false;  // some of the burst's have other ends
  const DomainEntry* moved_to_ = nullptr;
  std::uint64_t moved_ = 0;
  ExpressWay way_;
  std::array<Plan, kBurstMax> plans_;
  std::array<PlainLeaving, kBurstMax> leaving_;  // of plans that are translated
};

}  // namespace podwire::engine
