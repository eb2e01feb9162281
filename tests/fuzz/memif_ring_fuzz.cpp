// Whatever a peer writes into rings and descriptors, no byte outside its regions (server) or our buffers
// (client) is touched: they are heap blocks here, and AddressSanitizer watches their ends.
#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

#include "dataplane/ports/memif_ring.hpp"
#include "tests/fuzz/fuzz_input.hpp"

namespace podwire::engine::memif {
namespace {

// Aligned as a mapping is, and not a byte longer than it says.
struct Block {
  explicit Block(std::size_t size) : words((size + 7) / 8), bytes(size) {}
  std::byte* data() { return reinterpret_cast<std::byte*>(words.data()); }
  std::vector<std::uint64_t> words;
  std::size_t bytes;
};

struct Setup {
  Role role;
  unsigned log2_size;
  Block ring;
  std::vector<Block> regions;
  Buffers buffers;

  explicit Setup(fuzz::Input& input)
      : role(input.flag() ? Role::kServer : Role::kClient),
        log2_size(1 + input.take<std::uint8_t>() % 8),
        ring(ring_bytes(log2_size)) {
    buffers.role = role;
    const std::uint32_t size = 64u << (input.take<std::uint8_t>() % 6);
    if (role == Role::kClient) {
      regions.emplace_back(std::size_t{size} << log2_size);
      buffers.first = regions.front().data();
      buffers.bytes = size;
      return;
    }
    const unsigned count = 1 + input.take<std::uint8_t>() % 3;
    for (unsigned i = 0; i < count; ++i) regions.emplace_back(size * (i + 1) * 8);
    for (unsigned i = 0; i < count; ++i) buffers.regions.spans[i] = {regions[i].data(), regions[i].bytes};
  }
  Ring view() { return Ring(ring.data(), log2_size); }
  void scribble(fuzz::Input& input) {
    auto at = input.take<std::uint16_t>() % ring.bytes;
    const auto size = std::min<std::size_t>(input.take<std::uint8_t>(), ring.bytes - at);
    input.fill(ring.data() + at, size);
  }
};

void read_all(const Batch& batch) {
  for (unsigned f = 0; f < batch.count; ++f) {
    const Frame& frame = batch.frames[f];
    std::uint32_t bytes = 0;
    unsigned sum = 0;
    for (unsigned i = 0; i < frame.pieces; ++i) {
      const Piece& piece = batch.pieces[frame.first_piece + i];
      bytes += piece.bytes;
      for (std::uint32_t b = 0; b < piece.bytes; ++b) sum += std::to_integer<unsigned>(piece.data[b]);
    }
    const volatile unsigned sink = sum;
    static_cast<void>(sink);
    if (bytes != frame.bytes || bytes == 0 || bytes > kMaxFrameBytes) __builtin_trap();
    if (frame.slots == 0 || frame.slots > kMaxChain) __builtin_trap();
  }
}

void fuzz_incoming(fuzz::Input& input) {
  Setup setup(input);
  IncomingRing ring(setup.view(), setup.buffers);
  if (setup.role == Role::kClient) ring.offer_all();
  while (!input.empty()) {
    setup.scribble(input);
    Batch batch;
    const auto fault = ring.collect(1 + input.take<std::uint8_t>() % kBatch, batch);
    read_all(batch);
    std::uint16_t slots = 0;
    for (unsigned f = 0; f < batch.count; ++f)
      slots = static_cast<std::uint16_t>(slots + batch.frames[f].slots);
    ring.consume(slots);
    ring.give_back(input.flag());
    if (fault != RingFault::kNone) return;
  }
}

void fuzz_outgoing(fuzz::Input& input) {
  Setup setup(input);
  OutgoingRing ring(setup.view(), setup.buffers);
  while (!input.empty()) {
    setup.scribble(input);
    std::uint16_t free = 0;
    if (ring.free_slots(free) != RingFault::kNone) return;
    if (free > ring.ring().size()) __builtin_trap();
    const auto wanted = std::min<std::uint16_t>(free, input.take<std::uint8_t>());
    std::uint16_t filled = 0;
    for (; filled < wanted; ++filled) {
      const auto room = ring.room(filled);
      if (room.data == nullptr || room.bytes == 0) return;
      const auto length = std::min<std::uint32_t>(room.bytes, input.take<std::uint16_t>());
      std::fill_n(room.data, length, std::byte{0x5A});
      ring.fill(filled, room, length, input.flag());
    }
    ring.publish(filled);
  }
}

}  // namespace
}  // namespace podwire::engine::memif

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  podwire::fuzz::Input input(data, size);
  if (input.flag()) {
    podwire::engine::memif::fuzz_incoming(input);
  } else {
    podwire::engine::memif::fuzz_outgoing(input);
  }
  return 0;
}
