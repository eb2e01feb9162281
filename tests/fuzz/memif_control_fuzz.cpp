// Whatever messages and descriptors come, the handshake neither crashes nor leaks, and what it lets through
// is a link whose rings can be used.
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <array>

#include "dataplane/ports/memif_handshake.hpp"
#include "tests/fuzz/fuzz_input.hpp"

namespace podwire::engine::memif {
namespace {

// A memory file with a ring's cookie at every multiple of 64, so that the fuzzer gets past it.
UniqueFd region_file(unsigned flags) {
  constexpr std::size_t kBytes = 1 << 16;
  UniqueFd fd(::memfd_create("fuzz", MFD_CLOEXEC | flags));
  if (::ftruncate(fd.get(), kBytes) != 0) return fd;
  void* at = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (at == MAP_FAILED) return fd;
  for (std::size_t i = 0; i < kBytes; i += 64) static_cast<std::uint32_t*>(at)[i / 4] = kCookie;
  ::munmap(at, kBytes);
  return fd;
}

UniqueFd make_descriptor(std::uint8_t kind) {
  static const UniqueFd sealable = region_file(MFD_ALLOW_SEALING), plain = region_file(0);
  static const UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  const std::array<int, 4> all{sealable.get(), plain.get(), event.get(), 0};
  return UniqueFd(::fcntl(all[kind % all.size()], F_DUPFD_CLOEXEC, 3));
}

// The link's rings, as the peer left them and then as the input says.
void use(Link& link, fuzz::Input& input) {
  for (auto& queue : link.incoming) {
    Batch batch;
    static_cast<void>(queue.ring.collect(kBatch, batch));
    queue.ring.give_back(true);
  }
  for (auto& queue : link.outgoing) {
    std::uint16_t free = 0;
    if (queue.ring.free_slots(free) != RingFault::kNone || free == 0) continue;
    const auto room = queue.ring.room(0);
    if (room.data != nullptr && room.bytes != 0) *room.data = input.take<std::byte>();
  }
}

void run(fuzz::Input& input) {
  Terms terms;
  terms.name = "fuzz";
  terms.interface = "port";
  terms.queues = static_cast<std::uint16_t>(1 + input.take<std::uint8_t>() % 4);
  terms.log2_ring_size = 1 + input.take<std::uint8_t>() % 6;
  terms.buffer_bytes = 128;
  if (input.flag()) terms.secret = "secret";
  const auto handshake = input.flag() ? make_server_handshake(terms) : make_client_handshake(terms);
  static_cast<void>(handshake->begin());
  for (unsigned i = 0; i < 64 && !input.empty(); ++i) {
    std::vector<UniqueFd> descriptors;
    const auto count = input.take<std::uint8_t>() % 3;
    for (int d = 0; d < count; ++d) descriptors.push_back(make_descriptor(input.take<std::uint8_t>()));
    Message message;
    input.fill(&message, 2 + input.take<std::uint8_t>() % 127);
    if (!handshake->on_message(message, std::move(descriptors))) return;
    if (const auto link = handshake->take_link()) use(*link, input);
  }
}

}  // namespace
}  // namespace podwire::engine::memif

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  podwire::fuzz::Input input(data, size);
  podwire::engine::memif::run(input);
  return 0;
}
