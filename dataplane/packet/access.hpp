// Checked access to packet bytes: nothing is read before its length is checked. Pointers are into the first
// segment; headers that straddle segments are refused (ports deliver at least kMinContiguous bytes, or the
// whole packet, in the first one).
#pragma once

#include <rte_mbuf.h>

#include <cstdint>

namespace podwire::engine {

// Ports guarantee this many contiguous bytes at the front (or the whole packet when shorter): outer Ethernet
// with VLAN, IPv6, UDP, VXLAN, inner Ethernet, IPv6 with some extension headers, TCP with options.
inline constexpr std::uint16_t kMinContiguous = 256;

// The header of type T at `offset`, or null when it does not lie whole in the first segment.
template <class T>
inline T* header_at(rte_mbuf* mbuf, std::uint32_t offset) noexcept {
  static_assert(alignof(T) == 1);
  if (offset + sizeof(T) > mbuf->data_len) [[unlikely]]
    return nullptr;
  return rte_pktmbuf_mtod_offset(mbuf, T*, offset);
}

// The same where an earlier stage has checked the length.
template <class T>
inline T* header_unchecked(rte_mbuf* mbuf, std::uint32_t offset) noexcept {
  static_assert(alignof(T) == 1);
  return rte_pktmbuf_mtod_offset(mbuf, T*, offset);
}

}  // namespace podwire::engine
