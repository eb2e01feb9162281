// Gateway: what a domain's gateway answers itself. ARP and neighbour solicitations for its own addresses and,
// so that they need not be flooded, for every address it knows; echo requests to its addresses. Takes the
// answers to the engine's own probes. Stateless, in place.
#pragma once

#include <algorithm>

#include "dataplane/packet/checksum.hpp"
#include "dataplane/packet/neighbor_message.hpp"
#include "dataplane/packet/probe_frame.hpp"
#include "dataplane/packet/reply.hpp"
#include "dataplane/pipeline/routing.hpp"
#include "dataplane/tables/probe_window.hpp"

namespace podwire::engine {

struct GatewayStage {
  static constexpr std::string_view kName = "gateway";

  static void run(Context& ctx, Burst& burst) noexcept {
    const DomainEntry* domain = nullptr;
    for (std::uint16_t i = 0; i < burst.count; ++i) {
      auto& meta = burst.meta[i];
      if (meta.verdict != Verdict::kUndecided) continue;
      if (domain == nullptr || domain->id != meta.domain) domain = ctx.tables->domain(meta.domain);
      if (domain == nullptr) {
        burst.drop(i, DropReason::port_no_domain);
      } else if (meta.ether_type == ether_type::kArp) {
        serve_arp(ctx, burst, i, *domain);
      } else if (meta.ip_proto == ip_proto::kIcmp || meta.ip_proto == ip_proto::kIcmpv6) {
        serve_icmp(ctx, burst, i, *domain);
      }
    }
  }

 private:
  static void serve_arp(Context& ctx, Burst& burst, std::uint16_t i, const DomainEntry& domain) noexcept {
    auto& meta = burst.meta[i];
    const auto* arp = arp_of(burst.mbufs[i], meta);
    if (arp == nullptr) {
      burst.drop(i, DropReason::frame_too_short);
      return;
    }
    if (arp->operation.host() != ArpHeader::kRequest) {
      const auto destination = header_unchecked<EtherHeader>(burst.mbufs[i], 0)->destination;
      const bool for_us = destination == domain.gateway_mac;
      if (for_us || (destination.is_multicast() && !domain.flood)) burst.consume(i);
      return;
    }
    if (arp->sender_ip == arp->target_ip) {  // gratuitous: an announcement, nothing to answer
      if (!domain.flood) burst.consume(i);
      return;
    }
    MacAddr mac;
    const auto known = who_has(ctx, meta, domain, IpAddr(arp->target_ip), mac);
    if (known == Known::kYes && make_arp_reply(burst.mbufs[i], meta, mac)) {
      answered(ctx, meta, domain);
    } else {
      not_answered(burst, i, domain, known);
    }
  }

  static void serve_icmp(Context& ctx, Burst& burst, std::uint16_t i, const DomainEntry& domain) noexcept {
    auto* mbuf = burst.mbufs[i];
    auto& meta = burst.meta[i];
    if (is_discovery(mbuf, meta)) {
      serve_discovery(ctx, burst, i, domain);
      return;
    }
    if (meta.l4_offset == 0 || meta.is_fragment) return;
    const auto type = header_unchecked<IcmpHeader>(mbuf, meta.l4_offset)->type;
    const bool v4 = meta.ether_type == ether_type::kIpv4;
    if (type == (v4 ? icmp::kEchoReply : icmp6::kEchoReply)) take_probe_answer(ctx, burst, i, domain);
    if (type != (v4 ? icmp::kEchoRequest : icmp6::kEchoRequest)) return;
    if (v4 != (meta.ip_proto == ip_proto::kIcmp) || !is_gateway_address(domain, destination_of(mbuf, meta)))
      return;
    const auto source = source_of(mbuf, meta);
    if (source.is_zero() || source.is_multicast()) return;
    const bool link_local = !v4 && source.v6().is_link_local();
    if (!(v4 ? make_echo4_reply(mbuf, meta, domain.gateway_mac)
             : make_echo6_reply(mbuf, meta, domain.gateway_mac)))
      return;
    book(*ctx.counters, meta, &LedgerCounters::consumed);
    book(*ctx.counters, meta, &LedgerCounters::generated);
    meta.generated = true;
    const bool from_afar =
        meta.from_tunnel || meta.ingress_role == static_cast<std::uint8_t>(api::PortRole::kUplink);
    if (!from_afar || link_local) {
      return_to_sender(meta, domain);
    } else {
      header_unchecked<EtherHeader>(mbuf, 0)->destination = domain.gateway_mac;  // forward routes it
    }
  }

  // Of the engine's own probes (tables/prober.hpp), which leave by tunnels only. Whoever guesses at them
  // without having seen one is treated as before.
  [[gnu::cold, gnu::noinline]] static void take_probe_answer(Context& ctx, Burst& burst, std::uint16_t i,
                                                             const DomainEntry& domain) noexcept {
    auto* mbuf = burst.mbufs[i];
    const auto& meta = burst.meta[i];
    if (!meta.from_tunnel || ctx.tables->probes == nullptr) return;
    const auto* mark = header_at<ProbeMark>(mbuf, std::uint32_t{meta.l4_offset} + sizeof(IcmpHeader));
    const auto slot =
        static_cast<std::uint16_t>(header_unchecked<IcmpHeader>(mbuf, meta.l4_offset)->rest.host() & 0xffff);
    if (mark == nullptr || !ctx.tables->probes->expects(slot, mark->nonce())) return;
    if (!is_gateway_address(domain, destination_of(mbuf, meta))) return;
    Event event;
    event.kind = Event::Kind::kProbeAnswer;
    event.domain = meta.domain;
    event.address = source_of(mbuf, meta);
    event.probe_slot = slot;
    event.probe_nonce = mark->nonce();
    event.intact = verify_l4(mbuf, meta.l3_offset, meta.l4_offset, meta.ip_proto);
    event.tsc = ctx.now_tsc;
    ctx.events->push(event);
    burst.consume(i);
  }

  static void serve_discovery(Context& ctx, Burst& burst, std::uint16_t i,
                              const DomainEntry& domain) noexcept {
    auto* mbuf = burst.mbufs[i];
    auto& meta = burst.meta[i];
    const auto discovery = discovery_of(mbuf, meta);
    const auto destination = header_unchecked<EtherHeader>(mbuf, 0)->destination;
    if (!discovery || discovery->type != icmp6::kNeighborSolicitation) {
      // Advertisements and router discovery reach the other members where there is flooding, and nobody else.
      if (destination == domain.gateway_mac) burst.consume(i);
      return;
    }
    if (discovery->source.is_zero()) {  // duplicate address detection: owners defend their address themselves
      if (is_gateway_address(domain, IpAddr(discovery->target)) &&
          make_neighbor_advertisement(mbuf, meta, domain.gateway_mac,
                                      icmp6::kNaRouter | icmp6::kNaOverride)) {
        answered(ctx, meta, domain);
      } else if (!domain.flood) {
        burst.consume(i);
      }
      return;
    }
    MacAddr mac;
    const auto known = who_has(ctx, meta, domain, IpAddr(discovery->target), mac);
    const std::uint32_t router = mac == domain.gateway_mac ? icmp6::kNaRouter : 0;
    if (known == Known::kYes && make_neighbor_advertisement(mbuf, meta, mac, router | icmp6::kNaOverride)) {
      answered(ctx, meta, domain);
    } else {
      not_answered(burst, i, domain, known);
    }
  }

  enum class Known { kYes, kNo, kSelf };

  // Whose MAC answers for `target`: the gateway's for its own addresses and for whatever is routed elsewhere,
  // the endpoint's own for an endpoint.
  static Known who_has(const Context& ctx, const PacketMeta& meta, const DomainEntry& domain,
                       const IpAddr& target, MacAddr& mac) noexcept {
    if (is_gateway_address(domain, target)) {
      mac = domain.gateway_mac;
      return Known::kYes;
    }
    if (target.is_v6() && target.v6().is_link_local()) return Known::kNo;
    const auto slot = find_route_for(*ctx.tables, domain, target);
    if (slot == 0) return Known::kNo;
    const auto& adjacency = ctx.tables->adjacencies[slot];
    if (adjacency.kind == Adjacency::Kind::kOnLink || adjacency.kind == Adjacency::Kind::kBlackhole)
      return Known::kNo;
    if (!adjacency.endpoint) {
      mac = domain.gateway_mac;
      return Known::kYes;
    }
    if (adjacency.kind == Adjacency::Kind::kPort && adjacency.port == meta.ingress) return Known::kSelf;
    mac = adjacency.mac;
    return Known::kYes;
  }

  static void not_answered(Burst& burst, std::uint16_t i, const DomainEntry& domain, Known known) noexcept {
    if (known == Known::kSelf) {
      burst.consume(i);
    } else if (!domain.flood) {
      burst.drop(i, DropReason::arp_target_unknown);
    }
  }

  static bool is_gateway_address(const DomainEntry& domain, const IpAddr& address) noexcept {
    if (address.is_v4())
      return std::find(domain.gateways4.begin(), domain.gateways4.end(), address.v4()) !=
             domain.gateways4.end();
    return std::find(domain.gateways6.begin(), domain.gateways6.end(), address.v6()) !=
           domain.gateways6.end();
  }

  static void answered(Context& ctx, PacketMeta& meta, const DomainEntry& domain) noexcept {
    book(*ctx.counters, meta, &LedgerCounters::consumed);
    book(*ctx.counters, meta, &LedgerCounters::generated);
    meta.generated = true;
    return_to_sender(meta, domain);
  }

  // By the way it came; the frame's MACs are right already.
  static void return_to_sender(PacketMeta& meta, const DomainEntry& domain) noexcept {
    meta.resolved = true;
    if (!meta.from_tunnel) {
      meta.verdict = Verdict::kForward;
      meta.egress = meta.ingress;
    } else if (meta.vtep != 0) {
      meta.verdict = Verdict::kTunnel;
      meta.vni = domain.vni;
    }
    // From a tunnel whose sender is no peer yet: forward finds the learned MAC, or drops.
  }
};

}  // namespace podwire::engine
