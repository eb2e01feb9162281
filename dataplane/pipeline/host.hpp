// Host: what arrives on an uplink and is no tunnel packet of ours belongs to the node itself and goes to the
// host port; what the node sends goes to the uplink, or into the domain with host_access when it is addressed
// to that domain's gateway. What either brings for the subnet of a domain that is reached without tunnels
// goes into that domain. ARP and ND from the underlay are copied to the main thread, which resolves next
// hops itself; questions for floating addresses are answered. Nobody on the underlay has the node's own
// addresses. While connections are translated, IP packets are left to the flow stage, which knows whether
// they are such a connection's.
#pragma once

#include <algorithm>

#include "dataplane/packet/neighbor_message.hpp"
#include "dataplane/packet/reply.hpp"
#include "dataplane/pipeline/accounting.hpp"
#include "dataplane/pipeline/context.hpp"
#include "dataplane/pipeline/node_path.hpp"
#include "dataplane/pipeline/routing.hpp"
#include "dataplane/tables/outside_table.hpp"
#include "dataplane/tables/own_addresses.hpp"
#include "dataplane/tables/routed_prefixes.hpp"

namespace podwire::engine {

struct HostStage {
  static constexpr std::string_view kName = "host";

  static void run(Context& ctx, Burst& burst) noexcept {
    for (std::uint16_t i = 0; i < burst.count; ++i) {
      const auto& meta = burst.meta[i];
      if (meta.from_tunnel || meta.ingress_role == static_cast<std::uint8_t>(api::PortRole::kPod)) continue;
      if (meta.ingress_role == static_cast<std::uint8_t>(api::PortRole::kUplink)) {
        from_underlay(ctx, burst, i);
      } else {
        from_node(ctx, burst, i);
      }
    }
  }

 private:
  static void from_underlay(Context& ctx, Burst& burst, std::uint16_t i) noexcept {
    auto& meta = burst.meta[i];
    if (ctx.tables->own != nullptr && claims_to_be_the_node(*ctx.tables->own, burst.mbufs[i], meta))
        [[unlikely]] {
      burst.drop(i, DropReason::martian_source);
      return;
    }
    report_neighbor(ctx, burst.mbufs[i], meta);
    if (ctx.tables->outside != nullptr && answer_for_floating(ctx, burst, i)) return;
    if (ctx.tables->routed != nullptr && enter(ctx, burst, i)) return;
    if (may_be_translated(ctx, burst.mbufs[i], meta)) return;
    if (ctx.tables->host_port) {
      node_path::send(meta, ctx.tables->host_port);
    } else {
      answer_for_vtep(ctx, burst, i);
    }
  }

  // The node's own programs have connections with such keys, and a key does not tell where its packets come
  // in (RFC 1812 section 5.3.8).
  static bool claims_to_be_the_node(const OwnAddresses& own, rte_mbuf* mbuf,
                                    const PacketMeta& meta) noexcept {
    if (meta.ether_type == ether_type::kIpv4) {
      const auto source = header_unchecked<Ipv4Header>(mbuf, meta.l3_offset)->source;
      std::uint32_t raw;
      std::memcpy(&raw, source.bytes.data(), sizeof raw);
      return own.may_contain4(raw) && own.contains(IpAddr(source));
    }
    return meta.ether_type == ether_type::kIpv6 &&
           own.contains(IpAddr(header_unchecked<Ipv6Header>(mbuf, meta.l3_offset)->source));
  }

  // Without a host port nobody else would answer for the addresses of VTEPs and of masquerade.
  static void answer_for_vtep(Context& ctx, Burst& burst, std::uint16_t i) noexcept {
    auto& meta = burst.meta[i];
    IpAddr target;
    if (arp_of(burst.mbufs[i], meta) == nullptr && !discovery_of(burst.mbufs[i], meta)) {
      burst.drop(i, DropReason::no_host_port);
    } else if (asks_for(burst.mbufs[i], meta, target) && is_ours(ctx, target)) {
      answer(ctx, burst, i);
    } else {
      burst.consume(i);
    }
  }

  // The node does not have floating addresses, so nobody else answers for them, neither to the underlay nor
  // to the node's own programs. False: it is no question for one.
  [[gnu::noinline]] static bool answer_for_floating(Context& ctx, Burst& burst, std::uint16_t i) noexcept {
    IpAddr target;
    if (!asks_for(burst.mbufs[i], burst.meta[i], target) || ctx.tables->outside->behind(target) == nullptr)
      return false;
    answer(ctx, burst, i);
    return true;
  }

  // Whether it is an ARP request or neighbour solicitation, and for which address.
  static bool asks_for(rte_mbuf* mbuf, const PacketMeta& meta, IpAddr& target) noexcept {
    if (const auto* arp = arp_of(mbuf, meta)) {
      target = IpAddr(arp->target_ip);
      return arp->operation.host() == ArpHeader::kRequest;
    }
    const auto discovery = discovery_of(mbuf, meta);
    if (!discovery || discovery->type != icmp6::kNeighborSolicitation) return false;
    target = IpAddr(discovery->target);
    return true;
  }

  // Makes the question for an address the answer that it is at the port that asks.
  static void answer(Context& ctx, Burst& burst, std::uint16_t i) noexcept {
    auto* mbuf = burst.mbufs[i];
    auto& meta = burst.meta[i];
    const auto* port = ctx.tables->port(meta.ingress);
    const bool made = port != nullptr && (meta.ether_type == ether_type::kArp
                                              ? make_arp_reply(mbuf, meta, port->device->mac())
                                              : make_neighbor_advertisement(mbuf, meta, port->device->mac(),
                                                                            icmp6::kNaOverride));
    if (!made) {
      burst.consume(i);
      return;
    }
    book(*ctx.counters, meta, &LedgerCounters::consumed);
    book(*ctx.counters, meta, &LedgerCounters::generated);
    meta.generated = true;
    if (!node_path::tag(mbuf, meta, port->vlan)) {
      burst.drop(i, DropReason::encap_no_headroom);
      return;
    }
    node_path::send(meta, meta.ingress);
  }

  static bool is_ours(const Context& ctx, const IpAddr& address) noexcept {
    const auto& outside = ctx.tables->outside_addresses;
    if (std::find(outside.begin(), outside.end(), address) != outside.end()) return true;
    for (const auto& vtep : ctx.tables->local_vteps) {
      if (vtep.address == address) return true;
    }
    return false;
  }

  static void from_node(Context& ctx, Burst& burst, std::uint16_t i) noexcept {
    auto* mbuf = burst.mbufs[i];
    auto& meta = burst.meta[i];
    // All gateways have one MAC: where the packet goes tells more.
    if (ctx.tables->routed != nullptr && enter(ctx, burst, i)) return;
    const auto* domain = ctx.tables->domain(ctx.tables->host_domain);
    if (domain != nullptr && for_gateway(mbuf, meta, *domain)) {
      move_to_domain(*ctx.counters, meta, domain->id);
      return;
    }
    if (ctx.tables->outside != nullptr && answer_for_floating(ctx, burst, i)) return;
    if (ctx.tables->routed != nullptr && asks_gateway(ctx, mbuf, meta)) return;
    if (!may_be_translated(ctx, mbuf, meta)) node_path::to_uplink(ctx, burst, i);
  }

  // A packet to the router that this node is, for a pod that is reached without a tunnel: from here on it is
  // one to the gateway of the pod's domain. From the uplink none comes from this node's own part of that.
  static bool enter(Context& ctx, Burst& burst, std::uint16_t i) noexcept {
    auto* mbuf = burst.mbufs[i];
    auto& meta = burst.meta[i];
    DomainId id;
    if (meta.ether_type == ether_type::kIpv4) {
      id = ctx.tables->routed->find(header_unchecked<Ipv4Header>(mbuf, meta.l3_offset)->destination);
    } else if (meta.ether_type == ether_type::kIpv6) {
      id = ctx.tables->routed->find(header_unchecked<Ipv6Header>(mbuf, meta.l3_offset)->destination);
    }
    const auto* domain = ctx.tables->domain(id);
    if (domain == nullptr) return false;
    auto* ether = header_unchecked<EtherHeader>(mbuf, 0);
    if (meta.ingress_role == static_cast<std::uint8_t>(api::PortRole::kUplink)) {
      const auto* port = ctx.tables->port(meta.ingress);
      if (port == nullptr || ether->destination != port->mac) return false;  // another router's
      if (is_from_here(*ctx.tables, find_route_for(*ctx.tables, *domain, source_of(mbuf, meta)))) {
        burst.drop(i, DropReason::spoofed_ip);
        return true;
      }
    }
    ether->destination = domain->gateway_mac;
    move_to_domain(*ctx.counters, meta, id);
    return true;
  }

  // The node asks for the MAC of such a domain's gateway.
  static bool asks_gateway(const Context& ctx, rte_mbuf* mbuf, PacketMeta& meta) noexcept {
    DomainId id;
    if (const auto* arp = arp_of(mbuf, meta)) {
      id = ctx.tables->routed->find(arp->target_ip);
    } else if (is_discovery(mbuf, meta)) {
      const auto* message = header_at<NeighborMessage>(mbuf, meta.l4_offset);
      if (message != nullptr) id = ctx.tables->routed->find(message->target);
    }
    const auto* domain = ctx.tables->domain(id);
    if (domain == nullptr || !for_gateway(mbuf, meta, *domain)) return false;
    move_to_domain(*ctx.counters, meta, id);
    return true;
  }

  // The flow stage finds out, and lets it go the node's way if it is not.
  static bool may_be_translated(const Context& ctx, rte_mbuf* mbuf, const PacketMeta& meta) noexcept {
    if (!ctx.tables->translates) [[likely]]
      return false;
    return (meta.ether_type == ether_type::kIpv4 || meta.ether_type == ether_type::kIpv6) &&
           !is_discovery(mbuf, meta);
  }

  // Addressed to the domain's gateway: by MAC, or an ARP request or solicitation for one of its addresses.
  static bool for_gateway(rte_mbuf* mbuf, const PacketMeta& meta, const DomainEntry& domain) noexcept {
    if (header_unchecked<EtherHeader>(mbuf, 0)->destination == domain.gateway_mac) return true;
    if (const auto* arp = arp_of(mbuf, meta)) {
      for (const auto& gateway : domain.gateways4) {
        if (arp->target_ip == gateway) return true;
      }
      return false;
    }
    if (!is_discovery(mbuf, meta)) return false;
    const auto* message = header_at<NeighborMessage>(mbuf, meta.l4_offset);
    if (message == nullptr || message->icmp.type != icmp6::kNeighborSolicitation) return false;
    for (const auto& gateway : domain.gateways6) {
      if (message->target == gateway) return true;
    }
    return false;
  }

  static void report_neighbor(Context& ctx, rte_mbuf* mbuf, const PacketMeta& meta) noexcept {
    Event event;
    event.kind = Event::Kind::kNeighbor;
    event.port = meta.ingress;
    event.domain = meta.domain;
    if (const auto* arp = arp_of(mbuf, meta)) {
      if (arp->sender_ip.is_zero() || arp->sender_mac.is_multicast() || arp->sender_mac.is_zero()) return;
      event.address = IpAddr(arp->sender_ip);
      event.mac = arp->sender_mac;
      event.solicited = arp->operation.host() == ArpHeader::kReply;
    } else if (is_discovery(mbuf, meta)) {
      const auto discovery = discovery_of(mbuf, meta);
      if (!discovery || !discovery->link_layer || discovery->link_layer->is_multicast()) return;
      const bool advertisement = discovery->type == icmp6::kNeighborAdvertisement;
      event.address = IpAddr(advertisement ? discovery->target : discovery->source);
      event.mac = *discovery->link_layer;
      event.solicited = discovery->solicited;
      if (event.address.is_zero()) return;
    } else {
      return;
    }
    ctx.events->push(event);
  }
};

}  // namespace podwire::engine
