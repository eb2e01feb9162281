// The node's own traffic on its way between the uplink and the host port, past all domains. What host and
// flow stage share.
#pragma once

#include "dataplane/headers/headers.hpp"
#include "dataplane/packet/access.hpp"
#include "dataplane/packet/offload.hpp"
#include "dataplane/pipeline/context.hpp"

namespace podwire::engine::node_path {

inline void send(PacketMeta& meta, PortId egress) noexcept {
  meta.verdict = Verdict::kForward;
  meta.egress = egress;
  meta.resolved = true;
}

// Inserts the uplink's 802.1Q tag, if it has one. False without headroom.
inline bool tag(rte_mbuf* mbuf, PacketMeta& meta, std::uint16_t vlan) noexcept {
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

inline void to_uplink(Context& ctx, Burst& burst, std::uint16_t i) noexcept {
  auto& meta = burst.meta[i];
  if (ctx.tables->uplinks.empty()) {
    burst.drop(i, DropReason::no_route);
    return;
  }
  const auto* uplink = ctx.tables->port(ctx.tables->uplinks.front());
  if (uplink == nullptr || !tag(burst.mbufs[i], meta, uplink->vlan)) {
    burst.drop(i, uplink == nullptr ? DropReason::port_gone : DropReason::encap_no_headroom);
    return;
  }
  send(meta, uplink->id);
}

// An IP packet that arrived on uplink or host port and turned out to be no connection's of a pod.
inline void pass(Context& ctx, Burst& burst, std::uint16_t i) noexcept {
  auto& meta = burst.meta[i];
  if (meta.ingress_role != static_cast<std::uint8_t>(api::PortRole::kUplink)) {
    to_uplink(ctx, burst, i);
  } else if (ctx.tables->host_port) {
    send(meta, ctx.tables->host_port);
  } else {
    burst.drop(i, DropReason::no_host_port);
  }
}

}  // namespace podwire::engine::node_path
