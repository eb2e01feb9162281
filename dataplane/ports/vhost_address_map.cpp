#include "dataplane/ports/vhost_address_map.hpp"

#include <algorithm>
#include <iterator>

namespace podwire::engine {

// Bytes of memory from there on.
std::uint64_t VhostAddressMap::room_at(std::uint64_t user) const {
  for (const auto& region : regions_) {
    if (user - region.first < region.bytes) return region.bytes - (user - region.first);
  }
  return 0;
}

// Whether a buffer that begins in the translation and goes on behind it could leave the memory that the
// translation is in.
bool VhostAddressMap::leads_out_behind(Entries::const_iterator at) const {
  std::uint64_t bytes = at->second.bytes;
  unsigned run = 0;
  for (auto next = std::next(at); next != entries_.end() && next->first == at->first + bytes; ++next) {
    bytes += next->second.bytes;
    if (++run == kLongestRun || bytes > at->second.room) return true;
  }
  return false;
}

// The same for buffers that begin before the translation and go on into it.
bool VhostAddressMap::leads_out_before(Entries::const_iterator at) const {
  auto end = at->first + at->second.bytes;
  unsigned run = 0;
  for (auto next = std::next(at); next != entries_.end() && next->first == end && run < kLongestRun;
       ++next, ++run)
    end += next->second.bytes;
  auto later = at;
  while (later != entries_.begin()) {
    const auto before = std::prev(later);
    if (before->first + before->second.bytes != later->first) return false;
    if (++run >= kLongestRun || end - before->first > before->second.room) return true;
    later = before;
  }
  return false;
}

std::string VhostAddressMap::add(Range range, std::uint64_t user, std::vector<Range>& forget) {
  const auto room = room_at(user);
  if (room == 0) return {};  // not in its memory: the library refuses it
  // The library shortens it likewise.
  const Entry entry{std::min(range.bytes, room), user, room};
  const auto after = entries_.lower_bound(range.first);
  if (after != entries_.end() && after->first == range.first && after->second.user == user &&
      after->second.bytes == entry.bytes)
    return {};
  const bool overlaps_next = after != entries_.end() && after->first - range.first < entry.bytes;
  const bool overlaps_last =
      after != entries_.begin() && range.first - std::prev(after)->first < std::prev(after)->second.bytes;
  if (overlaps_next || overlaps_last)
    return "IOTLB_MSG tells anew of " + std::to_string(range.first) + ", which was not taken back";
  if (entries_.size() >= kMost) make_room(forget);
  const auto at = entries_.emplace(range.first, entry).first;
  if (leads_out_behind(at)) {
    forget.push_back({std::next(at)->first, std::next(at)->second.bytes});
    entries_.erase(std::next(at));
  }
  if (leads_out_before(at)) {
    forget.push_back({std::prev(at)->first, std::prev(at)->second.bytes});
    entries_.erase(std::prev(at));
  }
  return {};
}

// Each has its turn; whatever is still needed is asked for again.
void VhostAddressMap::make_room(std::vector<Range>& forget) {
  auto victim = entries_.upper_bound(hand_);
  if (victim == entries_.end()) victim = entries_.begin();
  hand_ = victim->first;
  forget.push_back({victim->first, victim->second.bytes});
  entries_.erase(victim);
}

void VhostAddressMap::remove(Range range) {
  const auto last = range.first + (range.bytes - 1);
  auto at = entries_.upper_bound(range.first);
  if (at != entries_.begin() && range.first - std::prev(at)->first < std::prev(at)->second.bytes) --at;
  while (at != entries_.end() && at->first <= last) at = entries_.erase(at);
}

bool VhostAddressMap::in_one_piece(Range range) const {
  const auto last = range.first + (range.bytes - 1);
  auto at = entries_.upper_bound(range.first);
  if (at != entries_.begin()) --at;
  for (auto next = at; at != entries_.end() && at->first <= last; at = next) {
    next = std::next(at);
    const auto end = at->first + at->second.bytes;
    if (next == entries_.end() || next->first > last || end <= range.first || end != next->first) continue;
    if (at->second.user + at->second.bytes != next->second.user) return false;
  }
  return true;
}

}  // namespace podwire::engine
