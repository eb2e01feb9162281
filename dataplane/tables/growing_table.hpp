// GrowingTable: the LookupTable that workers read, and its successor when it gets too full. The one that was
// replaced goes to a Garbage list, which is freed once no worker can see it. Main thread only.
#pragma once

#include <cassert>
#include <memory>
#include <utility>
#include <vector>

#include "dataplane/tables/lookup_table.hpp"

namespace podwire::engine {

// What the next published snapshot no longer refers to.
using Garbage = std::vector<std::shared_ptr<const void>>;

template <class T>
void discard(Garbage& garbage, std::unique_ptr<T> object) {
  if (object) garbage.push_back(std::shared_ptr<const void>(std::move(object)));
}

// Empties a list of things to do. One that a large change has made long does not keep its memory.
template <class T>
void clear_work_list(std::vector<T>& list) {
  constexpr std::size_t kKept = 4096;
  if (list.capacity() > kKept) list = {};
  list.clear();
}

template <class Key>
class GrowingTable {
 public:
  const LookupTable<Key>* get() const { return table_.get(); }
  std::uint32_t find(const Key& key) const { return table_->find(key); }
  void erase(const Key& key) { table_->erase(key); }
  // After reserve() for it.
  void put(const Key& key, std::uint32_t value) {
    [[maybe_unused]] const bool fits = table_->put(key, value);
    assert(fits);
  }
  // Makes room for `more` new keys. True: get() is another table now, to be published.
  bool reserve(std::size_t more, Garbage& garbage) {
    if (table_->room() >= more) return false;
    // Twice what is needed now: growing costs O(1) for a key on average, also when keys come and go and only
    // their tombstones fill the table.
    auto next = std::make_unique<LookupTable<Key>>((table_->size() + more) * 2);
    table_->for_each([&](const Key& key, std::uint32_t value) { next->put(key, value); });
    discard(garbage, std::exchange(table_, std::move(next)));
    return true;
  }

 private:
  std::unique_ptr<LookupTable<Key>> table_ = std::make_unique<LookupTable<Key>>(64);
};

}  // namespace podwire::engine
