// Two workers: a port with one transmit queue is sent on by its owner, and the other hands over to it.
#include "tests/eal/worker/worker_fixture.hpp"

namespace podwire::engine {
namespace {

class HandoverTest : public test::WorkerFixture {
 protected:
  HandoverTest() : WorkerFixture(2) {}
};

TEST_F(HandoverTest, PortsAreSpreadOverTheWorkers) {
  EXPECT_NE(workers_->owner(PortId(1), 0), workers_->owner(PortId(2), 0));
  EXPECT_NE(workers_->owner(PortId(1), 0), workers_->owner(PortId(1), 1));
}

TEST_F(HandoverTest, BothDirectionsArriveWhoeverReceives) {
  auto& a = add_memory();
  auto& b = add_memory();
  publish();
  // One of the two is received by the worker that does not own the other's only transmit queue.
  for (int round = 0; round < 100; ++round) {
    a.put(packets(7));
    b.put(packets(7));
    if (round % 10 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));  // let them fall asleep
  }
  EXPECT_TRUE(wait_until([&] { return a.sent() == 700 && b.sent() == 700; }))
      << a.sent() << " and " << b.sent() << " of 700";
  const auto& worker0 = *counters_.all[0];
  EXPECT_EQ(worker0.ports[1].egress_packets.get() + worker0.ports[2].egress_packets.get(), 1400u)
      << "one transmit queue: worker 0 sends everything";
}

TEST_F(HandoverTest, EnoughTransmitQueuesNeedNoHandover) {
  auto& a = add_memory({.tx_queues = 2});
  auto& b = add_memory({.tx_queues = 2});
  publish();
  a.put(packets(10));
  b.put(packets(10));
  ASSERT_TRUE(wait_until([&] { return a.sent() == 10 && b.sent() == 10; }));
  for (const int worker : {0, 1}) EXPECT_EQ(counters_.all[worker]->engine.sent.get(), 10u) << worker;
}

TEST_F(HandoverTest, WakesTheSleepingOwner) {
  auto& a = add_memory();
  auto& b = add_memory();
  publish();
  for (std::size_t round = 1; round <= 50; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    a.put(packets(1));
    b.put(packets(1));
    ASSERT_TRUE(wait_until([&] { return a.sent() == round && b.sent() == round; }, 90))
        << "a wake-up was lost";
  }
}

TEST_F(HandoverTest, PacketsBetweenStoppedWorkersAreFreedAndBooked) {
  auto& a = add_memory();
  auto& b = add_memory();
  publish();
  for (int round = 0; round < 30; ++round) {
    a.put(packets(50));
    b.put(packets(50));
  }
  workers_->stop();
  expect_ledger();
  devices_.clear();
  pools_.expect_full();
}

// EgressQueues alone: nobody takes from the ring.
TEST_F(HandoverTest, FullRingDropsWithTheReason) {
  workers_->stop();
  auto& a = add_memory();
  Snapshot tables;
  tables.ports = {nullptr, entries_[0].get()};
  HandoverRings rings(2, 64);
  Waker waker0, waker1;
  ASSERT_TRUE(waker0.open());
  ASSERT_TRUE(waker1.open());
  EgressQueues second(1, rings, {&waker0, &waker1}, counters_.worker(1), 2);
  second.rebuild(tables);
  second.begin(&tables);
  Burst burst;
  burst.count = 0;
  PacketMeta meta;
  meta.egress = PortId(1);
  meta.ingress = PortId(1);
  meta.domain = DomainId(2);
  for (int round = 0; round < 2; ++round) {
    for (rte_mbuf* packet : packets(50)) {
      book(counters_.worker(1), meta, &LedgerCounters::received);
      burst.push(packet, meta);
    }
    second.take(burst);
    EXPECT_EQ(burst.count, 0);
    second.flush();
  }
  EXPECT_EQ(drops(DropReason::handover_full), 36u);
  EXPECT_TRUE(rings.any_for(0));
  EXPECT_FALSE(rings.any_for(1));

  EgressQueues first(0, rings, {&waker0, &waker1}, counters_.worker(0), 2);
  first.rebuild(tables);
  first.begin(&tables);
  EXPECT_EQ(first.accept_handed(10), 10u);
  EXPECT_EQ(a.sent(), 10u);
  first.drop_leftovers(DropReason::port_gone);
  EXPECT_EQ(drops(DropReason::port_gone), 54u);
}

}  // namespace
}  // namespace podwire::engine
