// A hash of the packet's addresses, protocol and ports (fragments: without ports, so that all of a datagram
// agree). Feeds the VXLAN source port (RFC 7348 section 4.2) and the choice among multiple paths: stable per
// flow.
#pragma once

#include "dataplane/headers/headers.hpp"
#include "dataplane/packet/access.hpp"
#include "dataplane/packet/meta.hpp"
#include "dataplane/tables/lookup_table.hpp"

namespace podwire::engine {

// `meta` must be parsed. Never 0.
inline std::uint32_t compute_flow_hash(rte_mbuf* mbuf, const PacketMeta& meta) noexcept {
  std::uint64_t h = meta.ip_proto;
  if (meta.ether_type == ether_type::kIpv4) {
    std::uint64_t addresses;
    std::memcpy(&addresses, &header_unchecked<Ipv4Header>(mbuf, meta.l3_offset)->source, sizeof addresses);
    h = mix(h ^ addresses);
  } else if (meta.ether_type == ether_type::kIpv6) {
    std::uint64_t addresses[4];
    std::memcpy(addresses, &header_unchecked<Ipv6Header>(mbuf, meta.l3_offset)->source, sizeof addresses);
    h = mix(h ^ addresses[0] ^ mix(addresses[1] ^ mix(addresses[2] ^ mix(addresses[3]))));
  } else {
    const auto* ether = header_unchecked<EtherHeader>(mbuf, 0);
    h = mix(ether->source.to_u64() ^ mix(ether->destination.to_u64()));
  }
  const bool has_ports = meta.ip_proto == ip_proto::kTcp || meta.ip_proto == ip_proto::kUdp;
  if (has_ports && meta.l4_offset != 0 && !meta.is_fragment) {
    std::uint32_t ports;
    std::memcpy(&ports, header_unchecked<UdpHeader>(mbuf, meta.l4_offset), sizeof ports);
    h = mix(h ^ (std::uint64_t{ports} << 8));
  }
  const auto folded = static_cast<std::uint32_t>(h ^ (h >> 32));
  return folded != 0 ? folded : 1;
}

inline std::uint32_t flow_hash(rte_mbuf* mbuf, PacketMeta& meta) noexcept {
  if (meta.flow_hash == 0) meta.flow_hash = compute_flow_hash(mbuf, meta);
  return meta.flow_hash;
}

}  // namespace podwire::engine
