// What forward, gateway and the ICMP errors share: following an adjacency, and turning a packet into the
// error about it.
#pragma once

#include "dataplane/packet/flow_hash.hpp"
#include "dataplane/packet/icmp_error.hpp"
#include "dataplane/pipeline/accounting.hpp"
#include "dataplane/pipeline/arrival.hpp"
#include "dataplane/pipeline/context.hpp"
#include "dataplane/tables/joined.hpp"

namespace podwire::engine {

// The slot itself, or the path of its group that this flow takes.
inline std::uint32_t choose_path(const Snapshot& tables, std::uint32_t slot, rte_mbuf* mbuf,
                                 PacketMeta& meta) noexcept {
  const auto& adjacency = tables.adjacencies[slot];
  if (adjacency.kind != Adjacency::Kind::kMultipath || adjacency.paths_count == 0) return slot;
  return tables.paths[adjacency.paths_first + flow_hash(mbuf, meta) % adjacency.paths_count];
}

// Decides for an adjacency of kind kPort, kVtep or kUnderlay; false for every other kind. `routed` says that
// MACs are to be set.
inline bool follow(const Snapshot& tables, const DomainEntry& domain, std::uint32_t slot, PacketMeta& meta,
                   bool routed) noexcept {
  const auto& adjacency = tables.adjacencies[slot];
  if (adjacency.kind == Adjacency::Kind::kPort) {
    meta.verdict = Verdict::kForward;
    meta.egress = adjacency.port;
  } else if (adjacency.kind == Adjacency::Kind::kVtep || adjacency.kind == Adjacency::Kind::kUnderlay) {
    meta.verdict = Verdict::kTunnel;
    meta.vtep = adjacency.vtep;
    meta.vni = domain.vni;
  } else {
    return false;
  }
  meta.adjacency = slot;
  meta.routed = routed;
  meta.new_destination = adjacency.mac;
  meta.new_source = domain.gateway_mac;
  return true;
}

inline std::uint32_t find_route_for(const Snapshot& tables, const DomainEntry& domain,
                                    const IpAddr& address) noexcept {
  return address.is_v4() ? find_route(tables, domain, address.v4())
                         : find_route(tables, domain, address.v6());
}

// Whether the way back to a source leads to this node itself: its gateway, its endpoints, its subnet.
inline bool is_from_here(const Snapshot& tables, std::uint32_t way_back) noexcept {
  const auto kind = tables.adjacencies[way_back].kind;
  return kind == Adjacency::Kind::kGateway || kind == Adjacency::Kind::kPort ||
         kind == Adjacency::Kind::kOnLink;
}

// find_route_for(), and where the domain is reached without tunnels, the way that the underlay has.
inline std::uint32_t find_way(const Snapshot& tables, const DomainEntry& domain,
                              const IpAddr& address) noexcept {
  const auto slot = find_route_for(tables, domain, address);
  if (slot != 0 || !domain.routed) [[likely]]
    return slot;
  const auto* underlay = tables.domain(kUnderlayDomain);
  return underlay == nullptr ? 0 : find_route_for(tables, *underlay, address);
}

// Where a route into another domain leads: that domain, and the adjacency that it has for `address`; slot 0
// when it has none, or would pass the packet on itself.
struct Beyond {
  const DomainEntry* domain = nullptr;  // may be null with slot 0
  std::uint32_t slot = 0;
};
[[gnu::noinline]] inline Beyond look_beyond(const Snapshot& tables, const Adjacency& adjacency,
                                            const IpAddr& address, rte_mbuf* mbuf,
                                            PacketMeta& meta) noexcept {
  const auto* domain = tables.domain(adjacency.into());
  if (domain == nullptr) return {};
  const auto slot = choose_path(tables, find_way(tables, *domain, address), mbuf, meta);
  return {domain, tables.adjacencies[slot].kind == Adjacency::Kind::kInto ? 0 : slot};
}

inline IpAddr source_of(rte_mbuf* mbuf, const PacketMeta& meta) noexcept {
  if (meta.ether_type == ether_type::kIpv4)
    return IpAddr(header_unchecked<Ipv4Header>(mbuf, meta.l3_offset)->source);
  return IpAddr(header_unchecked<Ipv6Header>(mbuf, meta.l3_offset)->source);
}

inline IpAddr destination_of(rte_mbuf* mbuf, const PacketMeta& meta) noexcept {
  if (meta.ether_type == ether_type::kIpv4)
    return IpAddr(header_unchecked<Ipv4Header>(mbuf, meta.l3_offset)->destination);
  return IpAddr(header_unchecked<Ipv6Header>(mbuf, meta.l3_offset)->destination);
}

enum class IcmpErrorKind : std::uint8_t {
  kTimeExceeded,
  kTooBig,
  kNoRoute,
  kHostUnreachable,
  kPortUnreachable
};

inline bool make_icmp_error(rte_mbuf* mbuf, PacketMeta& meta, const DomainEntry& domain, const IpAddr& from,
                            IcmpErrorKind kind, std::uint16_t mtu) noexcept {
  struct TypeCode {
    std::uint8_t type, code;
  };
  static constexpr TypeCode kV4[] = {{icmp::kTimeExceeded, 0},
                                     {icmp::kUnreachable, icmp::kCodeFragmentationNeeded},
                                     {icmp::kUnreachable, icmp::kCodeNetUnreachable},
                                     {icmp::kUnreachable, icmp::kCodeHostUnreachable},
                                     {icmp::kUnreachable, icmp::kCodePortUnreachable}};
  static constexpr TypeCode kV6[] = {{icmp6::kTimeExceeded, 0},
                                     {icmp6::kPacketTooBig, 0},
                                     {icmp6::kUnreachable, icmp6::kCodeNoRoute},
                                     {icmp6::kUnreachable, icmp6::kCodeAddressUnreachable},
                                     {icmp6::kUnreachable, icmp6::kCodePortUnreachable}};
  const auto index = static_cast<std::size_t>(kind);
  if (from.is_v4()) {
    return make_icmp4_error(mbuf, meta, domain.gateway_mac, from.v4(), kV4[index].type, kV4[index].code, mtu);
  }
  return make_icmp6_error(mbuf, meta, domain.gateway_mac, from.v6(), kV6[index].type, kV6[index].code, mtu);
}

// Whether an error may be sent now: 1,000 a second, bursts of 100. Who sends one takes a token off.
inline bool has_icmp_token(Context& ctx) noexcept {
  const std::uint64_t per_token = std::max<std::uint64_t>(1, ctx.tsc_hz / 1000);
  const std::uint64_t gained = (ctx.now_tsc - ctx.icmp.last_tsc) / per_token;
  if (gained != 0) {
    ctx.icmp.last_tsc = ctx.now_tsc;
    ctx.icmp.tokens = std::min<std::uint64_t>(100, ctx.icmp.tokens + gained);
  }
  return ctx.icmp.tokens != 0;
}

// The gateway address that errors come from: the first of the family that is not link-local. (In the underlay
// there is none: errors come from the address of the node that the packet was for.)
inline bool error_source(const DomainEntry& domain, bool v4, IpAddr& out) noexcept {
  if (v4) {
    if (domain.gateways4.empty()) return false;
    out = IpAddr(domain.gateways4.front());
    return true;
  }
  for (const auto& address : domain.gateways6) {
    if (address.is_link_local()) continue;
    out = IpAddr(address);
    return true;
  }
  return false;
}

// Notes the sender's MAC in a domain that learns.
inline void learn_source(Context& ctx, rte_mbuf* mbuf, const PacketMeta& meta) noexcept {
  const auto mac = header_unchecked<EtherHeader>(mbuf, 0)->source;
  if (!ctx.learned.slot_of(meta.domain, mac).is_news(meta.domain, mac, meta.ingress.value(), ctx.now_s))
    return;
  Event event;
  event.kind = Event::Kind::kLearn;
  event.port = meta.ingress;
  event.domain = meta.domain;
  event.mac = mac;
  ctx.events->push(event);
}

// Drops packet `i` for `reason`. Where make(mbuf, meta, domain) can make an answer of it and its source can
// be reached, the answer takes the packet's place in the burst, on its way back. It is about the packet as
// its sender knows it.
template <class Make>
inline void drop_with_answer(Context& ctx, Burst& burst, std::uint16_t i, DropReason reason,
                             Make&& make) noexcept {
  auto* mbuf = burst.mbufs[i];
  auto& meta = burst.meta[i];
  const bool as_it_came = !meta.translated || undo_translation(*ctx.counters, mbuf, meta);
  const auto* domain = ctx.tables->domain(meta.domain);
  const bool ip = meta.ether_type == ether_type::kIpv4 || meta.ether_type == ether_type::kIpv6;
  if (!as_it_came || domain == nullptr || !ip || meta.generated) {
    burst.drop(i, reason);
    return;
  }
  PacketMeta back = meta;
  const auto source = source_of(mbuf, meta);
  auto slot = choose_path(*ctx.tables, find_way(*ctx.tables, *domain, source), mbuf, back);
  const auto* home = domain;
  if (ctx.tables->adjacencies[slot].kind == Adjacency::Kind::kInto) [[unlikely]] {
    const auto beyond = look_beyond(*ctx.tables, ctx.tables->adjacencies[slot], source, mbuf, back);
    home = beyond.domain;
    slot = beyond.slot;
  }
  if (slot == 0 || !follow(*ctx.tables, *home, slot, back, true) || !has_icmp_token(ctx) ||
      !make(mbuf, back, *domain)) {
    burst.drop(i, reason);
    return;
  }
  --ctx.icmp.tokens;
  book_drop(*ctx.counters, meta, reason);
  book(*ctx.counters, meta, &LedgerCounters::generated);
  if (home != domain) move_to_domain(*ctx.counters, back, home->id);
  auto* ether = header_unchecked<EtherHeader>(mbuf, 0);
  ether->destination = back.new_destination;
  ether->source = back.new_source;
  back.generated = true;
  back.routed = false;
  back.resolved = true;
  back.flow_hash = 0;
  back.reason = reason;
  meta = back;
}

// The same with the ICMP error that the RFCs want.
inline void reject(Context& ctx, Burst& burst, std::uint16_t i, DropReason reason, IcmpErrorKind kind,
                   std::uint16_t mtu = 0) noexcept {
  drop_with_answer(ctx, burst, i, reason, [&](rte_mbuf* mbuf, PacketMeta& back, const DomainEntry& domain) {
    IpAddr from;
    if (domain.id == kUnderlayDomain) {
      from = destination_of(mbuf, back);
    } else if (!error_source(domain, back.ether_type == ether_type::kIpv4, from)) {
      return false;
    }
    return make_icmp_error(mbuf, back, domain, from, kind, mtu);
  });
}

}  // namespace podwire::engine
