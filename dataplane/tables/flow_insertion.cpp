// How connections come into the table and leave it: locks, slots, and what makes room for what.
#include <algorithm>
#include <bit>

#include "dataplane/tables/flow_table.hpp"
#include "dataplane/telemetry/counters.hpp"

namespace podwire::engine {
// The pairs of two hashes, locked in the order of their locks, so that nobody waits in a circle.
class FlowTable::PairLocks {
 public:
  PairLocks(FlowTable& table, std::uint64_t a, std::uint64_t b) noexcept
      : slots_(table.slots_),
        first_(std::min(slots_.lock_of(a), slots_.lock_of(b))),
        second_(std::max(slots_.lock_of(a), slots_.lock_of(b))) {
    spin_lock(slots_.lock(first_));
    if (second_ != first_) spin_lock(slots_.lock(second_));
  }
  ~PairLocks() {
    slots_.lock(first_).store(0, kRelease);
    if (second_ != first_) slots_.lock(second_).store(0, kRelease);
  }
  PairLocks(const PairLocks&) = delete;
  PairLocks& operator=(const PairLocks&) = delete;

  bool hold(std::uint32_t lock) const noexcept { return lock == first_ || lock == second_; }

 private:
  FlowSlots& slots_;
  const std::uint32_t first_, second_;
};

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
    const auto index = slots_.lock_of(one);
    if (held.hold(index)) continue;
    auto& lock = slots_.lock(index);
    if (lock.exchange(1, kAcquire) != 0) return false;  // somebody's, who may be waiting for one of ours
    borrowed = &lock;
  }
  const FlowRef ref{entry * 2, lines_[entry * 2].sequence.load(kRelaxed)};
  const bool locked = lock_entry(ref);
  const auto phase = FlowPhase::unpack(lines_[entry * 2].phase.load(kRelaxed));
  const bool gone = locked && is_replaceable(phase.state);
  if (gone) forget(entry, hashes);
  if (locked) unlock_entry(ref);
  if (borrowed != nullptr) borrowed->store(0, kRelease);
  return gone;
}

bool FlowTable::evict_from(std::uint64_t hash, const PairLocks& held) noexcept {
  struct Candidate {
    std::uint32_t entry, seen;
  };
  Candidate candidates[2 * FlowSlots::kSlots];
  std::size_t count = 0;
  for (std::uint32_t which = 0; which < 2; ++which) {
    for (const auto& slot : slots_.line(hash, which).lines) {
      const auto entry = slot.load(kRelaxed) / 2;
      if (mark_at(entry) != 0) candidates[count++] = {entry, last_seen_of(entry)};
    }
  }
  std::sort(candidates, candidates + count, [](const Candidate& a, const Candidate& b) {
    return static_cast<std::int32_t>(a.seen - b.seen) < 0;
  });
  for (std::size_t i = 0; i < count; ++i) {
    if (!evict_entry(candidates[i].entry, held)) continue;
    release(candidates[i].entry);
    return true;
  }
  return false;
}

bool FlowTable::make_slots(const std::uint64_t (&hashes)[2], bool both, const PairLocks& held,
                           std::uint32_t& evicted) noexcept {
  const auto make = [&](std::uint64_t hash, std::size_t wanted) {
    while (!slots_.has_free(hash, wanted)) {
      if (!evict_from(hash, held)) return false;
      ++evicted;
    }
    return true;
  };
  if (!both) return make(hashes[0], 1);
  if (slots_.same_pair(hashes[0], hashes[1])) return make(hashes[0], 2);
  return make(hashes[0], 1) && make(hashes[1], 1);
}

bool FlowTable::spare(std::uint32_t entry) noexcept {
  const auto seen_mark = [&] { return 0x80 | (last_seen_of(entry) & 0x7f); };
  if (mark_at(entry) == seen_mark()) return false;
  const FlowRef ref{entry * 2, lines_[entry * 2].sequence.load(kAcquire)};
  if (!lock_entry(ref)) return true;
  if (mark_at(entry) != 0) set_mark(entry, seen_mark());
  unlock_entry(ref);
  return true;
}

std::uint32_t FlowTable::evict_next() noexcept {
  constexpr std::uint64_t kMarked = 0x8080808080808080;
  auto hand = hand_.load(kRelaxed);
  unsigned chances = kChances;
  for (unsigned words = kWordsLooked; words != 0; --words) {
    auto bits = marks_[hand / 8].load(kRelaxed) & kMarked & ~std::uint64_t{0} << hand % 8 * 8;
    for (; bits != 0; bits &= bits - 1) {
      const auto entry = hand / 8 * 8 + static_cast<std::uint32_t>(std::countr_zero(bits)) / 8;
      if (chances != 0 && spare(entry)) {
        --chances;
        continue;
      }
      if (!unlink({entry * 2, lines_[entry * 2].sequence.load(kAcquire)}, true)) continue;
      hand_.store(entry + 1, kRelaxed);
      return entry;
    }
    hand = hand / 8 * 8 + 8;
    if (hand > capacity_) hand = 0;
  }
  hand_.store(hand, kRelaxed);
  return 0;
}

void FlowTable::prefetch_evictions(std::size_t count) const noexcept {
  if (used_.load(kRelaxed) <= capacity_ || static_cast<std::uint32_t>(free_.load(kRelaxed)) != 0) return;
  constexpr std::uint64_t kMarked = 0x8080808080808080;
  std::uint32_t next[kBurst];
  std::size_t found = 0;
  count = std::min(count, kBurst);
  auto hand = hand_.load(kRelaxed);
  for (std::size_t words = 0; words < kBurst && found < count; ++words) {
    auto bits = marks_[hand / 8].load(kRelaxed) & kMarked & ~std::uint64_t{0} << hand % 8 * 8;
    for (; bits != 0 && found < count; bits &= bits - 1) {
      const auto entry = hand / 8 * 8 + static_cast<std::uint32_t>(std::countr_zero(bits)) / 8;
      __builtin_prefetch(&lines_[entry * 2]);
      __builtin_prefetch(&lines_[entry * 2 + 1]);
      next[found++] = entry;
    }
    hand = hand / 8 * 8 + 8;
    if (hand > capacity_) hand = 0;
  }
  for (std::size_t i = 0; i < found; ++i) {
    __builtin_prefetch(&slots_.line(hash(key_at(next[i] * 2)), 0));
    __builtin_prefetch(&slots_.line(hash(key_at(next[i] * 2 + 1)), 0));
  }
}

bool FlowTable::count_in(const FlowOwner& owner) noexcept {
  static_assert(kMaxOwners >= kMaxPorts);
  if (!owner.port) return true;
  auto& flows = owned_[owner.port.value() % kMaxOwners].flows;
  if (flows.fetch_add(1, kRelaxed) < owner.limit) return true;
  flows.fetch_sub(1, kRelaxed);
  return false;
}

void FlowTable::count_out(PortId port) noexcept {
  if (port) owned_[port.value() % kMaxOwners].flows.fetch_sub(1, kRelaxed);
}

FlowTable::Insertion FlowTable::insert(const FlowKey& original, const FlowKey& reply, FlowPhase phase,
                                       std::uint32_t rules_generation, std::uint32_t now_s,
                                       FlowOwner owner) noexcept {
  const bool both = !(original == reply);
  const std::uint64_t hashes[] = {hash(original), hash(reply)};
  Insertion result;
  const auto is_there = [&] {
    result.ref = find_hashed(original, hashes[0]);
    if (result.ref) result.outcome = Insertion::Outcome::kThere;
    return static_cast<bool>(result.ref);
  };
  const auto is_taken = [&] {
    if (!both || !find_hashed(reply, hashes[1])) return false;
    result.outcome = Insertion::Outcome::kTaken;
    return true;
  };
  if (is_there()) return result;
  if (!count_in(owner)) {
    result.outcome = Insertion::Outcome::kLimit;
    return result;
  }
  // Before the pairs' locks: making room takes those of others.
  auto entry = allocate();
  if (entry == 0) {
    entry = evict_next();
    result.evicted = entry != 0 ? 1 : 0;
  }
  // Two pairs for every entry that was ever in use: there is room, too, for what is inserted while the thread
  // that divides one has lost its CPU.
  slots_.grow(
      entry * 2, [this](std::uint32_t line) { return hash(key_at(line)); },
      [this](std::uint32_t line) { __builtin_prefetch(&lines_[line]); });
  {
    const PairLocks held(*this, hashes[0], hashes[1]);
    if (entry != 0 && !is_there() && !is_taken() && make_slots(hashes, both, held, result.evicted)) {
      const bool translated = !(reply == original.reversed());
      // In one piece for remove(), which may come to the entry by its index.
      spin_lock(lines_[entry * 2].locked);
      const FlowKey back = both ? reply : FlowKey{};
      write_line(entry * 2, original, back, phase, rules_generation, now_s, translated);
      write_line(entry * 2 + 1, back, original, phase, rules_generation, now_s, translated);
      owners_[entry].store(owner.port.value(), kRelaxed);
      set_mark(entry, mark_of(phase.state, now_s));
      lines_[entry * 2].locked.store(0, kRelease);
      slots_.fill(slots_.free_slot(hashes[0]), hashes[0], entry * 2);
      if (both) slots_.fill(slots_.free_slot(hashes[1]), hashes[1], entry * 2 + 1);
      result.outcome = Insertion::Outcome::kNew;
      result.ref = {entry * 2, lines_[entry * 2].sequence.load(kRelaxed)};
      return result;
    }
  }
  if (entry != 0) release(entry);
  count_out(owner.port);
  return result;
}

void FlowTable::forget(std::uint32_t entry, const std::uint64_t (&hashes)[2]) noexcept {
  const PortId owner(owners_[entry].exchange(0, kRelaxed));
  if (FlowPhase::unpack(lines_[entry * 2].phase.load(kRelaxed)).state != FlowState::kCut) count_out(owner);
  set_mark(entry, 0);
  forget_lines(entry);
  slots_.clear(hashes[0], entry * 2);
  slots_.clear(hashes[1], entry * 2 + 1);
}

bool FlowTable::unlink(FlowRef ref, bool replaceable_only) noexcept {
  const auto entry = ref.line / 2;
  FlowKey keys[2];
  for (const auto direction : {Direction::kOriginal, Direction::kReply}) {
    if (!read_key(ref, direction, keys[static_cast<std::size_t>(direction)])) return false;
  }
  const std::uint64_t hashes[] = {hash(keys[0]), hash(keys[1])};
  const PairLocks held(*this, hashes[0], hashes[1]);
  if (!lock_entry(ref)) return false;
  // The keys were read while they may have been written: only these pairs are locked.
  const bool same = key_at(entry * 2) == keys[0] && key_at(entry * 2 + 1) == keys[1];
  const bool wanted = same && (!replaceable_only || mark_at(entry) != 0);
  if (wanted) forget(entry, hashes);
  unlock_entry(ref);
  return wanted;
}

bool FlowTable::remove(FlowRef ref) noexcept {
  if (!unlink(ref, false)) return false;
  release(ref.line / 2);
  return true;
}

}  // namespace podwire::engine
