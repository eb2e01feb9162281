// Ids of the engine's objects that stand for the kernel's: made from what they are about, and above all ids
// that are allotted by the store or to other nodes, so that nothing has to be kept on disk: a daemon that
// starts anew gives the same ids (but for the few whose hashes meet, which the engine then replaces in
// place). Pure; used by one thread.
#pragma once

#include <cstdint>
#include <unordered_set>

#include "dataplane/base/addresses.hpp"

namespace podwire::control {

inline constexpr std::uint32_t kFirstMirrored = 0x8000'0000;

class MirroredIds {
 public:
  // One that is not in use.
  std::uint32_t allot(const IpPrefix& about);
  void release(std::uint32_t id) { used_.erase(id); }
  std::size_t size() const { return used_.size(); }

 private:
  std::unordered_set<std::uint32_t> used_;
};

}  // namespace podwire::control
