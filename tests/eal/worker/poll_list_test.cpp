#include "dataplane/worker/poll_list.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include "dataplane/worker/waker.hpp"
#include "tests/eal/worker/memory_port.hpp"
#include "tests/support/silent_port.hpp"

namespace podwire::engine {
namespace {

using test::MemoryPort;

// A tap-like port on the read end of a pipe: closing the write end makes it report errors for ever.
class PipePort final : public tests::SilentPort {
 public:
  explicit PipePort(bool when_ready) : when_ready_(when_ready) {
    int ends[2];
    if (::pipe(ends) != 0) throw std::runtime_error("pipe");
    read_.reset(ends[0]);
    write_.reset(ends[1]);
  }
  void hang_up() { write_.reset(); }
  int poll_fd(std::uint16_t) const noexcept override { return read_.get(); }
  bool receive_when_ready() const noexcept override { return when_ready_; }

 private:
  const bool when_ready_;
  UniqueFd read_, write_;
};

class PollListTest : public ::testing::Test {
 protected:
  PollListTest() {
    EXPECT_TRUE(waker_.open());
    auto list = PollList::create(0, 1, waker_.fd());
    EXPECT_TRUE(list);
    list_ = std::move(*list);
    tables_.ports.resize(10);
    entries_.resize(10);
  }
  void set(std::uint16_t id, Port* device) {
    entries_[id].id = PortId(id);
    entries_[id].device = device;
    tables_.ports[id] = device != nullptr ? &entries_[id] : nullptr;
    list_->rebuild(tables_);
  }

  Waker waker_;
  std::unique_ptr<PollList> list_;
  Snapshot tables_;
  std::vector<PortEntry> entries_;
};

TEST_F(PollListTest, KindsOfQueuesAndHowLongToSleep) {
  MemoryPort tap({}), socket({.when_ready = false}), timed({.descriptor = false, .when_ready = false});
  EXPECT_EQ(list_->sleep_us(), 100'000u);
  EXPECT_FALSE(list_->asks_descriptors());
  set(1, &tap);
  EXPECT_TRUE(list_->asks_descriptors());
  EXPECT_TRUE(list_->always().empty());
  set(2, &socket);
  EXPECT_EQ(list_->always().size(), 1u);
  EXPECT_EQ(list_->sleep_us(), 100'000u);
  set(3, &timed);
  EXPECT_EQ(list_->always().size(), 2u);
  EXPECT_EQ(list_->sleep_us(), 1'000u);
  set(3, nullptr);
  EXPECT_EQ(list_->sleep_us(), 100'000u);
  set(1, nullptr);
  EXPECT_FALSE(list_->asks_descriptors());
}

TEST_F(PollListTest, TellsWhoIsReady) {
  MemoryPort a({}), b({});
  set(1, &a);
  set(2, &b);
  list_->wait(0);
  EXPECT_TRUE(list_->ready().empty());
  b.put({});
  list_->wait(1'000'000);
  ASSERT_EQ(list_->ready().size(), 1u);
  EXPECT_EQ(list_->ready()[0]->port, PortId(2));
  list_->wait(0);
  EXPECT_EQ(list_->ready().size(), 1u) << "level triggered";
  set(2, nullptr);
  EXPECT_TRUE(list_->ready().empty());
  list_->wait(0);
  EXPECT_TRUE(list_->ready().empty());
}

TEST_F(PollListTest, ReplacedDeviceIsPolledAnew) {
  MemoryPort former({}), next({});
  set(1, &former);
  set(1, &next);
  former.put({});
  list_->wait(0);
  EXPECT_TRUE(list_->ready().empty());
  next.put({});
  list_->wait(0);
  ASSERT_EQ(list_->ready().size(), 1u);
  EXPECT_EQ(list_->ready()[0]->device, &next);
}

TEST_F(PollListTest, WakeEndsTheWaitUntilConsumed) {
  waker_.wake();
  list_->wait(10'000'000);
  EXPECT_TRUE(list_->woken());
  list_->wait(10'000'000);
  EXPECT_TRUE(list_->woken());
  waker_.consume();
  list_->wait(0);
  EXPECT_FALSE(list_->woken());
}

TEST_F(PollListTest, WakeIfAsleepIsNotLost) {
  waker_.wake_if_asleep();  // awake: nothing
  list_->wait(0);
  EXPECT_FALSE(list_->woken());
  waker_.announce_sleep();
  waker_.wake_if_asleep();
  list_->wait(0);
  EXPECT_TRUE(list_->woken());
}

TEST_F(PollListTest, DescriptorThatOnlyFailsIsGivenUp) {
  PipePort tap(true), socket(false);
  set(1, &tap);
  set(2, &socket);
  tap.hang_up();
  socket.hang_up();
  for (int i = 0; i < 5; ++i) list_->wait(0);
  // Nothing keeps a sleeper awake any more: the socket's queue is polled by time, the tap's no more.
  list_->wait(0);
  EXPECT_TRUE(list_->ready().empty());
  EXPECT_EQ(list_->sleep_us(), 1'000u);
  ASSERT_EQ(list_->always().size(), 1u);
  EXPECT_EQ(list_->always()[0]->port, PortId(2));
  EXPECT_FALSE(list_->asks_descriptors());
}

TEST_F(PollListTest, OnlyOwnQueues) {
  auto half = PollList::create(1, 2, waker_.fd());
  ASSERT_TRUE(half);
  MemoryPort a({.descriptor = false, .when_ready = false}), b({.descriptor = false, .when_ready = false});
  set(1, &a);
  set(2, &b);
  (*half)->rebuild(tables_);
  ASSERT_EQ((*half)->always().size(), 1u);
  EXPECT_EQ(queue_owner((*half)->always()[0]->port, 0, 2), 1u);
}

}  // namespace
}  // namespace podwire::engine
