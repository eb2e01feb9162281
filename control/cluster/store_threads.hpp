// The two threads of a cluster whose state is in a store: one follows the store, session by session, the
// other beats. Both end with stop(), whatever they wait for. pause() and stopping() are for the threads.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "dataplane/base/result.hpp"

namespace podwire::control {

class StoreThreads {
 public:
  struct Retry {
    std::chrono::milliseconds first, longest;  // the pause between sessions doubles, each spread by half
    std::string seed;                          // this node's own, so that nodes do not come back together
  };
  // `session` runs until it ends or fails; `failed` is told why. `beat` runs every `period`.
  void start(Retry retry, std::function<Result<void>()> session, std::function<void(const Error&)> failed,
             std::chrono::milliseconds period, std::function<void()> beat);
  // `cancel` ends a request that a thread waits for.
  void stop(const std::function<void()>& cancel);

  bool stopping() const { return stopping_; }

 private:
  bool pause(std::chrono::milliseconds time);  // false: stopping

  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<bool> stopping_{false};
  std::atomic<int> running_{0};
  std::thread follower_, beater_;
};

}  // namespace podwire::control
