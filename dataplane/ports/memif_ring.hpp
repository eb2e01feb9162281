// Rings: the data path's view of what is shared with the peer. A worker reads every word that the peer can
// write once, checks it, and uses only what it has checked; a ring that breaks a rule yields a fault, after
// which its link is not used again. Incoming and outgoing rings each belong to one worker. No DPDK in here.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>

#include "dataplane/ports/memif_protocol.hpp"
#include "dataplane/ports/memif_region.hpp"

namespace podwire::engine::memif {

enum class Role : std::uint8_t { kServer, kClient };

// What a peer can do wrong with a ring. 0: nothing.
enum class RingFault : std::uint8_t {
  kNone,
  kDistance,
  kOutsideRegion,
  kLongerThanBuffer,
  kOpenChain,
  kLongChain,
  kLongFrame,
  kEmptyFrame,
  kNoRoom,
  kMemoryLost,
};
const char* text(RingFault fault);

// Of a frame, in descriptors: 64 KiB in the smallest buffers that may be configured need 512, and such frames
// do not come in those.
inline constexpr unsigned kMaxChain = 128;
inline constexpr std::uint32_t kMaxFrameBytes = 65535 + 18;
inline constexpr unsigned kBatch = 64;

// The ring itself. Indices run freely; slots are taken modulo the size.
class Ring {
 public:
  Ring() = default;
  Ring(std::byte* at, unsigned log2_size)
      : header_(reinterpret_cast<RingHeader*>(at)),
        words_(reinterpret_cast<std::uint64_t*>(at + sizeof(RingHeader))),
        mask_(static_cast<std::uint16_t>((1u << log2_size) - 1)) {}

  std::uint32_t size() const { return mask_ + 1u; }
  std::uint16_t slot(std::uint16_t index) const { return index & mask_; }
  std::uint32_t cookie() const { return load(header_->cookie, std::memory_order_relaxed); }
  std::uint16_t head() const { return load(header_->head, std::memory_order_acquire); }
  std::uint16_t tail() const { return load(header_->tail, std::memory_order_acquire); }
  bool masked() const {
    return (load(header_->flags, std::memory_order_relaxed) & RingHeader::kMaskInterrupt) != 0;
  }
  void set_cookie(std::uint32_t value) { store(header_->cookie, value); }
  void set_head(std::uint16_t value) { store(header_->head, value); }
  void set_tail(std::uint16_t value) { store(header_->tail, value); }
  void set_masked(bool masked) {
    store(header_->flags, masked ? RingHeader::kMaskInterrupt : std::uint16_t{0});
  }

  Descriptor read(std::uint16_t index) const {
    const std::uint64_t* at = words_ + std::size_t{2} * slot(index);
    return std::bit_cast<Descriptor>(
        std::array{load(at[0], std::memory_order_relaxed), load(at[1], std::memory_order_relaxed)});
  }
  void write(std::uint16_t index, const Descriptor& descriptor) {
    std::uint64_t* at = words_ + std::size_t{2} * slot(index);
    const auto words = std::bit_cast<std::array<std::uint64_t, 2>>(descriptor);
    std::atomic_ref(at[0]).store(words[0], std::memory_order_relaxed);
    std::atomic_ref(at[1]).store(words[1], std::memory_order_relaxed);
  }
  // All but the buffer's place.
  void write_filled(std::uint16_t index, std::uint16_t flags, std::uint16_t region, std::uint32_t length) {
    const auto words = std::bit_cast<std::array<std::uint64_t, 2>>(Descriptor{flags, region, length, 0, 0});
    std::atomic_ref(words_[std::size_t{2} * slot(index)]).store(words[0], std::memory_order_relaxed);
  }

 private:
  template <class T>
  static T load(const T& from, std::memory_order order) {
    return std::atomic_ref(const_cast<T&>(from)).load(order);
  }
  template <class T>
  static void store(T& to, T value) {
    std::atomic_ref(to).store(value, std::memory_order_release);
  }

  RingHeader* header_ = nullptr;
  std::uint64_t* words_ = nullptr;
  std::uint16_t mask_ = 0;
};

// Where the data of a ring's slots lies. As server: where the peer's descriptor says, if that is inside a
// region. As client: where we have put it, whatever the descriptor says by now.
struct Buffers {
  Role role = Role::kServer;
  RegionTable regions;         // server
  std::byte* first = nullptr;  // client: slot i's buffer begins at first + i * bytes
  std::uint32_t first_offset = 0;
  std::uint32_t bytes = 0;
};

struct Piece {
  const std::byte* data;
  std::uint32_t bytes;
};
struct Frame {
  std::uint16_t first_piece, pieces, slots;
  std::uint32_t bytes;
};
// Frames that wait in a ring. Deliberately without initial values.
struct Batch {
  unsigned count = 0;
  std::array<Frame, kBatch> frames;
  std::array<Piece, kBatch + kMaxChain> pieces;
};

// A ring that the peer fills.
class IncomingRing {
 public:
  IncomingRing(Ring ring, Buffers buffers) : ring_(ring), buffers_(buffers) {}

  // Client: offers all buffers. Once, before the peer knows of the ring.
  void offer_all();
  // Up to `limit` (at most kBatch) frames, oldest first. With a fault, those before the faulty one.
  RingFault collect(unsigned limit, Batch& out) const noexcept;
  bool empty() const noexcept { return newest() == next_; }
  // Done with the oldest so many slots. The peer learns of it in batches, or when the ring is `idle`: telling
  // it of every single one would make both sides wait for the same cache line.
  void consume(std::uint16_t slots) noexcept { next_ = static_cast<std::uint16_t>(next_ + slots); }
  void give_back(bool idle) noexcept;
  // Whether the peer need not signal.
  void mask(bool masked) noexcept { ring_.set_masked(masked); }
  const Ring& ring() const { return ring_; }

 private:
  std::uint16_t newest() const noexcept {
    return buffers_.role == Role::kServer ? ring_.head() : ring_.tail();
  }
  RingFault locate(std::uint16_t index, const Descriptor& descriptor, const std::byte*& data) const noexcept;

  Ring ring_;
  Buffers buffers_;
  std::uint16_t next_ = 0;   // oldest that has not been consumed
  std::uint16_t given_ = 0;  // oldest that the peer does not know to be consumed
};

// A ring that we fill.
class OutgoingRing {
 public:
  struct Room {
    std::byte* data;  // null: the descriptor breaks a rule
    std::uint32_t bytes;
    std::uint16_t region;
  };
  OutgoingRing(Ring ring, Buffers buffers) : ring_(ring), buffers_(buffers) {}

  // Slots that can be filled now.
  RingFault free_slots(std::uint16_t& out) const noexcept;
  // The buffer `ahead` slots from the next one to be filled.
  Room room(std::uint16_t ahead) const noexcept;
  // Announces data in that buffer; `more`: the frame goes on in the next one.
  void fill(std::uint16_t ahead, const Room& room, std::uint32_t length, bool more) noexcept;
  // Hands the next so many filled slots to the peer.
  void publish(std::uint16_t slots) noexcept;
  // Whether the peer wants a signal. After publish, behind a full fence.
  bool wants_signal() const noexcept { return !ring_.masked(); }
  const Ring& ring() const { return ring_; }

 private:
  Ring ring_;
  Buffers buffers_;
  std::uint16_t next_ = 0;  // first that has not been published
};

inline RingFault IncomingRing::locate(std::uint16_t index, const Descriptor& descriptor,
                                      const std::byte*& data) const noexcept {
  if (buffers_.role == Role::kServer) {
    data = buffers_.regions.locate(descriptor.region, descriptor.offset, descriptor.length);
    return data == nullptr ? RingFault::kOutsideRegion : RingFault::kNone;
  }
  data = buffers_.first + std::size_t{ring_.slot(index)} * buffers_.bytes;
  return descriptor.length > buffers_.bytes ? RingFault::kLongerThanBuffer : RingFault::kNone;
}

inline OutgoingRing::Room OutgoingRing::room(std::uint16_t ahead) const noexcept {
  const auto index = static_cast<std::uint16_t>(next_ + ahead);
  if (buffers_.role == Role::kClient)
    return {buffers_.first + std::size_t{ring_.slot(index)} * buffers_.bytes, buffers_.bytes, 0};
  const Descriptor descriptor = ring_.read(index);
  return {buffers_.regions.locate(descriptor.region, descriptor.offset, descriptor.length), descriptor.length,
          descriptor.region};
}

inline void OutgoingRing::fill(std::uint16_t ahead, const Room& room, std::uint32_t length,
                               bool more) noexcept {
  const auto index = static_cast<std::uint16_t>(next_ + ahead);
  const std::uint16_t flags = more ? Descriptor::kNext : std::uint16_t{0};
  if (buffers_.role == Role::kServer) return ring_.write_filled(index, flags, room.region, length);
  ring_.write(index, {flags, 0, length, buffers_.first_offset + ring_.slot(index) * buffers_.bytes, 0});
}

}  // namespace podwire::engine::memif
