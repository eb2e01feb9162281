// Packets of one mbuf, which nearly all are, made and freed without touching an mbuf's second cache line.
// What an mbuf in its pool has always (one reference, one segment, no next one) is relied upon. Called by
// workers.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>
#include <span>

namespace podwire::engine {

// Makes a packet of one segment out of an mbuf as its pool has it (rte_mempool_get_bulk): `bytes` of data
// behind the usual headroom, nothing to be done by any device. tx_offload stays what it was: without flags it
// has no meaning (packet/offload.hpp).
inline void begin_plain(rte_mbuf* mbuf, std::uint16_t bytes) noexcept {
  mbuf->data_off = RTE_PKTMBUF_HEADROOM;
  mbuf->port = RTE_MBUF_PORT_INVALID;
  mbuf->ol_flags = 0;
  mbuf->packet_type = 0;
  mbuf->pkt_len = bytes;
  mbuf->data_len = bytes;
  mbuf->vlan_tci = 0;
}

// Frees packets, at least one, as rte_pktmbuf_free_bulk does. Fast when all are plain and of one pool.
inline void free_packets(std::span<rte_mbuf*> packets) noexcept {
  constexpr std::uint64_t kElsewhere = RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;
  rte_mempool* const pool = packets.front()->pool;
  bool plain = true;
  for (const rte_mbuf* mbuf : packets) {
    plain = plain & (mbuf->pool == pool) & (mbuf->nb_segs == 1) & (rte_mbuf_refcnt_read(mbuf) == 1) &
            ((mbuf->ol_flags & kElsewhere) == 0);
  }
  const auto count = static_cast<unsigned>(packets.size());
  if (plain) [[likely]]
    rte_mempool_put_bulk(pool, reinterpret_cast<void**>(packets.data()), count);
  else
    rte_pktmbuf_free_bulk(packets.data(), count);
}

}  // namespace podwire::engine
