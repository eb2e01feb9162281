#include "control/state/commit_queue.hpp"

#include <vector>

namespace podwire::control {

CommitQueue::CommitQueue(Database database) : database_(std::move(database)), thread_([this] { loop(); }) {}

CommitQueue::~CommitQueue() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wakeup_.notify_one();
  thread_.join();
}

Result<void> CommitQueue::submit(Work work) {
  Job job{std::move(work), {}};
  auto done = job.done.get_future();
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(job));
  }
  wakeup_.notify_one();
  return done.get();
}

void CommitQueue::loop() {
  for (;;) {
    std::deque<Job> jobs;
    {
      std::unique_lock lock(mutex_);
      wakeup_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      jobs.swap(queue_);
    }
    run_group(jobs);
  }
}

void CommitQueue::run_group(std::deque<Job>& jobs) {
  std::vector<Result<void>> outcomes;
  auto transaction = database_.execute("BEGIN IMMEDIATE");
  for (auto& job : jobs) {
    if (transaction) transaction = database_.execute("SAVEPOINT caller");
    if (!transaction) break;
    auto outcome = job.work(database_);
    // Some errors (a full disk) make SQLite roll back the whole transaction; then nobody's change is there.
    if (!database_.in_transaction()) {
      transaction = outcome
                        ? io_error("state database " + database_.path() + ": the transaction was rolled back")
                        : outcome;
      break;
    }
    if (!outcome) transaction = database_.execute("ROLLBACK TO caller");
    if (transaction) transaction = database_.execute("RELEASE caller");
    outcomes.push_back(std::move(outcome));
  }
  if (transaction) transaction = database_.execute("COMMIT");
  if (!transaction && database_.in_transaction()) {
    // Nothing to do about a rollback that fails as well: SQLite then rolls back when the file is next opened.
    [[maybe_unused]] const auto rolled_back = database_.execute("ROLLBACK");
  }
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const bool ran = i < outcomes.size();
    if (ran && !outcomes[i]) {
      jobs[i].done.set_value(std::move(outcomes[i]));  // its own error says more than the group's
    } else {
      jobs[i].done.set_value(transaction);
    }
  }
}

}  // namespace podwire::control
