// Endpoints that nodes tell each other of: what this node tells, what it takes of the others, and what it
// does not.
#include "control/cluster/own_endpoints.hpp"
#include "tests/unit/cluster/shared_endpoints_fixture.hpp"

namespace podwire::control {
namespace {

TEST_F(SharedEndpointsTest, OfL2DomainsAreTheEngines) {
  const int patches = engine_.patches;
  come("b/1", record("02:00:00:00:00:11", "10.245.0.17", "web"));
  EXPECT_EQ(engine_.patches, patches + 1);
  come("c/1", record("02:00:00:00:00:21", "10.245.0.33"));
  come("b/2", record("02:00:00:00:00:12", "10.244.2.2", "db", "default"));
  EXPECT_EQ(engine_.patches, patches + 2) << "l3 domains have routes for that";
  EXPECT_EQ(known(), (Texts{"02:00:00:00:00:11 10.245.0.17 at b", "02:00:00:00:00:21 10.245.0.33 at c"}));
  EXPECT_EQ(pods_, (std::map<std::string, std::string>{{"web", "10.245.0.17"}, {"db", "10.244.2.2"}}));
  come("b/1", record("02:00:00:00:00:11", "10.245.0.18", "web"));
  go("c/1");
  go("b/2");
  EXPECT_EQ(known(), Texts{"02:00:00:00:00:11 10.245.0.18 at b"});
  EXPECT_EQ(pods_, (std::map<std::string, std::string>{{"web", "10.245.0.18"}}));
  EXPECT_TRUE(differences().empty());
  EXPECT_EQ(problems(), "");
}

TEST_F(SharedEndpointsTest, GoWithTheirNodeAndComeWithIt) {
  come("b/1", record("02:00:00:00:00:11", "10.245.0.17", "web"));
  come("d/1", record("02:00:00:00:00:41", "10.245.0.49"));
  EXPECT_EQ(known(), Texts{"02:00:00:00:00:11 10.245.0.17 at b"});
  others_->change({false, {node("d", 4, "10.245.0.48/28")}, {"b"}});
  EXPECT_EQ(known(), Texts{"02:00:00:00:00:41 10.245.0.49 at d"});
  EXPECT_TRUE(pods_.empty());
  others_->change({false, {node("b", 5, "10.245.0.16/28")}, {}});
  EXPECT_EQ(known(), (Texts{"02:00:00:00:00:11 10.245.0.17 at b", "02:00:00:00:00:41 10.245.0.49 at d"}));
  EXPECT_TRUE(differences().empty());
}

TEST_F(SharedEndpointsTest, WhatWouldTakeTrafficAwayIsLeftOut) {
  come("b/1", record("02:00:00:00:00:11", "10.245.0.17"));
  endpoints_->local_changed({{"lan", *parse_mac("02:00:00:00:00:01"), {*parse_ip("10.245.0.18")}, "", ""}});
  const auto before = known();
  const struct {
    std::string value;
    const char* says;
  } cases[] = {
      {record("02:00:00:00:00:99", "10.245.0.33"), "is outside of what node \"b\" has of domain \"lan\""},
      {record("02:00:00:00:00:99", "10.245.0.2"), "is outside"},
      {record("02:00:00:00:00:99", "10.244.3.2", "db", "default"), "is outside"},
      {record("02:00:00:00:00:99", "10.9.9.9", "db", "no-such"), "is outside"},
      {record("02:00:00:00:00:11", "10.245.0.19"), "02:00:00:00:00:11, which another endpoint"},
      {record("02:00:00:00:00:99", "10.245.0.17"), "10.245.0.17, which another endpoint"},
      {record("02:00:00:00:00:01", "10.245.0.19"), "02:00:00:00:00:01, which another endpoint"},
      {record("02:00:00:00:00:99", "10.245.0.18"), "10.245.0.18, which another endpoint"},
      {R"({"domain":"lan","mac":"01:00:5e:00:00:01","addresses":[]})", "is none of an interface"},
      {"{{{", "its value"},
  };
  for (const auto& fault : cases) {
    come("b/9", fault.value);
    EXPECT_NE(problems().find(fault.says), std::string::npos) << fault.value << ": " << problems();
    EXPECT_NE(problems().find("/podwire/endpoints/b/9"), std::string::npos);
    EXPECT_EQ(known(), before) << fault.value;
    EXPECT_TRUE(pods_.empty());
    go("b/9");
    EXPECT_EQ(problems(), "");
  }
}

TEST_F(SharedEndpointsTest, WhoWaitsForAMacHasItWhenItIsFree) {
  come("b/1", record("02:00:00:00:00:11", "10.245.0.17"));
  come("c/1", record("02:00:00:00:00:11", "10.245.0.33"));
  EXPECT_EQ(known(), Texts{"02:00:00:00:00:11 10.245.0.17 at b"});
  go("b/1");
  EXPECT_EQ(known(), Texts{"02:00:00:00:00:11 10.245.0.33 at c"});
  EXPECT_EQ(problems(), "");
  // One that moves to this node is this node's at once.
  endpoints_->local_changed({{"lan", *parse_mac("02:00:00:00:00:11"), {*parse_ip("10.245.0.2")}, "", ""}});
  EXPECT_TRUE(known().empty());
  endpoints_->local_changed({});
  EXPECT_EQ(known(), Texts{"02:00:00:00:00:11 10.245.0.33 at c"});
}

TEST_F(SharedEndpointsTest, WhoHasAMacKeepsItThoughOthersWait) {
  come("c/1", record("02:00:00:00:00:11", "10.245.0.33"));
  come("b/1", record("02:00:00:00:00:11", "10.245.0.17"));
  come("b/2", record("02:00:00:00:00:12", "10.245.0.18"));
  const auto before = known();
  EXPECT_EQ(before, (Texts{"02:00:00:00:00:11 10.245.0.33 at c", "02:00:00:00:00:12 10.245.0.18 at b"}));
  come("c/1", record("02:00:00:00:00:11", "10.245.0.33", "web"));
  EXPECT_EQ(known(), before);
  cluster_.erase("endpoints/b/2");
  come("c/1", record("02:00:00:00:00:11", "10.245.0.34", "web"));
  EXPECT_EQ(known(), Texts{"02:00:00:00:00:11 10.245.0.34 at c"});
  EXPECT_NE(problems().find("endpoint 1 of node \"b\""), std::string::npos) << problems();
  come("c/1", record("02:00:00:00:00:13", "10.245.0.34", "web"));
  EXPECT_EQ(known(), (Texts{"02:00:00:00:00:11 10.245.0.17 at b", "02:00:00:00:00:13 10.245.0.34 at c"}));
  EXPECT_EQ(problems(), "");
}

TEST_F(SharedEndpointsTest, WhatTheEngineRefusesIsTriedAgain) {
  engine_.refused_mac = "02:00:00:00:00:11";
  cluster_.put("endpoints/b/2", record("02:00:00:00:00:12", "10.245.0.18"));
  come("b/1", record("02:00:00:00:00:11", "10.245.0.17"));
  EXPECT_EQ(known(), Texts{"02:00:00:00:00:12 10.245.0.18 at b"});
  EXPECT_NE(problems().find("endpoint 1 of node \"b\""), std::string::npos) << problems();
  endpoints_->try_again();
  EXPECT_NE(problems(), "");
  engine_.refused_mac.clear();
  endpoints_->try_again();
  EXPECT_EQ(known(), (Texts{"02:00:00:00:00:11 10.245.0.17 at b", "02:00:00:00:00:12 10.245.0.18 at b"}));
  EXPECT_EQ(problems(), "");
  const int patches = engine_.patches;
  endpoints_->try_again();
  EXPECT_EQ(engine_.patches, patches) << "nothing is left to try";
}

TEST_F(SharedEndpointsTest, PodsThatThePoliciesDidNotTakeAreToldOfAgain) {
  unlocated_.insert({"shop", "web"});
  come("b/1", record("02:00:00:00:00:11", "10.245.0.17", "web"));
  pods_.clear();
  endpoints_->try_again();
  EXPECT_EQ(pods_, (std::map<std::string, std::string>{{"web", "10.245.0.17"}}));
  pods_.clear();
  endpoints_->try_again();
  EXPECT_TRUE(pods_.empty()) << "nothing is left to tell";
}

TEST_F(SharedEndpointsTest, APodOfThisNodeDisplacesWhatOthersSay) {
  come("b/1", record("02:00:00:00:00:11", "10.245.0.17"));
  auto own = attachment(5);
  own.domain = "lan";
  own.mac = *parse_mac("02:00:00:00:00:11");
  ASSERT_TRUE(reconciler_->attach(own, make_queues()));
  ASSERT_EQ(engine_.endpoint_objects().size(), 1u);
  EXPECT_TRUE(engine_.endpoint_objects().begin()->second.port);
  EXPECT_TRUE(differences().empty());
  const int patches = engine_.patches;
  endpoints_->try_again();
  EXPECT_EQ(engine_.patches, patches);
  // Undone before anybody was told of it.
  ASSERT_TRUE(reconciler_->detach(own));
  endpoints_->try_again();
  EXPECT_EQ(known(), Texts{"02:00:00:00:00:11 10.245.0.17 at b"});
  EXPECT_TRUE(differences().empty());
}

TEST_F(SharedEndpointsTest, EventsThatComeTwiceOrLateChangeNothing) {
  cluster_.put("endpoints/b/1", record("02:00:00:00:00:11", "10.245.0.17"));
  const auto first = cluster_.pending;
  cluster_.tell();
  const int patches = engine_.patches;
  cluster_.tell(first);
  EXPECT_EQ(engine_.patches, patches);
  go("b/1");
  cluster_.tell(first);
  EXPECT_TRUE(known().empty());
}

TEST_F(SharedEndpointsTest, AListingRemovesWhatWentMeanwhile) {
  come("b/1", record("02:00:00:00:00:11", "10.245.0.17"));
  come("b/2", record("02:00:00:00:00:12", "10.245.0.18"));
  cluster_.erase("endpoints/b/1");
  const int patches = engine_.patches;
  ASSERT_TRUE(cluster_.list());
  EXPECT_EQ(known(), Texts{"02:00:00:00:00:12 10.245.0.18 at b"});
  EXPECT_EQ(engine_.patches, patches + 1);
}

TEST_F(SharedEndpointsTest, TheLastStateOutlivesARestart) {
  come("b/1", record("02:00:00:00:00:11", "10.245.0.17", "web"));
  come("b/2", record("02:00:00:00:00:12", "10.245.0.18"));
  go("b/2");
  const auto before = engine_.endpoint_objects();
  pods_.clear();
  restart();
  EXPECT_EQ(engine_.endpoint_objects(), before);
  EXPECT_EQ(pods_.at("web"), "10.245.0.17");
}

TEST_F(SharedEndpointsTest, AFullReplaceHasThem) {
  come("b/1", record("02:00:00:00:00:11", "10.245.0.17"));
  const auto before = known();
  ASSERT_TRUE(reconciler_->reconcile());
  EXPECT_EQ(known(), before);
  engine_.stop();
  come("b/2", record("02:00:00:00:00:12", "10.245.0.18"));
  engine_.start();
  ASSERT_TRUE(reconciler_->wait_programmed(std::chrono::seconds(30)));
  EXPECT_EQ(known().size(), 2u);
}

class OwnEndpointsTest : public SharedEndpointsTest {
 protected:
  void SetUp() override {}
  void TearDown() override { own_.reset(); }
  void begin() {
    own_ = std::make_unique<OwnEndpoints>(config_, *store_, cluster_, OwnEndpoints::Local(),
                                          std::chrono::milliseconds(20));
    ASSERT_TRUE(cluster_.list());
  }
  void add(const std::string& container, const std::string& domain) {
    AttachmentRequest request;
    request.key = {"net", container, "eth0"};
    request.domain = domain;
    request.pod_namespace = "shop";
    request.pod_name = container;
    const auto attachment = store_->begin_add(request);
    ASSERT_TRUE(attachment) << attachment.error().message;
    ASSERT_TRUE(store_->mark_ready(request.key));
  }
  // Until the store has just these pods; it is this object's thread that writes.
  void expect_stored(const std::set<std::string>& pods) {
    std::set<std::string> found;
    for (int i = 0; i < 3000; ++i) {
      found.clear();
      {
        const std::lock_guard lock(cluster_.mutex);
        for (const auto& [key, item] : cluster_.items) {
          if (key.starts_with("/podwire/endpoints/a/"))
            found.insert(parse_endpoint_record(item.value)->pod_name);
        }
      }
      if (found == pods) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_EQ(found, pods);
  }
  std::unique_ptr<OwnEndpoints> own_;
};

TEST_F(OwnEndpointsTest, AreToldAsTheyComeAndGo) {
  add("web", "lan");
  begin();
  expect_stored({"web"});
  add("db", "default");
  own_->wake();
  expect_stored({"db", "web"});
  ASSERT_TRUE(store_->begin_delete({"net", "web", "eth0"}));
  ASSERT_TRUE(store_->finish_delete({"net", "web", "eth0"}));
  own_->wake();
  expect_stored({"db"});
}

TEST_F(OwnEndpointsTest, WhatTheStoreDidNotTakeIsToldLater) {
  cluster_.put("endpoints/a/77", to_value({"lan", *parse_mac("02:00:00:00:00:77"), {}, "shop", "stale"}));
  begin();
  expect_stored({});
  {
    const std::lock_guard lock(cluster_.mutex);
    cluster_.down = true;
  }
  add("web", "lan");
  own_->wake();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  {
    const std::lock_guard lock(cluster_.mutex);
    cluster_.down = false;
  }
  expect_stored({"web"});
}

}  // namespace
}  // namespace podwire::control
