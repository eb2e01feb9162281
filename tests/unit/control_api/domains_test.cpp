// domain_add, domain_del, domain_assign and domain_unassign, to an engine that only remembers.
#include "control/api/domains.hpp"

#include <sqlite3.h>

#include "control/state/stored_domains.hpp"
#include "tests/unit/control_api/daemon_fixture.hpp"

namespace podwire::control {
namespace {

class DomainsTest : public DaemonTest {
 protected:
  void SetUp() override {
    PeerConfig peer;
    peer.name = "node2";
    peer.address = *parse_ip("192.168.100.2");
    config.peers = {peer};
    config.underlay.devargs = "net_null0";
    config.underlay.addresses = {*parse_prefix("192.168.100.1/24")};
    in_file = config;
    engine.start();
    restart();
  }
  // As run_node() does it, with the node's own objects in place of the fixture's.
  void restart() {
    daemon.reset();
    domains.reset();
    namespaces.reset();
    config = in_file;
    open_store();
    auto left_out = add_kept_domains(*store, config);
    ASSERT_TRUE(left_out) << left_out.error().message;
    start();
    namespaces = std::make_unique<NamespaceDomains>(config, *store);
    ASSERT_TRUE(namespaces->load());
    daemon->namespaces = namespaces.get();
    std::set<std::string> configured;
    for (const auto& one : std::as_const(in_file).domains) configured.insert(one.name);
    domains = std::make_unique<Domains>(*daemon, config, configured, *left_out);
    daemon->domains = domains.get();
    const auto looked = underlay->inspect();
    ASSERT_TRUE(looked) << looked.error().message;
    auto node = node_objects(config, underlay->node(), *store);
    ASSERT_TRUE(node) << node.error().message;
    reconciler->set_node(std::move(*node), {});
    expect_agreement();
  }
  static Json tenant_params(const std::string& name, unsigned vni, const std::string& prefix) {
    return {{"name", name}, {"vni", vni}, {"prefixes", {prefix}}};
  }
  Json shown(const std::string& name) {
    const auto reply = done("domains", Json::object());
    for (const auto& one : reply["domains"]) {
      if (one["name"] == name) return one;
    }
    return {};
  }
  std::string domain_of(const std::string& wanted, const std::string& space) {
    const auto found = namespaces->domain_for(wanted, space);
    return found ? (*found)->name : found.error().message;
  }
  std::set<std::string> engine_domains() {
    std::set<std::string> names;
    for (const auto& one : engine.rest().domains) names.insert(one.name);
    return names;
  }
  AttachmentRequest pod_request(const std::string& container, const std::string& domain) {
    AttachmentRequest request;
    request.key = {"podwire", container, "eth0"};
    request.domain = domain;
    return request;
  }
  using Names = std::set<std::string>;

  Config in_file;
  std::unique_ptr<NamespaceDomains> namespaces;
  std::unique_ptr<Domains> domains;
};

TEST_F(DomainsTest, ComeAndGoWithTheEngine) {
  const auto added = done("domain_add", tenant_params("red", 11, "10.1.1.0/24"));
  EXPECT_EQ(added["name"], "red");
  done("domain_add", tenant_params("blue", 12, "10.1.1.0/24"));  // the same addresses
  EXPECT_EQ(engine_domains(), (Names{"default", "red", "blue"}));
  EXPECT_EQ(shown("red")["id"], added["id"]);
  EXPECT_EQ(shown("red")["added"], true);
  EXPECT_EQ(shown("default")["added"], false);
  EXPECT_EQ(shown("red")["pools"][0]["free"], 253);
  expect_agreement();
  EXPECT_EQ(done("domain_del", {{"name", "red"}}), (Json{{"deleted", true}}));
  EXPECT_EQ(done("domain_del", {{"name", "red"}}), (Json{{"deleted", false}}));
  EXPECT_EQ(engine_domains(), (Names{"default", "blue"}));
  EXPECT_EQ(config.find_domain("red"), nullptr);
  expect_agreement();
}

TEST_F(DomainsTest, StayOverRestartsUntilPodwiredJsonHasThem) {
  done("domain_add", tenant_params("red", 11, "10.1.1.0/24"));
  done("domain_add", tenant_params("blue", 12, "10.1.2.0/24"));
  const auto id = shown("blue")["id"];
  restart();
  EXPECT_EQ(engine_domains(), (Names{"default", "red", "blue"}));
  EXPECT_EQ(shown("blue")["id"], id);
  EXPECT_EQ(domains->problems(), std::vector<std::string>{});
  // Now the file says something else of one, and takes the other's VNI.
  auto red = in_file.domains[0];
  red.name = "red";
  red.vni = Vni(12);
  in_file.domains.push_back(red);
  restart();
  EXPECT_EQ(engine_domains(), (Names{"default", "red"}));
  const auto problems = domains->problems();
  ASSERT_EQ(problems.size(), 2u);
  EXPECT_NE(problems[0].find("domain \"blue\": VNI 12 is that of domain \"red\""), std::string::npos)
      << problems[0];
  EXPECT_NE(problems[1].find("type: podwirectl domain del red"), std::string::npos) << problems[1];
  done("domain_del", {{"name", "red"}});
  done("domain_del", {{"name", "blue"}});
  EXPECT_EQ(domains->problems(), std::vector<std::string>{});
  EXPECT_EQ(engine_domains(), (Names{"default", "red"})) << "the file's stays";
  EXPECT_NE(refused("domain_del", {{"name", "red"}}).find("is podwired.json's"), std::string::npos);
}

TEST_F(DomainsTest, WhatCannotBeIsRefusedAndChangesNothing) {
  done("domain_add", tenant_params("red", 11, "10.1.1.0/24"));
  auto with = [](Json params, const char* key, Json value) {
    params[key] = std::move(value);
    return params;
  };
  const auto blue = tenant_params("blue", 12, "10.1.1.0/24");
  struct Wrong {
    Json params;
    const char* text;
  };
  for (const auto& [params, text] :
       {Wrong{with(blue, "name", "red"), "there is a domain \"red\" already"},
        {with(blue, "vni", 11), "VNI 11 is that of domain \"red\"; a VNI belongs to one domain"},
        {with(blue, "prefixes", {"10.1.1.7/24"}),
         "domain \"blue\".prefixes[0] is 10.1.1.7/24, has host bits set"},
        {with(blue, "prefixes", {"169.254.112.0/27"}), "of host_services"},
        {with(blue, "prefixes", Json::array()), "prefixes is empty"},
        {with(blue, "host_access", true), "only a domain of podwired.json can have it"},
        {with(blue, "transport", "routed"), "must stand in podwired.json"},
        {with(blue, "policy_default", "deny"), "set \"stateful\": true as well"},
        {with(blue, "vin", 5), "did you mean \"vni\"?"},
        {with(blue, "name", "a b"), "printable characters"},
        {with(blue, "peers", {{"node3", Json::array()}}), "there is no peer \"node3\""},
        {with(blue, "peers", {{"node2", {"10.1.1.128/25"}}}), "overlaps this node's 10.1.1.0/24"},
        {with(blue, "peers", {{"node2", {"10.1.2.1/24"}}}), "did you mean 10.1.2.0/24?"},
        {Json::object(), "name"}}) {
    EXPECT_NE(refused("domain_add", params).find(text), std::string::npos) << refused("domain_add", params);
  }
  EXPECT_EQ(engine_domains(), (Names{"default", "red"}));
  engine.stop();
  EXPECT_NE(refused("domain_add", blue), "");
  EXPECT_EQ(std::as_const(config).domains.size(), 2u);
  EXPECT_NE(refused("domain_del", {{"name", "red"}}), "");
  EXPECT_EQ(std::as_const(config).domains.size(), 2u);
  EXPECT_EQ(kept_domain_names(*store)->size(), 1u);
}

TEST_F(DomainsTest, PodsNamespacesAndJoinsKeepADomain) {
  done("domain_add", tenant_params("red", 11, "10.1.1.0/24"));
  done("domain_add", tenant_params("blue", 12, "10.1.2.0/24"));
  const auto pod = store->begin_add(pod_request("c1", "red"));
  ASSERT_TRUE(pod) << pod.error().message;
  EXPECT_NE(refused("domain_del", {{"name", "red"}}).find("has 1 pods or ports here"), std::string::npos);
  ASSERT_TRUE(store->begin_add(pod_request("c2", "red"))) << "the refusal has left it open";
  for (const char* container : {"c1", "c2"})
    ASSERT_TRUE(store->finish_delete({"podwire", container, "eth0"}));
  done("domain_assign", {{"name", "shop"}, {"domain", "red"}});
  EXPECT_NE(refused("domain_del", {{"name", "red"}}).find("podwirectl domain unassign shop"),
            std::string::npos);
  EXPECT_EQ(done("domain_unassign", {{"name", "shop"}})["domain"], "red");
  done("domain_join", {{"name", "red"}, {"domains", {"blue"}}});
  EXPECT_NE(refused("domain_del", {{"name", "red"}}).find("podwirectl domain isolate red"),
            std::string::npos);
  done("domain_isolate", {{"name", "red"}});
  EXPECT_EQ(engine_domains(), (Names{"default", "red", "blue"}));
  EXPECT_EQ(done("domain_del", {{"name", "red"}}), (Json{{"deleted", true}}));
  EXPECT_NE(store->begin_add(pod_request("c3", "red")).error().message.find("not configured"),
            std::string::npos);
  expect_agreement();
}

TEST_F(DomainsTest, NamespacesAreAssignedOnce) {
  done("domain_add", tenant_params("red", 11, "10.1.1.0/24"));
  EXPECT_EQ(domain_of("", "shop"), "default");
  EXPECT_EQ(done("domain_assign", {{"name", "shop"}, {"domain", "red"}}),
            (Json{{"name", "shop"}, {"domain", "red"}}));
  done("domain_assign", {{"name", "shop"}, {"domain", "red"}});
  EXPECT_EQ(shown("red")["namespaces"], Json::array({"shop"}));
  EXPECT_EQ(domain_of("", "shop"), "red");
  EXPECT_EQ(domain_of("default", "shop"), "default") << "the network's own word";
  EXPECT_NE(refused("domain_assign", {{"name", "shop"}, {"domain", "default"}}).find("domain unassign shop"),
            std::string::npos);
  EXPECT_NE(refused("domain_assign", {{"name", "shop"}, {"domain", "rad"}}).find("did you mean \"red\"?"),
            std::string::npos);
  EXPECT_NE(refused("domain_assign", {{"name", "Shop!"}, {"domain", "red"}}), "");
  in_file.namespaces = {{"stock", "default"}, {"shop", "default"}};
  restart();
  EXPECT_EQ(domain_of("", "shop"), "default") << "the file counts";
  ASSERT_EQ(domains->problems().size(), 1u);
  EXPECT_NE(domains->problems()[0].find("podwirectl domain unassign shop"), std::string::npos);
  EXPECT_NE(refused("domain_assign", {{"name", "stock"}, {"domain", "red"}}).find("podwired.json says"),
            std::string::npos);
  done("domain_unassign", {{"name", "shop"}});
  EXPECT_NE(refused("domain_unassign", {{"name", "stock"}}).find("take it out there"), std::string::npos);
  EXPECT_EQ(done("domain_unassign", {{"name", "nobody"}})["domain"], Json());
  EXPECT_EQ(domains->problems(), std::vector<std::string>{});
}

TEST_F(DomainsTest, ANamespaceWhoseDomainIsGoneHasNoOther) {
  done("domain_add", tenant_params("red", 11, "10.1.1.0/24"));
  done("domain_assign", {{"name", "shop"}, {"domain", "red"}});
  ASSERT_TRUE(forget_domain(*store, "red"));
  restart();
  EXPECT_NE(domain_of("", "shop").find("assigned to domain \"red\", which this node does not have"),
            std::string::npos)
      << "another tenant's network is no substitute";
  ASSERT_EQ(domains->problems().size(), 1u);
}

TEST_F(DomainsTest, WhatCannotBeReadIsLeftOut) {
  done("domain_add", tenant_params("red", 11, "10.1.1.0/24"));
  done("domain_add", tenant_params("blue", 12, "10.1.2.0/24"));
  done("domain_add", tenant_params("green", 13, "10.1.3.0/24"));
  done("domain_assign", {{"name", "shop"}, {"domain", "blue"}});
  ASSERT_TRUE(store->change_manifests({{"Domain", "", "red", "{"},
                                       {"Domain", "", "green", R"({"name": "green", "vni": "x"})"},
                                       {"NamespaceDomain", "", "shop", "["}},
                                      {}));
  restart();
  EXPECT_EQ(engine_domains(), (Names{"default", "blue"}));
  EXPECT_NE(domain_of("", "shop").find("cannot be read"), std::string::npos) << domain_of("", "shop");
  const auto problems = domains->problems();
  ASSERT_EQ(problems.size(), 3u);
  EXPECT_NE(problems[0].find("type: podwirectl domain del green"), std::string::npos) << problems[0];
  EXPECT_NE(problems[1].find("type: podwirectl domain del red"), std::string::npos) << problems[1];
  EXPECT_NE(problems[2].find("podwirectl domain unassign shop"), std::string::npos) << problems[2];
  for (const char* name : {"red", "green"})
    EXPECT_EQ(done("domain_del", {{"name", name}}), (Json{{"deleted", true}}));
  done("domain_unassign", {{"name", "shop"}});
  EXPECT_EQ(domains->problems(), std::vector<std::string>{});
  EXPECT_EQ(domain_of("", "shop"), "default");
}

TEST_F(DomainsTest, ADeletionThatTheStoreRefusesIsUndone) {
  const auto sql = [this](const char* text) {  // beside the daemon's own connection
    sqlite3* raw = nullptr;
    EXPECT_EQ(sqlite3_open((directory.path() + "/state/podwire.db").c_str(), &raw), SQLITE_OK);
    sqlite3_busy_timeout(raw, 5000);
    EXPECT_EQ(sqlite3_exec(raw, text, nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(raw);
    sqlite3_close(raw);
  };
  done("domain_add", tenant_params("red", 11, "10.1.1.0/24"));
  ASSERT_TRUE(store->begin_add(pod_request("c1", "red")));
  ASSERT_TRUE(store->finish_delete({"podwire", "c1", "eth0"}));
  sql("CREATE TRIGGER full BEFORE DELETE ON cursor BEGIN SELECT RAISE(ABORT, 'disk full'); END");
  EXPECT_NE(refused("domain_del", {{"name", "red"}}), "");
  EXPECT_EQ(engine_domains(), (Names{"default", "red"}));
  expect_agreement();
  sql("DROP TRIGGER full");
  restart();
  EXPECT_EQ(engine_domains(), (Names{"default", "red"}));
  EXPECT_EQ(done("domain_del", {{"name", "red"}}), (Json{{"deleted", true}}));
}

TEST_F(DomainsTest, PolicyDefaultDenyIsolates) {
  auto params = tenant_params("red", 11, "10.1.1.0/24");
  params["stateful"] = true;
  params["policy_default"] = "deny";
  done("domain_add", params);
  EXPECT_EQ(shown("red")["policy_default"], "deny");
  ASSERT_EQ(engine.policies().size(), 1u);
  auto attachment = store->begin_add(pod_request("c1", "red"));
  ASSERT_TRUE(attachment) << attachment.error().message;
  std::vector<UniqueFd> fds;
  fds.emplace_back(::open("/dev/null", O_RDWR | O_CLOEXEC));
  ASSERT_TRUE(reconciler->attach(*attachment, std::move(fds)));
  const auto endpoints = engine.endpoint_objects();
  ASSERT_EQ(endpoints.size(), 1u);
  EXPECT_EQ(endpoints.begin()->second.policy, engine.policies().begin()->first);
  ASSERT_TRUE(reconciler->detach(*attachment));
  ASSERT_TRUE(store->finish_delete(attachment->key));
  done("domain_del", {{"name", "red"}});
  EXPECT_EQ(engine.policies().size(), 0u);
}

}  // namespace
}  // namespace podwire::control
