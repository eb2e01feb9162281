#include "control/api/request_pool.hpp"

namespace podwire::control {

RequestPool::~RequestPool() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_available_.notify_all();
  for (auto& thread : threads_) thread.join();
}

void RequestPool::submit(Work work) {
  const std::lock_guard lock(mutex_);
  queue_.push_back(std::move(work));
  if (queue_.size() > idle_threads_ && threads_.size() < max_threads_) {
    threads_.emplace_back([this] { run(); });
  } else {
    work_available_.notify_one();
  }
}

bool RequestPool::idle() const {
  const std::lock_guard lock(mutex_);
  return queue_.empty() && idle_threads_ == threads_.size();
}

void RequestPool::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_threads_;
    work_available_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    --idle_threads_;
    if (queue_.empty()) return;
    auto work = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    work();
    work = nullptr;  // what it holds goes before we wait
    lock.lock();
  }
}

}  // namespace podwire::control
