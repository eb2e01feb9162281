#include "dataplane/ports/memif_bursts.hpp"

#include <rte_memcpy.h>
#include <rte_prefetch.h>

#include <algorithm>

#include "dataplane/packet/plain_mbufs.hpp"
#include "dataplane/ports/refused_frame.hpp"

namespace podwire::engine::memif {
namespace {

// Raw mbufs: as many as can be had, up to `wanted`.
unsigned allocate(rte_mempool* pool, rte_mbuf** out, unsigned wanted) noexcept {
  while (wanted != 0 && rte_mempool_get_bulk(pool, reinterpret_cast<void**>(out), wanted) != 0) wanted /= 2;
  return wanted;
}

// How many frames ahead their memory is fetched. Buffers usually lie 2 KiB apart, which is two sets of a
// cache of 4 KiB a way: more of them at a time would push each other out.
constexpr unsigned kPrefetched = 8;

// The jumbo mbufs that a burst may take, one a frame.
struct Jumbos {
  rte_mempool* pool;
  unsigned left;
};

// Bytes appended to a packet, in its first mbuf and then in one of the jumbo pool.
class Filler {
 public:
  Filler(rte_mbuf* packet, Jumbos& jumbos) : packet_(packet), at_(packet), jumbos_(jumbos) {}
  bool append(const std::byte* data, std::uint32_t bytes) noexcept {
    while (bytes != 0) {
      const std::uint32_t room = rte_pktmbuf_tailroom(at_);
      if (room == 0) {
        if (at_ != packet_ || !extend()) return false;
        continue;
      }
      const auto part = std::min(room, bytes);
      rte_memcpy(rte_pktmbuf_mtod_offset(at_, std::byte*, at_->data_len), data, part);
      at_->data_len = static_cast<std::uint16_t>(at_->data_len + part);
      packet_->pkt_len += part;
      data += part;
      bytes -= part;
    }
    return true;
  }

 private:
  bool extend() noexcept {
    rte_mbuf* more = jumbos_.left == 0 ? nullptr : rte_pktmbuf_alloc(jumbos_.pool);
    if (more == nullptr) return false;
    --jumbos_.left;
    more->data_off = 0;
    packet_->next = more;
    packet_->nb_segs = 2;
    at_ = more;
    return true;
  }
  rte_mbuf *packet_, *at_;
  Jumbos& jumbos_;
};

// False when there is no mbuf for what does not fit the first.
bool copy_chain(const Batch& batch, const Frame& frame, rte_mbuf* packet, Jumbos& jumbos) noexcept {
  Filler filler(packet, jumbos);
  for (unsigned i = 0; i < frame.pieces; ++i) {
    const Piece& piece = batch.pieces[frame.first_piece + i];
    if (!filler.append(piece.data, piece.bytes)) return false;
  }
  return true;
}

// The rooms for one burst, read ahead so that they come into the cache while others are filled.
class Rooms {
 public:
  Rooms(OutgoingRing& ring, std::uint16_t free, std::size_t packets) noexcept
      : ring_(ring),
        free_(free),
        ahead_(static_cast<std::uint16_t>(std::min<std::size_t>({free, packets, rooms_.size()}))) {
    for (std::uint16_t i = 0; i < ahead_; ++i) rooms_[i] = ring_.room(i);
    for (std::uint16_t i = 0; i < std::min<std::uint16_t>(ahead_, kPrefetched); ++i)
      rte_prefetch0_write(rooms_[i].data);
  }
  std::uint16_t used() const { return used_; }
  std::uint32_t first_bytes() const { return ahead_ == 0 ? 0 : rooms_[0].bytes; }
  void restart_at(std::uint16_t used) { used_ = used; }
  bool any() const { return used_ != free_; }
  OutgoingRing::Room current() const noexcept { return used_ < ahead_ ? rooms_[used_] : ring_.room(used_); }
  void fill(const OutgoingRing::Room& room, std::uint32_t length, bool more) noexcept {
    ring_.fill(used_++, room, length, more);
    if (const unsigned next = used_ + kPrefetched - 1u; next < ahead_) rte_prefetch0_write(rooms_[next].data);
  }

 private:
  OutgoingRing& ring_;
  const std::uint16_t free_, ahead_;
  std::uint16_t used_ = 0;
  std::array<OutgoingRing::Room, kBatch> rooms_;
};

enum class Placed { kYes, kFull, kFault };

// A packet over several mbufs, buffers, or both.
Placed place_chain(Rooms& rooms, const rte_mbuf* packet) noexcept {
  const std::uint16_t begin = rooms.used();
  const auto full = [&] {
    rooms.restart_at(begin);
    return Placed::kFull;
  };
  std::uint32_t left = packet->pkt_len;
  const rte_mbuf* segment = packet;
  std::uint32_t taken = 0;  // of the segment
  while (left != 0) {
    if (!rooms.any() || rooms.used() - begin == kMaxChain) return full();
    const auto room = rooms.current();
    if (room.data == nullptr || room.bytes == 0) return Placed::kFault;
    std::uint32_t filled = 0;
    while (filled < room.bytes && left != 0) {
      const std::uint32_t part = std::min({room.bytes - filled, segment->data_len - taken, left});
      rte_memcpy(room.data + filled, rte_pktmbuf_mtod_offset(segment, const std::byte*, taken), part);
      filled += part;
      taken += part;
      left -= part;
      if (taken == segment->data_len && left != 0) {
        segment = segment->next;
        taken = 0;
      }
    }
    rooms.fill(room, filled, left != 0);
  }
  return Placed::kYes;
}

Placed place(Rooms& rooms, const rte_mbuf* packet) noexcept {
  if (!rooms.any()) return Placed::kFull;
  const auto room = rooms.current();
  if (room.data == nullptr || room.bytes == 0) return Placed::kFault;
  if (packet->nb_segs != 1 || packet->pkt_len > room.bytes) return place_chain(rooms, packet);
  rte_memcpy(room.data, rte_pktmbuf_mtod(packet, const std::byte*), packet->pkt_len);
  rooms.fill(room, packet->pkt_len, false);
  return Placed::kYes;
}

}  // namespace

Received receive(IncomingRing& ring, const Pools& pools, const ReceiveLimits& limits,
                 std::span<rte_mbuf*> out) noexcept {
  Received result;
  Jumbos jumbos{pools.jumbo, limits.jumbos};
  Batch batch;
  result.fault = ring.collect(static_cast<unsigned>(std::min<std::size_t>(out.size(), kBatch)), batch);
  std::array<rte_mbuf*, kBatch> fresh;
  const unsigned available = allocate(pools.packets, fresh.data(), batch.count);
  result.no_buffers = available < batch.count;
  const std::uint32_t plain_bytes = std::min<std::uint32_t>(
      limits.frame_bytes, rte_pktmbuf_data_room_size(pools.packets) - std::uint32_t{RTE_PKTMBUF_HEADROOM});
  unsigned done = 0;
  std::uint16_t slots = 0;
  for (unsigned i = 0; i < std::min(available, kPrefetched); ++i)
    rte_prefetch0(batch.pieces[batch.frames[i].first_piece].data);
  for (; done < available; ++done) {
    const Frame& frame = batch.frames[done];
    if (done + kPrefetched < available)
      rte_prefetch0(batch.pieces[batch.frames[done + kPrefetched].first_piece].data);
    rte_mbuf* packet = fresh[done];
    if (frame.pieces == 1 && frame.bytes <= plain_bytes) [[likely]] {
      begin_plain(packet, static_cast<std::uint16_t>(frame.bytes));
      rte_memcpy(rte_pktmbuf_mtod(packet, std::byte*), batch.pieces[frame.first_piece].data, frame.bytes);
    } else if (begin_plain(packet, 0); frame.bytes > limits.frame_bytes) {
      refuse_too_big(packet, frame.bytes);
      ++result.oversized;
    } else if (!copy_chain(batch, frame, packet, jumbos)) {
      (jumbos.left == 0 ? result.held : result.no_buffers) = true;
      break;
    }
    result.bytes += frame.bytes;
    out[result.packets++] = packet;
    slots = static_cast<std::uint16_t>(slots + frame.slots);
  }
  if (done < available) {
    rte_pktmbuf_free(fresh[done]);  // may have been begun with; those behind it are as they came
    rte_mempool_put_bulk(pools.packets, reinterpret_cast<void**>(fresh.data() + done + 1),
                         available - done - 1);
  }
  ring.consume(slots);
  ring.give_back(false);
  return result;
}

Sent transmit(OutgoingRing& ring, std::span<rte_mbuf* const> in) noexcept {
  Sent result;
  std::uint16_t free = 0;
  result.fault = ring.free_slots(free);
  if (result.fault != RingFault::kNone || free == 0) return result;
  Rooms rooms(ring, free, in.size());
  result.buffer_bytes = rooms.first_bytes();
  for (const rte_mbuf* packet : in) {
    const auto placed = place(rooms, packet);
    if (placed != Placed::kYes) {
      if (placed == Placed::kFault) result.fault = RingFault::kNoRoom;
      break;
    }
    ++result.packets;
    result.bytes += packet->pkt_len;
  }
  if (result.fault == RingFault::kNone && rooms.used() != 0) ring.publish(rooms.used());
  return result;
}

}  // namespace podwire::engine::memif
