// Blocking threads for requests, grown on demand up to a limit and kept. submit() is for the main thread; the
// work runs on a pool thread.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace podwire::control {

class RequestPool {
 public:
  using Work = std::function<void()>;
  explicit RequestPool(std::size_t max_threads) : max_threads_(max_threads) {}
  ~RequestPool();  // after everything that was submitted
  RequestPool(const RequestPool&) = delete;
  RequestPool& operator=(const RequestPool&) = delete;

  void submit(Work work);
  bool idle() const;  // nothing runs and nothing waits

 private:
  void run();

  const std::size_t max_threads_;
  mutable std::mutex mutex_;
  std::condition_variable work_available_;
  std::deque<Work> queue_;
  std::size_t idle_threads_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace podwire::control
