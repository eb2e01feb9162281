// Policies and services that several nodes share: one node's daemon, and the store that the others write to.
#include "control/cluster/shared_manifests.hpp"
#include "tests/unit/cluster/fake_shared_store.hpp"
#include "tests/unit/control_api/daemon_fixture.hpp"

namespace podwire::control {
namespace {

constexpr const char* kSharedPods = R"(
{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: web, labels: {app: web}}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: db, labels: {app: db}}}
)";
constexpr const char* kPolicyKey = "manifests/NetworkPolicy/shop/p";
constexpr const char* kServiceKey = "manifests/Service/shop/web";

Json policy_body(const std::string& name, const Json& spec) {
  return {{"apiVersion", "networking.k8s.io/v1"},
          {"kind", "NetworkPolicy"},
          {"metadata", {{"name", name}, {"namespace", "shop"}}},
          {"spec", spec}};
}

std::string policy_text(const std::string& name) {
  return policy_body(name, {{"podSelector", {{"matchLabels", {{"app", "web"}}}}}}).dump();
}

std::string service_text(const std::string& name, const std::string& address) {
  return Json{{"apiVersion", "v1"},
              {"kind", "Service"},
              {"metadata", {{"name", name}, {"namespace", "shop"}}},
              {"spec", {{"clusterIP", address}, {"ports", Json::array({Json{{"port", 80}}})}}}}
      .dump();
}

class SharedObjectsTest : public DaemonTest {
 protected:
  using Names = std::set<std::string>;

  void SetUp() override {
    config.domains[0].stateful = true;
    engine.start();
    restart();
  }
  void TearDown() override { shared.reset(); }
  void restart() {
    shared.reset();
    start();
    join();
  }
  void join() {
    shared = std::make_unique<SharedManifests>(*store, cluster,
                                               std::vector<ManifestOwner*>{policies.get(), services.get()},
                                               std::chrono::milliseconds(20));
    policies->share(*shared);
    services->share(*shared);
    daemon->shared_manifests = shared.get();
    const auto listed = cluster.list();
    ASSERT_TRUE(listed) << listed.error().message;
  }
  Json apply(const std::string& text) { return done("policy_apply", {{"manifests", text}}); }
  Names policies_here() {
    Names names;
    const auto reply = done("policies", Json::object());
    for (const auto& policy : reply["policies"]) names.insert(policy["name"].get<std::string>());
    return names;
  }
  void come(const std::string& key, const std::string& value) {
    cluster.put(key, value);
    cluster.tell();
  }
  std::string told() {
    std::string all;
    const auto status = done("status", Json::object());
    for (const auto& text : status["differences"]) all += text.get<std::string>() + "\n";
    return all;
  }

  FakeSharedStore cluster;
  std::unique_ptr<SharedManifests> shared;
};

TEST_F(SharedObjectsTest, WhatIsAppliedHereIsInTheStore) {
  apply(std::string(kSharedPods) + "---\n{apiVersion: v1, kind: Namespace, metadata: {name: shop}}\n---\n" +
        policy_text("p"));
  EXPECT_TRUE(cluster.has(kPolicyKey));
  EXPECT_TRUE(cluster.has("manifests/Pod/shop/web"));
  EXPECT_TRUE(cluster.has("manifests/Namespace/shop"));
  done("service_apply", {{"manifests", service_text("web", "10.96.0.1")}});
  EXPECT_TRUE(cluster.has(kServiceKey));
  const int writes = cluster.writes;
  apply(policy_text("p"));
  EXPECT_EQ(cluster.writes, writes) << "nothing to write";
  cluster.tell();
  EXPECT_EQ(policies_here(), Names{"shop/p"});
  done("policy_del", {{"name", "shop/p"}});
  done("service_del", {{"name", "shop/web"}});
  EXPECT_FALSE(cluster.has(kPolicyKey));
  EXPECT_FALSE(cluster.has(kServiceKey));
  EXPECT_TRUE(policies_here().empty());
}

TEST_F(SharedObjectsTest, OneChangeAfterAnotherNeedNotWaitForTheStoreToTell) {
  const auto open =
      policy_body("p", {{"podSelector", Json::object()}, {"ingress", Json::array({Json::object()})}});
  apply(policy_text("p"));
  apply(open.dump());
  apply(policy_text("p"));
  EXPECT_EQ(
      Json::parse(cluster.items.at("/podwire/" + std::string(kPolicyKey)).value)["spec"].contains("ingress"),
      false);
  cluster.tell();
  const auto policies_listed = done("policies", Json::object())["policies"];
  EXPECT_EQ(policies_listed[0]["ingress"], "nothing");
}

TEST_F(SharedObjectsTest, WhatOthersApplyComesIntoForceAndGoes) {
  come(
      "manifests/Pod/shop/web",
      R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","namespace":"shop","labels":{"app":"web"}}})");
  come(kPolicyKey, policy_text("p"));
  come(kServiceKey, service_text("web", "10.96.0.1"));
  EXPECT_EQ(policies_here(), Names{"shop/p"});
  EXPECT_EQ(engine.policies().size(), 2u) << "of the pod, and of pods whose labels are not known";
  EXPECT_EQ(engine.services(), Names{"shop/web:80"});
  const int patches = engine.patches;
  come(kPolicyKey, policy_text("p"));
  EXPECT_EQ(engine.patches, patches) << "the same again";
  restart();
  EXPECT_EQ(policies_here(), Names{"shop/p"});
  cluster.erase(kPolicyKey);
  cluster.erase(kServiceKey);
  cluster.tell();
  EXPECT_TRUE(policies_here().empty());
  EXPECT_TRUE(engine.services().empty());
  expect_agreement();
}

TEST_F(SharedObjectsTest, EventsThatComeTwiceOrLateChangeNothing) {
  cluster.put(kPolicyKey, policy_text("p"));
  const auto first = cluster.pending;
  cluster.tell();
  cluster.erase(kPolicyKey);
  cluster.tell();
  cluster.tell(first);
  EXPECT_TRUE(policies_here().empty());
  cluster.put(kPolicyKey, policy_text("p"));
  cluster.tell();
  const auto put = cluster.items.at("/podwire/" + std::string(kPolicyKey));
  cluster.tell({{true, {put.key, "", put.mod_revision - 1}}});
  EXPECT_EQ(policies_here(), Names{"shop/p"});
}

TEST_F(SharedObjectsTest, AListingRemovesWhatWentMeanwhile) {
  come(kPolicyKey, policy_text("p"));
  come("manifests/NetworkPolicy/shop/q", policy_text("q"));
  cluster.erase(kPolicyKey);
  ASSERT_TRUE(cluster.list());
  EXPECT_EQ(policies_here(), Names{"shop/q"});
}

TEST_F(SharedObjectsTest, WhatIsMalformedChangesNothingAndIsTold) {
  come(kPolicyKey, policy_text("p"));
  come(kPolicyKey, "{{{");
  EXPECT_EQ(policies_here(), Names{"shop/p"}) << "as it was";
  EXPECT_NE(told().find("/podwire/manifests/NetworkPolicy/shop/p of the cluster's store is left out"),
            std::string::npos)
      << told();
  const struct {
    const char* key;
    std::string value;
    const char* says;
  } cases[] = {
      {"manifests/NetworkPolicy/shop/x", policy_text("y"), "its value is NetworkPolicy shop/y"},
      {"manifests/NetworkPolicy/shop/x", policy_body("x", {{"podselector", 1}}).dump(), "podselector"},
      {"manifests/NetworkPolicy/shop/x", std::string(1u << 21, ' '), "at most 1048576 are read"},
      {"manifests/NetworkPolicy/shop/x", "[]", "must be a mapping"},
      {"manifests/NetworkPolicy/shop/x", "", "it is empty"},
      {"manifests/Service/shop/x", service_text("y", "10.96.0.1"), "its value is Service shop/y"},
      {"manifests/Service/shop/x", "7", "must be a mapping"},
      {"manifests/Node/x", "{}", "names no object"},
      {"manifests/NetworkPolicy/x", "{}", "names no object"},
      {"manifests/NetworkPolicy/a/b/c", "{}", "names no object"},
      {"manifests/\xff\x01", "{}", "names no object"},
  };
  for (const auto& fault : cases) {
    come(fault.key, fault.value);
    EXPECT_NE(told().find(fault.says), std::string::npos) << fault.key << ": " << told();
    EXPECT_EQ(policies_here(), Names{"shop/p"});
    EXPECT_TRUE(engine.services().empty());
    cluster.erase(fault.key);
    cluster.tell();
  }
  apply(policy_text("p"));
  EXPECT_EQ(shared->problems(), std::vector<std::string>{});
  come("manifests/NetworkPolicy/shop/bad", "nonsense");
  EXPECT_EQ(done("policy_del", {{"name", "shop/bad"}})["deleted"], Json{"NetworkPolicy shop/bad"});
  EXPECT_FALSE(cluster.has("manifests/NetworkPolicy/shop/bad"));
}

TEST_F(SharedObjectsTest, WhileTheStoreIsAwayNothingIsTaken) {
  apply(policy_text("p"));
  cluster.down = true;
  EXPECT_NE(refused("policy_apply", {{"manifests", policy_text("q")}}).find("the other nodes cannot be told"),
            std::string::npos);
  EXPECT_NE(refused("policy_del", {{"name", "shop/p"}}).find("start it"), std::string::npos);
  EXPECT_NE(refused("service_apply", {{"manifests", service_text("web", "10.96.0.1")}}).find("start it"),
            std::string::npos);
  EXPECT_EQ(policies_here(), Names{"shop/p"});
  EXPECT_TRUE(engine.services().empty());
}

TEST_F(SharedObjectsTest, WhatTheStoreDoesNotTakeIsTakenBack) {
  apply(policy_text("p"));
  cluster.writes_left = 0;
  const auto open =
      policy_body("p", {{"podSelector", Json::object()}, {"ingress", Json::array({Json::object()})}});
  EXPECT_NE(refused("policy_apply", {{"manifests", open.dump() + "\n---\n" + policy_text("q")}})
                .find("did not confirm the change"),
            std::string::npos);
  EXPECT_EQ(policies_here(), Names{"shop/p"});
  EXPECT_EQ(done("policies", Json::object())["policies"][0]["ingress"], "nothing");
  EXPECT_NE(refused("policy_del", {{"name", "shop/p"}}).find("did not confirm"), std::string::npos);
  EXPECT_EQ(policies_here(), Names{"shop/p"});
  EXPECT_NE(
      refused("service_apply", {{"manifests", service_text("web", "10.96.0.1")}}).find("did not confirm"),
      std::string::npos);
  EXPECT_TRUE(engine.services().empty());
}

TEST_F(SharedObjectsTest, OfTwoNodesThatApplyAtOnceTheStoresLastIsInForce) {
  apply(policy_text("p"));
  cluster.tell();
  const auto mine =
      policy_body("p", {{"podSelector", Json::object()}, {"policyTypes", Json{"Egress"}}}).dump();
  const auto theirs =
      policy_body("p", {{"podSelector", Json::object()}, {"policyTypes", Json{"Ingress", "Egress"}}}).dump();
  const auto in_store = [this] { return cluster.items.at("/podwire/" + std::string(kPolicyKey)).value; };
  const auto here = [this] { return done("policies", Json::object())["policies"][0]["directions"]; };
  const auto they_apply = [&] { come(kPolicyKey, theirs); };
  // Theirs is in the store, and here, when this node's comes.
  cluster.before_write = they_apply;
  apply(mine);
  cluster.tell();
  EXPECT_EQ(in_store(), mine);
  EXPECT_EQ(here(), "egress");
  // Theirs comes behind, and is told of before this node has its answer.
  apply(policy_text("p"));
  cluster.after_write = they_apply;
  apply(mine);
  EXPECT_EQ(in_store(), theirs);
  EXPECT_EQ(here(), "ingress, egress");
  apply(mine);
  EXPECT_EQ(in_store(), mine) << "what is known of the store is theirs";
  cluster.after_write = they_apply;
  done("policy_del", {{"name", "shop/p"}});
  EXPECT_EQ(policies_here(), Names{"shop/p"});
  EXPECT_EQ(done("policy_del", {{"name", "shop/p"}})["deleted"].size(), 1u);
  EXPECT_FALSE(cluster.has(kPolicyKey));
  cluster.tell();
  EXPECT_TRUE(policies_here().empty());
}

TEST_F(SharedObjectsTest, AFileOfManyTransactionsIsInTheStoreWholeOrNotAtAll) {
  std::string text;
  for (int i = 0; i < 150; ++i) text += "---\n" + policy_text("p" + std::to_string(i)) + "\n";
  const int writes = cluster.writes;
  cluster.writes_left = 1;
  // The second fails, and so does taking the first back.
  EXPECT_NE(refused("policy_apply", {{"manifests", text}}).find("a part of it is in the store"),
            std::string::npos);
  EXPECT_TRUE(policies_here().empty());
  cluster.tell();
  EXPECT_EQ(policies_here().size(), 100u);
  cluster.writes_left = -1;
  apply(text);
  EXPECT_EQ(cluster.writes, writes + 2) << "what is there already is not written again";
  EXPECT_EQ(policies_here().size(), 150u);
}

TEST_F(SharedObjectsTest, ANodeThatJoinsGivesWhatOnlyItHas) {
  shared.reset();
  start();
  ASSERT_TRUE(SharedManifests::part(*store));
  apply(policy_text("p") + "\n---\n" + policy_text("mine"));
  cluster.put("manifests/NetworkPolicy/shop/p",
              policy_body("p", {{"podSelector", Json::object()}, {"policyTypes", Json{"Egress"}}}).dump());
  cluster.put("manifests/NetworkPolicy/shop/theirs", policy_text("theirs"));
  join();
  EXPECT_EQ(policies_here(), (Names{"shop/mine", "shop/p", "shop/theirs"}));
  EXPECT_TRUE(cluster.has("manifests/NetworkPolicy/shop/mine"));
  EXPECT_EQ(done("policies", Json::object())["policies"][1]["directions"], "egress")
      << "theirs was there first";
  // From now on what the store has not is gone, also after a restart.
  cluster.erase("manifests/NetworkPolicy/shop/mine");
  restart();
  EXPECT_EQ(policies_here(), (Names{"shop/p", "shop/theirs"}));
}

TEST_F(SharedObjectsTest, AStoreThatLostItsDataGetsThemFromTheNodes) {
  apply(policy_text("p"));
  done("service_apply", {{"manifests", service_text("web", "10.96.0.1")}});
  cluster.items.clear();
  ASSERT_TRUE(cluster.list());
  EXPECT_TRUE(cluster.has(kPolicyKey));
  EXPECT_TRUE(cluster.has(kServiceKey));
  EXPECT_EQ(policies_here(), Names{"shop/p"});
  EXPECT_EQ(engine.services(), Names{"shop/web:80"});
}

TEST_F(SharedObjectsTest, AnEmptyOriginIsAsNone) {
  apply(policy_text("p"));
  cluster.put("manifests/origin", "");
  ASSERT_TRUE(cluster.list());
  EXPECT_NE(cluster.items.at("/podwire/manifests/origin").value, "");
  EXPECT_EQ(policies_here(), Names{"shop/p"});
  EXPECT_EQ(shared->problems(), std::vector<std::string>{});
}

TEST_F(SharedObjectsTest, WithoutAnEngineTheOthersPoliciesAreKeptForTheNext) {
  engine.stop();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (reconciler->state().connected && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  come(
      "manifests/Pod/shop/web",
      R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","namespace":"shop","labels":{"app":"web"}}})");
  come(kPolicyKey, policy_text("p"));
  EXPECT_EQ(policies_here(), Names{"shop/p"});
  engine.start();
  while (engine.policies().empty() && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(engine.policies().size(), 2u);
}

TEST_F(SharedObjectsTest, WhatThisNodeCannotDoCostsNoOther) {
  const auto twin = service_text("twin", "10.96.0.1");
  cluster.put("manifests/Service/shop/aaa", service_text("aaa", "10.96.0.1"));
  cluster.put("manifests/Service/shop/twin", twin);
  cluster.put("manifests/Service/shop/web", service_text("web", "10.96.0.2"));
  cluster.tell();
  EXPECT_EQ(engine.services(), (Names{"shop/aaa:80", "shop/web:80"}));
  EXPECT_NE(told().find("service shop/twin is left out on this node: 10.96.0.1 port 80"), std::string::npos)
      << told();
  cluster.erase("manifests/Service/shop/aaa");
  cluster.tell();
  EXPECT_EQ(engine.services(), (Names{"shop/twin:80", "shop/web:80"}));
}

TEST_F(SharedObjectsTest, WhatTheEngineRefusesIsToldAndTriedAgain) {
  engine.refused_service = "shop/bad:80";
  cluster.put("manifests/Service/shop/bad", service_text("bad", "10.96.0.1"));
  cluster.put("manifests/Service/shop/web", service_text("web", "10.96.0.2"));
  cluster.tell();
  EXPECT_EQ(engine.services(), Names{"shop/web:80"});
  EXPECT_NE(told().find("it is tried again every few seconds"), std::string::npos) << told();
  shared.reset();  // so that nobody asks the engine meanwhile
  engine.refused_service.clear();
  join();
  EXPECT_EQ(engine.services(), (Names{"shop/bad:80", "shop/web:80"}));
  EXPECT_EQ(shared->problems(), std::vector<std::string>{});
}

}  // namespace
}  // namespace podwire::control
