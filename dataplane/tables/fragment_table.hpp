// FragmentTable: which ports the fragments of a datagram belong to, for the fragments after the first, which
// do not have them, and what of the datagram has come: a fragment that overlaps one that has passed is
// refused (for RFC 5722's reason, and for IPv4 too), so that nobody behind this switch reads other ports or
// data than the rules were asked about. Bounded: sets of four, where the datagram seen longest ago makes
// room; a pod that sends fragments in masses costs others some of theirs, and nothing else. Shared by all
// workers, a lock a set: fragments are few. Left out: putting datagrams together.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "dataplane/tables/flow_key.hpp"

namespace podwire::engine {

// What a fragment covers, in units of 8 bytes of the datagram's data; `end` is one past, rounded up.
struct FragmentPiece {
  std::uint16_t first = 0, end = 0;
  bool last = false;  // nothing comes behind it
};

class FragmentTable {
 public:
  static constexpr std::uint32_t kLifetimeSeconds = 30;  // RFC 8200 section 4.5 gives 60, Linux 30
  // After so long an incomplete datagram has lost a fragment, and its identification may be another's.
  static constexpr std::uint32_t kReuseSeconds = 5;
  static constexpr std::size_t kSpans = 6;  // that the fragments of a datagram may leave apart

  enum class Verdict : std::uint8_t {
    kFollows,    // its connection is that of the ports
    kUnmatched,  // the first fragment was not seen within the lifetime
    kInvalid,    // overlaps, contradicts the datagram's length, or leaves too many spans apart
  };

  // `datagram` is a FlowKey with the datagram's identification for ports, `hash` its hash.
  Verdict note_first(const FlowKey& datagram, std::uint64_t hash, FragmentPiece piece, std::uint32_t ports,
                     std::uint32_t now_s) noexcept {
    auto& set = lock(hash);
    Entry* chosen = &set.entries[0];
    bool again = false;
    for (auto& entry : set.entries) {
      if (entry.datagram == datagram) {
        chosen = &entry;
        again = !entry.complete() && now_s - entry.seen_s <= kReuseSeconds;
        break;
      }
      if (now_s - entry.seen_s > now_s - chosen->seen_s) chosen = &entry;
    }
    if (!again) *chosen = {datagram, ports, now_s, 0, 0, {}};
    const auto verdict = chosen->take(piece);
    unlock(set);
    return verdict;
  }

  // `ports` are set with kFollows. look() counts no fragment, and never says kInvalid.
  Verdict look(const FlowKey& datagram, std::uint64_t hash, std::uint32_t now_s,
               std::uint32_t& ports) noexcept {
    auto& set = lock(hash);
    const Entry* found = entry_of(set, datagram, now_s);
    if (found != nullptr) ports = found->ports;
    unlock(set);
    return found != nullptr ? Verdict::kFollows : Verdict::kUnmatched;
  }
  Verdict find(const FlowKey& datagram, std::uint64_t hash, FragmentPiece piece, std::uint32_t now_s,
               std::uint32_t& ports) noexcept {
    auto& set = lock(hash);
    auto verdict = Verdict::kUnmatched;
    if (Entry* found = entry_of(set, datagram, now_s)) {
      ports = found->ports;
      verdict = found->take(piece);
    }
    unlock(set);
    return verdict;
  }

 private:
  static constexpr std::size_t kSets = 1024;
  struct Span {
    std::uint16_t first, end;
  };
  struct Entry {
    FlowKey datagram;  // family 0: none
    std::uint32_t ports = 0;
    std::uint32_t seen_s = 0;
    std::uint16_t total = 0;  // 0: the last fragment has not come
    std::uint8_t count = 0;   // of spans, in no order, none next to another
    std::array<Span, kSpans> spans{};

    bool complete() const noexcept { return count == 1 && spans[0].first == 0 && spans[0].end == total; }

    Verdict take(FragmentPiece piece) noexcept {
      if (fits(piece) && add(piece)) {
        if (piece.last) total = piece.end;
        return Verdict::kFollows;
      }
      return Verdict::kInvalid;
    }

    bool fits(FragmentPiece piece) const noexcept {
      if (piece.first >= piece.end || (total != 0 && (piece.last || piece.end > total))) return false;
      return std::none_of(spans.begin(), spans.begin() + count, [piece](const Span& span) {
        return (piece.first < span.end && span.first < piece.end) || (piece.last && span.end > piece.end);
      });
    }

    // Joins the spans that it is next to. False: there are too many.
    bool add(FragmentPiece piece) noexcept {
      Span joined{piece.first, piece.end};
      for (std::size_t i = 0; i < count;) {
        if (spans[i].end != joined.first && spans[i].first != joined.end) {
          ++i;
          continue;
        }
        joined = {std::min(joined.first, spans[i].first), std::max(joined.end, spans[i].end)};
        spans[i] = spans[--count];
        i = 0;
      }
      if (count == kSpans) return false;
      spans[count++] = joined;
      return true;
    }
  };
  struct Set {
    std::array<Entry, 4> entries;
    std::atomic<bool> locked{false};
  };

  static Entry* entry_of(Set& set, const FlowKey& datagram, std::uint32_t now_s) noexcept {
    for (auto& entry : set.entries) {
      if (entry.datagram == datagram && now_s - entry.seen_s <= kLifetimeSeconds) return &entry;
    }
    return nullptr;
  }

  Set& lock(std::uint64_t hash) noexcept {
    auto& set = sets_[hash % kSets];
    while (set.locked.exchange(true, std::memory_order_acquire)) __builtin_ia32_pause();
    return set;
  }
  static void unlock(Set& set) noexcept { set.locked.store(false, std::memory_order_release); }

  std::unique_ptr<Set[]> sets_ = std::make_unique<Set[]>(kSets);
};

}  // namespace podwire::engine
