// Finalize: segmentation, checksums, fragmentation and linearisation that the egress cannot do are done in
// software, so that encap and ports meet only packets that they can take as they are. Every packet is
// replaced as a whole or dropped as a whole.
#pragma once

#include <algorithm>

#include "dataplane/packet/access.hpp"
#include "dataplane/packet/checksum.hpp"
#include "dataplane/packet/fragment.hpp"
#include "dataplane/packet/linearize.hpp"
#include "dataplane/packet/offload.hpp"
#include "dataplane/packet/segment.hpp"
#include "dataplane/pipeline/accounting.hpp"
#include "dataplane/pipeline/context.hpp"

namespace podwire::engine {

class FinalizeStage {
 public:
  static constexpr std::string_view kName = "finalize";

  // False when every packet can leave as it is.
  static bool wanted(const Context& ctx, const Burst& burst) noexcept {
    Way way;
    for (std::uint16_t i = 0; i < burst.count; ++i) {
      if (needs_work(burst.mbufs[i], burst.meta[i], way.towards(*ctx.tables, burst.meta[i]))) return true;
    }
    return false;
  }

  template <class Emit>
  static void run(Context& ctx, Burst& burst, Emit&& emit) noexcept {
    Way way;
    for (std::uint16_t i = 0; i < burst.count; ++i) {
      way.towards(*ctx.tables, burst.meta[i]);
      if (!needs_work(burst.mbufs[i], burst.meta[i], way)) [[likely]] {
        emit(burst.mbufs[i], burst.meta[i]);
      } else if (!way.exists) {
        burst.drop(i, DropReason::port_gone);
      } else {
        PieceList pieces;
        const Outcome outcome = finish(ctx, burst.mbufs[i], burst.meta[i], way, pieces);
        if (outcome.good)
          replace(ctx, burst, i, pieces, emit);
        else
          burst.drop(i, outcome.reason);
      }
    }
  }

 private:
  struct Outcome {
    bool good = true;
    DropReason reason{};
    static Outcome bad(DropReason reason) { return {false, reason}; }
    static Outcome of(PieceOutcome pieces, DropReason malformed) {
      if (pieces == PieceOutcome::kDone) return {};
      return bad(pieces == PieceOutcome::kNoMbufs ? DropReason::no_mbufs : malformed);
    }
  };

  // What lies ahead of a packet; looked up again only when the destination differs from the last packet's.
  struct Way {
    Verdict verdict = Verdict::kUndecided;
    std::uint32_t to = 0;  // port id or VTEP slot
    bool exists = true;
    bool l4_checksum = true;
    bool segmentation = true;
    bool multi_segment = true;
    std::uint32_t ip_bytes = kUnlimited;
    std::uint32_t frame_bytes = kUnlimited;
    std::uint32_t plain_bytes = kUnlimited;  // frames up to this are not too large, whatever they carry

    static constexpr std::uint32_t kUnlimited = ~std::uint32_t{0};

    const Way& towards(const Snapshot& tables, const PacketMeta& meta) noexcept {
      const std::uint32_t destination = meta.verdict == Verdict::kTunnel ? meta.vtep : meta.egress.value();
      if (meta.verdict != verdict || destination != to) {
        *this = Way{};
        verdict = meta.verdict;
        to = destination;
        if (verdict == Verdict::kTunnel)
          into_tunnel(tables);
        else if (verdict == Verdict::kForward)
          into_port(tables);
        // IP begins behind an Ethernet header at the earliest.
        if (ip_bytes != kUnlimited)
          plain_bytes = std::min(frame_bytes, ip_bytes + std::uint32_t{sizeof(EtherHeader)});
        else
          plain_bytes = frame_bytes;
      }
      return *this;
    }

    // Encap sees finished inner packets only. A VTEP or uplink that is gone is encap's to report.
    void into_tunnel(const Snapshot& tables) noexcept {
      l4_checksum = segmentation = false;
      if (to >= tables.vteps.size()) return;
      const auto& vtep = tables.vteps[to];
      if (vtep.mtu != 0) ip_bytes = vtep.mtu;
      const auto* uplink = tables.port(vtep.egress);
      multi_segment = uplink == nullptr || uplink->device->capabilities().multi_segment;
    }

    void into_port(const Snapshot& tables) noexcept {
      const auto* port = tables.port(PortId(static_cast<std::uint16_t>(to)));
      exists = port != nullptr;
      if (!exists) return;
      const auto& can = port->device->capabilities();
      l4_checksum = can.l4_checksum;
      segmentation = can.segmentation && !port->cut_segments;
      multi_segment = can.multi_segment;
      frame_bytes = can.max_frame;
      if (port->device->mtu() != 0) ip_bytes = port->device->mtu();
    }
  };

  static bool is_ip(const PacketMeta& meta) noexcept {
    return meta.ether_type == ether_type::kIpv4 || meta.ether_type == ether_type::kIpv6;
  }

  // The largest IP packet that goes through.
  static std::uint32_t ip_limit(const PacketMeta& meta, const Way& way) noexcept {
    if (way.frame_bytes == Way::kUnlimited) return way.ip_bytes;
    const std::uint32_t in_frame = way.frame_bytes - std::min<std::uint32_t>(way.frame_bytes, meta.l3_offset);
    return std::min(way.ip_bytes, in_frame);
  }

  static bool too_large(const rte_mbuf* mbuf, const PacketMeta& meta, const Way& way) noexcept {
    if (is_ip(meta)) [[likely]]
      return mbuf->pkt_len > std::uint64_t{ip_limit(meta, way)} + meta.l3_offset;
    if (way.frame_bytes != Way::kUnlimited) return mbuf->pkt_len > way.frame_bytes;
    return mbuf->pkt_len > std::uint64_t{way.ip_bytes} + sizeof(EtherHeader);
  }

  // The same for the segments that a packet asks to become.
  static bool segments_too_large(const rte_mbuf* mbuf, const PacketMeta& meta, const Way& way) noexcept {
    const std::uint32_t segment = static_cast<std::uint32_t>(mbuf->l3_len + mbuf->l4_len + mbuf->tso_segsz);
    return segment > ip_limit(meta, way) && too_large(mbuf, meta, way);
  }

  static bool must_cut(const rte_mbuf* mbuf, const PacketMeta& meta, const Way& way) noexcept {
    return !way.segmentation || (mbuf->nb_segs > 1 && !way.multi_segment) ||
           segments_too_large(mbuf, meta, way);
  }

  static bool needs_work(const rte_mbuf* mbuf, const PacketMeta& meta, const Way& way) noexcept {
    if (!way.exists) return true;
    constexpr std::uint64_t kWork = RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG;
    if ((mbuf->ol_flags & kWork) == 0 && mbuf->nb_segs == 1 && mbuf->pkt_len <= way.plain_bytes) [[likely]]
      return false;
    if (needs_segmentation(mbuf)) return must_cut(mbuf, meta, way);
    return (needs_l4_checksum(mbuf) && !way.l4_checksum) || (mbuf->nb_segs > 1 && !way.multi_segment) ||
           too_large(mbuf, meta, way);
  }

  // Whether an IP packet that is too large may be cut on the way (RFC 791; IPv6 never).
  static bool may_fragment(rte_mbuf* mbuf, const PacketMeta& meta) noexcept {
    if (meta.ether_type != ether_type::kIpv4) return false;
    const auto* ip = header_at<Ipv4Header>(mbuf, meta.l3_offset);
    return ip != nullptr && (ip->flags_fragment.host() & Ipv4Header::kDontFragment) == 0;
  }

  // Does all that is due. Afterwards `pieces` replace the packet, or, when there are none, `mbuf` goes on
  // itself. On failure nothing is left in `pieces`.
  static Outcome finish(Context& ctx, rte_mbuf*& mbuf, const PacketMeta& meta, const Way& way,
                        PieceList& pieces) noexcept {
    Outcome outcome = needs_segmentation(mbuf) ? segment(ctx, mbuf, meta, way, pieces)
                                               : complete_and_fragment(ctx, mbuf, meta, way, pieces);
    if (outcome.good && !way.multi_segment) outcome = linearize_all(ctx, mbuf, pieces);
    if (!outcome.good) pieces.free_all();
    return outcome;
  }

  static Outcome segment(Context& ctx, rte_mbuf* mbuf, const PacketMeta& meta, const Way& way,
                         PieceList& pieces) noexcept {
    const bool large = segments_too_large(mbuf, meta, way);
    if (large && !may_fragment(mbuf, meta)) return Outcome::bad(DropReason::too_big);
    const auto made = Outcome::of(segment_tcp(mbuf, ctx.pool, pieces), DropReason::segmentation_failed);
    if (!made.good || !large) return made;
    PieceList fragments;
    for (rte_mbuf* piece : pieces.span()) {
      const auto cut = fragment(ctx, piece, meta, way, fragments);
      if (!cut.good) {
        fragments.free_all();
        return cut;
      }
    }
    pieces.free_all();
    pieces = fragments;
    return {};
  }

  static Outcome complete_and_fragment(Context& ctx, rte_mbuf*& mbuf, const PacketMeta& meta, const Way& way,
                                       PieceList& pieces) noexcept {
    const bool large = too_large(mbuf, meta, way);
    if (large && !may_fragment(mbuf, meta)) return Outcome::bad(DropReason::too_big);
    if (needs_l4_checksum(mbuf) && (large || !way.l4_checksum)) {
      const auto completed = complete(ctx, mbuf);
      if (!completed.good) return completed;
    }
    return large ? fragment(ctx, mbuf, meta, way, pieces) : Outcome{};
  }

  // A packet that shares bytes with a clone is copied first: each of them has its own checksum to complete.
  static Outcome complete(Context& ctx, rte_mbuf*& mbuf) noexcept {
    if (!exclusively_owned(mbuf)) {
      rte_mbuf* copy = rte_pktmbuf_copy(mbuf, ctx.pool, 0, mbuf->pkt_len);
      if (copy == nullptr) return Outcome::bad(DropReason::no_mbufs);
      rte_pktmbuf_free(mbuf);
      mbuf = copy;
    }
    return complete_l4(mbuf) ? Outcome{} : Outcome::bad(DropReason::bad_offload);
  }

  static Outcome fragment(Context& ctx, rte_mbuf* mbuf, const PacketMeta& meta, const Way& way,
                          PieceList& pieces) noexcept {
    const auto mtu = static_cast<std::uint16_t>(std::min<std::uint32_t>(ip_limit(meta, way), 0xffff));
    return Outcome::of(fragment_ipv4(mbuf, meta.l3_offset, mtu, ctx.pool, pieces),
                       DropReason::fragmentation_failed);
  }

  static Outcome linearize_all(Context& ctx, rte_mbuf*& mbuf, PieceList& pieces) noexcept {
    const std::span<rte_mbuf*> all = pieces.count != 0 ? pieces.span() : std::span<rte_mbuf*>(&mbuf, 1);
    for (rte_mbuf*& piece : all) {
      rte_mbuf* linear = linearize(piece, ctx.pool);
      if (linear == nullptr) {
        const bool fits = piece->pkt_len + RTE_PKTMBUF_HEADROOM <= rte_pktmbuf_data_room_size(ctx.pool);
        return Outcome::bad(fits ? DropReason::no_mbufs : DropReason::too_big);
      }
      piece = linear;
    }
    return {};
  }

  template <class Emit>
  static void replace(Context& ctx, Burst& burst, std::uint16_t i, PieceList& pieces, Emit& emit) noexcept {
    if (pieces.count == 0) {
      emit(burst.mbufs[i], burst.meta[i]);
      return;
    }
    // The pieces are complete in themselves; fragments that share the packet's bytes hold their own
    // reference.
    rte_pktmbuf_free(burst.mbufs[i]);
    if (pieces.count > 1) book(*ctx.counters, burst.meta[i], &LedgerCounters::segments, pieces.count - 1u);
    for (rte_mbuf* piece : pieces.span()) {
      PacketMeta meta = burst.meta[i];
      note_fragment(piece, meta);
      emit(piece, meta);
    }
  }

  static void note_fragment(rte_mbuf* piece, PacketMeta& meta) noexcept {
    if (meta.ether_type != ether_type::kIpv4) return;
    const auto* ip = header_unchecked<Ipv4Header>(piece, meta.l3_offset);
    meta.is_fragment = ip->is_fragment();
    if (ip->is_later_fragment()) meta.l4_offset = 0;
  }
};

}  // namespace podwire::engine
