#include "dataplane/packet/segment.hpp"

#include <algorithm>

#include "dataplane/packet/checksum.hpp"
#include "dataplane/packet/ipv6_chain.hpp"
#include "dataplane/packet/offload.hpp"

namespace podwire::engine {

namespace {

// What all segments have in common.
struct Plan {
  std::uint32_t l3_offset = 0;
  std::uint32_t l4_offset = 0;
  std::uint32_t header_bytes = 0;   // Ethernet to TCP options
  std::uint32_t payload_bytes = 0;  // of the whole packet
  std::uint32_t segment_bytes = 0;  // payload of each but the last
  std::uint32_t segments = 0;
  bool v6 = false;
};

bool check_ipv4(rte_mbuf* packet, Plan& plan, std::uint32_t& ip_bytes) noexcept {
  const auto* ip = header_at<Ipv4Header>(packet, plan.l3_offset);
  if (ip == nullptr || ip->protocol != ip_proto::kTcp || ip->is_fragment()) return false;
  if (ip->header_bytes() != packet->l3_len || ip->header_bytes() < sizeof(Ipv4Header)) return false;
  ip_bytes = ip->total_length.host();
  return true;
}

bool check_ipv6(rte_mbuf* packet, Plan& plan, std::uint32_t& ip_bytes) noexcept {
  const auto* ip = header_at<Ipv6Header>(packet, plan.l3_offset);
  if (ip == nullptr) return false;
  const auto chain = walk_ipv6_chain(packet, static_cast<std::uint16_t>(plan.l3_offset));
  if (!chain.complete || chain.is_fragment || chain.authenticated || chain.protocol != ip_proto::kTcp)
    return false;
  if (chain.offset != plan.l4_offset) return false;
  ip_bytes = std::uint32_t{sizeof(Ipv6Header)} + ip->payload_length.host();
  return true;
}

// Everything a pod may have got wrong is found here; afterwards only the pool can fail.
bool make_plan(rte_mbuf* packet, Plan& plan) noexcept {
  if (!needs_segmentation(packet) || packet->tso_segsz < kMinSegmentPayload) return false;
  plan.l3_offset = packet->l2_len;
  plan.l4_offset = plan.l3_offset + packet->l3_len;
  plan.header_bytes = plan.l4_offset + packet->l4_len;
  if (plan.header_bytes > packet->data_len || packet->l4_len < sizeof(TcpHeader) || packet->l3_len == 0)
    return false;
  const std::uint8_t version = *header_unchecked<std::uint8_t>(packet, plan.l3_offset) >> 4;
  std::uint32_t ip_bytes = 0;
  plan.v6 = version == 6;
  if (version != 4 && version != 6) return false;
  if (plan.v6 ? !check_ipv6(packet, plan, ip_bytes) : !check_ipv4(packet, plan, ip_bytes)) return false;
  const auto* tcp = header_at<TcpHeader>(packet, plan.l4_offset);
  if (tcp == nullptr || tcp->header_bytes() != packet->l4_len) return false;
  // Bytes behind the IP packet are padding and end here.
  const std::uint32_t end = plan.l3_offset + ip_bytes;
  if (end > packet->pkt_len || end <= plan.header_bytes) return false;
  plan.payload_bytes = end - plan.header_bytes;
  plan.segment_bytes = std::min<std::uint32_t>(packet->tso_segsz, plan.payload_bytes);
  plan.segments = (plan.payload_bytes + plan.segment_bytes - 1) / plan.segment_bytes;
  return plan.segments <= kMaxPieces;
}

// Reads a chain front to back.
class ChainReader {
 public:
  ChainReader(const rte_mbuf* mbuf, std::uint32_t offset) : mbuf_(mbuf), offset_(offset) {}

  // Copies the next `length` bytes, which the plan has counted, and returns their sum, as if they began at an
  // even
  // (`odd` false) or odd byte of what the checksum covers.
  std::uint64_t copy(std::uint8_t* to, std::uint32_t length, bool odd) noexcept {
    std::uint64_t total = 0;
    while (length != 0) {
      while (offset_ >= mbuf_->data_len) {
        offset_ -= mbuf_->data_len;
        mbuf_ = mbuf_->next;
      }
      const std::uint32_t here = std::min<std::uint32_t>(length, mbuf_->data_len - offset_);
      const auto part =
          fold_sum(copy_and_sum(to, rte_pktmbuf_mtod_offset(mbuf_, const void*, offset_), here));
      total += odd ? swap_sum(part) : part;
      odd ^= (here & 1) != 0;
      to += here;
      length -= here;
      offset_ += here;
    }
    return total;
  }

 private:
  const rte_mbuf* mbuf_;
  std::uint32_t offset_;
};

// Fills one piece, one mbuf or a chain of them, with headers and the next payload; returns the payload's sum.
// `more` continues `head` and is exactly as many as the payload needs.
std::uint64_t fill_piece(rte_mbuf* head, std::span<rte_mbuf*> more, const rte_mbuf* packet, const Plan& plan,
                         ChainReader& payload, std::uint32_t payload_bytes) noexcept {
  auto* at = rte_pktmbuf_mtod(head, std::uint8_t*);
  std::memcpy(at, rte_pktmbuf_mtod(packet, const void*), plan.header_bytes);
  std::uint32_t here = std::min<std::uint32_t>(payload_bytes, rte_pktmbuf_tailroom(head) - plan.header_bytes);
  std::uint64_t sum = payload.copy(at + plan.header_bytes, here, false);
  head->data_len = static_cast<std::uint16_t>(plan.header_bytes + here);
  head->pkt_len = plan.header_bytes + payload_bytes;
  head->nb_segs = static_cast<std::uint16_t>(1 + more.size());
  std::uint32_t done = here;
  rte_mbuf* last = head;
  for (rte_mbuf* next : more) {
    here = std::min<std::uint32_t>(payload_bytes - done, rte_pktmbuf_tailroom(next));
    sum += payload.copy(rte_pktmbuf_mtod(next, std::uint8_t*), here, (done & 1) != 0);
    next->data_len = static_cast<std::uint16_t>(here);
    next->pkt_len = here;
    last->next = next;
    last = next;
    done += here;
  }
  return sum;
}

// Makes headers of segment `index` from the copied ones. `payload_sum` is of `payload_bytes` bytes.
void fix_headers(rte_mbuf* piece, const Plan& plan, std::uint32_t index, std::uint32_t payload_bytes,
                 std::uint64_t payload_sum) noexcept {
  const auto l4_bytes = plan.header_bytes - plan.l4_offset + payload_bytes;
  auto* tcp = header_unchecked<TcpHeader>(piece, plan.l4_offset);
  tcp->sequence = Be32(tcp->sequence.host() + index * plan.segment_bytes);
  if (index != 0) tcp->flags &= static_cast<std::uint8_t>(~TcpHeader::kCwr);
  if (index + 1 != plan.segments) {
    tcp->flags &= static_cast<std::uint8_t>(~(TcpHeader::kFin | TcpHeader::kPsh));
  }
  tcp->checksum = Be16(0);
  std::uint64_t sum = payload_sum + sum_bytes(tcp, plan.header_bytes - plan.l4_offset);
  if (plan.v6) {
    auto* ip = header_unchecked<Ipv6Header>(piece, plan.l3_offset);
    ip->payload_length =
        Be16(static_cast<std::uint16_t>(piece->pkt_len - plan.l3_offset - sizeof(Ipv6Header)));
    sum += pseudo_header_sum(ip->source, ip->destination, ip_proto::kTcp, l4_bytes);
  } else {
    auto* ip = header_unchecked<Ipv4Header>(piece, plan.l3_offset);
    ip->total_length = Be16(static_cast<std::uint16_t>(piece->pkt_len - plan.l3_offset));
    ip->identification = Be16(static_cast<std::uint16_t>(ip->identification.host() + index));
    set_ipv4_checksum(ip);
    sum += pseudo_header_sum(ip->source, ip->destination, ip_proto::kTcp, l4_bytes);
  }
  tcp->checksum = checksum_of(sum);
}

}  // namespace

PieceOutcome segment_tcp(rte_mbuf* packet, rte_mempool* pool, PieceList& out) noexcept {
  Plan plan;
  if (!make_plan(packet, plan)) return PieceOutcome::kMalformed;
  const std::uint32_t room =
      static_cast<std::uint32_t>(rte_pktmbuf_data_room_size(pool)) - RTE_PKTMBUF_HEADROOM;
  if (plan.header_bytes >= room) return PieceOutcome::kMalformed;
  // Mbufs a segment: only jumbo segments need more than one.
  const std::uint32_t beyond = plan.segment_bytes - std::min(plan.segment_bytes, room - plan.header_bytes);
  const std::uint32_t more = (beyond + room - 1) / room;
  const std::uint32_t last_bytes = plan.payload_bytes - (plan.segments - 1) * plan.segment_bytes;
  const std::uint32_t last_more =
      (last_bytes - std::min(last_bytes, room - plan.header_bytes) + room - 1) / room;
  const std::uint32_t wanted = plan.segments * (1 + more) - more + last_more;
  if (!out.room_for(plan.segments) || wanted > kMaxPieces) return PieceOutcome::kMalformed;
  std::array<rte_mbuf*, kMaxPieces> fresh;
  if (rte_pktmbuf_alloc_bulk(pool, fresh.data(), wanted) != 0) return PieceOutcome::kNoMbufs;

  ChainReader payload(packet, plan.header_bytes);
  std::size_t used = 0;
  for (std::uint32_t i = 0; i < plan.segments; ++i) {
    const bool last = i + 1 == plan.segments;
    const std::uint32_t bytes = last ? last_bytes : plan.segment_bytes;
    rte_mbuf* piece = fresh[used];
    const std::span<rte_mbuf*> rest(fresh.data() + used + 1, last ? last_more : more);
    used += 1 + rest.size();
    const std::uint64_t sum = fill_piece(piece, rest, packet, plan, payload, bytes);
    fix_headers(piece, plan, i, bytes, sum);
    out.push(piece);
  }
  return PieceOutcome::kDone;
}

}  // namespace podwire::engine
