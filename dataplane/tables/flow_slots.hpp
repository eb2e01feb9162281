// FlowSlots: where the hash of a connection's key leads (tables/flow_table.hpp): to a pair of cache lines
// with eight slots each, a slot being 16 bits of the hash and the line of the table that may have the key. A
// key lies in one line of its pair, its home, unless that was full: the home counts those that lie in the
// other, so that who asks for a new key looks at one line.
//
// Grows with what it holds, so that few connections lie close together (linear hashing: Litwin 1980): with
// `pairs` in use, a hash belongs to the pair of its low bits, or, if that one is not in use, to the one with
// the highest of them cleared. grow() puts one more pair in use, which takes from that one what is its own
// now. It never shrinks.
//
// Readers take no lock; who looks for a key in vain while the number of pairs changes looks again. Who writes
// a pair has its lock (lock_of(): the same before and after the pair was divided). Called by workers, and by
// the main thread.
#pragma once

#include <emmintrin.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdint>

namespace podwire::engine {

// For a few dozen instructions.
template <class Flag>
void spin_lock(std::atomic<Flag>& flag) noexcept {
  while (flag.exchange(1, std::memory_order_acquire) != 0) {
    while (flag.load(std::memory_order_relaxed) != 0) __builtin_ia32_pause();
  }
}

class FlowSlots {
  static constexpr auto kRelaxed = std::memory_order_relaxed;
  static constexpr auto kAcquire = std::memory_order_acquire;
  static constexpr auto kRelease = std::memory_order_release;

 public:
  static constexpr std::size_t kSlots = 8;  // of a line
  static constexpr std::uint32_t kLocks = 4096;

  struct alignas(64) Line {
    std::atomic<std::uint64_t> tags[2];  // four of 16 bits each; 0: empty
    std::atomic<std::uint32_t> lines[kSlots];
    std::atomic<std::uint32_t> strays;  // keys whose home this is and that lie in the other line
  };
  static_assert(sizeof(Line) == 64);

  // Where a slot is.
  struct Place {
    Line* slots = nullptr;
    std::size_t index = 0;
    explicit operator bool() const noexcept { return slots != nullptr; }
  };

  // At most `most` pairs, a power of two.
  explicit FlowSlots(std::uint32_t most);
  ~FlowSlots();
  FlowSlots(const FlowSlots&) = delete;
  FlowSlots& operator=(const FlowSlots&) = delete;

  std::size_t bytes() const { return std::size_t{most_} * 2 * sizeof(Line); }

  // In use.
  std::uint32_t pairs() const noexcept { return pairs_.load(kAcquire); }
  static std::uint32_t pair_of(std::uint64_t hash, std::uint32_t pairs) noexcept {
    const std::uint32_t mask = ~std::uint32_t{0} >> std::countl_zero(pairs);
    const std::uint32_t pair = static_cast<std::uint32_t>(hash) & mask;
    return pair < pairs ? pair : pair & mask >> 1;
  }
  // The line of the hash's pair that is its home, or (1) the other one.
  Line& line(std::uint64_t hash, std::uint32_t which, std::uint32_t pairs) const noexcept {
    return lines_[std::size_t{pair_of(hash, pairs)} * 2 + (home_of(hash) ^ which)];
  }
  // Under the pair's lock, or for a prefetch.
  Line& line(std::uint64_t hash, std::uint32_t which) const noexcept { return line(hash, which, pairs()); }

  // Two bits a slot: which of them have the hash's tag.
  static std::uint32_t matches(const Line& slots, std::uint64_t hash) noexcept {
    const __m128i tags = _mm_set_epi64x(static_cast<long long>(slots.tags[1].load(kAcquire)),
                                        static_cast<long long>(slots.tags[0].load(kAcquire)));
    const __m128i wanted = _mm_set1_epi16(static_cast<short>(tag_of(hash)));
    return static_cast<std::uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi16(tags, wanted)));
  }
  // The first of them; 0: none.
  static std::uint32_t first_match(const Line& slots, std::uint64_t hash) noexcept {
    const auto bits = matches(slots, hash);
    return bits == 0 ? 0 : slots.lines[static_cast<std::size_t>(std::countr_zero(bits)) / 2].load(kAcquire);
  }

  std::uint32_t lock_of(std::uint64_t hash) const noexcept {
    return static_cast<std::uint32_t>(hash) & (std::min(most_, kLocks) - 1);
  }
  std::atomic<std::uint32_t>& lock(std::uint32_t index) noexcept { return locks_[index]; }

  // Under the pair's lock.
  bool same_pair(std::uint64_t a, std::uint64_t b) const noexcept {
    const auto count = pairs();
    return pair_of(a, count) == pair_of(b, count);
  }
  bool has_free(std::uint64_t hash, std::size_t wanted) const noexcept;
  Place free_slot(std::uint64_t hash) const noexcept { return free_slot(hash, pairs()); }
  void fill(const Place& place, std::uint64_t hash, std::uint32_t line) noexcept {
    fill(place, hash, line, pairs());
  }
  void clear(std::uint64_t hash, std::uint32_t line) noexcept { clear(hash, line, pairs()); }

  // Without any lock. Puts some more pairs in use if there are fewer than `wanted` and nobody else is
  // at it; hash_at(line) is the hash of the key in a line, which stands still while it is asked for.
  // fetch(line) prefetches one.
  template <class HashAt, class Fetch>
  void grow(std::uint32_t wanted, HashAt hash_at, Fetch fetch) noexcept;

 private:
  template <class HashAt>
  void divide(HashAt hash_at) noexcept;
  static std::uint64_t tag_of(std::uint64_t hash) noexcept { return std::max<std::uint64_t>(hash >> 48, 1); }
  static std::uint32_t home_of(std::uint64_t hash) noexcept { return hash >> 40 & 1; }
  Place free_slot(std::uint64_t hash, std::uint32_t pairs) const noexcept;
  void fill(const Place& place, std::uint64_t hash, std::uint32_t line, std::uint32_t pairs) noexcept;
  void clear(std::uint64_t hash, std::uint32_t line, std::uint32_t pairs) noexcept;

  const std::uint32_t most_;
  Line* lines_;  // two a pair
  std::atomic<std::uint32_t> pairs_;
  std::atomic<std::uint32_t> growing_{0};
  // Pairs share them; these stay in the cache where the pairs do not.
  std::array<std::atomic<std::uint32_t>, kLocks> locks_{};
};

template <class HashAt, class Fetch>
void FlowSlots::grow(std::uint32_t wanted, HashAt hash_at, Fetch fetch) noexcept {
  wanted = std::min(wanted, most_);
  if (pairs_.load(kRelaxed) >= wanted) [[likely]]
    return;
  // Who grows may have lost its CPU. Nobody waits for that, but where so many have come meanwhile that pairs
  // could overflow.
  if (pairs_.load(kRelaxed) < wanted / 2) {
    spin_lock(growing_);
    while (pairs_.load(kRelaxed) < wanted / 2) divide(hash_at);
  } else if (growing_.exchange(1, kAcquire) != 0) {
    return;
  }
  // More than a call asks for, so that what was left out while another one grew is made good.
  for (int i = 0; i < 6 && pairs_.load(kRelaxed) < wanted; ++i) divide(hash_at);
  // What the next one will ask for.
  const auto pairs = pairs_.load(kRelaxed);
  const auto* next = &lines_[std::size_t{pairs - std::bit_floor(pairs)} * 2];
  for (const auto* slots : {next, next + 1}) {
    for (const auto& slot : slots->lines) {
      if (const auto line = slot.load(kRelaxed); line != 0) fetch(line);
    }
  }
  __builtin_prefetch(next + 2);
  __builtin_prefetch(next + 3);
  growing_.store(0, kRelease);
}

template <class HashAt>
void FlowSlots::divide(HashAt hash_at) noexcept {
  const auto before = pairs_.load(kRelaxed);
  const auto half = std::bit_floor(before);
  const auto divided = before - half;
  auto& lock = locks_[divided % kLocks];
  spin_lock(lock);
  struct Moved {
    std::uint64_t hash;
    std::uint32_t line;
  };
  std::array<Moved, 2 * kSlots> moved;
  std::size_t count = 0;
  for (std::size_t i = 0; i < 2 * kSlots; ++i) {
    const auto line = lines_[std::size_t{divided} * 2 + i / kSlots].lines[i % kSlots].load(kRelaxed);
    if (line == 0) continue;
    const auto hash = hash_at(line);
    if ((hash & half) != 0) moved[count++] = {hash, line};
  }
  // There before they are looked for there, and here until they are not looked for here.
  for (std::size_t i = 0; i < count; ++i)
    fill(free_slot(moved[i].hash, before + 1), moved[i].hash, moved[i].line, before + 1);
  pairs_.store(before + 1, kRelease);
  for (std::size_t i = 0; i < count; ++i) clear(moved[i].hash, moved[i].line, before);
  lock.store(0, kRelease);
}

}  // namespace podwire::engine
