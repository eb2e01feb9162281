#include "dataplane/packet/fragment.hpp"

#include <rte_ip_frag.h>

#include <algorithm>
#include <cstring>

#include "dataplane/headers/headers.hpp"
#include "dataplane/packet/access.hpp"
#include "dataplane/packet/checksum.hpp"
#include "dataplane/packet/linearize.hpp"
#include "dataplane/packet/offload.hpp"

namespace podwire::engine {

namespace {

constexpr std::uint16_t kMinMtu = 68;     // RFC 791: every module must forward 68 bytes unfragmented
constexpr std::uint16_t kMaxLayer2 = 64;  // Ethernet with tags, with room to spare
constexpr std::uint16_t kFragmentUnit = 8;

// Puts the frame's first bytes back before a fragment and completes its IP checksum.
bool finish_fragment(rte_mbuf* fragment, const std::uint8_t* layer2, std::uint16_t bytes) noexcept {
  set_ipv4_checksum(header_unchecked<Ipv4Header>(fragment, 0));
  auto* start = rte_pktmbuf_prepend(fragment, bytes);
  if (start == nullptr) return false;
  std::memcpy(start, layer2, bytes);
  // The library passes on what it used to work with.
  clear_offload(fragment);
  return true;
}

}  // namespace

PieceOutcome fragment_ipv4(rte_mbuf* packet, std::uint16_t l3_offset, std::uint16_t mtu, rte_mempool* pool,
                           PieceList& out) noexcept {
  const auto* ip = header_at<Ipv4Header>(packet, l3_offset);
  if (ip == nullptr || (ip->version_ihl >> 4) != 4 || mtu < kMinMtu || l3_offset > kMaxLayer2) {
    return PieceOutcome::kMalformed;
  }
  const std::uint16_t header_bytes = ip->header_bytes();
  const std::uint16_t total = ip->total_length.host();
  if (header_bytes < sizeof(Ipv4Header) || total <= header_bytes ||
      l3_offset + header_bytes > packet->data_len || std::uint32_t{l3_offset} + total > packet->pkt_len ||
      needs_l4_checksum(packet) || needs_segmentation(packet) ||
      (ip->flags_fragment.host() & Ipv4Header::kDontFragment) != 0) {
    return PieceOutcome::kMalformed;
  }
  truncate(packet, std::uint32_t{l3_offset} + total);

  const std::uint32_t unit = (mtu - header_bytes) / kFragmentUnit * kFragmentUnit;
  const std::uint32_t expected = (total - header_bytes + unit - 1) / unit;
  if (!out.room_for(expected)) return PieceOutcome::kMalformed;
  const auto space = static_cast<std::uint16_t>(kMaxPieces - out.count);
  const std::uint32_t room =
      static_cast<std::uint32_t>(rte_pktmbuf_data_room_size(pool)) - RTE_PKTMBUF_HEADROOM;

  // The library's packets begin with the IP header.
  std::uint8_t layer2[kMaxLayer2];
  std::memcpy(layer2, rte_pktmbuf_mtod(packet, const void*), l3_offset);
  rte_pktmbuf_adj(packet, l3_offset);
  rte_mbuf** first = out.mbufs.data() + out.count;
  const bool copy = packet->nb_segs == 1 && mtu <= room;
  const std::int32_t made = copy ? rte_ipv4_fragment_copy_nonseg_packet(packet, first, space, mtu, pool)
                                 : rte_ipv4_fragment_packet(packet, first, space, mtu, pool, pool);
  auto* restored = rte_pktmbuf_prepend(packet, l3_offset);
  if (restored != nullptr) std::memcpy(restored, layer2, l3_offset);
  if (made == -ENOMEM) return PieceOutcome::kNoMbufs;
  if (made <= 0) return PieceOutcome::kMalformed;
  bool good = true;
  for (std::int32_t i = 0; i < made; ++i) good = good && finish_fragment(first[i], layer2, l3_offset);
  if (!good) {
    rte_pktmbuf_free_bulk(first, static_cast<unsigned>(made));
    return PieceOutcome::kMalformed;
  }
  out.count = static_cast<std::uint16_t>(out.count + made);
  return PieceOutcome::kDone;
}

}  // namespace podwire::engine
