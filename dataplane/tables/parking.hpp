// Parking: packets that wait for a neighbour, by next hop, bounded per next hop and in all. Owns the mbufs it
// keeps; books nothing. Main thread only.
#pragma once

#include <rte_mbuf.h>

#include <map>
#include <vector>

#include "dataplane/tables/neighbors.hpp"

namespace podwire::engine {

class Parking {
 public:
  static constexpr std::size_t kPerNextHop = 64;
  static constexpr std::size_t kInAll = 1024;

  // False: full; the packet stays the caller's.
  bool park(const NeighborKey& key, rte_mbuf* mbuf) {
    if (total_ >= kInAll) return false;
    auto& queue = queues_[key];
    if (queue.size() >= kPerNextHop) return false;
    queue.push_back(mbuf);
    ++total_;
    return true;
  }
  // What waits for `key`, oldest first; now the caller's.
  std::vector<rte_mbuf*> take(const NeighborKey& key) {
    const auto node = queues_.extract(key);
    if (node.empty()) return {};
    total_ -= node.mapped().size();
    return std::move(node.mapped());
  }
  std::vector<NeighborKey> keys() const {
    std::vector<NeighborKey> all;
    for (const auto& [key, queue] : queues_) all.push_back(key);
    return all;
  }
  std::size_t waiting(const NeighborKey& key) const {
    const auto it = queues_.find(key);
    return it == queues_.end() ? 0 : it->second.size();
  }
  std::size_t total() const { return total_; }

 private:
  std::map<NeighborKey, std::vector<rte_mbuf*>> queues_;
  std::size_t total_ = 0;
};

}  // namespace podwire::engine
