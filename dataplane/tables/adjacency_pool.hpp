// AdjacencyPool: the array behind Snapshot::adjacencies. Its base never moves: address space for every slot
// is reserved at once and takes memory only where slots are used. A slot is written once, before anything
// points to it; to change an adjacency is to allocate another. Released slots are reused after a grace period
// that the owner arranges (take_released, then recycle once no worker can see them). Main thread only, but
// for readers of base().
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "dataplane/tables/snapshot.hpp"

namespace podwire::engine {

class AdjacencyPool {
 public:
  // Twice what all endpoints, routes, next hops and learned MACs together can need, so that replacing every
  // one in one change finds room.
  static constexpr std::uint32_t kCapacity = 1u << 22;

  AdjacencyPool();
  ~AdjacencyPool();
  AdjacencyPool(const AdjacencyPool&) = delete;
  AdjacencyPool& operator=(const AdjacencyPool&) = delete;

  const Adjacency* base() const { return slots_; }
  const Adjacency& at(std::uint32_t slot) const { return slots_[slot]; }
  std::uint32_t allocate(const Adjacency& adjacency);
  void release(std::uint32_t slot) { released_.push_back(slot); }
  // Whoever remembers `slot` looks up anew. Call it once the tables lead elsewhere: slot 0's generation
  // advances first, so that who looked up before, and reads the slot's generation after, sees that it did.
  void invalidate(std::uint32_t slot);
  void invalidate_released();
  std::vector<std::uint32_t> take_released();  // invalidates them
  void recycle(const std::vector<std::uint32_t>& slots) {
    free_.insert(free_.end(), slots.begin(), slots.end());
  }
  std::size_t in_use() const { return used_ - 1 - free_.size(); }  // released ones included

 private:
  Adjacency* slots_;
  std::uint32_t used_ = 1;  // slot 0 is never used
  std::vector<std::uint32_t> free_;
  std::vector<std::uint32_t> released_;
};

}  // namespace podwire::engine
