// Keys of a store that are gone, with the revision at which they went, so that an event that comes late does
// not bring them back. What is remembered is bounded: of those that went long ago only the latest revision is
// kept, which in a stream that is roughly in order is enough. One thread at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <utility>

namespace podwire::control {

class BuriedKeys {
 public:
  void clear() { *this = BuriedKeys(); }

  void bury(const std::string& key, std::int64_t revision) {
    recent_[key] = revision;
    if (recent_.size() < kMostRecent) return;
    for (const auto& [gone, when] : older_) forgotten_ = std::max(forgotten_, when);
    older_ = std::exchange(recent_, {});
  }

  // Whether a change of a key that is not there, at this revision, was overtaken by the key's end.
  bool is_late(const std::string& key, std::int64_t revision) const {
    if (revision <= forgotten_) return true;
    for (const auto* const gone : {&recent_, &older_}) {
      const auto at = gone->find(key);
      if (at != gone->end() && revision <= at->second) return true;
    }
    return false;
  }

 private:
  static constexpr std::size_t kMostRecent = 20'000;
  std::unordered_map<std::string, std::int64_t> recent_, older_;
  std::int64_t forgotten_ = 0;
};

}  // namespace podwire::control
