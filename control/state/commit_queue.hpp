// Group commit: one thread runs everybody's SQL. It takes all that is queued, runs each piece in a savepoint
// of its own inside one transaction, commits once (one fsync) and then lets every caller go on. run() may be
// called from any thread; it returns after the commit.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <mutex>
#include <thread>

#include "control/state/sqlite.hpp"

namespace podwire::control {

class CommitQueue {
 public:
  explicit CommitQueue(Database database);
  ~CommitQueue();  // after what is queued

  // Runs `work` on the queue's thread. When it fails, its changes are rolled back and nobody else's.
  template <class T>
  Result<T> run(std::function<Result<T>(Database&)> work) {
    std::optional<Result<T>> outcome;
    auto committed = submit([&outcome, &work](Database& database) -> Result<void> {
      outcome.emplace(work(database));
      if (!*outcome) return outcome->error();
      return {};
    });
    if (!committed) return committed.error();
    return std::move(*outcome);
  }

 private:
  using Work = std::function<Result<void>(Database&)>;
  struct Job {
    Work work;
    std::promise<Result<void>> done;
  };
  Result<void> submit(Work work);
  void loop();
  void run_group(std::deque<Job>& jobs);

  Database database_;
  std::mutex mutex_;
  std::condition_variable wakeup_;
  std::deque<Job> queue_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace podwire::control
