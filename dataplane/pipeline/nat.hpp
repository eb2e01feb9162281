// NAT: gives packets the ends that their connection has outside, and finds such ends for connections that
// begin. Translation is not stored: a packet that one key of a connection finds leaves with the other key
// reversed, in that key's domain (tables/flow_table.hpp); the node's own side is the underlay domain. A
// connection with a domain that its own is joined with is one whose keys differ in their domains only, if
// both ends are on this node; over a tunnel both directions have the domain of the end that is here, because
// packets travel with the VNI of the domain that they are for. Parts of the flow and track stages; called by
// workers.
#pragma once

#include <algorithm>

#include "dataplane/pipeline/arrival.hpp"
#include "dataplane/pipeline/flow_owner.hpp"
#include "dataplane/pipeline/flow_packet.hpp"
#include "dataplane/pipeline/routing.hpp"
#include "dataplane/tables/outside_table.hpp"
#include "dataplane/tables/port_picker.hpp"
#include "dataplane/tables/rule_set.hpp"

namespace podwire::engine::nat {

// Of connections whose source keeps its address, or gets one that is only theirs.
inline constexpr api::PortRange kOwnPorts{1024, 65535};

// Makes packet `i` one with the key `leaving`, in that key's domain, which forward routes whatever its MACs
// are. False: it is dropped.
inline bool give_ends(Context& ctx, Burst& burst, std::uint16_t i, const Arrival& arrival,
                      const FlowKey& leaving) noexcept {
  auto* mbuf = burst.mbufs[i];
  auto& meta = burst.meta[i];
  const auto before = ends_of(arrival.key), after = ends_of(leaving);
  // Routers behind the node's address have addresses that mean nothing outside.
  const bool outwards = leaving.domain() == kUnderlayDomain && meta.domain != kUnderlayDomain;
  const bool to_many = header_unchecked<EtherHeader>(mbuf, 0)->destination.is_multicast();
  if (to_many || !(arrival.is_error ? translate_error(mbuf, meta, before, after, outwards)
                                    : translate(mbuf, meta, before, after))) {
    burst.drop(i, DropReason::flow_invalid);
    return false;
  }
  if (leaving.domain() != meta.domain) move_to_domain(*ctx.counters, meta, leaving.domain());
  meta.translated = true;
  save_arrival(mbuf, arrival);
  return true;
}

// The domain whose rules a connection has to obey: that of ruled_key(). `key` is that of `direction`.
inline const DomainEntry* ruling_domain(const Snapshot& tables, Direction direction, const FlowKey& key,
                                        const FlowKey& other) noexcept {
  const auto& original = direction == Direction::kOriginal ? key : other;
  const auto& reply = direction == Direction::kOriginal ? other : key;
  return tables.domain(reply.domain() == kUnderlayDomain ? original.domain() : reply.domain());
}

// A packet of a translated connection whose key `key` found it; `other` is the connection's other key. The
// way that the connection remembers is taken if it is still right. False: forward decides.
inline bool serve_known(Context& ctx, Burst& burst, std::uint16_t i, const FlowKey& key, const FlowKey& other,
                        const FlowDecision& decision, bool is_error) noexcept {
  const auto leaving = other.reversed();
  if (!give_ends(ctx, burst, i, {key, leaving.ports(), {}, is_error, {}}, leaving)) return true;
  auto& meta = burst.meta[i];
  const auto& tables = *ctx.tables;
  const auto* domain = tables.domain(meta.domain);
  if (domain == nullptr || is_error || decision.adjacency == 0) return false;
  const auto& adjacency = tables.adjacencies[decision.adjacency];
  if (adjacency.generation.get() != decision.generation) return false;
  if (adjacency.kind == Adjacency::Kind::kVtep && meta.from_tunnel) return false;
  return follow(tables, *domain, decision.adjacency, meta, true);
}

// Whether a pod's first packet leaves its domain under an address outside: it is for the gateway to route,
// and no route of the domain covers the destination. (That the node itself would get as its own is not sent.)
inline bool is_masqueraded(const Context& ctx, rte_mbuf* mbuf, const PacketMeta& meta,
                           const DomainEntry& domain, const FlowKey& key) noexcept {
  if (!domain.masquerade || meta.from_tunnel) return false;
  const auto& masquerade = *domain.masquerade;
  const auto outside = outside_ends(*ctx.tables, key).address;
  const auto destination = key.destination();
  if (outside.is_zero() || destination == outside || destination == masquerade.address(key.is_v4()) ||
      header_unchecked<EtherHeader>(mbuf, 0)->destination != domain.gateway_mac)
    return false;
  if (find_route_for(*ctx.tables, domain, destination) != 0) return false;
  return std::none_of(masquerade.except.begin(), masquerade.except.end(),
                      [&](const IpPrefix& prefix) { return prefix.contains(destination); });
}

// The domain that a pod's first packet goes on into by a route of `domain`; 0: it stays.
inline DomainId joined_domain(const Context& ctx, rte_mbuf* mbuf, const PacketMeta& meta,
                              const DomainEntry& domain, const FlowKey& key, bool aimed) noexcept {
  if (!domain.joined || meta.from_tunnel) return {};
  if (!aimed && header_unchecked<EtherHeader>(mbuf, 0)->destination != domain.gateway_mac) return {};
  return domain_into(*ctx.tables, domain, key.destination());
}

// Whether the rules of the domain that a connection goes on into allow it; those of its own do.
inline bool is_admitted(const Context& ctx, const FlowKey& leaving) noexcept {
  const auto* to = ctx.tables->domain(leaving.domain());
  return to != nullptr && to->stateful && to->rules->allows(leaving);
}

// Puts the first candidate of `picker` in `leaving` whose answers would be nobody else's. False: there is
// none.
inline bool pick_port(const Context& ctx, PortPicker& picker, FlowKey& leaving) noexcept {
  while (picker.next(leaving)) {
    if (ctx.flows == nullptr || !ctx.flows->find(leaving.reversed())) return true;
  }
  return false;
}

// Puts the address in `leaving` that its source appears under. False: there is none.
inline bool hide_source(const Context& ctx, const DomainEntry& domain, const Arrival& arrival,
                        FlowKey& leaving) noexcept {
  IpAddr address;
  if (arrival.source == Arrival::Source::kGateway) {
    if (!error_source(domain, leaving.is_v4(), address)) return false;
  } else {
    address = outside_ends(*ctx.tables, arrival.key).address;
    if (address.is_zero()) return false;
  }
  leaving.set_source(address);
  return true;
}

inline api::PortRange ports_of(const Snapshot& tables, const Arrival& arrival) noexcept {
  return arrival.source == Arrival::Source::kMasquerade ? outside_ends(tables, arrival.key).ports : kOwnPorts;
}

// A connection's first packet, which the rules of `domain` allow. `aimed`: `key` is that of a service's
// backend, and the packet has its Arrival. False: it is dropped.
inline bool begin(Context& ctx, Burst& burst, std::uint16_t i, const DomainEntry& domain, const FlowKey& key,
                  const FlowPacket& packet, bool aimed) noexcept {
  Arrival arrival;
  if (aimed) {
    arrival = load_arrival(burst.mbufs[i]);
  } else {
    arrival.key = key;
    arrival.begins = begin_flow(packet, key.protocol(), domain.strict_tcp).phase;
  }
  FlowKey leaving = key;
  const bool from_pod = arrival.key.domain() == domain.id;
  if (arrival.source == Arrival::Source::kOwn && from_pod) {
    if (is_masqueraded(ctx, burst.mbufs[i], burst.meta[i], domain, key)) {
      arrival.source = Arrival::Source::kMasquerade;
      leaving.set_domain(kUnderlayDomain);
    } else if (const auto into = joined_domain(ctx, burst.mbufs[i], burst.meta[i], domain, key, aimed)) {
      leaving.set_domain(into);
      if (!is_admitted(ctx, leaving)) {
        burst.drop(i, DropReason::policy_denied);
        return false;
      }
    }
  }
  // Whose source is hidden, or who comes from outside, is not led on into another domain: its rules know no
  // such packet.
  if ((arrival.source != Arrival::Source::kOwn || !from_pod) && domain.joined &&
      leaving.domain() == domain.id && domain_into(*ctx.tables, domain, leaving.destination())) {
    burst.drop(i, DropReason::no_route);
    return false;
  }
  if (arrival.source != Arrival::Source::kOwn) {
    PortPicker picker(arrival.key, ports_of(*ctx.tables, arrival));
    if (!hide_source(ctx, domain, arrival, leaving) || !pick_port(ctx, picker, leaving)) {
      burst.drop(i, DropReason::nat_ports_exhausted);
      return false;
    }
  } else if (!aimed && leaving.domain() == key.domain()) {
    return true;
  }
  arrival.ports = leaving.ports();
  return give_ends(ctx, burst, i, arrival, leaving);
}

// Gives a translated packet other ends outside than it has by now. False: it is dropped.
inline bool change_ends(Burst& burst, std::uint16_t i, Arrival& arrival, FlowKey& leaving,
                        const FlowKey& instead) noexcept {
  if (leaving == instead) return true;
  if (!translate(burst.mbufs[i], burst.meta[i], ends_of(leaving), ends_of(instead))) {
    burst.drop(i, DropReason::flow_invalid);
    return false;
  }
  leaving = instead;
  arrival.ports = leaving.ports();
  save_arrival(burst.mbufs[i], arrival);
  return true;
}

// Whether answers to this translated packet come from a tunnel in the domain that the packet itself came in,
// because it is joined with the one that it has gone on into.
inline bool is_answered_at_home(const PacketMeta& meta, const Arrival& arrival) noexcept {
  const auto home = arrival.key.domain();
  return arrival.source == Arrival::Source::kOwn && home != meta.domain && home != kUnderlayDomain &&
         meta.domain != kUnderlayDomain && meta.verdict == Verdict::kTunnel;
}

// Notes the connection of a translated first packet. Another worker, or another packet of this burst, may
// have taken the port since it was picked: then it gets another, or the one that its connection has.
inline FlowTable::Insertion insert(Context& ctx, Burst& burst, std::uint16_t i) noexcept {
  auto* mbuf = burst.mbufs[i];
  auto arrival = load_arrival(mbuf);
  auto leaving = leaving_key(mbuf, burst.meta[i], arrival.ports);
  if (is_answered_at_home(burst.meta[i], arrival)) leaving.set_domain(arrival.key.domain());
  const auto* ruling = ruling_domain(*ctx.tables, Direction::kOriginal, arrival.key, leaving);
  const auto generation = ruling != nullptr ? ruling->rules_generation : 0;
  PortPicker picker(arrival.key, ports_of(*ctx.tables, arrival));
  FlowTable::Insertion result;
  std::uint32_t evicted = 0;
  for (;;) {
    result = ctx.flows->insert(arrival.key, leaving.reversed(), arrival.begins, generation, ctx.now_s,
                               flow_owner(ctx, burst.meta[i].ingress));
    result.evicted = evicted += result.evicted;
    if (result.outcome != FlowTable::Insertion::Outcome::kTaken) break;
    FlowKey next = leaving;
    if (!pick_port(ctx, picker, next) || !change_ends(burst, i, arrival, leaving, next)) return result;
  }
  FlowKey other;
  if (result.outcome == FlowTable::Insertion::Outcome::kThere && ctx.flows->read_other_key(result.ref, other))
    change_ends(burst, i, arrival, leaving, other.reversed());
  return result;
}

// The same for one that was not translated, but whose answers are another connection's: one of a service's
// with the same backend and client port. It gets another port.
inline FlowTable::Insertion insert_aside(Context& ctx, Burst& burst, std::uint16_t i, const FlowKey& key,
                                         FlowPhase begins) noexcept {
  FlowKey leaving = key;
  PortPicker picker(key, kOwnPorts);
  FlowTable::Insertion none;
  none.outcome = FlowTable::Insertion::Outcome::kTaken;
  if (!pick_port(ctx, picker, leaving) ||
      !give_ends(ctx, burst, i, {key, leaving.ports(), begins, false, {}}, leaving))
    return none;
  return insert(ctx, burst, i);
}

}  // namespace podwire::engine::nat
