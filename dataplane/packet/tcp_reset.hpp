// The TCP reset that answers a segment (RFC 9293 section 3.10.7.1), made in place of it. Called by workers;
// allocates nothing.
#pragma once

#include <rte_mbuf.h>

#include "dataplane/headers/headers.hpp"
#include "dataplane/packet/meta.hpp"

namespace podwire::engine {

// Turns the TCP segment at meta.l4_offset into the reset that its sender gets from whom it was for: checksums
// complete, TTL 64, frame from `our_mac` to the sender. Offload work of the packet is forgotten. False,
// packet unchanged: it is a reset itself, a fragment, or has IP options or extension headers.
[[nodiscard]] bool make_tcp_reset(rte_mbuf* mbuf, PacketMeta& meta, const MacAddr& our_mac) noexcept;

}  // namespace podwire::engine
