// ICMP and ICMPv6 errors made in place from the packet they are about (RFC 792, RFC 1122 section 3.2.2, RFC
// 4443). Called by workers; allocates nothing. The Ethernet frame is turned round towards its sender.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>

#include "dataplane/headers/headers.hpp"
#include "dataplane/packet/meta.hpp"

namespace podwire::engine {

// Turns the IPv4 packet at meta.l3_offset, its TTL as received, into an ICMP error from `our_address`: 576
// bytes at most, TTL 64, checksums complete, frame from `our_mac` to the sender. `rest` is the header's last
// 32 bits (for fragmentation needed: the next hop's MTU, RFC 1191). Offload work of the packet is forgotten.
// In meta it sets l4_offset, ip_proto and is_fragment; verdict and the like are the caller's. False, packet
// unchanged, where no error may be sent (RFC 1122 section 3.2.2: about ICMP errors, later fragments,
// multicast, broadcast, sources that are no host) or the packet has no IPv4 header or no headroom.
[[nodiscard]] bool make_icmp4_error(rte_mbuf* mbuf, PacketMeta& meta, const MacAddr& our_mac,
                                    const Ipv4& our_address, std::uint8_t type, std::uint8_t code,
                                    std::uint32_t rest = 0) noexcept;

// The same for IPv6: 1280 bytes at most, `rest` is the MTU for packet too big. False by RFC 4443 section 2.4
// (e); packet too big alone is sent about multicast.
[[nodiscard]] bool make_icmp6_error(rte_mbuf* mbuf, PacketMeta& meta, const MacAddr& our_mac,
                                    const Ipv6& our_address, std::uint8_t type, std::uint8_t code,
                                    std::uint32_t rest = 0) noexcept;

}  // namespace podwire::engine
