// domain_join, domain_isolate and domain_global, to an engine that only remembers.
#include "control/api/joins.hpp"

#include "tests/unit/control_api/daemon_fixture.hpp"

namespace podwire::control {
namespace {

using JoinTexts = std::set<std::string>;

class DomainJoinsTest : public DaemonTest {
 protected:
  void SetUp() override {
    config.domains = {tenant("a", 11, "10.1.0.0/16"), tenant("b", 12, "10.2.0.0/16"),
                      tenant("c", 13, "10.3.0.0/16"), tenant("twin", 14, "10.2.0.0/16"),
                      tenant("lan", 15, "10.5.0.0/16")};
    config.domains[4].mode = api::DomainMode::kL2;
    engine.start();
    restart();
  }
  // With the node's own objects in place of the fixture's.
  void restart() {
    start();
    NodeUnderlay own;
    own.devargs = "net_null0";
    auto node = node_objects(config, own, *store);
    ASSERT_TRUE(node) << node.error().message;
    ids = node->domains;
    reconciler->set_node(std::move(*node), {});
    expect_agreement();
  }
  static DomainConfig tenant(const std::string& name, std::uint32_t vni, const std::string& prefix) {
    DomainConfig domain;
    domain.name = name;
    domain.vni = Vni(vni);
    domain.prefixes = {*parse_prefix(prefix)};
    domain.gateways = {first_usable(domain.prefixes.front())};
    return domain;
  }
  std::string route(const std::string& from, const std::string& prefix, const std::string& to) {
    return std::to_string(ids.at(from).value()) + " " + prefix + " into " +
           std::to_string(ids.at(to).value());
  }
  JoinTexts pair(const std::string& one, const std::string& other) {
    return {route(one, prefix_of(other), other), route(other, prefix_of(one), one)};
  }
  std::string prefix_of(const std::string& name) { return to_string(config.find_domain(name)->prefixes[0]); }
  Json domain(const std::string& name) {
    const auto reply = done("domains", Json::object());
    for (const auto& one : reply["domains"]) {
      if (one["name"] == name) return one;
    }
    return {};
  }

  std::map<std::string, DomainId> ids;
};

TEST_F(DomainJoinsTest, JoinAndIsolateReachTheEngine) {
  const auto reply = done("domain_join", {{"name", "a"}, {"domains", {"b"}}});
  EXPECT_EQ(reply, Json::parse(R"({"domains": [{"name": "a", "global": false, "reaches": ["b"]},
                                               {"name": "b", "global": false, "reaches": ["a"]}]})"));
  EXPECT_EQ(engine.joins(), pair("a", "b"));
  EXPECT_EQ(domain("a")["reaches"], Json::array({"b"}));
  EXPECT_EQ(domain("c")["reaches"], Json::array());
  const auto routes = done("routes", Json::object())["routes"];
  ASSERT_EQ(routes.size(), 2u);
  EXPECT_EQ(routes[0]["source"], "join");
  EXPECT_EQ(routes[0]["next_hops"][0]["into"], routes[0]["domain"] == "a" ? "b" : "a");
  expect_agreement();
  done("domain_join", {{"name", "b"}, {"domains", {"c", "c"}}});
  EXPECT_EQ(engine.joins().size(), 6u) << "all three reach each other";
  EXPECT_EQ(done("domain_isolate", {{"name", "a"}})["domains"][0]["reaches"], Json::array());
  EXPECT_EQ(engine.joins(), pair("b", "c")) << "the others stay together";
  done("domain_isolate", {{"name", "b"}});
  EXPECT_EQ(engine.joins(), JoinTexts{});
  EXPECT_FALSE(*store->get_fact("domain_groups")) << "a group of one is none";
  done("domain_isolate", {{"name", "b"}});
  expect_agreement();
}

TEST_F(DomainJoinsTest, AGlobalDomainReachesAll) {
  EXPECT_NE(
      refused("domain_global", {{"name", "a"}}).find("domain \"b\" has 10.2.0.0/16 and domain \"twin\" "),
      std::string::npos);
  EXPECT_EQ(engine.joins(), JoinTexts{});
  config.domains.erase(config.domains.begin() + 3);
  restart();
  const auto reply = done("domain_global", {{"name", "a"}});
  EXPECT_EQ(reply["domains"][0], (Json{{"name", "a"}, {"global", true}, {"reaches", {"b", "c"}}}));
  EXPECT_EQ(engine.joins().size(), 4u);
  EXPECT_EQ(domain("a")["global"], true);
  EXPECT_EQ(domain("b")["global"], false);
  EXPECT_NE(refused("domain_join", {{"name", "a"}, {"domains", {"b"}}}).find("podwirectl domain global b"),
            std::string::npos);
  done("domain_isolate", {{"name", "a"}});
  EXPECT_EQ(engine.joins(), JoinTexts{});
}

TEST_F(DomainJoinsTest, StayOverRestarts) {
  done("domain_join", {{"name", "a"}, {"domains", {"c"}}});
  const auto before = engine.joins();
  restart();
  EXPECT_EQ(engine.joins(), before);
  EXPECT_EQ(domain("c")["reaches"], Json::array({"a"}));
}

TEST_F(DomainJoinsTest, WhatCannotBeIsRefusedAndChangesNothing) {
  done("domain_join", {{"name", "a"}, {"domains", {"b"}}});
  const auto before = engine.joins();
  const auto kept = *store->get_fact("domain_groups");
  struct Wrong {
    const char* verb;
    Json params;
    const char* text;
  };
  for (const auto& [verb, params, text] : {
           Wrong{"domain_join", {{"name", "a"}, {"domains", {"x"}}}, "there are: a, b, c, twin, lan"},
           {"domain_join", {{"name", "twim"}, {"domains", {"a"}}}, "did you mean \"twin\"?"},
           {"domain_join", {{"name", "a"}, {"domains", Json::array()}}, "params.domains is empty"},
           {"domain_join", {{"name", "c"}, {"domains", {"c"}}}, "cannot be joined with itself"},
           {"domain_join", {{"name", "a"}, {"domains", {"lan"}}}, "\"lan\" is of mode l2; only l3"},
           {"domain_join",
            {{"name", "a"}, {"domains", {"twin"}}},
            "domain \"b\" has 10.2.0.0/16 and domain \"twin\" 10.2.0.0/16, which overlap"},
           {"domain_isolate", {{"name", "x"}}, "there is no domain \"x\""},
           {"domain_global", {{"name", "lan"}}, "only l3 domains can be joined"},
           {"domain_join", {{"name", "a"}}, "domains"},
       })
    EXPECT_NE(refused(verb, params).find(text), std::string::npos) << refused(verb, params);
  engine.refused_prefix = "10.3.0.0/16";
  EXPECT_EQ(refused("domain_join", {{"name", "a"}, {"domains", {"c"}}}), "route 10.3.0.0/16 is refused");
  EXPECT_EQ(engine.joins(), before);
  EXPECT_EQ(*store->get_fact("domain_groups"), kept);
  EXPECT_EQ(domain("c")["reaches"], Json::array());
  expect_agreement();
  engine.refused_prefix.clear();
  done("domain_join", {{"name", "a"}, {"domains", {"c"}}});
  expect_agreement();
}

TEST_F(DomainJoinsTest, ByConfigurationIsNotPodwirectlsToChange) {
  config.domains.erase(config.domains.begin() + 3);
  config.domains[2].global = true;
  restart();
  EXPECT_EQ(engine.joins().size(), 4u);
  EXPECT_EQ(domain("c")["global"], true);
  for (const char* verb : {"domain_isolate", "domain_global"})
    EXPECT_NE(refused(verb, {{"name", "c"}}).find("is global by podwired.json"), std::string::npos);
}

TEST_F(DomainJoinsTest, NothingIsKeptWithoutAnEngine) {
  engine.stop();
  EXPECT_NE(refused("domain_join", {{"name", "a"}, {"domains", {"b"}}}), "");
  EXPECT_FALSE(*store->get_fact("domain_groups"));
}

}  // namespace
}  // namespace podwire::control
