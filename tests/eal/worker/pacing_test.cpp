// Ports with limits: what a worker does with what it may not send or receive yet.
#include <rte_cycles.h>

#include "dataplane/tables/rate_limiter.hpp"
#include "tests/eal/worker/worker_fixture.hpp"

namespace podwire::test {
namespace {

using engine::DropReason;
using engine::RateLimiter;

// packets() makes frames of 142 bytes; what a limiter lets pass at once is 64 KiB, 462 of them.
constexpr std::uint64_t kFrame = 142;
constexpr std::size_t kBurstPackets = RateLimiter::kLeastBurstBytes / kFrame + 1;

class PacingTest : public WorkerFixture {
 protected:
  explicit PacingTest(unsigned workers = 1) : WorkerFixture(workers) {}

  static std::shared_ptr<RateLimiter> limiter(std::uint64_t frames_per_s) {
    return std::make_shared<RateLimiter>(api::RateLimit{frames_per_s * kFrame * 8, 0}, rte_get_tsc_hz());
  }
  std::uint64_t parked() const {
    return sum([](const auto& c) -> const auto& { return c.engine.parked_in; }) -
           sum([](const auto& c) -> const auto& { return c.engine.parked_out; });
  }
};

TEST_F(PacingTest, PacketsTowardsThePodWaitForTheirTurn) {
  auto& from = add_memory();
  auto& to = add_memory();
  entries_[1]->to_pod = limiter(1'000);
  publish();
  const auto begin = rte_rdtsc();
  from.put(packets(900));
  ASSERT_TRUE(wait_until([&] { return to.sent() == 900; }, 10'000));
  const double seconds = static_cast<double>(rte_rdtsc() - begin) / static_cast<double>(rte_get_tsc_hz());
  EXPECT_GE(seconds, static_cast<double>(900 - kBurstPackets) / 1'000 * 0.98);
  EXPECT_EQ(parked(), 0u);
  EXPECT_EQ(drops(DropReason::rate_limited), 0u);
}

TEST_F(PacingTest, AFullQueueDropsAndThePacketsInItAreParked) {
  auto& from = add_memory();
  auto& to = add_memory();
  entries_[1]->to_pod = limiter(1);
  publish();
  from.put(packets(3'000));
  ASSERT_TRUE(wait_until([&] { return from.waiting() == 0 && drops(DropReason::rate_limited) != 0; }));
  ASSERT_TRUE(wait_until([&] { return parked() + to.sent() + drops(DropReason::rate_limited) == 3'000; }));
  EXPECT_GT(parked(), 0u);
  EXPECT_LE(to.sent(), kBurstPackets + 30);
}  // the ledger balances when the worker stops with packets in the queue

TEST_F(PacingTest, WithoutItsLimitEverythingLeavesAtOnce) {
  auto& from = add_memory();
  auto& to = add_memory();
  entries_[1]->to_pod = limiter(1);
  publish();
  from.put(packets(600));
  ASSERT_TRUE(wait_until([&] { return parked() != 0 && from.waiting() == 0; }));
  const auto former = std::move(entries_[1]);  // that workers may still read
  entries_[1] = std::make_unique<engine::PortEntry>(*former);
  entries_[1]->to_pod = nullptr;
  publish();
  ASSERT_TRUE(wait_until([&] { return to.sent() == 600; }));
}

TEST_F(PacingTest, APortThatGoesTakesItsQueueAlong) {
  auto& from = add_memory();
  add_memory();
  entries_[1]->to_pod = limiter(1);
  publish();
  from.put(packets(600));
  ASSERT_TRUE(wait_until([&] { return parked() != 0 && from.waiting() == 0; }));
  publish(PortId(2));
  ASSERT_TRUE(wait_until([&] { return parked() == 0; }));
  EXPECT_GT(drops(DropReason::port_gone), 0u);
}

TEST_F(PacingTest, APodThatHasUsedUpItsRateIsNotReceivedFromAndTheWorkerSleeps) {
  auto& from = add_memory();
  auto& to = add_memory();
  entries_[0]->from_pod = limiter(10);
  publish();
  from.put(packets(1'000));
  ASSERT_TRUE(wait_until([&] { return to.sent() >= kBurstPackets - 1; }));
  const auto polls = sum([](const auto& c) -> const auto& { return c.polls; });
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  // A worker that spun would have polled a hundred thousand times.
  EXPECT_LT(sum([](const auto& c) -> const auto& { return c.polls; }) - polls, 500u);
  EXPECT_GT(from.waiting(), 400u);
  EXPECT_LE(to.sent(), kBurstPackets + 30);
}

// What is on its way to a pod has nothing to do with what may come from it.
TEST_F(PacingTest, APortThatIsNotReceivedFromGoesOnWithWhatItHas) {
  auto& held = add_memory({1, true, false});
  add_memory();
  entries_[0]->from_pod = limiter(1);
  publish();
  held.put(packets(1'000));
  ASSERT_TRUE(wait_until([&] { return held.waiting() < 1'000 - kBurstPackets + 2; }));
  held.fall_behind(1'000);
  ASSERT_TRUE(wait_until([&] { return held.behind() == 0; })) << "the worker does not sleep meanwhile";
  EXPECT_GT(held.waiting(), 0u);
}

TEST_F(PacingTest, AHeldPodDoesNotHoldUpAnother) {
  auto& held = add_memory();
  add_memory();
  auto& free = add_memory();
  auto& free_to = add_memory();
  entries_[0]->from_pod = limiter(1);
  publish();
  held.put(packets(1'000));
  free.put(packets(2'000));
  ASSERT_TRUE(wait_until([&] { return free_to.sent() == 2'000; }));
  EXPECT_GT(held.waiting(), 0u);
}

// What waits may keep an eighth of the pool, in buffers: a packet of many counts as that many.
TEST_F(PacingTest, PacketsOfManyBuffersDoNotKeepThePool) {
  constexpr std::uint64_t kBuffers = 20;
  auto& from = add_memory();
  auto& to = add_memory();
  entries_[1]->to_pod = limiter(1);
  publish();
  std::vector<rte_mbuf*> chains;
  for (unsigned i = 0; i < 100; ++i) chains.push_back(pools_.packet(udp_frame(1800), 1842 / kBuffers + 1));
  ASSERT_EQ(chains.front()->nb_segs, kBuffers);
  from.put(chains);
  ASSERT_TRUE(wait_until([&] { return parked() + to.sent() + drops(DropReason::rate_limited) == 100; }));
  EXPECT_GT(parked(), 8u);
  EXPECT_LT(parked() * kBuffers, 4096u / 8 + kBuffers);
}

class PacingOfTwoTest : public PacingTest {
 protected:
  PacingOfTwoTest() : PacingTest(2) {}
};

// Ports 1 and 3 are received by worker 1, port 2 is paced by worker 0.
TEST_F(PacingOfTwoTest, OneWorkerKeepsThePaceForAll) {
  auto& from = add_memory();
  auto& to = add_memory({2});
  entries_[1]->to_pod = limiter(1'000);
  publish();
  from.put(packets(700));
  ASSERT_TRUE(wait_until([&] { return to.sent() == 700; }, 10'000));
  EXPECT_EQ(parked(), 0u);
}

}  // namespace
}  // namespace podwire::test
