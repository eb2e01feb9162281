#include "dataplane/tables/publisher.hpp"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <new>
#include <thread>

#include "dataplane/telemetry/counters.hpp"

namespace podwire::engine {
namespace {

constexpr std::align_val_t kQsbrAlignment{64};
// Workers report within a burst (microseconds); sleeping longer than that would only add to every reply.
constexpr std::chrono::microseconds kPollInterval{20};
// A wake-up written while a worker was on its way to sleep is not lost (its eventfd is level triggered);
// repeating it costs nothing and covers a worker that consumed it for an older snapshot.
constexpr std::chrono::milliseconds kWakeInterval{5};

rte_rcu_qsbr* make_qsbr(unsigned workers) {
  assert(workers >= 1 && workers <= kMaxWorkers);
  void* memory = ::operator new(rte_rcu_qsbr_get_memsize(workers), kQsbrAlignment);
  auto* qsbr = static_cast<rte_rcu_qsbr*>(memory);
  [[maybe_unused]] int failed = rte_rcu_qsbr_init(qsbr, workers);
  for (unsigned worker = 0; worker < workers; ++worker) failed |= rte_rcu_qsbr_thread_register(qsbr, worker);
  assert(failed == 0);  // they fail on a null pointer or a thread id out of range only
  return qsbr;
}

void free_qsbr(rte_rcu_qsbr* qsbr) {
  ::operator delete(qsbr, kQsbrAlignment);
}

}  // namespace

// Registered threads start offline, so nothing waits for workers that do not run yet.
Publisher::Publisher(unsigned workers) : qsbr_(make_qsbr(workers), free_qsbr), ports_seen_(workers) {}

Publisher::~Publisher() {
  free_first(retired_.size());
  delete current_.load(std::memory_order_relaxed);
}

void Publisher::publish(std::unique_ptr<const Snapshot> next) {
  const Snapshot* former = current_.exchange(next.release(), std::memory_order_acq_rel);
  if (former != nullptr) retire([former] { delete former; });
}

void Publisher::retire(std::function<void()> free) {
  reclaim();
  retired_.push_back({rte_rcu_qsbr_start(qsbr_.get()), std::move(free)});
}

void Publisher::reclaim() {
  std::size_t count = 0;
  while (count < retired_.size() && rte_rcu_qsbr_check(qsbr_.get(), retired_[count].token, false) != 0)
    ++count;
  free_first(count);
}

void Publisher::free_first(std::size_t count) {
  for (; count != 0; --count) {
    const auto free = std::move(retired_.front().free);
    retired_.pop_front();
    free();
  }
}

void Publisher::wait_quiescent() const {
  const std::uint64_t token = rte_rcu_qsbr_start(qsbr_.get());
  while (rte_rcu_qsbr_check(qsbr_.get(), token, false) == 0) std::this_thread::sleep_for(kPollInterval);
}

void Publisher::synchronize() {
  const std::size_t before = retired_.size();
  wait_quiescent();
  free_first(before);
}

bool Publisher::wait_ports_seen(std::uint64_t ports_generation, int timeout_ms) {
  using Clock = std::chrono::steady_clock;
  const auto all_seen = [&] {
    return std::all_of(ports_seen_.begin(), ports_seen_.end(), [&](const std::atomic<std::uint64_t>& seen) {
      return seen.load(std::memory_order_acquire) >= ports_generation;
    });
  };
  const auto deadline = Clock::now() + std::chrono::milliseconds(timeout_ms);
  auto wake_at = Clock::now();
  while (!all_seen()) {
    const auto now = Clock::now();
    if (now >= deadline) return false;
    if (now >= wake_at) {
      if (wake_all_) wake_all_();
      wake_at = now + kWakeInterval;
    }
    std::this_thread::sleep_for(kPollInterval);
  }
  return true;
}

void Publisher::online(unsigned worker) noexcept {
  rte_rcu_qsbr_thread_online(qsbr_.get(), worker);
}
void Publisher::offline(unsigned worker) noexcept {
  rte_rcu_qsbr_thread_offline(qsbr_.get(), worker);
}
void Publisher::quiescent(unsigned worker) noexcept {
  rte_rcu_qsbr_quiescent(qsbr_.get(), worker);
}

void Publisher::report_ports_seen(unsigned worker, std::uint64_t ports_generation) noexcept {
  ports_seen_[worker].store(ports_generation, std::memory_order_release);
}

}  // namespace podwire::engine
