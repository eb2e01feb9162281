// The ready-made outer headers of a remote VTEP (RFC 7348 section 5): what of a VXLAN packet does not depend
// on the packet. Pure functions; called by the main thread.
#pragma once

#include <cstdint>

#include "dataplane/tables/snapshot.hpp"

namespace podwire::engine {

// The way to a VTEP over the underlay.
struct OuterPath {
  MacAddr source_mac;       // the uplink's
  MacAddr destination_mac;  // the next hop's
  std::uint16_t vlan = 0;   // 802.1Q id, 0: untagged
  IpAddr source;            // a local VTEP's, of entry.address's family
};

// Bytes of a tunnel packet's IP datagram that are not the inner IP packet: outer IP, UDP, VXLAN, inner
// Ethernet.
constexpr std::uint16_t vxlan_overhead(bool v6) {
  return v6 ? 70 : 50;
}

// Fills header, header_bytes, l3_offset, v6 and checksum_base from `path`, entry.address and entry.udp_port.
void build_header(VtepEntry& entry, const OuterPath& path);

// The same for a next hop of packets without a tunnel: what comes before the Ethernet type.
void build_direct_header(VtepEntry& entry, const OuterPath& path);

}  // namespace podwire::engine
