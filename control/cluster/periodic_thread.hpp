// A thread that does the same work every so often, and at once when it is woken. Ends with it. Whoever wakes
// it does not wait.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

namespace podwire::control {

class PeriodicThread {
 public:
  PeriodicThread() = default;
  ~PeriodicThread() { stop(); }

  // Once.
  void start(std::chrono::milliseconds period, std::function<void()> work) {
    thread_ = std::thread([this, period, work = std::move(work)] {
      while (pause(period)) work();
    });
  }

  void wake() {
    {
      const std::lock_guard lock(mutex_);
      woken_ = true;
    }
    changed_.notify_one();
  }

  // After the work that is under way.
  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_one();
    if (thread_.joinable()) thread_.join();
  }

 private:
  bool pause(std::chrono::milliseconds period) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, period, [this] { return woken_ || stopping_; });
    woken_ = false;
    return !stopping_;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false, stopping_ = false;
  std::thread thread_;
};

}  // namespace podwire::control
