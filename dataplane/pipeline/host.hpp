// Host: what arrives on an uplink and is no tunnel packet of ours belongs to the node itself and goes to the
// host port; what the node sends goes to the uplink, or into the domain with host_access when it is addressed
// to that domain's gateway. ARP and ND from the underlay are copied to the main thread, which resolves next
// hops itself.
#pragma once

#include "dataplane/packet/neighbor_message.hpp"
#include "dataplane/packet/reply.hpp"
#include "dataplane/pipeline/accounting.hpp"
#include "dataplane/pipeline/context.hpp"

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
  static void send(PacketMeta& meta, PortId egress) noexcept {
    meta.verdict = Verdict::kForward;
    meta.egress = egress;
    meta.resolved = true;
  }

  static void from_underlay(Context& ctx, Burst& burst, std::uint16_t i) noexcept {
    auto& meta = burst.meta[i];
    report_neighbor(ctx, burst.mbufs[i], meta);
    if (ctx.tables->host_port) {
      send(meta, ctx.tables->host_port);
    } else {
      answer_for_vtep(ctx, burst, i);
    }
  }

  // Without a host port nobody else would answer for the VTEP addresses.
  static void answer_for_vtep(Context& ctx, Burst& burst, std::uint16_t i) noexcept {
    auto* mbuf = burst.mbufs[i];
    auto& meta = burst.meta[i];
    const auto* port = ctx.tables->port(meta.ingress);
    if (const auto* arp = arp_of(mbuf, meta)) {
      if (port == nullptr || arp->operation.host() != ArpHeader::kRequest ||
          !is_local_vtep(ctx, IpAddr(arp->target_ip))) {
        burst.consume(i);
        return;
      }
      if (!make_arp_reply(mbuf, meta, port->device->mac())) {
        burst.consume(i);
        return;
      }
    } else if (const auto discovery = discovery_of(mbuf, meta)) {
      const bool ours =
          discovery->type == icmp6::kNeighborSolicitation && is_local_vtep(ctx, IpAddr(discovery->target));
      if (port == nullptr || !ours) {
        burst.consume(i);
        return;
      }
      if (!make_neighbor_advertisement(mbuf, meta, port->device->mac(), icmp6::kNaOverride)) {
        burst.consume(i);
        return;
      }
    } else {
      burst.drop(i, DropReason::no_host_port);
      return;
    }
    book(*ctx.counters, meta, &LedgerCounters::consumed);
    book(*ctx.counters, meta, &LedgerCounters::generated);
    meta.generated = true;
    if (!tag(mbuf, meta, port->vlan)) {
      burst.drop(i, DropReason::encap_no_headroom);
      return;
    }
    send(meta, meta.ingress);
  }

  static bool is_local_vtep(const Context& ctx, const IpAddr& address) noexcept {
    for (const auto& vtep : ctx.tables->local_vteps) {
      if (vtep.address == address) return true;
    }
    return false;
  }

  static void from_node(Context& ctx, Burst& burst, std::uint16_t i) noexcept {
    auto* mbuf = burst.mbufs[i];
    auto& meta = burst.meta[i];
    const auto* domain = ctx.tables->domain(ctx.tables->host_domain);
    if (domain != nullptr && for_gateway(mbuf, meta, *domain)) {
      move_to_domain(*ctx.counters, meta, domain->id);
      return;
    }
    if (ctx.tables->uplinks.empty()) {
      burst.drop(i, DropReason::no_route);
      return;
    }
    const auto* uplink = ctx.tables->port(ctx.tables->uplinks.front());
    if (uplink == nullptr || !tag(mbuf, meta, uplink->vlan)) {
      burst.drop(i, uplink == nullptr ? DropReason::port_gone : DropReason::encap_no_headroom);
      return;
    }
    send(meta, uplink->id);
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

  // Inserts the uplink's 802.1Q tag, if it has one. False without headroom.
  static bool tag(rte_mbuf* mbuf, PacketMeta& meta, std::uint16_t vlan) noexcept {
    if (vlan == 0) return true;
    auto* start = reinterpret_cast<std::uint8_t*>(rte_pktmbuf_prepend(mbuf, sizeof(VlanTag)));
    if (start == nullptr) return false;
    std::memmove(start, start + sizeof(VlanTag), 2 * sizeof(MacAddr));
    auto* tag_at = reinterpret_cast<VlanTag*>(start + 2 * sizeof(MacAddr));
    tag_at->tpid = Be16(ether_type::kVlan);
    tag_at->tci = Be16(vlan);
    meta.l3_offset = static_cast<std::uint16_t>(meta.l3_offset + sizeof(VlanTag));
    if (meta.l4_offset != 0) meta.l4_offset = static_cast<std::uint16_t>(meta.l4_offset + sizeof(VlanTag));
    if (needs_l4_checksum(mbuf)) mbuf->l2_len += sizeof(VlanTag);
    return true;
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
