// Which domains reach each other, by groups and configuration, and the routes that they get for it.
#include "control/state/joins.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "control/state/desired.hpp"
#include "tests/unit/control/temporary_directory.hpp"

namespace podwire::control {
namespace {

DomainConfig tenant(const std::string& name, const std::string& prefix) {
  static std::uint32_t vni = 10;
  DomainConfig domain;
  domain.name = name;
  domain.vni = Vni(++vni);
  domain.prefixes = {*parse_prefix(prefix)};
  domain.gateways = {first_usable(domain.prefixes.front())};
  return domain;
}

// Four l3 domains, one l2; a peer has prefixes in two.
Config tenants() {
  Config config;
  config.node = "node-a";
  config.domains = {tenant("a", "10.1.1.0/24"), tenant("b", "10.2.1.0/24"), tenant("c", "10.3.1.0/24"),
                    tenant("d", "10.4.1.0/24"), tenant("lan", "10.1.1.0/24")};
  config.domains[4].mode = api::DomainMode::kL2;
  PeerConfig peer;
  peer.name = "node-b";
  peer.address = *parse_ip("192.168.100.2");
  peer.domains = {{"a", {*parse_prefix("10.1.2.0/24")}}, {"b", {*parse_prefix("10.2.2.0/24")}}};
  config.peers = {peer};
  return config;
}

using DomainNames = std::vector<std::string>;
using Reach = std::map<std::string, DomainNames>;

TEST(Joins, NobodyReachesAnotherAtFirst) {
  const auto plan = plan_joins(tenants(), {});
  EXPECT_TRUE(plan.reaches.empty());
  EXPECT_TRUE(plan.problems.empty());
}

TEST(Joins, MembersOfAGroupReachEachOther) {
  const auto plan = plan_joins(tenants(), {{"a", 1}, {"b", 1}, {"c", 2}, {"d", 2}});
  EXPECT_EQ(plan.reaches, (Reach{{"a", {"b"}}, {"b", {"a"}}, {"c", {"d"}}, {"d", {"c"}}}));
  EXPECT_TRUE(plan.problems.empty());
}

TEST(Joins, AGlobalDomainReachesAllButL2OnesWhichStayApartFromEachOther) {
  const Reach expected{{"a", {"d"}}, {"b", {"d"}}, {"c", {"d"}}, {"d", {"a", "b", "c"}}};
  EXPECT_EQ(plan_joins(tenants(), {{"d", kGlobalGroup}}).reaches, expected);
  auto config = tenants();
  config.domains[3].global = true;
  EXPECT_EQ(plan_joins(config, {}).reaches, expected);
  EXPECT_TRUE(is_global(config.domains[3], {}));
}

TEST(Joins, WhatCannotBeJoinedIsLeftApartAndTold) {
  auto config = tenants();
  config.domains[1].stateful = true;
  const auto plan = plan_joins(config, {{"a", 1}, {"b", 1}, {"c", 1}, {"lan", 1}});
  EXPECT_EQ(plan.reaches, (Reach{{"a", {"c"}}, {"c", {"a"}}}));
  EXPECT_EQ(plan.problems,
            (DomainNames{
                "domain \"b\" tracks connections and domain \"a\" does not, so what comes from there would "
                "pass unchecked; set \"stateful\" in both or in neither",
                "domain \"lan\" is of mode l2; only l3 domains can be joined",
                "domain \"b\" tracks connections and domain \"c\" does not, so what comes from there would "
                "pass unchecked; set \"stateful\" in both or in neither"}));
}

TEST(Joins, AnAddressMeansOnePodToEverybody) {
  auto config = tenants();
  config.domains[2].prefixes = {*parse_prefix("10.2.2.128/25")};  // inside the peer's of b
  auto plan = plan_joins(config, {{"b", 1}, {"c", 1}});
  EXPECT_TRUE(plan.reaches.empty());
  ASSERT_EQ(plan.problems.size(), 1u);
  EXPECT_EQ(plan.problems[0],
            "domain \"b\" has 10.2.2.0/24 and domain \"c\" 10.2.2.128/25, which overlap; domain \"b\" cannot "
            "reach both");
  EXPECT_TRUE(plan_joins(config, {{"a", 1}, {"b", 1}, {"c", 2}, {"d", 2}}).problems.empty())
      << "as long as nobody reaches both";
  // Neither meets the other, but a third would meet both.
  plan = plan_joins(config, {{"a", kGlobalGroup}});
  EXPECT_EQ(plan.reaches, (Reach{{"a", {"b", "d"}}, {"b", {"a"}}, {"d", {"a"}}}));
  ASSERT_EQ(plan.problems.size(), 1u);
  EXPECT_NE(plan.problems[0].find("domain \"a\" cannot reach both"), std::string::npos);
}

TEST(Joins, WithAStoreTheyAreOfAllNodesThatLeaseFromIt) {
  auto config = tenants();
  config.domains[0].cluster_prefixes = {*parse_prefix("10.1.0.0/16")};
  EXPECT_EQ(prefixes_of(config, config.domains[0]),
            (std::vector{*parse_prefix("10.1.0.0/16"), *parse_prefix("10.1.2.0/24")}));
  // What two nodes have leased may be apart today, and not tomorrow.
  config.domains[2].cluster_prefixes = {*parse_prefix("10.0.0.0/8")};
  const auto plan = plan_joins(config, {{"a", 1}, {"c", 1}});
  EXPECT_TRUE(plan.reaches.empty());
  EXPECT_EQ(plan.problems.size(), 1u);
}

class JoinRoutes : public ::testing::Test {
 protected:
  JoinRoutes() {
    auto opened = Store::open(directory_.path());
    EXPECT_TRUE(opened) << opened.error().message;
    store_ = std::move(*opened);
    underlay_.devargs = "net_null0";
    underlay_.addresses = {*parse_prefix("192.168.100.1/24")};
  }
  NodeObjects build(const DomainGroups* groups = nullptr) {
    auto objects = node_objects(config_, underlay_, *store_, groups);
    EXPECT_TRUE(objects) << objects.error().message;
    return objects ? *objects : NodeObjects{};
  }
  // "DOMAIN PREFIX DOMAIN", sorted.
  static DomainNames joins(const NodeObjects& node) {
    std::map<DomainId, std::string> names;
    for (const auto& [name, id] : node.domains) names[id] = name;
    DomainNames out;
    for (const auto& route : node.objects.routes) {
      if (node.route_sources.at(route.id) != RouteSource::kJoin) continue;
      EXPECT_EQ(route.next_hops.size(), 1u);
      out.push_back(names[route.domain] + " " + to_string(route.prefix) + " " +
                    names[route.next_hops[0].into]);
    }
    std::sort(out.begin(), out.end());
    return out;
  }

  TemporaryDirectory directory_;
  std::unique_ptr<Store> store_;
  Config config_ = tenants();
  NodeUnderlay underlay_;
};

TEST_F(JoinRoutes, LeadToThePrefixesOfTheNodeAndItsPeers) {
  EXPECT_EQ(joins(build()), DomainNames{});
  ASSERT_TRUE(save_groups(*store_, {{"a", 1}, {"b", 1}}));
  const auto node = build();
  EXPECT_EQ(joins(node),
            (DomainNames{"a 10.2.1.0/24 b", "a 10.2.2.0/24 b", "b 10.1.1.0/24 a", "b 10.1.2.0/24 a"}));
  EXPECT_EQ(node.reaches, (Reach{{"a", {"b"}}, {"b", {"a"}}}));
  EXPECT_STREQ(to_text(RouteSource::kJoin), "join");
  api::ObjectSet back;
  const auto read = api::read_value(api::to_json(node.objects), "put", back);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(back.routes, node.objects.routes) << "as the engine reads them";
  const auto again = build();
  EXPECT_EQ(again.objects.routes, node.objects.routes) << "the same ids";
  const DomainGroups others{{"c", 3}, {"d", 3}};
  EXPECT_EQ(joins(build(&others)), (DomainNames{"c 10.4.1.0/24 d", "d 10.3.1.0/24 c"}))
      << "in place of the store's";
}

TEST_F(JoinRoutes, ADomainThatLeftTheConfigurationLeavesItsGroup) {
  ASSERT_TRUE(save_groups(*store_, {{"a", 1}, {"b", 1}, {"c", 1}}));
  config_.domains.erase(config_.domains.begin() + 1);
  config_.peers[0].domains.erase("b");
  EXPECT_EQ(*load_groups(*store_, config_), (DomainGroups{{"a", 1}, {"c", 1}}));
  EXPECT_EQ(joins(build()), (DomainNames{"a 10.3.1.0/24 c", "c 10.1.1.0/24 a", "c 10.1.2.0/24 a"}));
  ASSERT_TRUE(save_groups(*store_, {}));
  EXPECT_TRUE(load_groups(*store_, config_)->empty());
}

TEST_F(JoinRoutes, WhatIsNoLongerSoundIsLeftOutAndTold) {
  ASSERT_TRUE(save_groups(*store_, {{"a", 1}, {"b", 1}}));
  config_.domains[0].stateful = true;
  const auto node = build();
  EXPECT_EQ(joins(node), DomainNames{});
  EXPECT_EQ(node.join_problems.size(), 1u);
}

TEST_F(JoinRoutes, AStoredGroupThatIsNoNumberIsAnError) {
  ASSERT_TRUE(store_->set_fact("domain_groups", R"({"a": "x"})"));
  const auto refused = node_objects(config_, underlay_, *store_);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("the stored group of domain a"), std::string::npos)
      << refused.error().message;
}

TEST(Prefixes, AreCoveredByAsFewAsPossible) {
  const auto cover = [](const std::vector<const char*>& texts) {
    std::vector<IpPrefix> prefixes;
    for (const char* text : texts) prefixes.push_back(*parse_prefix(text));
    std::string out;
    for (const auto& prefix : covering(prefixes)) out += (out.empty() ? "" : " ") + to_string(prefix);
    return out;
  };
  EXPECT_EQ(cover({}), "");
  EXPECT_EQ(cover({"10.1.3.0/24", "10.1.0.0/24", "10.1.2.0/24", "10.1.1.0/24"}), "10.1.0.0/22");
  EXPECT_EQ(cover({"10.1.1.0/24", "10.1.2.0/24"}), "10.1.1.0/24 10.1.2.0/24") << "no halves of one";
  EXPECT_EQ(cover({"10.1.1.9/24", "10.1.0.0/16", "10.1.0.0/16"}), "10.1.0.0/16");
  EXPECT_EQ(cover({"0.0.0.0/1", "128.0.0.0/1", "10.0.0.0/8"}), "0.0.0.0/0");
  EXPECT_EQ(cover({"::/0", "0.0.0.0/0", "::1/128"}), "0.0.0.0/0 ::/0") << "families stay apart";
  EXPECT_EQ(cover({"fd00:2::/64", "fd00:2:0:1::/64", "10.0.0.1/32", "10.0.0.0/32"}),
            "10.0.0.0/31 fd00:2::/63");
}

}  // namespace
}  // namespace podwire::control
