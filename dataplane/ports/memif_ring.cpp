#include "dataplane/ports/memif_ring.hpp"

namespace podwire::engine::memif {
namespace {

// Slots that the peer is told about at once, in a ring that is large enough.
constexpr std::uint16_t kGiveBack = 32;

}  // namespace

const char* text(RingFault fault) {
  switch (fault) {
    case RingFault::kNone:
      return "none";
    case RingFault::kDistance:
      return "ring: head and tail are further apart than its size";
    case RingFault::kOutsideRegion:
      return "descriptor: its buffer is not inside a region";
    case RingFault::kLongerThanBuffer:
      return "descriptor: its length is beyond its buffer";
    case RingFault::kOpenChain:
      return "descriptor: a frame's chain goes on where the ring ends";
    case RingFault::kLongChain:
      return "descriptor: a frame's chain has more than 128 descriptors";
    case RingFault::kLongFrame:
      return "descriptor: a frame has more than 65553 bytes";
    case RingFault::kEmptyFrame:
      return "descriptor: a frame has no bytes";
    case RingFault::kNoRoom:
      return "descriptor: an empty buffer has no bytes or is not inside a region";
    case RingFault::kMemoryLost:
      return "region: memory vanished while it was used";
  }
  return "unknown";
}

void IncomingRing::offer_all() {
  for (std::uint32_t slot = 0; slot < ring_.size(); ++slot) {
    ring_.write(static_cast<std::uint16_t>(slot),
                {0, 0, buffers_.bytes, buffers_.first_offset + slot * buffers_.bytes, 0});
  }
  ring_.set_head(static_cast<std::uint16_t>(ring_.size()));
}

RingFault IncomingRing::collect(unsigned limit, Batch& out) const noexcept {
  const std::uint16_t end = newest();
  std::uint16_t at = next_;
  out.count = 0;
  if (static_cast<std::uint16_t>(end - at) > ring_.size()) return RingFault::kDistance;
  unsigned pieces = 0;
  while (at != end && out.count < limit && pieces < kBatch) {
    Frame frame{static_cast<std::uint16_t>(pieces), 0, 0, 0};
    bool more;
    do {
      if (frame.slots == kMaxChain) return RingFault::kLongChain;
      if (at == end) return RingFault::kOpenChain;
      const Descriptor descriptor = ring_.read(at);
      const std::byte* data = nullptr;
      if (const auto fault = locate(at, descriptor, data); fault != RingFault::kNone) return fault;
      if (descriptor.length > kMaxFrameBytes - frame.bytes) return RingFault::kLongFrame;
      if (descriptor.length != 0) {
        out.pieces[pieces++] = {data, descriptor.length};
        frame.bytes += descriptor.length;
        __builtin_prefetch(data);
      }
      ++frame.slots;
      ++at;
      more = (descriptor.flags & Descriptor::kNext) != 0;
    } while (more);
    if (frame.bytes == 0) return RingFault::kEmptyFrame;
    frame.pieces = static_cast<std::uint16_t>(pieces - frame.first_piece);
    out.frames[out.count++] = frame;
  }
  return RingFault::kNone;
}

void IncomingRing::give_back(bool idle) noexcept {
  const auto pending = static_cast<std::uint16_t>(next_ - given_);
  if (pending == 0 || (!idle && pending < kGiveBack && pending < ring_.size() / 4)) return;
  if (buffers_.role == Role::kServer) {
    ring_.set_tail(next_);
  } else {
    for (; given_ != next_; ++given_) {
      ring_.write(given_,
                  {0, 0, buffers_.bytes, buffers_.first_offset + ring_.slot(given_) * buffers_.bytes, 0});
    }
    ring_.set_head(static_cast<std::uint16_t>(next_ + ring_.size()));
  }
  given_ = next_;
}

RingFault OutgoingRing::free_slots(std::uint16_t& out) const noexcept {
  std::uint32_t count;
  if (buffers_.role == Role::kServer) {
    count = static_cast<std::uint16_t>(ring_.head() - next_);
  } else {
    const std::uint32_t filled = static_cast<std::uint16_t>(next_ - ring_.tail());
    if (filled > ring_.size()) return RingFault::kDistance;
    count = ring_.size() - filled;
  }
  if (count > ring_.size()) return RingFault::kDistance;
  out = static_cast<std::uint16_t>(count);
  return RingFault::kNone;
}

void OutgoingRing::publish(std::uint16_t slots) noexcept {
  next_ = static_cast<std::uint16_t>(next_ + slots);
  if (buffers_.role == Role::kServer) {
    ring_.set_tail(next_);
  } else {
    ring_.set_head(next_);
  }
}

}  // namespace podwire::engine::memif
