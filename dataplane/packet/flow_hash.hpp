// A hash of the packet's addresses, protocol and ports (fragments: without ports, so that all of a datagram
// agree). Feeds the VXLAN source port (RFC 7348 section 4.2) and the choice among multiple paths: stable per
// flow. CRC32C: two instructions for IPv4, and spread enough for both.
#pragma once

#include <nmmintrin.h>

#include "dataplane/headers/headers.hpp"
#include "dataplane/packet/access.hpp"
#include "dataplane/packet/meta.hpp"

namespace podwire::engine {

inline std::uint32_t crc_of(std::uint32_t crc, std::uint64_t word) noexcept {
  return static_cast<std::uint32_t>(_mm_crc32_u64(crc, word));
}

// Source and destination address, and source and destination port, as they lie in memory.
inline std::uint32_t flow_hash_ipv4(std::uint8_t protocol, std::uint64_t addresses,
                                    std::uint32_t ports) noexcept {
  const std::uint32_t hash = _mm_crc32_u32(crc_of(protocol, addresses), ports);
  return hash != 0 ? hash : 1;
}

// `meta` must be parsed. Never 0.
inline std::uint32_t compute_flow_hash(rte_mbuf* mbuf, const PacketMeta& meta) noexcept {
  std::uint32_t ports = 0;
  const bool has_ports = meta.ip_proto == ip_proto::kTcp || meta.ip_proto == ip_proto::kUdp;
  if (has_ports && meta.l4_offset != 0 && !meta.is_fragment)
    std::memcpy(&ports, header_unchecked<UdpHeader>(mbuf, meta.l4_offset), sizeof ports);
  if (meta.ether_type == ether_type::kIpv4) {
    std::uint64_t addresses;
    std::memcpy(&addresses, &header_unchecked<Ipv4Header>(mbuf, meta.l3_offset)->source, sizeof addresses);
    return flow_hash_ipv4(meta.ip_proto, addresses, ports);
  }
  std::uint32_t hash = meta.ip_proto;
  if (meta.ether_type == ether_type::kIpv6) {
    std::uint64_t addresses[4];
    std::memcpy(addresses, &header_unchecked<Ipv6Header>(mbuf, meta.l3_offset)->source, sizeof addresses);
    for (const auto word : addresses) hash = crc_of(hash, word);
    hash = _mm_crc32_u32(hash, ports);
  } else {
    const auto* ether = header_unchecked<EtherHeader>(mbuf, 0);
    hash = crc_of(hash, ether->source.to_u64());
    hash = crc_of(hash, ether->destination.to_u64());
  }
  return hash != 0 ? hash : 1;
}

inline std::uint32_t flow_hash(rte_mbuf* mbuf, PacketMeta& meta) noexcept {
  if (meta.flow_hash == 0) meta.flow_hash = compute_flow_hash(mbuf, meta);
  return meta.flow_hash;
}

}  // namespace podwire::engine
