// SpanIndex: an immutable map from 64-bit keys to runs of a vector that the owner keeps. Open addressing with
// linear probing, at most half full. Built once, read by any thread.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

#include "dataplane/tables/lookup_table.hpp"

namespace podwire::engine {

class SpanIndex {
 public:
  struct Span {
    std::uint32_t first = 0, count = 0;  // count 0: the key is not there
  };

  // `keys` is how many there will be.
  void reserve(std::size_t keys) {
    slots_.assign(keys == 0 ? 0 : std::bit_ceil(std::max<std::size_t>(keys * 2, 4)), {});
  }
  // A key that is not there yet; `span` is not empty.
  void put(std::uint64_t key, Span span) {
    auto at = mix(key) & (slots_.size() - 1);
    while (slots_[at].span.count != 0) at = (at + 1) & (slots_.size() - 1);
    slots_[at] = {key, span};
  }
  Span find(std::uint64_t key) const noexcept {
    if (slots_.empty()) return {};
    for (auto at = mix(key) & (slots_.size() - 1);; at = (at + 1) & (slots_.size() - 1)) {
      const auto& slot = slots_[at];
      if (slot.span.count == 0 || slot.key == key) return slot.span;
    }
  }
  std::size_t bytes() const { return slots_.size() * sizeof(Slot); }

 private:
  struct Slot {
    std::uint64_t key = 0;
    Span span;
  };
  std::vector<Slot> slots_;
};

}  // namespace podwire::engine
