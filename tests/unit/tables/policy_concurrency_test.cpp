// A change of policy against a worker that notes connections all the while: when the change is done, no
// connection lives that it forbids, and none comes. Meant for ThreadSanitizer as well.
#include <thread>

#include "dataplane/tables/flow_table.hpp"
#include "dataplane/tables/policy_view.hpp"
#include "tests/unit/tables/programmer_fixture.hpp"

namespace podwire::engine {
namespace {

using namespace testing_objects;

constexpr std::uint16_t kPorts = 512;

FlowKey connection(std::uint16_t port) {
  return make_flow_key(DomainId(2), ip_proto::kUdp, ip("10.244.1.10"), ip("10.244.1.11"), port, 53);
}

// Does what the flow and track stages do: decides by the snapshot, then notes; between two reports.
class Decider {
 public:
  Decider(Publisher& publisher, FlowTable& flows)
      : publisher_(publisher), flows_(flows), thread_([this] { run(); }) {}
  void stop() {
    stop_ = true;
    thread_.join();
  }
  std::atomic<std::uint64_t> noted{0};

 private:
  void run() {
    publisher_.online(0);
    for (std::uint16_t port = 1; !stop_; port = static_cast<std::uint16_t>(port % kPorts + 1)) {
      const auto& tables = *publisher_.load();
      publisher_.report_ports_seen(0, tables.ports_generation);
      const auto key = connection(port), back = key.reversed();
      const auto there = flows_.find(key);
      const bool allowed =
          !there && (tables.policies == nullptr || ask_policies(tables, key, back, false).allowed);
      std::this_thread::yield();  // where the decision and its note are farthest apart
      if (allowed && flows_.insert(key, back, {FlowState::kUdpReplied}, 1, 100).outcome ==
                         FlowTable::Insertion::Outcome::kNew)
        ++noted;
      if (there) flows_.remove(there);  // in one of the next rounds it begins anew
      publisher_.quiescent(0);
    }
    publisher_.offline(0);
  }

  Publisher& publisher_;
  FlowTable& flows_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

struct Connections {
  FlowTable flows{4096, 7};
};

class PolicyConcurrency : protected Connections, public ProgrammerTest {
 protected:
  PolicyConcurrency() : ProgrammerTest(nullptr, nullptr, &flows) {}

  static api::Policy policy(bool allows) {
    api::Policy object;
    object.id = PolicyId(1);
    object.name = "policy";
    object.ingress.emplace();
    if (allows) object.ingress->rules.emplace_back().identities = {IdentityId(10)};
    return object;
  }
  // Pod 1 talks to pod 2, which has the policy.
  static api::Endpoint talker(std::uint32_t identity) {
    auto endpoint = pod(1, 3, {"10.244.1.10"});
    endpoint.identity = IdentityId(identity);
    return endpoint;
  }
  std::size_t alive() const {
    std::size_t count = 0;
    flows.for_each(0, [&](std::uint32_t, const FlowView& original, const FlowView&) {
      count += original.phase.state != FlowState::kCut ? 1 : 0;
      return true;
    });
    return count;
  }
};

TEST_F(PolicyConcurrency, NoConnectionOutlivesAChangeThatForbidsIt) {
  auto home = domain(2);
  home.stateful = true;
  auto target = pod(2, 4, {"10.244.1.11"});
  target.identity = IdentityId(20);
  target.policy = PolicyId(1);
  patch({.ports = {tap(3), tap(4)},
         .domains = {home},
         .endpoints = {talker(10), target},
         .policies = {policy(true)}});
  publisher.set_waker([] {});
  Decider worker(publisher, flows);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  std::size_t rounds = 0;
  for (; std::chrono::steady_clock::now() < deadline && !HasFatalFailure(); ++rounds) {
    const auto before = worker.noted.load();
    while (worker.noted.load() < before + 20) std::this_thread::yield();
    const bool by_policy = rounds % 2 == 0;
    by_policy ? patch({.policies = {policy(false)}}) : patch({.endpoints = {talker(11)}});
    ASSERT_EQ(alive(), 0u) << "round " << rounds;
    std::this_thread::yield();
    ASSERT_EQ(alive(), 0u) << "round " << rounds;
    by_policy ? patch({.policies = {policy(true)}}) : patch({.endpoints = {talker(10)}});
  }
  worker.stop();
  EXPECT_GT(rounds, 5u);
  EXPECT_GT(counters.flows.cut.get(), 5u);
}

}  // namespace
}  // namespace podwire::engine
