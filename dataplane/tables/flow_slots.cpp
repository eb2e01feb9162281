#include "dataplane/tables/flow_slots.hpp"

#include <sys/mman.h>

#include "dataplane/tables/reserved_memory.hpp"

namespace podwire::engine {

FlowSlots::FlowSlots(std::uint32_t most)
    : most_(most),
      lines_(static_cast<Line*>(reserve_memory(std::size_t{most} * 2 * sizeof(Line)))),
      // A lock guards the same hashes however many are in use.
      pairs_(std::min(most, kLocks)) {}

FlowSlots::~FlowSlots() {
  ::munmap(lines_, bytes());
}

FlowSlots::Place FlowSlots::free_slot(std::uint64_t hash, std::uint32_t pairs) const noexcept {
  for (std::uint32_t which = 0; which < 2; ++which) {
    auto& slots = line(hash, which, pairs);
    for (std::size_t i = 0; i < kSlots; ++i) {
      if (slots.lines[i].load(kRelaxed) == 0) return {&slots, i};
    }
  }
  return {};
}

bool FlowSlots::has_free(std::uint64_t hash, std::size_t wanted) const noexcept {
  for (std::uint32_t which = 0; which < 2; ++which) {
    for (const auto& slot : line(hash, which).lines) {
      if (slot.load(kRelaxed) == 0 && --wanted == 0) return true;
    }
  }
  return false;
}

void FlowSlots::fill(const Place& place, std::uint64_t hash, std::uint32_t line,
                     std::uint32_t pairs) noexcept {
  auto& home = this->line(hash, 0, pairs);
  if (place.slots != &home) home.strays.store(home.strays.load(kRelaxed) + 1, kRelease);
  place.slots->lines[place.index].store(line, kRelease);
  auto& word = place.slots->tags[place.index / 4];
  word.store(word.load(kRelaxed) | tag_of(hash) << place.index % 4 * 16, kRelease);
}

void FlowSlots::clear(std::uint64_t hash, std::uint32_t line, std::uint32_t pairs) noexcept {
  for (std::uint32_t which = 0; which < 2; ++which) {
    auto& slots = this->line(hash, which, pairs);
    for (std::size_t i = 0; i < kSlots; ++i) {
      if (slots.lines[i].load(kRelaxed) != line) continue;
      auto& word = slots.tags[i / 4];
      word.store(word.load(kRelaxed) & ~(std::uint64_t{0xffff} << i % 4 * 16), kRelease);
      slots.lines[i].store(0, kRelease);
      auto& home = this->line(hash, 0, pairs);
      if (which == 1) home.strays.store(home.strays.load(kRelaxed) - 1, kRelease);
      return;
    }
  }
}

}  // namespace podwire::engine
