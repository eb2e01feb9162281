// EngineReconciler: the cluster's services and pods' published ports.
#include <algorithm>

#include "tests/unit/control/reconciler_fixture.hpp"

namespace podwire::control {
namespace {

constexpr auto kServicesSoon = std::chrono::milliseconds(5000);
using Names = std::set<std::string>;

class ReconcilerServices : public ReconcilerFixture {
 protected:
  void SetUp() override {
    engine_.start();
    reconciler_ = std::make_unique<EngineReconciler>(EngineReconciler::Options{socket_, 1, {}, {}, {}},
                                                     std::vector<Attachment>());
  }

  static NodeObjects node() {
    auto out = one_domain(true);
    out.addresses = {*parse_ip("192.168.100.1")};
    return out;
  }
  void program() {
    reconciler_->set_node(node(), {});
    const auto programmed = reconciler_->wait_programmed(kServicesSoon);
    ASSERT_TRUE(programmed) << programmed.error().message;
  }
  static api::Service service(std::uint32_t id, const std::string& name, std::uint16_t port = 80) {
    api::Service made;
    made.id = ServiceId(id);
    made.name = name;
    made.domain = DomainId(2);
    api::ServiceFrontend frontend;
    frontend.domain = made.domain;
    frontend.address = IpAddr(Ipv4::from_u32(0x0a600000 + id));
    frontend.port = port;
    made.frontends = {frontend};
    return made;
  }
  Result<void> put(std::vector<api::Service> services, std::vector<ServiceId> removed = {}) {
    return reconciler_->change_services({std::move(services), std::move(removed)});
  }
  static Attachment pod() {
    auto a = attachment(10);
    a.published_ports = {{ServiceId(1), {}, api::ServiceProtocol::kTcp, 8080, 80}};
    return a;
  }
};

TEST_F(ReconcilerServices, OnlyWhatChangedIsSent) {
  ASSERT_TRUE(put({service(101, "a"), service(102, "b")}));
  program();
  EXPECT_EQ(engine_.services(), (Names{"a", "b"}));
  const int before = engine_.patches;
  ASSERT_TRUE(put({}));
  EXPECT_EQ(engine_.patches, before);
  ASSERT_TRUE(put({service(103, "c")}, {ServiceId(102)}));
  EXPECT_EQ(engine_.patches, before + 1);
  EXPECT_EQ(engine_.services(), (Names{"a", "c"}));
  EXPECT_TRUE(differences().empty());
}

TEST_F(ReconcilerServices, ManyAreSentInPatchesThatFitALine) {
  program();
  std::vector<api::Service> all;
  for (std::uint32_t i = 0; i < 5000; ++i) all.push_back(service(1000 + i, "s" + std::to_string(i)));
  ASSERT_TRUE(put(all));
  EXPECT_EQ(engine_.services().size(), 5000u);
  EXPECT_GE(engine_.patches, 5);
}

// More than fits a message, and every address has another owner afterwards.
TEST_F(ReconcilerServices, AddressesMoveBetweenServicesInALargeChange) {
  program();
  constexpr std::uint32_t kCount = 1100;
  const auto address_of = [](std::uint32_t i) { return IpAddr(Ipv4::from_u32(0x0a600000 + i)); };
  std::vector<api::Service> all;
  for (std::uint32_t i = 0; i < kCount; ++i) all.push_back(service(1000 + i, "s" + std::to_string(i)));
  ASSERT_TRUE(put(all));
  for (std::uint32_t i = 0; i < kCount; ++i)
    all[i].frontends[0].address = address_of(1000 + (i + 1) % kCount);
  const auto moved = put(all);
  ASSERT_TRUE(moved) << moved.error().message;
  EXPECT_TRUE(differences().empty());
  // The last becomes two, of which one has an address more.
  auto last = all.back();
  last.frontends.push_back(all.front().frontends[0]);
  last.frontends.back().port = 81;
  all.back() = last;
  ASSERT_TRUE(put({last}));
  auto taker = service(9000, "taker");
  taker.frontends = {last.frontends[1]};
  last.frontends.pop_back();
  all.back() = last;
  std::rotate(all.begin(), all.begin() + 1, all.end());
  all.insert(all.begin(), taker);
  for (auto& one : all) one.affinity_s = 60;
  ASSERT_TRUE(put(all));
  EXPECT_TRUE(differences().empty());
  std::vector<ServiceId> gone;
  for (const auto& one : all) gone.push_back(one.id);
  auto heirs = all;
  for (auto& one : heirs) {
    one.id = ServiceId(one.id.value() + 100'000);
    one.name += " heir";
  }
  ASSERT_TRUE(put(heirs, gone));
  EXPECT_EQ(engine_.services().size(), kCount + 1);
  EXPECT_TRUE(differences().empty());
}

TEST_F(ReconcilerServices, RefusedOnesLeaveThoseBefore) {
  program();
  ASSERT_TRUE(put({service(101, "a")}));
  engine_.refused_service = "bad";
  std::vector<api::Service> all;
  for (std::uint32_t i = 0; i < 2500; ++i) all.push_back(service(1000 + i, "s" + std::to_string(i)));
  all.push_back(service(9999, "bad"));
  const auto refused = put(all);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("service bad is refused"), std::string::npos);
  EXPECT_EQ(engine_.services(), Names{"a"});
  EXPECT_TRUE(differences().empty());
}

TEST_F(ReconcilerServices, ARestartedEngineGetsThemAgain) {
  program();
  ASSERT_TRUE(put({service(101, "a")}));
  ASSERT_TRUE(reconciler_->attach(pod(), make_queues()));
  EXPECT_EQ(engine_.services(), (Names{"a", "container10/eth0 tcp *:8080"}));
  engine_.stop();
  ASSERT_TRUE(put({service(102, "b")}, {ServiceId(101)})) << "kept for the next engine";
  engine_.start();
  const auto deadline = std::chrono::steady_clock::now() + kServicesSoon;
  while (engine_.services() != Names{"b", "container10/eth0 tcp *:8080"}) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

TEST_F(ReconcilerServices, OneThatTheEngineRefusesKeepsNobodyElseOut) {
  program();
  ASSERT_TRUE(put({service(101, "a"), service(102, "bad")}));
  ASSERT_TRUE(reconciler_->attach(pod(), make_queues()));
  engine_.stop();
  engine_.refused_service = "bad";
  const int before = engine_.replaces;
  engine_.start();
  const auto deadline = std::chrono::steady_clock::now() + kServicesSoon;
  while (engine_.services() != Names{"a", "container10/eth0 tcp *:8080"} || engine_.replaces == before) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_EQ(engine_.replaces, before + 2) << "one was refused; with the other the pods came, not one by one";
}

TEST_F(ReconcilerServices, PublishedPortsComeAndGoWithTheirPod) {
  program();
  ASSERT_TRUE(reconciler_->attach(pod(), make_queues()));
  EXPECT_EQ(engine_.services(), Names{"container10/eth0 tcp *:8080"});
  EXPECT_TRUE(differences().empty());
  ASSERT_TRUE(reconciler_->detach(pod()));
  EXPECT_TRUE(engine_.services().empty());
}

TEST_F(ReconcilerServices, ADomainThatIsStatefulNoMoreKeepsItsPods) {
  program();
  ASSERT_TRUE(reconciler_->attach(pod(), make_queues()));
  auto changed = node();
  changed.objects.domains[0].stateful = false;
  reconciler_->set_node(changed, {});
  EXPECT_EQ(engine_.ports(), std::set<unsigned>{10});
  EXPECT_TRUE(engine_.services().empty());
  const auto found = differences();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_NE(found[0].find("the published ports of container10/eth0 do not work"), std::string::npos)
      << found[0];
}

}  // namespace
}  // namespace podwire::control
