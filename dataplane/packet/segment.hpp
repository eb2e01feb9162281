// TCP segmentation in software, for egress that cannot do it: one packet with segmentation work
// (packet/offload.hpp) becomes packets of tso_segsz payload with complete checksums. Called by workers;
// allocates from the pool only.
#pragma once

#include <rte_mbuf.h>
#include <rte_mempool.h>

#include <array>
#include <cstdint>
#include <span>

namespace podwire::engine {

// Smallest tso_segsz taken: Linux leaves at least 8 bytes of data in a segment, whatever the peer's MSS.
inline constexpr std::uint16_t kMinSegmentPayload = 8;
// Most pieces one packet becomes: 64 KiB with Linux's smallest MSS (48 bytes), or in fragments of a 68-byte
// MTU.
inline constexpr std::uint16_t kMaxPieces = 1400;

// Pieces of one packet, in order. Owns none of them: the caller emits or frees.
struct PieceList {
  std::uint16_t count = 0;
  std::array<rte_mbuf*, kMaxPieces> mbufs;

  std::span<rte_mbuf*> span() { return {mbufs.data(), count}; }
  void push(rte_mbuf* mbuf) { mbufs[count++] = mbuf; }
  bool room_for(std::size_t n) const { return count + n <= kMaxPieces; }
  void free_all() {
    rte_pktmbuf_free_bulk(mbufs.data(), count);
    count = 0;
  }
};

enum class PieceOutcome : std::uint8_t {
  kDone,
  kMalformed,  // headers or offload fields do not allow it
  kNoMbufs,    // the pool ran out
};

// Appends the segments of `packet` to `out`; `packet` is only read and stays the caller's. IPv4 (with
// options) and IPv6 (with extension headers), VLAN tags by l2_len. Identification counts up, FIN and PSH
// stand on the last segment only, CWR on the first only. A tso_segsz above the payload gives one segment. A
// segment is one mbuf where it fits the pool's data room, a chain otherwise. Nothing is appended or leaked
// unless kDone.
[[nodiscard]] PieceOutcome segment_tcp(rte_mbuf* packet, rte_mempool* pool, PieceList& out) noexcept;

}  // namespace podwire::engine
