#include "tests/unit/control/reconciler_fixture.hpp"

namespace podwire::control {
namespace {

using std::chrono::milliseconds;
constexpr auto kSoon = milliseconds(5000);

// Until `condition` holds; false after a while.
bool eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kSoon;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(milliseconds(5));
  }
  return true;
}

class ReconcilerTest : public ReconcilerFixture {
 protected:
  void SetUp() override {
    engine_.start();
    restart();
  }

  // As a new daemon with these attachments in its store.
  void restart(std::vector<Attachment> ready = {}, bool wait = true) {
    reconciler_.reset();
    EngineReconciler::Options options;
    options.socket = socket_;
    options.epoch = ++epoch_;
    options.open_pod = [this](const Attachment& a) -> Result<std::vector<UniqueFd>> {
      ++reopened_;
      if (a.port == lost_) return not_found("/run/netns/x is another network namespace now");
      return make_queues(a.queues);
    };
    options.missing_pod = [this](const Attachment& a) {
      return a.port == dead_ ? std::string("/run/netns/x does not exist") : std::string();
    };
    options.announce = [this](const Attachment& a, bool there) -> Result<void> {
      if (!notes_announced_) return {};
      announced_.push_back((there ? "+" : "-") + std::to_string(a.port.value()) + "/" +
                           std::to_string(a.extra_endpoints.size()) + " of " +
                           std::to_string(engine_.endpoints()));
      if (a.port == unannounced_) return io_error("the kernel does not want it");
      return {};
    };
    reconciler_ = std::make_unique<EngineReconciler>(std::move(options), std::move(ready));
    reconciler_->set_node(node(), {});
    if (!wait) return;
    auto programmed = reconciler_->wait_programmed(kSoon);
    ASSERT_TRUE(programmed) << programmed.error().message;
  }

  static NodeObjects node() {
    auto out = one_domain(false);
    const auto domain = out.domains.at("default");
    for (std::uint32_t i = 1; i <= 5; ++i) {
      api::Route route;
      route.id = RouteId(i);
      route.domain = domain;
      route.prefix = {IpAddr(Ipv4::from_u32(0x0a000000 + (i << 16))), 16};
      route.blackhole = true;
      out.objects.routes.push_back(route);
    }
    return out;
  }
  void attach(unsigned port, int queues = 1) {
    auto a = attachment(port);
    a.queues = static_cast<std::uint16_t>(queues);
    auto done = reconciler_->attach(a, make_queues(queues));
    ASSERT_TRUE(done) << done.error().message;
  }

  std::uint64_t epoch_ = 0;
  std::atomic<int> reopened_{0};
  PortId lost_;
  PortId dead_;
  PortId unannounced_;                  // refused
  bool notes_announced_ = false;        // by tests of one thread: it asks the engine, which may be busy
  std::vector<std::string> announced_;  // "+PORT/EXTRA of ENDPOINTS": these were the engine's then
};

TEST_F(ReconcilerTest, ProgramsAndAgrees) {
  EXPECT_TRUE(reconciler_->state().connected);
  attach(10);
  EXPECT_EQ(engine_.ports(), std::set<unsigned>{10});
  EXPECT_TRUE(differences().empty());
  EXPECT_TRUE(reconciler_->verify(attachment(10)));
  EXPECT_FALSE(reconciler_->verify(attachment(11)));
  ASSERT_TRUE(reconciler_->detach(attachment(10)));
  EXPECT_TRUE(engine_.ports().empty());
  EXPECT_EQ(engine_.endpoints(), 0u);
  EXPECT_TRUE(reconciler_->detach(attachment(10)));  // again
}

TEST_F(ReconcilerTest, AnnouncesWhatTheEngineHas) {
  using Announced = std::vector<std::string>;
  notes_announced_ = true;
  attach(10);
  EXPECT_EQ(std::exchange(announced_, {}), (Announced{"+10/0 of 1"}));
  auto more = attachment(10);
  ExtraEndpoint extra;
  extra.id = EndpointId(100);
  extra.name = "second";
  extra.mac = MacAddr::from_u64(0x020000000100);
  more.extra_endpoints.push_back(extra);
  ASSERT_TRUE(reconciler_->update(more));
  EXPECT_EQ(engine_.endpoints(), 2u);
  EXPECT_EQ(std::exchange(announced_, {}), (Announced{"+10/1 of 1"}));
  ASSERT_TRUE(reconciler_->detach(more));
  EXPECT_EQ(std::exchange(announced_, {}), (Announced{"-10/1 of 2"})) << "first nobody sends there any more";

  unannounced_ = PortId(11);
  auto refused = reconciler_->attach(attachment(11), make_queues());
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("the kernel does not want it"), std::string::npos);
  unannounced_ = PortId();
  ASSERT_TRUE(reconciler_->detach(attachment(11)));
  EXPECT_TRUE(differences().empty());

  // An update that the engine refuses.
  attach(12);
  announced_.clear();
  auto another = attachment(12);
  another.domain = "nobody's";
  another.extra_endpoints.push_back(extra);
  ASSERT_FALSE(reconciler_->update(another));
  EXPECT_EQ(announced_, (Announced{"+12/1 of 1", "+12/0 of 1"}));
}

TEST_F(ReconcilerTest, ConcurrentAttachesShareRoundTrips) {
  engine_.patch_delay_ms = 20;
  std::vector<std::thread> threads;
  for (unsigned i = 1; i <= 60; ++i) threads.emplace_back([this, i] { attach(i); });
  for (auto& t : threads) t.join();
  EXPECT_EQ(engine_.ports().size(), 60u);
  EXPECT_LT(engine_.patches, 30);
  EXPECT_TRUE(differences().empty());
}

TEST_F(ReconcilerTest, RefusedMemberFailsAlone) {
  engine_.refuse(7);
  engine_.patch_delay_ms = 20;
  std::atomic<int> good{0};
  std::string error;
  std::vector<std::thread> threads;
  for (unsigned i = 1; i <= 20; ++i) {
    threads.emplace_back([&, i] {
      auto done = reconciler_->attach(attachment(i), make_queues());
      if (done) {
        ++good;
      } else {
        EXPECT_EQ(i, 7u);
        error = done.error().message;
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(good, 19);
  EXPECT_NE(error.find("is refused"), std::string::npos) << error;
  EXPECT_FALSE(engine_.ports().contains(7));
  EXPECT_TRUE(differences().empty());
}

TEST_F(ReconcilerTest, DetachAndAttachOfOnePortKeepTheirOrder) {
  engine_.patch_delay_ms = 30;
  attach(1);
  std::thread other([this] { attach(2); });  // keeps the session busy while the next two queue up
  std::this_thread::sleep_for(milliseconds(10));
  std::thread remove([this] { EXPECT_TRUE(reconciler_->detach(attachment(1))); });
  std::this_thread::sleep_for(milliseconds(5));
  attach(1);
  remove.join();
  other.join();
  EXPECT_EQ(engine_.ports(), (std::set<unsigned>{1, 2}));
}

TEST_F(ReconcilerTest, RestartedEngineGetsTheHeldDescriptors) {
  attach(10, 2);
  attach(11);
  const auto first = reconciler_->state().instance;
  engine_.stop();
  EXPECT_TRUE(eventually([&] { return !reconciler_->state().connected; }));
  auto refused = reconciler_->attach(attachment(12), make_queues());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kUnavailable);
  EXPECT_TRUE(reconciler_->detach(attachment(11)));  // succeeds without the engine
  engine_.start();
  const auto begun = std::chrono::steady_clock::now();
  ASSERT_TRUE(eventually([&] { return reconciler_->state().connected; }));
  EXPECT_LT(std::chrono::steady_clock::now() - begun, milliseconds(1000));
  EXPECT_NE(reconciler_->state().instance, first);
  EXPECT_EQ(reconciler_->state().restarts, 1u);
  EXPECT_EQ(engine_.ports(), std::set<unsigned>{10});
  EXPECT_EQ(engine_.queues_of(10), 2u);
  EXPECT_EQ(reopened_, 0);
  EXPECT_TRUE(differences().empty());
}

TEST_F(ReconcilerTest, RestartedDaemonAsksALiveEngineForDescriptors) {
  attach(10, 2);
  auto kept = attachment(10);
  kept.queues = 2;
  restart({kept});
  EXPECT_EQ(reopened_, 0);
  EXPECT_EQ(engine_.queues_of(10), 2u);
  // It holds them now: a new engine can be served.
  engine_.stop();
  engine_.start();
  ASSERT_TRUE(eventually([&] { return engine_.queues_of(10) == 2; }));
  EXPECT_EQ(reopened_, 0);
}

TEST_F(ReconcilerTest, SocketsAreRestoredWithoutDescriptors) {
  auto socket = attachment(10);
  socket.kind = api::PortKind::kMemif;
  socket.socket.path = "/run/podwire/pods/container10/net1.sock";
  ASSERT_TRUE(reconciler_->attach(socket, {}));
  EXPECT_TRUE(differences().empty());
  EXPECT_TRUE(reconciler_->verify(socket));
  engine_.stop();
  engine_.start();
  ASSERT_TRUE(eventually([&] { return engine_.ports() == std::set<unsigned>{10}; }));
  restart({socket});
  EXPECT_EQ(engine_.ports(), std::set<unsigned>{10});
  EXPECT_EQ(engine_.queues_of(10), 0u);
  EXPECT_EQ(reopened_, 0);
  EXPECT_TRUE(differences().empty());
}

TEST_F(ReconcilerTest, RestartedDaemonDropsWhatItsStoreDoesNotHave) {
  attach(10);
  attach(11);
  restart({attachment(10)});
  EXPECT_EQ(engine_.ports(), std::set<unsigned>{10});
}

TEST_F(ReconcilerTest, BothNewReopensThePersistentTap) {
  restart({attachment(10), attachment(11)});
  EXPECT_EQ(reopened_, 2);
  EXPECT_EQ(engine_.queues_of(10), 1u);
  EXPECT_EQ(engine_.ports(), (std::set<unsigned>{10, 11}));
}

TEST_F(ReconcilerTest, PodWhoseNamespaceIsGoneIsLeftOutAndReported) {
  lost_ = PortId(11);
  restart({attachment(10), attachment(11)});
  EXPECT_EQ(engine_.ports(), std::set<unsigned>{10});
  const auto found = differences();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_NE(found[0].find("eth0 of container container11"), std::string::npos) << found[0];
  EXPECT_NE(found[0].find("CNI DEL"), std::string::npos) << found[0];
  EXPECT_FALSE(reconciler_->verify(attachment(11)));
  EXPECT_TRUE(reconciler_->detach(attachment(11)));
  EXPECT_TRUE(differences().empty());
}

TEST_F(ReconcilerTest, PodThatDiedWithItsNamespaceIsReported) {
  attach(10);
  attach(11);
  EXPECT_TRUE(differences().empty());
  dead_ = PortId(11);
  const auto found = differences();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(
      found[0],
      "the pod of interface eth0 of container container11 is gone (/run/netns/x does not exist); call CNI "
      "DEL for it");
  EXPECT_EQ(engine_.ports(), (std::set<unsigned>{10, 11}))
      << "only reported: its DEL is the runtime's to call";
  ASSERT_TRUE(reconciler_->detach(attachment(11)));
  EXPECT_TRUE(differences().empty());
}

TEST_F(ReconcilerTest, OneRefusedAttachmentDoesNotKeepTheOthersOut) {
  engine_.refuse(11);
  restart({attachment(10), attachment(11), attachment(12)});
  EXPECT_EQ(engine_.ports(), (std::set<unsigned>{10, 12}));
  const auto found = differences();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_NE(found[0].find("the engine refused"), std::string::npos) << found[0];
}

TEST_F(ReconcilerTest, FullReplaceIsSplitIntoLines) {
  std::vector<Attachment> many;
  for (unsigned i = 1; i <= 600; ++i) many.push_back(attachment(i));  // more descriptors than a line takes
  engine_.chunks = 0;
  restart(many);
  EXPECT_EQ(engine_.ports().size(), 600u);
  EXPECT_GE(engine_.chunks, 3);
  EXPECT_TRUE(differences().empty());
}

TEST_F(ReconcilerTest, FindsAndRepairsDifferences) {
  attach(10);
  engine_.drop_port(10);
  const auto found = differences();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_NE(found[0].find("lacks port 10"), std::string::npos) << found[0];
  auto repaired = reconciler_->reconcile();
  ASSERT_TRUE(repaired) << repaired.error().message;
  EXPECT_EQ(*repaired, 1u);
  EXPECT_EQ(engine_.ports(), std::set<unsigned>{10});
  EXPECT_EQ(*reconciler_->reconcile(), 0u);
}

TEST_F(ReconcilerTest, RefusedNodeObjectsAreReportedAtOnce) {
  engine_.refuse_all = true;
  restart({}, false);
  auto programmed = reconciler_->wait_programmed(kSoon);
  ASSERT_FALSE(programmed);
  EXPECT_EQ(programmed.error().code, ErrorCode::kInvalid);
  EXPECT_NE(programmed.error().message.find("refuses everything"), std::string::npos)
      << programmed.error().message;
  EXPECT_FALSE(differences().empty());
  engine_.refuse_all = false;
  EXPECT_TRUE(eventually([&] { return reconciler_->state().connected; }));
}

TEST_F(ReconcilerTest, NewNodeObjectsAreProgrammedAtOnce) {
  auto changed = node();
  changed.objects.routes.clear();
  reconciler_->set_node(changed, {});
  EXPECT_TRUE(differences().empty());
  EXPECT_EQ(reconciler_->node().objects.routes.size(), 0u);
}

TEST_F(ReconcilerTest, UnknownDomainFailsWithoutTheEngine) {
  auto a = attachment(10);
  a.domain = "blue";
  auto done = reconciler_->attach(a, make_queues());
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ErrorCode::kNotFound);
}

TEST(Reconciler, WithoutAnEngineItSaysWhy) {
  TemporaryDirectory directory;
  EngineReconciler reconciler({directory.path() + "/none.sock", 1, {}, {}, {}}, {});
  EXPECT_FALSE(reconciler.attach(attachment(1), make_queues()));
  EXPECT_TRUE(reconciler.detach(attachment(1)));
  reconciler.set_node({}, {});
  auto waited = reconciler.wait_programmed(milliseconds(150));
  ASSERT_FALSE(waited);
  EXPECT_EQ(waited.error().code, ErrorCode::kUnavailable);
  EXPECT_NE(waited.error().message.find("none.sock"), std::string::npos) << waited.error().message;
  auto differences = reconciler.differences();
  ASSERT_TRUE(differences);
  ASSERT_EQ(differences->size(), 1u);
  EXPECT_NE(differences->front().find("not connected"), std::string::npos);
  EXPECT_FALSE(reconciler.query("status", Json::object()));
  EXPECT_TRUE(reconciler.shutdown_engine());
}

}  // namespace
}  // namespace podwire::control
