#include "dataplane/tables/flow_table.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <new>

#include "dataplane/tables/lookup_table.hpp"

namespace podwire::engine {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kAcquire = std::memory_order_acquire;
constexpr auto kRelease = std::memory_order_release;

constexpr std::uint64_t kRoutedBit = std::uint64_t{1} << 31, kTranslatedBit = std::uint64_t{1} << 30;

void* reserve(std::size_t bytes) {
  void* memory =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  // Random access over tens of MiB is mostly page walks otherwise. A refusal costs speed only.
  ::madvise(memory, bytes, MADV_HUGEPAGE);
  return memory;
}

std::uint64_t pack(const FlowDecision& decision) {
  return std::uint64_t{decision.generation} << 32 | (decision.routed ? kRoutedBit : 0) | decision.adjacency;
}
FlowDecision unpack(std::uint64_t word) {
  FlowDecision decision;
  decision.generation = static_cast<std::uint32_t>(word >> 32);
  decision.routed = (word & kRoutedBit) != 0;
  decision.translated = (word & kTranslatedBit) != 0;
  decision.adjacency = static_cast<std::uint32_t>(word & (kTranslatedBit - 1));
  return decision;
}

template <class Flag>
void spin_lock(std::atomic<Flag>& flag) noexcept {
  while (flag.exchange(1, kAcquire) != 0) {
    while (flag.load(kRelaxed) != 0) __builtin_ia32_pause();
  }
}

}  // namespace

// The pairs of two hashes, locked in the order of their addresses, so that nobody waits in a circle.
class FlowTable::PairLocks {
 public:
  PairLocks(FlowTable& table, std::uint64_t a, std::uint64_t b) noexcept
      : table_(table),
        first_(std::min(table.pair_of(a), table.pair_of(b))),
        second_(std::max(table.pair_of(a), table.pair_of(b))) {
    spin_lock(flag(first_));
    if (second_ != first_) spin_lock(flag(second_));
  }
  ~PairLocks() {
    flag(first_).store(0, kRelease);
    if (second_ != first_) flag(second_).store(0, kRelease);
  }
  PairLocks(const PairLocks&) = delete;
  PairLocks& operator=(const PairLocks&) = delete;

  bool holds(std::uint32_t pair) const noexcept { return pair == first_ || pair == second_; }
  std::atomic<std::uint32_t>& flag(std::uint32_t pair) const noexcept {
    return table_.slots_[std::size_t{pair} * 2].locked;
  }

 private:
  FlowTable& table_;
  const std::uint32_t first_, second_;
};

FlowTable::FlowTable(std::uint32_t capacity, std::uint64_t seed)
    : capacity_(capacity),
      seed_(mix(seed + kOdd2)),  // the hash needs all bits of it
      // Four slots a connection in all, so that a pair of sixteen has eight in use when the table is full.
      pair_mask_(std::bit_ceil(std::max(capacity / 4, 4u)) - 1),
      lines_(static_cast<Line*>(reserve((std::size_t{capacity} + 1) * 2 * sizeof(Line)))),
      slots_(static_cast<SlotLine*>(reserve((std::size_t{pair_mask_} + 1) * 2 * sizeof(SlotLine)))) {}

FlowTable::~FlowTable() {
  ::munmap(lines_, (std::size_t{capacity_} + 1) * 2 * sizeof(Line));
  ::munmap(slots_, (std::size_t{pair_mask_} + 1) * 2 * sizeof(SlotLine));
}

std::size_t FlowTable::bytes_reserved() const {
  return (std::size_t{capacity_} + 1) * 2 * sizeof(Line) +
         (std::size_t{pair_mask_} + 1) * 2 * sizeof(SlotLine);
}

FlowRef FlowTable::compare(std::uint32_t line, const FlowKey& key) const noexcept {
  const auto& entry = lines_[line];
  const auto sequence = entry.sequence.load(kAcquire);
  auto different =
      (entry.key[0].load(kAcquire) ^ key.words[0]) | (entry.key[1].load(kAcquire) ^ key.words[1]);
  if (!key.is_v4()) {
    for (std::size_t i = 2; i < 5; ++i) different |= entry.key[i].load(kAcquire) ^ key.words[i];
  }
  if (different != 0 || (sequence & 1) != 0 || entry.sequence.load(kRelaxed) != sequence) return {};
  return {line, sequence};
}

FlowRef FlowTable::find_in(const SlotLine& slots, const FlowKey& key, std::uint64_t tag) const noexcept {
  for (std::size_t half = 0; half < 2; ++half) {
    for (auto bits = matches(slots.tags[half].load(kAcquire), tag); bits != 0; bits &= bits - 1) {
      const auto lane = static_cast<std::size_t>(std::countr_zero(bits)) / 16;
      const auto line = slots.lines[half * 4 + lane].load(kAcquire);
      if (line == 0) continue;
      if (const auto ref = compare(line, key)) return ref;
    }
  }
  return {};
}

FlowRef FlowTable::find_hashed(const FlowKey& key, std::uint64_t hash) const noexcept {
  if (const auto ref = find_in(slot_line(hash, 0), key, tag_of(hash))) return ref;
  return find_in(slot_line(hash, 1), key, tag_of(hash));
}

std::uint32_t FlowTable::first_candidate(const SlotLine& slots, std::uint64_t tag) const noexcept {
  for (std::size_t half = 0; half < 2; ++half) {
    const auto bits = matches(slots.tags[half].load(kAcquire), tag);
    if (bits != 0)
      return slots.lines[half * 4 + static_cast<std::size_t>(std::countr_zero(bits)) / 16].load(kAcquire);
  }
  return 0;
}

void FlowTable::find_burst(std::span<const FlowKey> keys, std::span<FlowRef> found) const noexcept {
  std::uint64_t hashes[kBurst];
  std::uint32_t candidates[kBurst];
  const std::size_t count = std::min(keys.size(), kBurst);
  for (std::size_t i = 0; i < count; ++i) {
    hashes[i] = hash(keys[i]);
    __builtin_prefetch(&slot_line(hashes[i], 0));
  }
  for (std::size_t i = 0; i < count; ++i) {
    candidates[i] = first_candidate(slot_line(hashes[i], 0), tag_of(hashes[i]));
    __builtin_prefetch(&lines_[candidates[i]]);
  }
  for (std::size_t i = 0; i < count; ++i) {
    found[i] = candidates[i] != 0 ? compare(candidates[i], keys[i]) : FlowRef{};
    if (!found[i]) [[unlikely]]
      found[i] = find_hashed(keys[i], hashes[i]);
  }
}

bool FlowTable::read(FlowRef ref, FlowView& view) const noexcept {
  const auto& line = lines_[ref.line];
  view.phase = FlowPhase::unpack(line.phase.load(kAcquire));
  view.decision = unpack(line.decision.load(kAcquire));
  view.rules_generation = line.rules_generation.load(kAcquire);
  view.last_seen = line.last_seen.load(kAcquire);
  return line.sequence.load(kRelaxed) == ref.sequence && (ref.sequence & 1) == 0;
}

FlowKey FlowTable::key_at(std::uint32_t line) const noexcept {
  FlowKey key;
  for (std::size_t i = 0; i < 5; ++i) key.words[i] = lines_[line].key[i].load(kAcquire);
  return key;
}

bool FlowTable::read_key(FlowRef ref, Direction direction, FlowKey& key) const noexcept {
  key = key_at((ref.line & ~1u) | static_cast<std::uint32_t>(direction));
  return lines_[ref.line].sequence.load(kRelaxed) == ref.sequence;
}

bool FlowTable::read_other_key(FlowRef ref, FlowKey& key) const noexcept {
  const auto& other = lines_[ref.line ^ 1u];
  const auto sequence = other.sequence.load(kAcquire);
  key = key_at(ref.line ^ 1u);
  return (sequence & 1) == 0 && other.sequence.load(kRelaxed) == sequence &&
         lines_[ref.line].sequence.load(kRelaxed) == ref.sequence && key.words[0] != 0;
}

std::uint32_t FlowTable::last_seen_of(std::uint32_t entry) const noexcept {
  const auto original = lines_[entry * 2].last_seen.load(kRelaxed);
  const auto reply = lines_[entry * 2 + 1].last_seen.load(kRelaxed);
  return static_cast<std::int32_t>(original - reply) > 0 ? original : reply;
}

bool FlowTable::lock_entry(FlowRef ref) noexcept {
  spin_lock(lines_[ref.line & ~1u].locked);
  if (lines_[ref.line].sequence.load(kRelaxed) == ref.sequence) return true;
  unlock_entry(ref);
  return false;
}

void FlowTable::unlock_entry(FlowRef ref) noexcept {
  lines_[ref.line & ~1u].locked.store(0, kRelease);
}

void FlowTable::store_phase(FlowRef ref, FlowPhase phase) noexcept {
  lines_[ref.line].phase.store(phase.packed(), kRelease);
  lines_[ref.line ^ 1u].phase.store(phase.packed(), kRelease);
}

void FlowTable::set_decision(FlowRef ref, const FlowDecision& decision) noexcept {
  if (!lock_entry(ref)) return;
  auto& word = lines_[ref.line].decision;
  word.store(pack(decision) | (word.load(kRelaxed) & kTranslatedBit), kRelease);
  unlock_entry(ref);
}

void FlowTable::set_rules_generation(FlowRef ref, std::uint32_t generation) noexcept {
  if (!lock_entry(ref)) return;
  lines_[ref.line].rules_generation.store(generation, kRelease);
  lines_[ref.line ^ 1u].rules_generation.store(generation, kRelease);
  unlock_entry(ref);
}

FlowTable::Place FlowTable::free_slot(std::uint64_t hash) noexcept {
  for (std::uint32_t which = 0; which < 2; ++which) {
    auto& slots = slot_line(hash, which);
    for (std::size_t i = 0; i < kSlots; ++i) {
      if (slots.lines[i].load(kRelaxed) == 0) return {&slots, i};
    }
  }
  return {};
}

// Under the pair's lock, like everything that writes slots.
void FlowTable::fill(const Place& place, std::uint64_t hash, std::uint32_t line) noexcept {
  place.slots->lines[place.index].store(line, kRelease);
  auto& word = place.slots->tags[place.index / 4];
  word.store(word.load(kRelaxed) | tag_of(hash) << place.index % 4 * 16, kRelease);
}

void FlowTable::clear_slot(std::uint64_t hash, std::uint32_t line) noexcept {
  for (std::uint32_t which = 0; which < 2; ++which) {
    auto& slots = slot_line(hash, which);
    for (std::size_t i = 0; i < kSlots; ++i) {
      if (slots.lines[i].load(kRelaxed) != line) continue;
      auto& word = slots.tags[i / 4];
      word.store(word.load(kRelaxed) & ~(std::uint64_t{0xffff} << i % 4 * 16), kRelease);
      slots.lines[i].store(0, kRelease);
      return;
    }
  }
}

// Under the entry's lock.
void FlowTable::write_line(std::uint32_t line, const FlowKey& key, FlowPhase phase,
                           std::uint32_t rules_generation, std::uint32_t now_s, bool translated) noexcept {
  auto& to = lines_[line];
  const auto sequence = to.sequence.load(kRelaxed);
  to.sequence.store(sequence + 1, kRelaxed);
  for (std::size_t i = 0; i < 5; ++i) to.key[i].store(key.words[i], kRelease);
  to.decision.store(translated ? kTranslatedBit : 0, kRelease);
  to.rules_generation.store(rules_generation, kRelease);
  to.last_seen.store(now_s, kRelease);
  to.phase.store(phase.packed(), kRelease);
  to.sequence.store(sequence + 2, kRelease);
}

void FlowTable::forget_lines(std::uint32_t entry) noexcept {
  write_line(entry * 2, {}, {}, 0, 0);
  write_line(entry * 2 + 1, {}, {}, 0, 0);
}

std::uint32_t FlowTable::allocate() noexcept {
  auto head = free_.load(kAcquire);
  while (static_cast<std::uint32_t>(head) != 0) {
    const auto entry = static_cast<std::uint32_t>(head);
    // May be in use again by now; then the exchange fails.
    const auto next = lines_[entry * 2 + 1].decision.load(kAcquire) & 0xffffffff;
    const auto changed = (head >> 32) + 1;
    if (free_.compare_exchange_weak(head, changed << 32 | next, std::memory_order_acq_rel)) return entry;
  }
  auto used = used_.load(kRelaxed);
  while (used <= capacity_) {
    if (used_.compare_exchange_weak(used, used + 1, std::memory_order_acq_rel)) return used;
  }
  return 0;
}

void FlowTable::release(std::uint32_t entry) noexcept {
  auto head = free_.load(kRelaxed);
  std::uint64_t next = 0;
  do {
    lines_[entry * 2 + 1].decision.store(head & 0xffffffff, kRelease);
    next = ((head >> 32) + 1) << 32 | entry;
  } while (!free_.compare_exchange_weak(head, next, std::memory_order_acq_rel));
}

bool FlowTable::evict_entry(std::uint32_t entry, const PairLocks& held) noexcept {
  // The keys stand still: whoever changes them has a lock on the pair that led here.
  const std::uint64_t hashes[] = {hash(key_at(entry * 2)), hash(key_at(entry * 2 + 1))};
  std::atomic<std::uint32_t>* borrowed = nullptr;
  for (const auto one : hashes) {
    const auto pair = pair_of(one);
    if (held.holds(pair)) continue;
    auto& flag = held.flag(pair);
    if (flag.exchange(1, kAcquire) != 0) return false;  // somebody's, who may be waiting for one of ours
    borrowed = &flag;
  }
  const FlowRef ref{entry * 2, lines_[entry * 2].sequence.load(kRelaxed)};
  const bool locked = lock_entry(ref);
  const auto phase = FlowPhase::unpack(lines_[entry * 2].phase.load(kRelaxed));
  const bool gone = locked && is_replaceable(phase.state);
  if (gone) {
    forget_lines(entry);
    clear_slot(hashes[0], entry * 2);
    clear_slot(hashes[1], entry * 2 + 1);
  }
  if (locked) unlock_entry(ref);
  if (borrowed != nullptr) borrowed->store(0, kRelease);
  return gone;
}

std::uint32_t FlowTable::evict(std::uint64_t hash, const PairLocks& held) noexcept {
  struct Candidate {
    std::uint32_t entry, seen;
  };
  Candidate candidates[2 * kSlots];
  std::size_t count = 0;
  for (std::uint32_t which = 0; which < 2; ++which) {
    for (const auto& slot : slot_line(hash, which).lines) {
      const auto line = slot.load(kRelaxed);
      if (line == 0) continue;
      if (is_replaceable(FlowPhase::unpack(lines_[line].phase.load(kRelaxed)).state))
        candidates[count++] = {line / 2, last_seen_of(line / 2)};
    }
  }
  std::sort(candidates, candidates + count, [](const Candidate& a, const Candidate& b) {
    return static_cast<std::int32_t>(a.seen - b.seen) < 0;
  });
  for (std::size_t i = 0; i < count; ++i) {
    if (evict_entry(candidates[i].entry, held)) return candidates[i].entry;
  }
  return 0;
}

FlowTable::Insertion FlowTable::insert(const FlowKey& original, const FlowKey& reply, FlowPhase phase,
                                       std::uint32_t rules_generation, std::uint32_t now_s) noexcept {
  const bool both = !(original == reply);
  const std::uint64_t hashes[] = {hash(original), hash(reply)};
  Insertion result;
  const PairLocks held(*this, hashes[0], hashes[1]);
  if (const auto ref = find_hashed(original, hashes[0])) {
    result.outcome = Insertion::Outcome::kThere;
    result.ref = ref;
    return result;
  }
  if (both && find_hashed(reply, hashes[1])) {
    result.outcome = Insertion::Outcome::kTaken;
    return result;
  }

  std::uint32_t entry = 0;
  const auto make_room = [&](std::uint64_t where) {
    const auto victim = evict(where, held);
    if (victim == 0) return false;
    ++result.evicted;
    if (entry == 0) {
      entry = victim;
    } else {
      release(victim);
    }
    return true;
  };
  const auto has_slots = [&] {
    if (!free_slot(hashes[0]) && !make_room(hashes[0])) return false;
    if (!both) return true;
    // In one pair, the two need two slots.
    const bool same = pair_of(hashes[0]) == pair_of(hashes[1]);
    std::size_t free = 0;
    for (const auto* slots : {&slot_line(hashes[1], 0), &slot_line(hashes[1], 1)}) {
      for (const auto& line : slots->lines) free += line.load(kRelaxed) == 0 ? 1 : 0;
    }
    return free >= (same ? 2u : 1u) || make_room(hashes[1]);
  };
  const bool room = has_slots();
  if (room && entry == 0) entry = allocate();
  if (room && entry == 0 && !make_room(hashes[0])) make_room(hashes[1]);
  if (!room || entry == 0) {
    if (entry != 0) release(entry);
    return result;
  }
  const bool translated = !(reply == original.reversed());
  // In one piece for remove(), which may come to the entry by its index.
  spin_lock(lines_[entry * 2].locked);
  write_line(entry * 2, original, phase, rules_generation, now_s, translated);
  write_line(entry * 2 + 1, both ? reply : FlowKey{}, phase, rules_generation, now_s, translated);
  lines_[entry * 2].locked.store(0, kRelease);
  fill(free_slot(hashes[0]), hashes[0], entry * 2);
  if (both) fill(free_slot(hashes[1]), hashes[1], entry * 2 + 1);
  result.outcome = Insertion::Outcome::kNew;
  result.ref = {entry * 2, lines_[entry * 2].sequence.load(kRelaxed)};
  return result;
}

bool FlowTable::remove(FlowRef ref) noexcept {
  const auto entry = ref.line / 2;
  FlowKey keys[2];
  for (const auto direction : {Direction::kOriginal, Direction::kReply}) {
    if (!read_key(ref, direction, keys[static_cast<std::size_t>(direction)])) return false;
  }
  const std::uint64_t hashes[] = {hash(keys[0]), hash(keys[1])};
  {
    const PairLocks held(*this, hashes[0], hashes[1]);
    if (!lock_entry(ref)) return false;
    // The keys were read while they may have been written: only these pairs are locked.
    const bool same = key_at(entry * 2) == keys[0] && key_at(entry * 2 + 1) == keys[1];
    if (same) {
      forget_lines(entry);
      clear_slot(hashes[0], entry * 2);
      clear_slot(hashes[1], entry * 2 + 1);
    }
    unlock_entry(ref);
    if (!same) return false;
  }
  release(entry);
  return true;
}

}  // namespace podwire::engine
