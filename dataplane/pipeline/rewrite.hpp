// Rewrite: routed packets get their new MACs and lose one TTL; whatever is larger than the MTU ahead is sent
// back as an ICMP error (IPv4 without DF goes on: finalize fragments it).
#pragma once

#include <algorithm>

#include "dataplane/pipeline/routing.hpp"

namespace podwire::engine {

struct RewriteStage {
  static constexpr std::string_view kName = "rewrite";

  static void run(Context& ctx, Burst& burst) noexcept {
    MtuAhead ahead;
    for (std::uint16_t i = 0; i < burst.count; ++i) {
      auto& meta = burst.meta[i];
      if (meta.resolved || meta.generated) {
        if (meta.routed) set_macs(burst.mbufs[i], meta);
        continue;
      }
      if (meta.routed && ttl_of(burst.mbufs[i], meta) <= 1) {
        reject(ctx, burst, i, DropReason::ttl_exceeded, IcmpErrorKind::kTimeExceeded);
        continue;
      }
      const std::uint16_t mtu = ahead.of(ctx, meta);
      if (burst.mbufs[i]->pkt_len > std::uint32_t{meta.l3_offset} + mtu &&
          ip_bytes(burst.mbufs[i], meta) > mtu && !may_fragment(burst.mbufs[i], meta)) {
        reject(ctx, burst, i, DropReason::too_big, IcmpErrorKind::kTooBig, mtu);
        continue;
      }
      if (meta.routed) {
        decrement_ttl(burst.mbufs[i], meta);
        set_macs(burst.mbufs[i], meta);
      }
    }
  }

 private:
  static void set_macs(rte_mbuf* mbuf, const PacketMeta& meta) noexcept {
    auto* ether = header_unchecked<EtherHeader>(mbuf, 0);
    ether->destination = meta.new_destination;
    ether->source = meta.new_source;
  }

  // The last packet's, which most of a burst share.
  struct MtuAhead {
    Verdict verdict = Verdict::kUndecided;
    PortId egress;
    DomainId domain;
    std::uint32_t vtep = 0;
    std::uint16_t mtu = 0;

    std::uint16_t of(const Context& ctx, const PacketMeta& meta) noexcept {
      if (meta.verdict == verdict && meta.egress == egress && meta.vtep == vtep && meta.domain == domain)
        return mtu;
      verdict = meta.verdict;
      egress = meta.egress;
      domain = meta.domain;
      vtep = meta.vtep;
      return mtu = mtu_ahead(ctx, meta);
    }
  };

  // Unlimited where nothing is known (the port goes away): the egress will tell.
  static std::uint16_t mtu_ahead(const Context& ctx, const PacketMeta& meta) noexcept {
    if (meta.verdict == Verdict::kForward) {
      const auto* port = ctx.tables->port(meta.egress);
      return port != nullptr && port->mtu != 0 ? port->mtu : UINT16_MAX;
    }
    const auto* domain = ctx.tables->domain(meta.domain);
    std::uint16_t mtu = domain != nullptr && domain->mtu != 0 ? domain->mtu : UINT16_MAX;
    const auto tunnel =
        meta.vtep < ctx.tables->vteps.size() ? ctx.tables->vteps[meta.vtep].mtu : std::uint16_t{0};
    return tunnel != 0 ? std::min(mtu, tunnel) : mtu;
  }

  // The largest IP packet this becomes on the wire: a TSO packet's segments, not the whole.
  static std::uint32_t ip_bytes(rte_mbuf* mbuf, const PacketMeta& meta) noexcept {
    if (needs_segmentation(mbuf))
      return static_cast<std::uint32_t>(mbuf->l3_len + mbuf->l4_len + mbuf->tso_segsz);
    if (meta.ether_type == ether_type::kIpv4)
      return header_unchecked<Ipv4Header>(mbuf, meta.l3_offset)->total_length.host();
    return mbuf->pkt_len > meta.l3_offset ? mbuf->pkt_len - meta.l3_offset : 0;
  }

  static bool may_fragment(rte_mbuf* mbuf, const PacketMeta& meta) noexcept {
    if (!meta.routed || meta.ether_type != ether_type::kIpv4 || needs_segmentation(mbuf)) return false;
    return (header_unchecked<Ipv4Header>(mbuf, meta.l3_offset)->flags_fragment.host() &
            Ipv4Header::kDontFragment) == 0;
  }

  static std::uint8_t ttl_of(rte_mbuf* mbuf, const PacketMeta& meta) noexcept {
    if (meta.ether_type == ether_type::kIpv4) return header_unchecked<Ipv4Header>(mbuf, meta.l3_offset)->ttl;
    return header_unchecked<Ipv6Header>(mbuf, meta.l3_offset)->hop_limit;
  }

  static void decrement_ttl(rte_mbuf* mbuf, const PacketMeta& meta) noexcept {
    if (meta.ether_type == ether_type::kIpv6) {
      --header_unchecked<Ipv6Header>(mbuf, meta.l3_offset)->hop_limit;
      return;
    }
    engine::decrement_ttl(*header_unchecked<Ipv4Header>(mbuf, meta.l3_offset));
  }
};

}  // namespace podwire::engine
