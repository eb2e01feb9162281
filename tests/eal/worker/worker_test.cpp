// One worker: forwarding, its ledger, idling, ports coming and going, the main thread's ways in and out.
#include <poll.h>

#include <algorithm>

#include "dataplane/ports/refused_frame.hpp"
#include "tests/eal/worker/worker_fixture.hpp"

namespace podwire::engine {
namespace {

using test::MemoryPort;
using test::TestNetns;
using test::udp_frame;

class WorkerTest : public test::WorkerFixture {
 protected:
  std::uint64_t polls() const { return counters_.all[0]->polls.get(); }
};

TEST_F(WorkerTest, ForwardsAndBooks) {
  auto& a = add_memory();
  auto& b = add_memory();
  publish();
  a.put(packets(500));
  b.put(packets(3));
  ASSERT_TRUE(wait_until([&] { return a.sent() == 3 && b.sent() == 500; }));
  workers_->stop();
  const auto& counters = *counters_.all[0];
  EXPECT_EQ(counters.engine.received.get(), 503u);
  EXPECT_EQ(counters.engine.sent.get(), 503u);
  EXPECT_EQ(counters.ports[1].ledger.received.get(), 500u);
  EXPECT_EQ(counters.ports[1].ledger.sent.get(), 500u);
  EXPECT_EQ(counters.ports[1].ingress_bytes.get(), 500u * 142);
  EXPECT_EQ(counters.ports[1].egress_packets.get(), 3u);
  EXPECT_EQ(counters.ports[2].egress_packets.get(), 500u);
  EXPECT_EQ(counters.ports[2].egress_bytes.get(), 500u * 142);
  EXPECT_EQ(counters.domains[2].received.get(), 503u);
  EXPECT_EQ(counters.domains[2].sent.get(), 503u);
  // Stages: receive, express (which takes none here), the one of the pipeline, transmit.
  for (const int stage : {0, 2, 3}) EXPECT_EQ(counters.stages[stage].packets.get(), 503u) << stage;
}

TEST_F(WorkerTest, PacketsThatThePortDoesNotTakeAreDroppedWithTheReason) {
  auto& a = add_memory();
  auto& b = add_memory();
  publish();
  const auto send = [&](std::uint16_t most, TxStop why) {
    const auto before = sum([](const auto& c) -> const auto& { return c.engine.received; });
    b.limit(most, why);
    a.put(packets(10));
    ASSERT_TRUE(wait_until([&] {
      return sum([](const auto& c) -> const auto& { return c.engine.received; }) == before + 10 &&
             sum([](const auto& c) -> const auto& { return c.engine.sent; }) +
                     sum([](const auto& c) -> const auto& { return c.engine.dropped; }) ==
                 before + 10;
    }));
  };
  send(4, TxStop::kFull);
  EXPECT_EQ(drops(DropReason::egress_queue_full), 6u);
  send(0, TxStop::kDown);
  EXPECT_EQ(drops(DropReason::port_down), 10u);
  send(7, TxStop::kRejected);  // one is refused, the others go
  EXPECT_EQ(drops(DropReason::bad_offload), 1u);
  EXPECT_EQ(b.sent(), 4u + 9u);
}

TEST_F(WorkerTest, BadOffloadIsBookedAsReceivedAndDropped) {
  auto& a = add_memory();
  auto& b = add_memory();
  publish();
  auto mixed = packets(3);
  mixed[1]->ol_flags |= kBadOffloadFlag;
  a.put(mixed);
  ASSERT_TRUE(wait_until([&] { return b.sent() == 2; }));
  EXPECT_EQ(drops(DropReason::bad_offload), 1u);
}

TEST_F(WorkerTest, FramesTooLongForTheirPortAreBookedAsReceivedAndDropped) {
  auto& a = add_memory();
  auto& b = add_memory();
  publish();
  auto mixed = packets(3);
  refuse_too_big(mixed[0], 9000);
  a.put(mixed);
  ASSERT_TRUE(wait_until([&] { return b.sent() == 2; }));
  EXPECT_EQ(drops(DropReason::too_big), 1u);
  EXPECT_EQ(drops(DropReason::bad_offload), 0u);
}

TEST_F(WorkerTest, EgressPortThatIsGone) {
  auto& a = add_memory();
  add_memory();
  publish(PortId(2));
  a.put(packets(5));
  ASSERT_TRUE(wait_until([&] { return drops(DropReason::port_gone) == 5; }));
}

TEST_F(WorkerTest, RemovedPortIsNotTouchedAnyMore) {
  auto& a = add_memory();
  auto& b = add_memory();
  publish();
  a.put(packets(5));
  ASSERT_TRUE(wait_until([&] { return b.sent() == 5; }));
  publish(PortId(1));
  publisher_.synchronize();
  a.put(packets(5));
  devices_[0].reset();  // frees them; the worker must not look
  b.put(packets(2));
  EXPECT_TRUE(wait_until([&] { return drops(DropReason::port_gone) == 2; }));
}

TEST_F(WorkerTest, PortWithoutDescriptorIsPolled) {
  auto& a = add_memory({.descriptor = false, .when_ready = false});
  auto& b = add_memory();
  publish();
  for (int round = 0; round < 20; ++round) {
    a.put(packets(1));
    ASSERT_TRUE(wait_until([&] { return b.sent() == static_cast<std::size_t>(round + 1); }));
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
  }
}

TEST_F(WorkerTest, SleepsWhenIdle) {
  add_memory();
  publish();
  const auto idle_polls = [&] {
    const auto before = polls();
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    return polls() - before;
  };
  EXPECT_LE(idle_polls(), 10u) << "with descriptors: a look every 100 ms";
  add_memory({.descriptor = false, .when_ready = false});
  publish();
  EXPECT_LE(idle_polls(), 1000u) << "with a port to be polled: one look a millisecond";
  EXPECT_LT(workers_->busy_ratio(0), 0.05);
}

TEST_F(WorkerTest, WakesForEveryFirstPacket) {
  auto& a = add_memory();
  auto& b = add_memory();
  publish();
  std::vector<double> waits;
  for (std::size_t round = 0; round < 200; ++round) {
    std::this_thread::sleep_for(std::chrono::microseconds(round % 7 * 100));
    const auto begin = std::chrono::steady_clock::now();
    a.put(packets(1));
    ASSERT_TRUE(wait_until([&] { return b.sent() == round + 1; }, 90)) << "a wake-up was lost";
    waits.push_back(
        std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count());
  }
  std::sort(waits.begin(), waits.end());
  std::printf("first packet after idle: median %.0f us, 99 %% %.0f us\n", waits[100], waits[198]);
}

TEST_F(WorkerTest, InjectedPacketsReachTheirPort) {
  add_memory();
  auto& b = add_memory();
  publish();
  PacketMeta meta;
  meta.ingress = PortId(1);
  meta.domain = DomainId(2);
  for (int round = 0; round < 50; ++round) {
    book(counters_.main(), meta, &LedgerCounters::generated);
    ASSERT_TRUE(workers_->inject(packets(1)[0], meta));
    if (round % 10 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  EXPECT_TRUE(wait_until([&] { return b.sent() == 50; }, 90));
}

TEST_F(WorkerTest, InjectionIsBoundedAndNothingIsLostAtStop) {
  add_memory();
  add_memory();
  publish();
  workers_->stop();
  PacketMeta meta;
  meta.ingress = PortId(1);
  meta.domain = DomainId(2);
  unsigned taken = 0;
  for (;; ++taken) {
    rte_mbuf* packet = packets(1)[0];
    if (!workers_->inject(packet, meta)) {
      rte_pktmbuf_free(packet);
      break;
    }
    book(counters_.main(), meta, &LedgerCounters::generated);
  }
  EXPECT_EQ(taken, 2048u);
  ASSERT_TRUE(workers_->start());  // the fixture's stop must free what a worker has not taken
}

TEST_F(WorkerTest, StopFreesEverythingUnderTraffic) {
  auto& a = add_memory();
  auto& b = add_memory();
  publish();
  for (int i = 0; i < 20; ++i) {
    a.put(packets(50));
    b.put(packets(50));
  }
  workers_->stop();
  devices_.clear();
  pools_.expect_full();
}

// A tap whose interface is gone reports an error for ever; the worker must not spin on it. (Its namespace
// lives as long as a queue descriptor does: the file holds a reference.)
TEST_F(WorkerTest, DeadTapDoesNotKeepTheWorkerAwake) {
  TestNetns netns;
  api::Port config;
  config.name = "doomed";
  config.mtu = 1500;
  std::vector<UniqueFd> descriptors;
  descriptors.push_back(netns.tap("eth0"));
  auto opened = open_port(config, std::move(descriptors), {pools_.get(), 1});
  ASSERT_TRUE(opened) << opened.error().message;
  netns.shell("ip link set eth0 up");
  const Port& tap = **opened;
  add(std::move(*opened));
  auto& b = add_memory();
  publish();
  netns.shell("ip link del eth0");
  EXPECT_FALSE(tap.link_up());
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const auto before = polls();
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_LE(polls() - before, 10u);
  b.put(packets(3));  // the others go on, and what is for the dead one is dropped
  EXPECT_TRUE(wait_until([&] { return drops(DropReason::port_down) == 3; }));
  EXPECT_NE(tap.last_error().find("is gone"), std::string::npos) << tap.last_error();
}

TEST_F(WorkerTest, EventsReachTheMainThread) {
  auto& a = add_memory();
  auto& b = add_memory();
  publish();
  const auto readable = [&](int timeout_ms) {
    pollfd query{workers_->event_fd(), POLLIN, 0};
    return ::poll(&query, 1, timeout_ms) == 1;
  };
  const auto from_port_1 = [](std::size_t& seen) {
    return [&seen](const Event& event) { seen += event.port == PortId(1) ? 1 : 0; };
  };
  EXPECT_FALSE(readable(0));
  test::CrossConnectStage::events_per_packet = 2;
  for (int round = 0; round < 50; ++round) {
    a.put(packets(5));
    std::size_t seen = 0;
    while (seen < 10) {
      ASSERT_TRUE(readable(2000)) << "an announcement was lost";
      workers_->drain_events(from_port_1(seen));
    }
    EXPECT_EQ(seen, 10u);
  }
  // More than the ring holds: counted, and what is there comes in portions that are announced each time.
  const auto sent = b.sent();
  test::CrossConnectStage::events_per_packet = 1000;
  a.put(packets(6));
  ASSERT_TRUE(wait_until([&] { return b.sent() == sent + 6; }));
  EXPECT_EQ(counters_.all[0]->events_lost.get(), 6000u - 4096u);
  std::size_t seen = 0;
  while (seen < 4096) {
    ASSERT_TRUE(readable(2000));
    EXPECT_LE(workers_->drain_events(from_port_1(seen), 1000), 1000u);
  }
  EXPECT_FALSE(readable(0));
}

}  // namespace
}  // namespace podwire::engine
