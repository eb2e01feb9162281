// Network policies through the daemon's verbs, to an engine that only remembers.
#include "control/api/policies.hpp"

#include <sqlite3.h>

#include "tests/unit/control_api/daemon_fixture.hpp"

namespace podwire::control {
namespace {

constexpr const char* kPods = R"(
{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: web, labels: {app: web}}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: db, labels: {app: db}}}
)";

std::string policy(const std::string& name, const std::string& spec) {
  return "---\n{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {namespace: shop, name: " +
         name + "}, spec: " + spec + "}\n";
}

class PoliciesTest : public DaemonTest {
 protected:
  void SetUp() override {
    config.domains[0].stateful = true;
    engine.start();
    start();
  }
  Json apply(const std::string& text) { return done("policy_apply", {{"manifests", text}}); }
  void attach(const std::string& space, const std::string& name, const std::string& container = "") {
    AttachmentRequest request;
    request.key = {"net", container.empty() ? "container-" + name : container, "eth0"};
    request.domain = "default";
    request.pod_namespace = space;
    request.pod_name = name;
    const auto attachment = store->begin_add(request);
    ASSERT_TRUE(attachment) << attachment.error().message;
    std::vector<UniqueFd> queues;
    queues.emplace_back(::open("/dev/null", O_RDWR | O_CLOEXEC));
    const auto attached = reconciler->attach(*attachment, std::move(queues));
    ASSERT_TRUE(attached) << attached.error().message;
    ASSERT_TRUE(store->mark_ready(request.key));
  }
  // The name of the policy that a pod's endpoint carries in the engine.
  std::string policy_of(const std::string& pod) {
    for (const auto& [id, endpoint] : engine.endpoint_objects()) {
      if (!endpoint.name.starts_with("shop/" + pod + "/")) continue;
      return endpoint.policy ? engine.policies().at(endpoint.policy).name : "none";
    }
    return "no endpoint";
  }
};

TEST_F(PoliciesTest, ReachTheEngineWithTheirPods) {
  attach("shop", "web");
  attach("shop", "db");
  attach("shop", "ghost");
  const auto reply = apply(kPods + policy("p", "{podSelector: {matchLabels: {app: web}}}"));
  EXPECT_EQ(reply["applied"].size(), 3u);
  EXPECT_EQ(reply["applied"][2],
            (Json{{"kind", "NetworkPolicy"}, {"name", "shop/p"}, {"change", "created"}}));
  EXPECT_EQ(reply["not_enforced"], Json::array());
  EXPECT_EQ(policy_of("web"), "shop/p");
  EXPECT_EQ(policy_of("db"), "none");
  EXPECT_EQ(policy_of("ghost"), "shop/ (labels of the pod not known)");
  expect_agreement();
  attach("shop", "late");
  EXPECT_EQ(policy_of("late"), "shop/ (labels of the pod not known)");
  const auto list = done("policies", Json::object())["policies"];
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(list[0]["pods_here"], Json::array({"shop/web"}));
  EXPECT_EQ(list[0]["ingress"], "nothing");
  EXPECT_EQ(done("policy_del", {{"name", "shop/p"}})["deleted"], Json::array({"NetworkPolicy shop/p"}));
  EXPECT_EQ(policy_of("web"), "none");
  EXPECT_EQ(policy_of("ghost"), "none");
  EXPECT_TRUE(engine.policies().empty());
  EXPECT_EQ(done("policy_del", {{"name", "shop/p"}})["deleted"], Json::array());
  expect_agreement();
}

TEST_F(PoliciesTest, StayOverARestartOfTheDaemonAndOfTheEngine) {
  attach("shop", "web");
  apply(kPods +
        policy("p", "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: db}}}]}]}"));
  const auto before = engine.policies();
  start();
  EXPECT_EQ(engine.policies(), before) << "the ids are the same";
  EXPECT_EQ(policy_of("web"), "shop/p");
  expect_agreement();
  engine.stop();
  engine.start();
  ASSERT_TRUE(reconciler->wait_programmed(std::chrono::seconds(30)));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (engine.policies().empty() && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(engine.policies(), before);
  EXPECT_EQ(policy_of("web"), "shop/p");
}

TEST_F(PoliciesTest, AFileIsTakenAsAWholeOrNotAtAll) {
  attach("shop", "web");
  const auto message =
      refused("policy_apply",
              {{"manifests", kPods + policy("good", "{}") + policy("bad", "{x: 1}")}, {"what", "a.yaml"}});
  EXPECT_NE(message.find("shop/bad"), message.npos) << message;
  EXPECT_TRUE(engine.policies().empty());
  EXPECT_EQ(done("policies", Json::object())["policies"], Json::array());
  EXPECT_NE(refused("policy_apply", {{"manifests", policy("p", "{}") + policy("p", "{}")}}).find("twice"),
            std::string::npos);
  EXPECT_NE(refused("policy_apply", {{"manifests", "a: ["}, {"what", "a.yaml"}}).find("a.yaml: line "),
            std::string::npos);
  EXPECT_NE(refused("policy_del", Json::object()).find("exactly one"), std::string::npos);
  EXPECT_NE(refused("policy_apply", Json::object()).find("params.manifests is missing"), std::string::npos);
}

TEST_F(PoliciesTest, WithoutAnEngineNothingIsTaken) {
  apply(kPods);
  engine.stop();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (reconciler->state().connected && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_NE(refused("policy_apply", {{"manifests", policy("p", "{}")}}).find("not connected"),
            std::string::npos);
  EXPECT_EQ(done("policies", Json::object())["policies"], Json::array());
}

TEST_F(PoliciesTest, OnlyWhatChangedIsSent) {
  attach("shop", "web");
  attach("shop", "db");
  apply(kPods + policy("a", "{podSelector: {matchLabels: {app: web}}}") +
        policy("b", "{podSelector: {matchLabels: {app: db}}}"));
  const int before = engine.patches;
  EXPECT_EQ(apply(policy("a", "{podSelector: {matchLabels: {app: web}}, ingress: [{}]}"))["policies_changed"],
            1);
  EXPECT_EQ(engine.patches, before + 1);
  EXPECT_EQ(
      apply(policy("a", "{podSelector: {matchLabels: {app: web}}, ingress: [{}]}"))["applied"][0]["change"],
      "unchanged");
  EXPECT_EQ(engine.patches, before + 1) << "nothing to send";
}

TEST_F(PoliciesTest, IdsThatCouldNotBeForgottenAreForgottenByTheNextChange) {
  // Beside the daemon's own connection; the first column of its row.
  const auto sql = [this](const std::string& text) {
    std::string first;
    sqlite3* raw = nullptr;
    EXPECT_EQ(sqlite3_open((directory.path() + "/state/podwire.db").c_str(), &raw), SQLITE_OK);
    sqlite3_busy_timeout(raw, 5000);
    const auto take = [](void* out, int, char** values, char**) {
      *static_cast<std::string*>(out) = values[0];
      return 0;
    };
    EXPECT_EQ(sqlite3_exec(raw, text.c_str(), take, &first, nullptr), SQLITE_OK) << sqlite3_errmsg(raw);
    sqlite3_close(raw);
    return first;
  };
  apply(kPods + policy("p", "{podSelector: {matchLabels: {app: web}}}") + policy("q", "{}"));
  sql("CREATE TRIGGER full BEFORE DELETE ON ids BEGIN SELECT RAISE(ABORT, 'disk full'); END");
  EXPECT_EQ(done("policy_del", {{"name", "shop/p"}})["deleted"].size(), 1u) << "the change itself is done";
  const auto* const count = "SELECT count(*) FROM ids WHERE noun = 'policy' AND name LIKE '%p%'";
  const auto stale = sql(count);
  sql("DROP TRIGGER full");
  apply("{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: new, labels: {app: new}}}");
  EXPECT_LT(std::stoi(sql(count)), std::stoi(stale));
}

TEST_F(PoliciesTest, ExplainsWhoDecides) {
  attach("shop", "web");
  apply(kPods + policy("p",
                       "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: "
                       "{matchLabels: {app: db}}}], "
                       "ports: [{port: 80}]}]}"));
  auto answer = done("policy_explain", {{"from", "shop/db"}, {"to", "shop/web"}, {"port", 80}});
  EXPECT_EQ(answer["allowed"], true);
  EXPECT_EQ(answer["ingress"]["policies"], "shop/p");
  answer = done("policy_explain", {{"from", "shop/db"}, {"to", "shop/web"}, {"port", 81}});
  EXPECT_EQ(answer["allowed"], false);
  EXPECT_EQ(answer["egress"]["allowed"], true);
  EXPECT_NE(
      refused("policy_explain", {{"from", "shop/db"}, {"to", "shop/nobody"}}).find("no pod shop/nobody"),
      std::string::npos);
}

TEST_F(PoliciesTest, StatelessDomainsAreTold) {
  config.domains[0].stateful = false;
  start();
  attach("shop", "web");
  const auto told = apply(kPods + policy("p", "{}"))["not_enforced"];
  ASSERT_EQ(told.size(), 1u);
  EXPECT_NE(told[0].get<std::string>().find("\"default\" is stateless"), std::string::npos) << told;
  EXPECT_EQ(policy_of("web"), "none");
  const auto differences = done("status", Json::object())["differences"];
  EXPECT_TRUE(std::any_of(differences.begin(), differences.end(), [](const Json& text) {
    return text.get<std::string>().starts_with("a network policy does not apply to pod shop/web");
  })) << differences;
}

TEST_F(PoliciesTest, ConnectionsOfABareNameThatSeveralPodsHaveAreNotGuessed) {
  attach("shop", "web");
  attach("dev", "web", "container-other");
  EXPECT_NE(refused("flows_flush", {{"pod", "web"}}).find("say which, as NAMESPACE/NAME"), std::string::npos);
}

// Its own domain's, and those of domains that are no tenant's.
TEST_F(PoliciesTest, MeetPodsOfOtherNodesInTheirTenantOnly) {
  unsigned number = 50;
  for (const char* name : {"tenant-a", "tenant-b", "storage"}) {
    auto domain = std::as_const(config).domains[0];
    domain.name = name;
    domain.vni = Vni(number);
    domain.prefixes = {*parse_prefix("10." + std::to_string(number++) + ".0.0/24")};
    auto all = *config.domains.items();
    all.push_back(domain);
    config.domains = std::move(all);
  }
  config.namespaces = {{"shop", "tenant-a"}, {"bank", "tenant-b"}};
  const NamespaceDomains namespaces(config, *store);
  Policies here(config, *store, *reconciler, &namespaces);
  ASSERT_TRUE(here.load());
  attach("shop", "db");
  here.locate({{{"shop", "web"},
                {{"storage", *parse_ip("10.52.9.1")},
                 {"tenant-a", *parse_ip("10.50.9.1")},
                 {"tenant-b", *parse_ip("10.51.9.1")}}}});
  const auto spec =
      "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: "
      "web}}}]}]}";
  const auto applied = here.apply({{"manifests", kPods + policy("p", spec)}});
  ASSERT_TRUE(applied) << applied.error().message;
  std::set<std::string> met;
  for (const auto& [id, one] : engine.policies()) {
    if (!one.ingress) continue;
    for (const auto& rule : one.ingress->rules) {
      for (const auto& block : rule.blocks) met.insert(to_string(block.prefix.address));
    }
  }
  EXPECT_EQ(met, (std::set<std::string>{"10.50.9.1", "10.52.9.1"}));
}

// Between Policies::rebuild and the daemon's own configuration others may change policies.
TEST_F(PoliciesTest, StayThoseOfTheDomainsTheyWereBuiltFor) {
  Config next = config;
  auto domains = *next.domains.items();
  domains[0].isolates_pods = true;
  next.domains = std::move(domains);
  ASSERT_TRUE(policies->rebuild(next));
  EXPECT_EQ(engine.policies().size(), 1u);
  apply(kPods);
  EXPECT_EQ(engine.policies().size(), 1u);
  ASSERT_TRUE(policies->rebuild(config));
  EXPECT_EQ(engine.policies().size(), 0u);
}

// A namespace is assigned while the engine restarts: the next engine has the policies for it.
TEST_F(PoliciesTest, FollowDomainsWithoutAnEngine) {
  Config next = config;
  auto domains = *next.domains.items();
  domains[0].isolates_pods = true;
  next.domains = std::move(domains);
  engine.stop();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (reconciler->state().connected && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_FALSE(policies->rebuild(next));
  ASSERT_TRUE(policies->follow_domains(next));
  engine.start();
  while (engine.policies().empty() && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(engine.policies().size(), 1u);
}

}  // namespace
}  // namespace podwire::control
