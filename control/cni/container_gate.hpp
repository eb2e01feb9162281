// Serialises the calls for one container, in the order in which they came, and lets a DEL tell the ADDs
// before it that their work is in vain. Lives in the daemon's memory only, so that it ends with the process.
// Thread-safe.
#pragma once

#include <atomic>
#include <condition_variable>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "control/state/store.hpp"

namespace podwire::control {

class ContainerGate {
  struct Entry {
    AttachmentKey key;
    bool adding = false;
    std::atomic<bool> overtaken{false};
  };

 public:
  // Holds the container for its life.
  class Pass {
   public:
    Pass(Pass&& other) noexcept : gate_(std::exchange(other.gate_, nullptr)), entry_(other.entry_) {}
    Pass& operator=(Pass&&) = delete;
    ~Pass() {
      if (gate_ != nullptr) gate_->leave(entry_);
    }
    // For an ADD: a DEL of the same attachment is waiting.
    const std::atomic<bool>& overtaken() const { return entry_->overtaken; }

   private:
    friend class ContainerGate;
    Pass(ContainerGate* gate, std::list<Entry>::iterator entry) : gate_(gate), entry_(entry) {}
    ContainerGate* gate_;
    std::list<Entry>::iterator entry_;
  };

  enum class For { kAdd, kDel, kOther };
  // Waits for its turn.
  Pass enter(const AttachmentKey& key, For what);
  // Whether an ADD of `key` is under way or waiting.
  bool adding(const AttachmentKey& key);

 private:
  void leave(std::list<Entry>::iterator entry);

  std::mutex mutex_;
  std::condition_variable turn_;
  std::map<std::string, std::list<Entry>> queues_;  // container id → its calls, the running one first
};

}  // namespace podwire::control
