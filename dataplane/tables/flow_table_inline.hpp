// FlowTable's templates, and what workers call for every packet. Included by flow_table.hpp only.
#pragma once

#include "dataplane/tables/flow_table.hpp"

namespace podwire::engine {

inline FlowDecision FlowTable::unpack(std::uint64_t word) noexcept {
  FlowDecision decision;
  decision.generation = static_cast<std::uint32_t>(word >> 32);
  decision.routed = (word & kRoutedBit) != 0;
  decision.translated = (word & kTranslatedBit) != 0;
  decision.adjacency = static_cast<std::uint32_t>(word & (kTranslatedBit - 1));
  return decision;
}

[[gnu::always_inline]] inline bool FlowTable::read(FlowRef ref, FlowView& view) const noexcept {
  const auto& line = lines_[ref.line];
  view.phase = FlowPhase::unpack(line.phase.load(kAcquire));
  view.decision = unpack(line.decision.load(kAcquire));
  view.rules_generation = line.rules_generation.load(kAcquire);
  view.last_seen = line.last_seen.load(kAcquire);
  return line.sequence.load(kRelaxed) == ref.sequence && (ref.sequence & 1) == 0;
}

template <class Unwanted>
std::size_t FlowTable::age(std::uint32_t now_s, std::uint32_t budget, Unwanted unwanted) {
  const auto end = used_.load(std::memory_order_acquire);
  std::size_t forgotten = 0;
  for (; budget != 0 && cursor_ < end; --budget, ++cursor_) {
    const FlowRef ref{cursor_ * 2, lines_[cursor_ * 2].sequence.load(std::memory_order_acquire)};
    FlowView view;
    if (!read(ref, view) || view.phase.state == FlowState::kNone) continue;
    // A worker's clock may be a second ahead.
    const auto idle = static_cast<std::int32_t>(now_s - last_seen_of(cursor_));
    const bool over = idle >= 0 && static_cast<std::uint32_t>(idle) >= timeout_of(view.phase.state);
    if ((over || (read_key(ref, Direction::kOriginal, view.key) && unwanted(view.key, owner_of(ref)))) &&
        remove(ref)) {
      ++forgotten;
    } else {
      ++counting_[static_cast<std::size_t>(view.phase.state)];
    }
  }
  if (cursor_ >= end) {
    cursor_ = 1;
    by_state_ = std::exchange(counting_, {});
  }
  return forgotten;
}

template <class Judge>
FlowTable::Review FlowTable::review(std::uint32_t first, std::uint32_t budget, Judge judge) {
  const auto end = used_.load(std::memory_order_acquire);
  Review found;
  for (auto entry = first; entry < end; ++entry, --budget) {
    if (budget == 0) {
      found.next = entry;
      break;
    }
    const auto& line = lines_[entry * 2];
    const FlowRef ref{entry * 2, line.sequence.load(std::memory_order_acquire)};
    const auto state = FlowPhase::unpack(line.phase.load(std::memory_order_acquire)).state;
    if (state == FlowState::kNone) continue;
    const FlowRef back{entry * 2 + 1, lines_[entry * 2 + 1].sequence.load(std::memory_order_acquire)};
    const auto owner = owner_of(ref);
    FlowKey original, reply;
    if ((ref.sequence & 1) != 0 || (back.sequence & 1) != 0 || !read_key(back, Direction::kReply, reply) ||
        !read_key(ref, Direction::kOriginal, original))
      continue;
    if (reply == FlowKey{}) reply = original.reversed();  // of one direction
    const auto judgement = judge(original, reply, state, owner);
    if (judgement == Judgement::kLookUp) {
      for (const auto& one : {ref, back}) set_decision(one, {});
    }
    if (judgement == Judgement::kCut && cut(ref)) ++found.cut;
    if (judgement == Judgement::kRestore && restore(ref)) ++found.restored;
    if (judgement == Judgement::kRemove && remove(ref)) ++found.removed;
  }
  return found;
}

template <class Visit>
std::uint32_t FlowTable::scan(std::uint32_t after, std::uint32_t budget, Visit visit) const {
  const auto end = used_.load(std::memory_order_acquire);
  for (std::uint64_t entry = std::uint64_t{after} + 1; entry < end; ++entry) {
    if (budget-- == 0) return static_cast<std::uint32_t>(entry - 1);
    FlowView original, reply;
    const auto index = static_cast<std::uint32_t>(entry);
    if (read_entry(index, original, reply) && !visit(index, original, reply)) return index;
  }
  return 0;
}

}  // namespace podwire::engine
