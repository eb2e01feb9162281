#include "dataplane/tables/neighbors.hpp"

#include <algorithm>
#include <limits>

namespace podwire::engine {

std::string_view name_of(NeighborState state) {
  switch (state) {
    case NeighborState::kIncomplete:
      return "incomplete";
    case NeighborState::kReachable:
      return "reachable";
    case NeighborState::kStale:
      return "stale";
    case NeighborState::kProbe:
      return "probe";
    case NeighborState::kFailed:
      return "failed";
    case NeighborState::kPermanent:
      return "permanent";
  }
  return "unknown";
}

void Neighbors::want(const NeighborKey& key, std::uint64_t now_ms) {
  auto& entry = entries_[key];
  if (entry.wanted++ != 0 || entry.state == NeighborState::kPermanent) return;
  entry.due_ms = now_ms;
  entry.confirmed_ms = now_ms;
}

void Neighbors::forget(const NeighborKey& key) {
  const auto it = entries_.find(key);
  if (it == entries_.end() || --it->second.wanted != 0) return;
  if (it->second.state != NeighborState::kPermanent) entries_.erase(it);
}

void Neighbors::learn(const NeighborKey& key, const MacAddr& mac, bool solicited, std::uint64_t now_ms) {
  const auto it = entries_.find(key);
  if (it == entries_.end() || mac.is_zero() || mac.is_multicast()) return;
  auto& entry = it->second;
  if (entry.state == NeighborState::kPermanent) return;
  const bool moved = entry.mac != mac;
  if (!moved && !solicited) return;  // nothing new, and no proof that it hears us
  entry.mac = mac;
  entry.tries = 0;
  entry.backoff_ms = 0;
  if (solicited) {
    entry.state = NeighborState::kReachable;
    entry.confirmed_ms = now_ms;
    entry.due_ms = now_ms + kReachableMs;
  } else {
    entry.state = NeighborState::kStale;
    entry.due_ms = now_ms;
  }
  if (moved) actions_.changed(key, entry);
}

void Neighbors::tick(std::uint64_t now_ms) {
  unsigned asked = 0;
  for (auto& [key, entry] : entries_) {
    if (asked == kAsksPerTick) return;
    if (entry.due_ms <= now_ms && advance(key, entry, now_ms)) ++asked;
  }
}

bool Neighbors::advance(const NeighborKey& key, Neighbor& entry, std::uint64_t now_ms) {
  switch (entry.state) {
    case NeighborState::kReachable:
      entry.state = NeighborState::kStale;
      [[fallthrough]];
    case NeighborState::kStale:
      entry.state = NeighborState::kProbe;
      entry.tries = 0;
      return ask(key, entry, now_ms);
    case NeighborState::kProbe:
      if (entry.tries < kTries) return ask(key, entry, now_ms);
      // It may have another MAC now; the old one is used no longer, and everybody is asked.
      entry.state = NeighborState::kIncomplete;
      entry.mac = MacAddr();
      entry.tries = 0;
      actions_.changed(key, entry);
      return ask(key, entry, now_ms);
    case NeighborState::kIncomplete:
      if (entry.tries < kTries) return ask(key, entry, now_ms);
      entry.state = NeighborState::kFailed;
      entry.backoff_ms = kBackoffMinMs;
      entry.due_ms = now_ms + entry.backoff_ms;
      actions_.changed(key, entry);
      return false;
    case NeighborState::kFailed:
      ask(key, entry, now_ms);
      entry.backoff_ms = std::min(entry.backoff_ms * 2, kBackoffMaxMs);
      entry.due_ms = now_ms + entry.backoff_ms;
      return true;
    case NeighborState::kPermanent:
      return false;
  }
  return false;
}

bool Neighbors::ask(const NeighborKey& key, Neighbor& entry, std::uint64_t now_ms) {
  ++entry.tries;
  entry.due_ms = now_ms + kRetryMs;
  actions_.ask(key, entry.mac);
  return true;
}

void Neighbors::fix(const NeighborKey& key, const MacAddr& mac, std::uint64_t now_ms) {
  auto& entry = entries_[key];
  const bool moved = entry.mac != mac;
  entry.state = NeighborState::kPermanent;
  entry.mac = mac;
  entry.tries = 0;
  entry.backoff_ms = 0;
  entry.confirmed_ms = now_ms;
  entry.due_ms = std::numeric_limits<std::uint64_t>::max();
  if (moved) actions_.changed(key, entry);
}

void Neighbors::release(const NeighborKey& key, std::uint64_t now_ms) {
  const auto it = entries_.find(key);
  if (it == entries_.end() || it->second.state != NeighborState::kPermanent) return;
  auto& entry = it->second;
  entry.state = NeighborState::kIncomplete;
  entry.mac = MacAddr();
  entry.confirmed_ms = entry.due_ms = now_ms;
  actions_.changed(key, entry);
  if (entry.wanted == 0) entries_.erase(it);
}

const Neighbor* Neighbors::find(const NeighborKey& key) const {
  const auto it = entries_.find(key);
  return it == entries_.end() ? nullptr : &it->second;
}

}  // namespace podwire::engine
