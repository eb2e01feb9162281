#include "control/cni/container_gate.hpp"

#include <algorithm>

namespace podwire::control {

ContainerGate::Pass ContainerGate::enter(const AttachmentKey& key, For what) {
  std::unique_lock lock(mutex_);
  auto& queue = queues_[key.container_id];
  if (what == For::kDel) {
    for (auto& entry : queue) {
      if (entry.adding && entry.key == key) entry.overtaken.store(true, std::memory_order_relaxed);
    }
  }
  const auto mine = queue.emplace(queue.end());
  mine->key = key;
  mine->adding = what == For::kAdd;
  // The map's lists do not move, and this one lives as long as it has entries.
  turn_.wait(lock, [&] { return queue.begin() == mine; });
  return {this, mine};
}

bool ContainerGate::adding(const AttachmentKey& key) {
  const std::lock_guard lock(mutex_);
  const auto queue = queues_.find(key.container_id);
  return queue != queues_.end() &&
         std::any_of(queue->second.begin(), queue->second.end(),
                     [&](const Entry& entry) { return entry.adding && entry.key == key; });
}

void ContainerGate::leave(std::list<Entry>::iterator entry) {
  const std::lock_guard lock(mutex_);
  const auto queue = queues_.find(entry->key.container_id);
  queue->second.erase(entry);
  if (queue->second.empty()) queues_.erase(queue);
  turn_.notify_all();
}

}  // namespace podwire::control
