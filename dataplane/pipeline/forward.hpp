// Forward: decides where a packet goes. Addressed to the gateway's MAC (or to our VTEP's, from a tunnel), or
// translated, it is routed by the domain's FIB; otherwise switched by the FDB. A route into another domain
// makes it that domain's packet. Never from one tunnel into another, nor from a tunnel into another domain,
// whose packets come with its own VNI: that could loop.
#pragma once

#include <algorithm>

#include "dataplane/pipeline/routing.hpp"

namespace podwire::engine {

struct ForwardStage {
  static constexpr std::string_view kName = "forward";

  static void run(Context& ctx, Burst& burst) noexcept {
    const DomainEntry* domain = nullptr;
    for (std::uint16_t i = 0; i < burst.count; ++i) {
      auto& meta = burst.meta[i];
      if (meta.verdict != Verdict::kUndecided) continue;
      if (domain == nullptr || domain->id != meta.domain) domain = ctx.tables->domain(meta.domain);
      if (domain == nullptr) {
        burst.drop(i, DropReason::port_no_domain);
        continue;
      }
      if (domain->learning && !meta.from_tunnel && !meta.generated && !meta.translated)
        learn_source(ctx, burst.mbufs[i], meta);
      const auto destination = header_unchecked<EtherHeader>(burst.mbufs[i], 0)->destination;
      if (destination == domain->gateway_mac || meta.translated ||
          (meta.from_tunnel && is_our_vtep_mac(ctx, destination))) {
        route(ctx, burst, i, *domain);
      } else {
        switch_frame(ctx, burst, i, *domain, destination);
      }
    }
  }

 private:
  static bool is_our_vtep_mac(const Context& ctx, const MacAddr& mac) noexcept {
    return std::any_of(ctx.tables->local_vteps.begin(), ctx.tables->local_vteps.end(),
                       [&](const LocalVtep& vtep) { return vtep.mac == mac; });
  }

  static bool routable(const IpAddr& address) noexcept {
    if (address.is_multicast() || address.is_zero()) return false;
    if (address.is_v6()) return !address.v6().is_link_local() && !address.v6().is_loopback();
    const auto v4 = address.v4();
    return !v4.is_broadcast() && !v4.is_loopback() && !(v4.bytes[0] == 169 && v4.bytes[1] == 254);
  }

  static void route(Context& ctx, Burst& burst, std::uint16_t i, const DomainEntry& domain) noexcept {
    auto* mbuf = burst.mbufs[i];
    auto& meta = burst.meta[i];
    if (meta.ether_type != ether_type::kIpv4 && meta.ether_type != ether_type::kIpv6) {
      burst.drop(i, DropReason::protocol_unsupported);
      return;
    }
    const auto destination = destination_of(mbuf, meta);
    // What leaves on the node's own side has its source from us: for its own programs services may have
    // link-local addresses.
    const bool own_source = meta.translated && domain.id == kUnderlayDomain;
    if (!routable(destination) || (!own_source && !routable(source_of(mbuf, meta)))) {
      burst.drop(i, DropReason::link_local_forward);
      return;
    }
    const auto slot = choose_path(*ctx.tables, find_way(*ctx.tables, domain, destination), mbuf, meta);
    decide<true>(ctx, burst, i, domain, slot);
  }

  // By a route into another domain. What that one cannot deliver, the domain of the packet refuses.
  [[gnu::noinline]] static void enter(Context& ctx, Burst& burst, std::uint16_t i, const DomainEntry& domain,
                                      std::uint32_t slot) noexcept {
    auto& meta = burst.meta[i];
    if (!domain.joined) {  // parted: the table follows
      burst.drop(i, DropReason::no_route);
      return;
    }
    if (meta.from_tunnel && !meta.generated) {
      burst.drop(i, DropReason::joined_from_tunnel);
      return;
    }
    auto* mbuf = burst.mbufs[i];
    const auto beyond =
        look_beyond(*ctx.tables, ctx.tables->adjacencies[slot], destination_of(mbuf, meta), mbuf, meta);
    // Its connection is known by the former domain, where nobody may remember the other's adjacency.
    if (std::exchange(meta.flow_task, FlowTask::kNone) != FlowTask::kNone) --ctx.flow_tasks;
    if (beyond.slot != 0 && follow(*ctx.tables, *beyond.domain, beyond.slot, meta, true)) {
      move_to_domain(*ctx.counters, meta, beyond.domain->id);
    } else {
      decide<false>(ctx, burst, i, domain, beyond.slot);
    }
  }

  // kEnters: a route into another domain may be followed.
  template <bool kEnters>
  [[gnu::always_inline]] static void decide(Context& ctx, Burst& burst, std::uint16_t i,
                                            const DomainEntry& domain, std::uint32_t slot) noexcept {
    auto& meta = burst.meta[i];
    meta.adjacency = slot;
    if (slot == 0) {
      reject(ctx, burst, i, DropReason::no_route, IcmpErrorKind::kNoRoute);
      return;
    }
    switch (ctx.tables->adjacencies[slot].kind) {
      case Adjacency::Kind::kVtep:
        if (meta.from_tunnel && !meta.generated) {
          burst.drop(i, DropReason::back_to_tunnel);
          return;
        }
        [[fallthrough]];
      case Adjacency::Kind::kPort:
      case Adjacency::Kind::kUnderlay:
        follow(*ctx.tables, domain, slot, meta, true);
        return;
      case Adjacency::Kind::kGateway:
        reject(ctx, burst, i, DropReason::gateway_no_service, IcmpErrorKind::kPortUnreachable);
        return;
      case Adjacency::Kind::kOnLink:
        reject(ctx, burst, i, DropReason::host_unreachable, IcmpErrorKind::kHostUnreachable);
        return;
      case Adjacency::Kind::kBlackhole:
        burst.drop(i, DropReason::blackhole_route);
        return;
      case Adjacency::Kind::kInto:
        if constexpr (kEnters) {
          enter(ctx, burst, i, domain, slot);
          return;
        }
        [[fallthrough]];
      default:
        burst.drop(i, DropReason::no_route);
    }
  }

  static void switch_frame(Context& ctx, Burst& burst, std::uint16_t i, const DomainEntry& domain,
                           const MacAddr& destination) noexcept {
    auto& meta = burst.meta[i];
    if (destination.is_multicast()) {
      if (domain.flood) {
        meta.verdict = Verdict::kFlood;
      } else {
        burst.drop(i, DropReason::multicast_unsupported);
      }
      return;
    }
    const auto slot = ctx.tables->fdb->find(fdb_key(domain.id, destination));
    if (slot == 0) {
      if (domain.flood) {
        meta.verdict = Verdict::kFlood;
      } else {
        burst.drop(i, DropReason::mac_unknown);
      }
      return;
    }
    meta.adjacency = slot;
    const auto& adjacency = ctx.tables->adjacencies[slot];
    if (adjacency.kind == Adjacency::Kind::kVtep && meta.from_tunnel && !meta.generated) {
      burst.drop(i, DropReason::back_to_tunnel);
    } else if (adjacency.kind == Adjacency::Kind::kPort && adjacency.port == meta.ingress &&
               !meta.from_tunnel) {
      burst.drop(i, DropReason::same_port);
    } else if (!follow(*ctx.tables, domain, slot, meta, false)) {
      burst.drop(i, DropReason::mac_unknown);
    }
  }
};

}  // namespace podwire::engine
