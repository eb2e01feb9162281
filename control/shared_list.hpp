// A list that is read by any thread while one replaces it: readers go through it as it was when they began,
// whatever becomes of it meanwhile. Who reads has it const, who builds or replaces it has it mutable; there
// is one of these at a time, and nobody else's copy sees what it does. Copies share their members until one
// of them changes.
#pragma once

#include <initializer_list>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace podwire::control {

template <class T>
class SharedList {
 public:
  using Items = std::vector<T>;
  using value_type = T;
  using iterator = typename Items::iterator;

  // Keeps the list as it was when it was made, so the members that it leads to live as long as it does.
  class const_iterator {
   public:
    using iterator_category = std::forward_iterator_tag;
    using value_type = T;
    using difference_type = std::ptrdiff_t;
    using pointer = const T*;
    using reference = const T&;

    const_iterator() = default;  // the end of every list
    explicit const_iterator(std::shared_ptr<const Items> items) : items_(std::move(items)) {}
    reference operator*() const { return (*items_)[at_]; }
    pointer operator->() const { return &(*items_)[at_]; }
    const_iterator& operator++() {
      ++at_;
      return *this;
    }
    const_iterator operator++(int) {
      auto before = *this;
      ++at_;
      return before;
    }
    bool operator==(const const_iterator& other) const {
      if (is_end() || other.is_end()) return is_end() == other.is_end();
      return items_ == other.items_ && at_ == other.at_;
    }

   private:
    bool is_end() const { return !items_ || at_ >= items_->size(); }

    std::shared_ptr<const Items> items_;
    std::size_t at_ = 0;
  };

  SharedList() = default;
  SharedList(std::initializer_list<T> items) : items_(std::make_shared<Items>(items)) {}
  explicit SharedList(Items items) : items_(std::make_shared<Items>(std::move(items))) {}
  SharedList(const SharedList& other) : items_(other.shared()) {}
  SharedList(SharedList&& other) noexcept : items_(other.shared()) {}
  ~SharedList() = default;
  SharedList& operator=(const SharedList& other) {
    if (this != &other) replace(other.shared());
    return *this;
  }
  SharedList& operator=(SharedList&& other) noexcept { return *this = std::as_const(other); }
  SharedList& operator=(Items items) {
    replace(std::make_shared<Items>(std::move(items)));
    return *this;
  }
  SharedList& operator=(std::initializer_list<T> items) { return *this = Items(items); }

  // For reading. Single members come as copies, which nobody takes away.
  std::shared_ptr<const Items> items() const { return shared(); }
  const_iterator begin() const { return const_iterator(shared()); }
  const_iterator end() const { return {}; }
  std::size_t size() const { return shared()->size(); }
  bool empty() const { return shared()->empty(); }
  T operator[](std::size_t index) const { return (*shared())[index]; }
  T front() const { return shared()->front(); }

  // For building it.
  iterator begin() { return own().begin(); }
  iterator end() { return own().end(); }
  T& operator[](std::size_t index) { return own()[index]; }
  T& front() { return own().front(); }
  void push_back(T item) { own().push_back(std::move(item)); }
  iterator erase(iterator at) { return own().erase(at); }

 private:
  std::shared_ptr<Items> shared() const {
    const std::lock_guard lock(mutex_);
    return items_;
  }
  void replace(std::shared_ptr<Items> items) {
    const std::lock_guard lock(mutex_);
    items_.swap(items);  // the former ones go after the lock
  }
  Items& own() {
    const std::lock_guard lock(mutex_);
    if (items_.use_count() > 1) items_ = std::make_shared<Items>(*items_);
    return *items_;
  }

  mutable std::mutex mutex_;
  std::shared_ptr<Items> items_ = std::make_shared<Items>();  // never null
};

}  // namespace podwire::control
