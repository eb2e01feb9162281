#include "dataplane/tables/flow_table.hpp"

#include <sys/mman.h>

#include <algorithm>

#include "dataplane/tables/lookup_table.hpp"
#include "dataplane/tables/reserved_memory.hpp"

namespace podwire::engine {
namespace {

// Up to one entry behind the last, where the hand may stand.
std::size_t mark_bytes(std::uint32_t capacity) {
  return (std::size_t{capacity} / 8 + 2) * sizeof(std::uint64_t);
}

std::size_t owner_bytes(std::uint32_t capacity) {
  return (std::size_t{capacity} + 1) * sizeof(std::uint16_t);
}

}  // namespace

FlowTable::FlowTable(std::uint32_t capacity, std::uint64_t seed)
    : capacity_(capacity),
      seed_(mix(seed + kOdd2)),  // the hash needs all bits of it
      // A pair of sixteen slots has four in use when the table is full, or not much more.
      slots_(static_cast<std::uint32_t>(
          std::bit_ceil(std::max<std::uint64_t>(std::uint64_t{capacity} * 7 / 16, 4)))),
      lines_(static_cast<Line*>(reserve_memory((std::size_t{capacity} + 1) * 2 * sizeof(Line)))),
      marks_(static_cast<std::atomic<std::uint64_t>*>(reserve_memory(mark_bytes(capacity)))),
      owners_(static_cast<std::atomic<std::uint16_t>*>(reserve_memory(owner_bytes(capacity)))),
      owned_(static_cast<Owned*>(reserve_memory(kMaxOwners * sizeof(Owned)))) {}

FlowTable::~FlowTable() {
  ::munmap(lines_, (std::size_t{capacity_} + 1) * 2 * sizeof(Line));
  ::munmap(marks_, mark_bytes(capacity_));
  ::munmap(owners_, owner_bytes(capacity_));
  ::munmap(owned_, kMaxOwners * sizeof(Owned));
}

std::size_t FlowTable::bytes_reserved() const {
  return (std::size_t{capacity_} + 1) * 2 * sizeof(Line) + slots_.bytes() + mark_bytes(capacity_) +
         owner_bytes(capacity_) + kMaxOwners * sizeof(Owned);
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

FlowRef FlowTable::find_in(const FlowSlots::Line& slots, const FlowKey& key,
                           std::uint64_t hash) const noexcept {
  for (auto bits = FlowSlots::matches(slots, hash) & 0x5555u; bits != 0; bits &= bits - 1) {
    const auto line = slots.lines[static_cast<std::size_t>(std::countr_zero(bits)) / 2].load(kAcquire);
    if (line == 0) continue;
    if (const auto ref = compare(line, key)) return ref;
  }
  return {};
}

// The candidate was another key's, or has just been changed.
FlowRef FlowTable::find_again(std::uint64_t hash, std::uint64_t head, std::uint64_t addresses,
                              FlowView& view) const noexcept {
  FlowKey key;
  key.words[0] = head;
  key.words[1] = addresses;
  const auto ref = find_hashed(key, hash);
  return ref && read(ref, view) ? ref : FlowRef{};
}

FlowRef FlowTable::find_hashed(const FlowKey& key, std::uint64_t hash) const noexcept {
  for (auto pairs = slots_.pairs();;) {
    const auto& home = slots_.line(hash, 0, pairs);
    if (const auto ref = find_in(home, key, hash)) return ref;
    if (home.strays.load(kAcquire) != 0) [[unlikely]] {
      if (const auto ref = find_in(slots_.line(hash, 1, pairs), key, hash)) return ref;
    }
    const auto before = std::exchange(pairs, slots_.pairs());
    if (pairs == before) return {};
  }
}

void FlowTable::find_burst(std::span<const FlowKey> keys, std::span<FlowRef> found) const noexcept {
  std::uint64_t hashes[kBurst];
  std::uint32_t candidates[kBurst];
  const std::size_t count = std::min(keys.size(), kBurst);
  const auto pairs = slots_.pairs();
  for (std::size_t i = 0; i < count; ++i) {
    hashes[i] = hash(keys[i]);
    prefetch(hashes[i], pairs);
  }
  for (std::size_t i = 0; i < count; ++i) candidates[i] = candidate(hashes[i], pairs);
  for (std::size_t i = 0; i < count; ++i) {
    found[i] = candidates[i] != 0 ? compare(candidates[i], keys[i]) : FlowRef{};
    if (!found[i]) [[unlikely]]
      found[i] = find_hashed(keys[i], hashes[i]);
  }
}

FlowKey FlowTable::key_at(std::uint32_t line) const noexcept {
  FlowKey key;
  const auto& words = lines_[line].key;
  key.words[0] = words[0].load(kAcquire);
  const std::size_t count = key.is_v4() ? 2 : 5;
  for (std::size_t i = 1; i < count; ++i) key.words[i] = words[i].load(kAcquire);
  return key;
}

bool FlowTable::read_key(FlowRef ref, Direction direction, FlowKey& key) const noexcept {
  key = key_at((ref.line & ~1u) | static_cast<std::uint32_t>(direction));
  return lines_[ref.line].sequence.load(kRelaxed) == ref.sequence;
}

bool FlowTable::read_other_key(FlowRef ref, FlowKey& key) const noexcept {
  const auto& own = lines_[ref.line];
  if (own.key[0].load(kAcquire) >> 56 == 4) {
    key = {};
    return read_other_v4(ref, key.words[0], key.words[1]);
  }
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
  set_mark(ref.line / 2, mark_of(phase.state, last_seen_of(ref.line / 2)));
}

std::uint64_t FlowTable::pack(const FlowDecision& decision) noexcept {
  return std::uint64_t{decision.generation} << 32 | (decision.routed ? kRoutedBit : 0) | decision.adjacency;
}

void FlowTable::set_decision(FlowRef ref, const FlowDecision& decision) noexcept {
  if (!lock_entry(ref)) return;
  auto& word = lines_[ref.line].decision;
  if (FlowPhase::unpack(lines_[ref.line].phase.load(kRelaxed)).state != FlowState::kCut)
    word.store(pack(decision) | (word.load(kRelaxed) & kTranslatedBit), kRelease);
  unlock_entry(ref);
}

bool FlowTable::cut(FlowRef ref) noexcept {
  if (!lock_entry(ref)) return false;
  // First, so that who sees kCut finds no way any more (read() loads them in the other order).
  for (const auto line : {ref.line, ref.line ^ 1u}) {
    auto& word = lines_[line].decision;
    word.store(word.load(kRelaxed) & kTranslatedBit, kRelease);
  }
  // What is only remembered is no part of what its owner may have.
  if (FlowPhase::unpack(lines_[ref.line].phase.load(kRelaxed)).state != FlowState::kCut)
    count_out(owner_of(ref));
  store_phase(ref, {FlowState::kCut});
  unlock_entry(ref);
  return true;
}

bool FlowTable::restore(FlowRef ref) noexcept {
  if (!lock_entry(ref)) return false;
  const bool was_cut = FlowPhase::unpack(lines_[ref.line].phase.load(kRelaxed)).state == FlowState::kCut;
  const auto protocol = key_at(ref.line & ~1u).protocol();
  FlowPhase phase = answer_step(answer_begin(protocol), Direction::kReply);
  if (protocol == ip_proto::kTcp) phase = {FlowState::kSynReceived};  // an ACK shows that it lives
  if (was_cut) {
    count_in({owner_of(ref)});
    store_phase(ref, phase);
  }
  unlock_entry(ref);
  return was_cut;
}

void FlowTable::set_rules_generation(FlowRef ref, std::uint32_t generation) noexcept {
  if (!lock_entry(ref)) return;
  lines_[ref.line].rules_generation.store(generation, kRelease);
  lines_[ref.line ^ 1u].rules_generation.store(generation, kRelease);
  unlock_entry(ref);
}

// Under the entry's lock.
void FlowTable::write_line(std::uint32_t line, const FlowKey& key, const FlowKey& other, FlowPhase phase,
                           std::uint32_t rules_generation, std::uint32_t now_s, bool translated) noexcept {
  auto& to = lines_[line];
  const auto sequence = to.sequence.load(kRelaxed);
  to.sequence.store(sequence + 1, kRelaxed);
  FlowKey stored = key;
  if (key.is_v4()) std::copy_n(other.words, 2, stored.words + kOtherAt);
  for (std::size_t i = 0; i < 5; ++i) to.key[i].store(stored.words[i], kRelease);
  to.decision.store(translated ? kTranslatedBit : 0, kRelease);
  to.rules_generation.store(rules_generation, kRelease);
  to.last_seen.store(now_s, kRelease);
  to.phase.store(phase.packed(), kRelease);
  to.sequence.store(sequence + 2, kRelease);
}

void FlowTable::forget_lines(std::uint32_t entry) noexcept {
  write_line(entry * 2, {}, {}, {}, 0, 0);
  write_line(entry * 2 + 1, {}, {}, {}, 0, 0);
}

}  // namespace podwire::engine
