// Reactor: descriptors and times of one thread, and handlers that change what is registered.
#include "dataplane/base/reactor.hpp"

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace podwire {
namespace {

using std::chrono::milliseconds;

class ReactorTest : public testing::Test {
 protected:
  ReactorTest() : reactor_(std::move(*Reactor::create())) {}
  static UniqueFd ready() { return UniqueFd(::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK)); }
  void run(int timeout_ms = 0) { ASSERT_TRUE(reactor_->run_once(timeout_ms)); }

  std::unique_ptr<Reactor> reactor_;
};

TEST_F(ReactorTest, CallsTheHandlerWhileTheDescriptorIsReady) {
  const auto fd = ready();
  int calls = 0;
  auto watch = reactor_->watch(fd.get(), EPOLLIN, [&](std::uint32_t events) {
    EXPECT_EQ(events, std::uint32_t{EPOLLIN});
    ++calls;
  });
  ASSERT_TRUE(watch);
  run();
  run();
  EXPECT_EQ(calls, 2);
  *watch = Reactor::Watch();
  run();
  EXPECT_EQ(calls, 2);
}

TEST_F(ReactorTest, RefusesADescriptorThatCannotBeWatched) {
  const auto watch = reactor_->watch(-1, EPOLLIN, [](std::uint32_t) {});
  ASSERT_FALSE(watch);
  EXPECT_NE(watch.error().message.find("-1"), std::string::npos);
}

TEST_F(ReactorTest, CallsATaskOnceItsTimeHasCome) {
  int calls = 0;
  const auto later = reactor_->after(milliseconds(20), [&] { ++calls; });
  run(0);
  EXPECT_EQ(calls, 0);
  const auto started = Reactor::Clock::now();
  while (calls == 0 && Reactor::Clock::now() - started < std::chrono::seconds(5)) run(-1);
  EXPECT_GE(Reactor::Clock::now() - started, milliseconds(15));
  run(0);
  EXPECT_EQ(calls, 1);
}

TEST_F(ReactorTest, TasksRunInTheOrderOfTheirTimes) {
  std::string order;
  const auto second = reactor_->after(milliseconds(2), [&] { order += "b"; });
  const auto first = reactor_->after(milliseconds(1), [&] { order += "a"; });
  ::usleep(5000);
  run();
  EXPECT_EQ(order, "ab");
}

TEST_F(ReactorTest, AnEndedTaskIsNotRun) {
  bool called = false;
  {
    const auto ended = reactor_->after(milliseconds(0), [&] { called = true; });
  }
  run();
  EXPECT_FALSE(called);
}

TEST_F(ReactorTest, HandlersMayEndThemselvesAndOthers) {
  const auto a = ready(), b = ready();
  int calls = 0;
  Reactor::Watch first, second;
  const auto end_both = [&](std::uint32_t) {
    ++calls;
    first = Reactor::Watch();
    second = Reactor::Watch();
  };
  first = std::move(*reactor_->watch(a.get(), EPOLLIN, end_both));
  second = std::move(*reactor_->watch(b.get(), EPOLLIN, end_both));
  run();
  EXPECT_EQ(calls, 1);  // the other one was ready as well
  run();
  EXPECT_EQ(calls, 1);
}

TEST_F(ReactorTest, ATaskMayScheduleTheNext) {
  int calls = 0;
  Reactor::Watch next;
  std::function<void()> task = [&] {
    if (++calls < 3) next = reactor_->after(milliseconds(0), task);
  };
  next = reactor_->after(milliseconds(0), task);
  for (int i = 0; i < 10; ++i) run();
  EXPECT_EQ(calls, 3);
}

}  // namespace
}  // namespace podwire
