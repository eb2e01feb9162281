// Publisher: nothing is freed while a worker can still hold it, and nothing is waited for that need not be.
// Threads are real; what is freed is poisoned first, so that a use after free shows as a wrong value too, not
// only in a sanitizer.
#include "dataplane/tables/publisher.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "dataplane/telemetry/counters.hpp"

namespace podwire::engine {
namespace {

constexpr std::uint16_t kAlive = 1500;
constexpr std::uint16_t kPoison = 0xdead;

std::unique_ptr<Snapshot> snapshot_with(const PortEntry* entry, std::uint64_t generation) {
  auto snapshot = std::make_unique<Snapshot>();
  snapshot->generation = generation;
  snapshot->ports_generation = generation;
  snapshot->ports = {entry};
  return snapshot;
}

PortEntry* make_entry() {
  auto* entry = new PortEntry();
  entry->mtu = kAlive;
  return entry;
}

void poison(PortEntry* entry) {
  entry->mtu = kPoison;
  delete entry;
}

// A worker that looks at what is published, sleeping now and then.
class Worker {
 public:
  Worker(Publisher& publisher, unsigned index)
      : publisher_(publisher), index_(index), thread_([this] { run(); }) {}
  ~Worker() { stop(); }
  void stop() {
    stop_.store(true);
    if (thread_.joinable()) thread_.join();
  }
  std::uint64_t poisoned() const { return poisoned_.load(); }
  std::uint64_t backwards() const { return backwards_.load(); }
  std::uint64_t bursts() const { return bursts_.load(); }

 private:
  void run() {
    std::uint64_t seen = 0;
    publisher_.online(index_);
    for (std::uint64_t turn = 1; !stop_.load(); ++turn) {
      const auto* snapshot = publisher_.load();
      if (snapshot->ports.front()->mtu != kAlive) poisoned_.fetch_add(1);
      if (snapshot->generation < seen) backwards_.fetch_add(1);
      seen = snapshot->generation;
      publisher_.report_ports_seen(index_, snapshot->ports_generation);
      publisher_.quiescent(index_);
      bursts_.fetch_add(1);
      if (turn % 64 == 0) {
        publisher_.offline(index_);
        std::this_thread::sleep_for(std::chrono::microseconds(50));
        publisher_.online(index_);
      }
    }
    publisher_.offline(index_);
  }

  Publisher& publisher_;
  const unsigned index_;
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> poisoned_{0}, backwards_{0}, bursts_{0};
  std::thread thread_;
};

TEST(Publisher, NeverFreesWhatAWorkerCanSee) {
  Publisher publisher(3);
  auto* entry = make_entry();
  publisher.publish(snapshot_with(entry, 1));
  std::vector<std::unique_ptr<Worker>> workers;
  for (unsigned i = 0; i < 3; ++i) workers.push_back(std::make_unique<Worker>(publisher, i));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(500);
  std::uint64_t generation = 1;
  while (std::chrono::steady_clock::now() < deadline) {
    auto* next = make_entry();
    publisher.publish(snapshot_with(next, ++generation));
    publisher.retire([entry] { poison(entry); });
    entry = next;
    if (generation % 7 == 0) publisher.synchronize();
    if (generation % 50 == 0) {
      EXPECT_TRUE(publisher.wait_ports_seen(generation, 5000));
    }
  }
  for (auto& worker : workers) worker->stop();
  for (auto& worker : workers) {
    EXPECT_EQ(worker->poisoned(), 0u);
    EXPECT_EQ(worker->backwards(), 0u);
    EXPECT_GT(worker->bursts(), 0u);
  }
  EXPECT_GT(generation, 50u);
  publisher.synchronize();
  poison(entry);
}

TEST(Publisher, KeepsWhatAnOnlineWorkerMayHoldUntilItIsQuiescent) {
  Publisher publisher(2);
  publisher.publish(std::make_unique<Snapshot>());
  publisher.online(0);
  bool freed = false;
  publisher.retire([&] { freed = true; });
  publisher.reclaim();
  EXPECT_FALSE(freed);
  publisher.quiescent(0);
  publisher.reclaim();
  EXPECT_TRUE(freed);
}

TEST(Publisher, OfflineWorkersHoldNothingUp) {
  Publisher publisher(kMaxWorkers);
  publisher.publish(std::make_unique<Snapshot>());
  publisher.online(0);
  publisher.offline(0);
  bool freed = false;
  publisher.retire([&] { freed = true; });
  publisher.synchronize();
  EXPECT_TRUE(freed);
}

TEST(Publisher, SynchronizeFreesInTheOrderOfRetirement) {
  Publisher publisher(1);
  std::vector<int> order;
  publisher.online(0);
  for (int i = 0; i < 5; ++i) publisher.retire([&order, i] { order.push_back(i); });
  publisher.offline(0);
  publisher.synchronize();
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4}));
}

TEST(Publisher, DestructorFreesWhatIsLeft) {
  bool freed = false;
  {
    Publisher publisher(1);
    publisher.publish(std::make_unique<Snapshot>());
    publisher.online(0);
    publisher.retire([&] { freed = true; });
    EXPECT_FALSE(freed);
  }
  EXPECT_TRUE(freed);
}

TEST(Publisher, WaitPortsSeenWakesSleepersAndGivesUpInTime) {
  Publisher publisher(1);
  int woken = 0;
  publisher.set_waker([&] { ++woken; });
  EXPECT_FALSE(publisher.wait_ports_seen(1, 20));
  EXPECT_GE(woken, 1);
  EXPECT_FALSE(publisher.wait_ports_seen(1, 0));
  publisher.set_waker([&] { publisher.report_ports_seen(0, 1); });
  EXPECT_TRUE(publisher.wait_ports_seen(1, 1000));
  EXPECT_TRUE(publisher.wait_ports_seen(1, 0));
}

}  // namespace
}  // namespace podwire::engine
