#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <thread>

#include "control/cni/container_gate.hpp"
#include "control/cni/process.hpp"

namespace podwire::control {
namespace {

using namespace std::chrono_literals;
using For = ContainerGate::For;

AttachmentKey key(const char* container, const char* ifname = "eth0") {
  return {"net", container, ifname};
}

TEST(ContainerGate, SerialisesOneContainerAndNoOther) {
  ContainerGate gate;
  std::atomic<int> inside{0}, most{0};
  const auto first = gate.enter(key("other"), For::kAdd);
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      const auto pass = gate.enter(key("c", i % 2 == 0 ? "eth0" : "eth1"), For::kOther);
      const int now = ++inside;
      if (now > most) most = now;
      std::this_thread::sleep_for(2ms);
      --inside;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(most, 1);
}

TEST(ContainerGate, ADelTellsTheAddsBeforeItOnly) {
  ContainerGate gate;
  std::optional<ContainerGate::Pass> running(gate.enter(key("c"), For::kAdd));
  EXPECT_TRUE(gate.adding(key("c")));
  EXPECT_FALSE(gate.adding(key("c", "eth1")));
  bool waiting_was_overtaken = false, later_was_overtaken = true, deleted = false;
  std::thread waiting([&] { waiting_was_overtaken = gate.enter(key("c"), For::kAdd).overtaken(); });
  std::this_thread::sleep_for(20ms);
  std::thread other([&] { const auto pass = gate.enter(key("c", "eth1"), For::kDel); });
  std::this_thread::sleep_for(20ms);
  EXPECT_FALSE(running->overtaken()) << "a DEL of another interface is no reason";
  std::thread del([&] {
    const auto pass = gate.enter(key("c"), For::kDel);
    deleted = true;
  });
  while (!running->overtaken()) std::this_thread::sleep_for(1ms);
  EXPECT_FALSE(deleted);
  std::thread later([&] { later_was_overtaken = gate.enter(key("c"), For::kAdd).overtaken(); });
  std::this_thread::sleep_for(20ms);
  running.reset();
  for (auto* thread : {&waiting, &other, &del, &later}) thread->join();
  EXPECT_TRUE(waiting_was_overtaken);
  EXPECT_FALSE(later_was_overtaken);
  EXPECT_TRUE(deleted);
  EXPECT_FALSE(gate.adding(key("c")));
}

// Runs a shell script as the program.
class RunProcess : public ::testing::Test {
 protected:
  RunProcess() { ::signal(SIGPIPE, SIG_IGN); }  // as podwired's main does
  ~RunProcess() override { std::filesystem::remove(path_); }
  ProcessRequest script(const std::string& body) {
    if (FILE* file = std::fopen(path_.c_str(), "w")) {
      std::fputs(("#!/bin/sh\n" + body + "\n").c_str(), file);
      std::fclose(file);
    }
    std::filesystem::permissions(path_, std::filesystem::perms::owner_all);
    ProcessRequest request;
    request.path = path_;
    request.environment = {"PATH=/usr/bin:/bin", "WORD=hello"};
    return request;
  }

 private:
  std::string path_ = "/tmp/podwire-process-" + std::to_string(::getpid());
};

TEST_F(RunProcess, PassesInputOutputAndStatus) {
  auto request = script("cat; printf \"$WORD\"; echo oops >&2; exit 3");
  request.input = std::string(300000, 'x');  // more than a pipe holds
  const auto outcome = run_process(request);
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_EQ(outcome->exit, 3);
  EXPECT_EQ(outcome->output, request.input + "hello");
  EXPECT_EQ(outcome->diagnostics, "oops\n");
}

TEST_F(RunProcess, InheritsNoEnvironment) {
  const auto outcome = run_process(script("env | grep -c HOME"));
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->output, "0\n");
}

TEST_F(RunProcess, BearsAProgramThatDoesNotRead) {
  auto request = script("exec <&-; sleep 0.05; echo done");
  request.input = std::string(300000, 'x');
  const auto outcome = run_process(request);
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_EQ(outcome->output, "done\n");
}

TEST_F(RunProcess, EndsAProgramThatTakesTooLong) {
  auto request = script("sleep 60 & sleep 60");
  request.timeout = 100ms;
  const auto begin = std::chrono::steady_clock::now();
  const auto outcome = run_process(request);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code, ErrorCode::kUnavailable);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
  std::atomic<bool> stop{true};
  request.timeout = 60s;
  request.give_up = &stop;
  EXPECT_FALSE(run_process(request));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
}

TEST_F(RunProcess, RefusesAFlood) {
  const auto outcome = run_process(script("cat /dev/zero"));
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code, ErrorCode::kInvalid);
  const auto errors = run_process(script("head -c 3000000 /dev/zero >&2"));
  ASSERT_TRUE(errors);
  EXPECT_LE(errors->diagnostics.size(), kMaxDiagnosticBytes);
}

TEST_F(RunProcess, SaysWhenThereIsNothingToRun) {
  ProcessRequest request;
  request.path = "/nonexistent/program";
  const auto outcome = run_process(request);
  ASSERT_FALSE(outcome);
  EXPECT_NE(outcome.error().message.find("/nonexistent/program"), std::string::npos);
  const auto killed = run_process(script("kill -9 $$"));
  ASSERT_TRUE(killed);
  EXPECT_EQ(killed->exit, 128 + 9);
}

}  // namespace
}  // namespace podwire::control
