// Guard: a pod sends from its own MAC and IP addresses only (and the allowed extra pairs), and claims no
// other's in ARP or neighbour discovery. Domains that learn let a port without endpoints send as it likes. An
// endpoint with DHCP may ask for its address before it has it. What may pass gets the DSCP of its domain.
#pragma once

#include <algorithm>

#include "dataplane/packet/host_config.hpp"
#include "dataplane/packet/marking.hpp"
#include "dataplane/packet/neighbor_message.hpp"
#include "dataplane/pipeline/context.hpp"

namespace podwire::engine {

struct GuardStage {
  static constexpr std::string_view kName = "guard";

  static void run(Context& ctx, Burst& burst) noexcept {
    const PortEntry* port = nullptr;
    const DomainEntry* domain = nullptr;
    bool marks = false;
    for (std::uint16_t i = 0; i < burst.count; ++i) {
      const auto& meta = burst.meta[i];
      if (meta.ingress_role != static_cast<std::uint8_t>(api::PortRole::kPod)) continue;
      if (i == 0 || meta.ingress != burst.meta[i - 1].ingress || meta.domain != burst.meta[i - 1].domain ||
          port == nullptr) {
        port = ctx.tables->port(meta.ingress);
        domain = ctx.tables->domain(meta.domain);
        marks = domain != nullptr && domain->marks();
      }
      if (port == nullptr || domain == nullptr) {
        burst.drop(i, DropReason::port_no_domain);
        continue;
      }
      DropReason reason{};
      if (!owns4(burst.mbufs[i], meta, *port) && !(port->macs.empty() && domain->learning) &&
          !allowed(burst.mbufs[i], meta, *port, reason) && !asks(burst.mbufs[i], meta, *port))
        burst.drop(i, reason);
      else if (marks) [[unlikely]]
        mark_traffic_class(burst.mbufs[i], meta, domain->dscp_kept, domain->dscp_set);
    }
  }

 private:
  // The usual case, in few words: an IPv4 packet from one of the port's own addresses.
  static bool owns4(rte_mbuf* mbuf, const PacketMeta& meta, const PortEntry& port) noexcept {
    if (meta.ether_type != ether_type::kIpv4) return false;
    const auto mac = header_unchecked<EtherHeader>(mbuf, 0)->source.to_u64();
    std::uint32_t address;
    std::memcpy(&address, &header_unchecked<Ipv4Header>(mbuf, meta.l3_offset)->source, sizeof address);
    for (const auto& source : port.sources4) {
      if (source.mac == mac && (address & source.mask) == source.network) return true;
    }
    return false;
  }

  // Out of line: it is for the few packets that are not allowed.
  [[gnu::cold, gnu::noinline]] static bool asks(rte_mbuf* mbuf, const PacketMeta& meta,
                                                const PortEntry& port) noexcept {
    const auto mac = header_unchecked<EtherHeader>(mbuf, 0)->source;
    return port.lease(mac) != nullptr && asks_for_address(mbuf, meta, mac);
  }

  static bool allowed(rte_mbuf* mbuf, const PacketMeta& meta, const PortEntry& port,
                      DropReason& reason) noexcept {
    const auto mac = header_unchecked<EtherHeader>(mbuf, 0)->source;
    reason = DropReason::spoofed_mac;
    if (std::find(port.macs.begin(), port.macs.end(), mac) == port.macs.end()) return false;
    if (port.sources.empty()) return true;
    if (meta.ether_type == ether_type::kIpv4) [[likely]] {
      reason = DropReason::spoofed_ip;
      return owns(port, mac, IpAddr(header_unchecked<Ipv4Header>(mbuf, meta.l3_offset)->source));
    }
    if (meta.ether_type == ether_type::kIpv6) return allowed_ipv6(mbuf, meta, port, mac, reason);
    if (meta.ether_type == ether_type::kArp) {
      reason = DropReason::spoofed_arp;
      const auto* arp = arp_of(mbuf, meta);
      if (arp == nullptr || arp->sender_mac != mac) return false;
      return arp->sender_ip.is_zero() || owns(port, mac, IpAddr(arp->sender_ip));  // zero: a probe (RFC 5227)
    }
    return true;
  }

  static bool allowed_ipv6(rte_mbuf* mbuf, const PacketMeta& meta, const PortEntry& port, const MacAddr& mac,
                           DropReason& reason) noexcept {
    const auto source = header_unchecked<Ipv6Header>(mbuf, meta.l3_offset)->source;
    reason = DropReason::spoofed_ip;
    // Unspecified is right for duplicate address detection and MLD before an address exists; it is never
    // routed.
    if (!source.is_zero() && !owns_or_link_local(port, mac, source)) return false;
    if (!is_discovery(mbuf, meta)) return true;
    const auto discovery = discovery_of(mbuf, meta);
    if (!discovery) return true;  // router solicitation, or malformed and useless to whoever gets it
    reason = DropReason::spoofed_arp;
    if (discovery->link_layer && *discovery->link_layer != mac) return false;
    return discovery->type == icmp6::kNeighborSolicitation ||
           owns_or_link_local(port, mac, discovery->target);
  }

  static bool owns_or_link_local(const PortEntry& port, const MacAddr& mac, const Ipv6& address) noexcept {
    return owns(port, mac, IpAddr(address)) || address == Ipv6::link_local_of(mac);
  }

  static bool owns(const PortEntry& port, const MacAddr& mac, const IpAddr& address) noexcept {
    for (const auto& source : port.sources) {
      if (source.mac == mac && source.address.contains(address)) return true;
    }
    return false;
  }
};

}  // namespace podwire::engine
