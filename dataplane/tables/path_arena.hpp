// PathArena: the array behind Snapshot::paths, the members of multipath groups. A group's region is written
// once and reused only after the owner has waited for readers. Main thread only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

namespace podwire::engine {

inline constexpr std::size_t kMaxPaths = 64;  // of one group

class PathArena {
 public:
  struct Region {
    std::uint32_t first = 0;
    std::uint16_t count = 0;
  };

  Region allocate(std::span<const std::uint32_t> slots) {
    Region region{0, static_cast<std::uint16_t>(slots.size())};
    auto& reusable = free_[region.count];
    if (reusable.empty()) {
      region.first = static_cast<std::uint32_t>(paths_.size());
      paths_.resize(paths_.size() + slots.size());
    } else {
      region.first = reusable.back();
      reusable.pop_back();
    }
    std::copy(slots.begin(), slots.end(), paths_.begin() + region.first);
    return region;
  }
  void release(const Region& region) { released_.push_back(region); }
  std::vector<Region> take_released() { return std::exchange(released_, {}); }
  void recycle(const std::vector<Region>& regions) {
    for (const auto& region : regions) free_[region.count].push_back(region.first);
  }
  const std::vector<std::uint32_t>& paths() const { return paths_; }

 private:
  std::vector<std::uint32_t> paths_;
  std::map<std::uint16_t, std::vector<std::uint32_t>> free_;  // by size
  std::vector<Region> released_;
};

// Every slot `weight` times, weights reduced so that there are at most kMaxPaths entries and every slot has
// one.
std::vector<std::uint32_t> expand_weights(
    std::span<const std::pair<std::uint32_t, std::uint32_t>> slots_and_weights);

}  // namespace podwire::engine
