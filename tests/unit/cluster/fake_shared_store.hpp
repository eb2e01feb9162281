// The store that nodes share things in, without the store: holds keys, tells of them when it is told to, and
// fails when it is told to.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <mutex>
#include <utility>

#include "control/cluster/shared_store.hpp"

namespace podwire::control {

class FakeSharedStore final : public SharedStore {
 public:
  const std::string& prefix() const override { return prefix_; }
  void follow(const std::string& section, SharedSection& by) override { sections_[prefix_ + section] = &by; }
  Result<void> ready() override {
    if (down) return unavailable("the store is down; start it");
    return {};
  }
  Result<std::int64_t> write(const EtcdTransaction& transaction) override {
    if (before_write) std::exchange(before_write, nullptr)();
    const auto written = commit(transaction);
    if (after_write) std::exchange(after_write, nullptr)();
    return written;
  }

  // As another node does.
  void put(const std::string& key, const std::string& value) {
    EXPECT_TRUE(write({{}, {{prefix_ + key, value}}, {}}));
  }
  void erase(const std::string& key) { EXPECT_TRUE(write({{}, {}, {prefix_ + key}})); }

  // A session begins.
  Result<void> list() {
    pending.clear();
    for (const auto& [start, section] : sections_) {
      section->begin_listing();
      std::vector<EtcdItem> some;
      for (const auto& [key, item] : items) {
        if (!key.starts_with(start)) continue;
        if (some.size() == part && section->takes_parts()) section->list_part(std::exchange(some, {}));
        some.push_back(item);
      }
      PODWIRE_CHECK(section->listed(some));
    }
    return {};
  }
  // What came since.
  void tell() { tell(std::exchange(pending, {})); }
  void tell(const std::vector<EtcdEvent>& events) {
    for (const auto& [start, section] : sections_) {
      std::vector<EtcdEvent> of_it;
      for (const auto& event : events) {
        if (event.item.key.starts_with(start)) of_it.push_back(event);
      }
      if (!of_it.empty()) section->changed(of_it);
    }
  }
  bool has(const std::string& key) const { return items.contains(prefix_ + key); }

  std::mutex mutex;  // for tests in which a thread writes
  std::map<std::string, EtcdItem> items;
  std::vector<EtcdEvent> pending;
  std::size_t part = SIZE_MAX;  // of a listing: how many keys are told at once
  bool down = false;
  int writes_left = -1;  // before it fails; -1: any number
  int writes = 0;
  std::function<void()> before_write, after_write;  // of the next one; what others do meanwhile

 private:
  Result<std::int64_t> commit(const EtcdTransaction& transaction) {
    const std::lock_guard lock(mutex);
    if (down || writes_left == 0) return unavailable("the store did not answer");
    if (writes_left > 0) --writes_left;
    ++writes;
    for (const auto& condition : transaction.conditions) {
      const auto at = items.find(condition.key);
      if ((at == items.end() ? 0 : at->second.mod_revision) != condition.mod_revision) return 0;
    }
    ++revision_;
    for (const auto& put : transaction.puts) note({false, {put.key, put.value, revision_, put.lease}});
    for (const auto& key : transaction.erased) {
      if (items.contains(key)) note({true, {key, "", revision_}});
    }
    return revision_;
  }
  void note(EtcdEvent event) {
    if (event.erased)
      items.erase(event.item.key);
    else
      items[event.item.key] = event.item;
    pending.push_back(std::move(event));
  }

  const std::string prefix_ = "/podwire/";
  std::int64_t revision_ = 10;
  std::map<std::string, SharedSection*> sections_;
};

}  // namespace podwire::control
