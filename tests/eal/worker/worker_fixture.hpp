// Workers on this program's lcores with ports in memory and a pipeline of one stage: what comes from port
// 2n+1 goes to 2n+2 and back. The end of every test asserts the ledger and that no mbuf is missing.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include "dataplane/worker/worker_set.hpp"
#include "tests/eal/ports/test_netns.hpp"
#include "tests/eal/ports/test_pools.hpp"
#include "tests/eal/worker/memory_port.hpp"

namespace podwire::test {

struct CrossConnectStage {
  static constexpr std::string_view kName = "cross_connect";
  static inline std::atomic<unsigned> events_per_packet{0};

  static void run(engine::Context& ctx, engine::Burst& burst) noexcept {
    for (std::uint16_t i = 0; i < burst.count; ++i) {
      engine::Event event;
      event.port = burst.meta[i].ingress;
      for (unsigned n = events_per_packet; n != 0; --n) ctx.events->push(event);
      const auto from = burst.meta[i].ingress.value();
      burst.meta[i].egress = PortId(static_cast<std::uint16_t>(from % 2 == 1 ? from + 1 : from - 1));
      burst.meta[i].verdict = engine::Verdict::kForward;
    }
  }
};

class WorkerFixture : public ::testing::Test {
 protected:
  explicit WorkerFixture(unsigned workers = 1, const engine::IdlePolicy& idle = {})
      : publisher_(workers), counters_(workers) {
    engine::WorkerSet::Config config;
    for (unsigned i = 1; i <= workers; ++i) config.lcores.push_back(i);
    config.idle = idle;
    config.pipeline = engine::hooks_for<engine::StageList<CrossConnectStage>, 0>();
    config.pools = pools_.get();
    auto made = engine::WorkerSet::create(config, publisher_, counters_);
    if (!made) throw std::runtime_error(made.error().message);
    workers_ = std::move(*made);
    const auto started = workers_->start();
    EXPECT_TRUE(started) << started.error().message;
  }
  ~WorkerFixture() override {
    CrossConnectStage::events_per_packet = 0;
    workers_->stop();
    expect_ledger();
    publisher_.publish(std::make_unique<engine::Snapshot>());
    devices_.clear();
    workers_.reset();
  }

  // Adds a port with the next id; publish() makes it known.
  PortId add(std::unique_ptr<engine::Port> device) {
    auto entry = std::make_unique<engine::PortEntry>();
    entry->id = PortId(static_cast<std::uint16_t>(entries_.size() + 1));
    entry->device = device.get();
    entry->domain = DomainId(2);
    devices_.push_back(std::move(device));
    entries_.push_back(std::move(entry));
    return entries_.back()->id;
  }
  MemoryPort& add_memory(const MemoryPort::Options& options = {}) {
    auto port = std::make_unique<MemoryPort>(options);
    auto& reference = *port;
    add(std::move(port));
    return reference;
  }
  // Publishes all ports but `without`, and waits until every worker polls them.
  void publish(PortId without = {}) {
    auto snapshot = std::make_unique<engine::Snapshot>();
    snapshot->ports_generation = ++generation_;
    snapshot->ports.resize(entries_.size() + 1);
    for (const auto& entry : entries_) {
      if (entry->id != without) snapshot->ports[entry->id.value()] = entry.get();
    }
    publisher_.publish(std::move(snapshot));
    ASSERT_TRUE(publisher_.wait_ports_seen(generation_, 2000));
  }
  std::vector<rte_mbuf*> packets(unsigned count) {
    std::vector<rte_mbuf*> all;
    const auto frame = udp_frame(100);
    for (unsigned i = 0; i < count; ++i) all.push_back(pools_.packet(frame));
    return all;
  }
  static bool wait_until(const std::function<bool()>& done, int timeout_ms = 2000) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
    while (!done()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    return true;
  }
  template <class Field>
  std::uint64_t sum(Field field) const {
    std::uint64_t total = 0;
    for (const auto& worker : counters_.all) total += field(*worker).get();
    return total;
  }
  std::uint64_t drops(engine::DropReason reason) const {
    return sum([=](const auto& c) -> const auto& { return c.drops[static_cast<std::size_t>(reason)]; });
  }
  void expect_ledger() const {
    using engine::LedgerCounters;
    const auto of = [&](engine::Counter LedgerCounters::*column) {
      return sum([=](const auto& c) -> const auto& { return c.engine.*column; });
    };
    EXPECT_EQ(
        of(&LedgerCounters::received) + of(&LedgerCounters::generated) + of(&LedgerCounters::parked_out),
        of(&LedgerCounters::sent) + of(&LedgerCounters::dropped) + of(&LedgerCounters::consumed) +
            of(&LedgerCounters::parked_in));
  }

  TestPools pools_;
  engine::Publisher publisher_;
  engine::CounterSet counters_;
  std::vector<std::unique_ptr<engine::Port>> devices_;
  std::vector<std::unique_ptr<engine::PortEntry>> entries_;
  std::unique_ptr<engine::WorkerSet> workers_;
  std::uint64_t generation_ = 0;
};

}  // namespace podwire::test
