// What podwired.json says of tenants, and lists that are read while they change.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "control/config.hpp"
#include "control/state/stored_domains.hpp"

namespace podwire::control {
namespace {

Json two_tenants() {
  return Json::parse(R"({
    "node": "node-a",
    "underlay": {"device": "eth0"},
    "domains": [{"name": "red", "vni": 1, "prefixes": ["10.1.0.0/16"]},
                {"name": "blue", "vni": 2, "prefixes": ["10.1.0.0/16"], "stateful": true}]})");
}

std::string tenants_refusal(const Json& document) {
  const auto config = parse_config(document, "podwired.json");
  EXPECT_FALSE(config);
  return config ? "" : config.error().message;
}

TEST(TenantsConfig, ANamespaceHasItsDomain) {
  auto document = two_tenants();
  document["namespaces"] = {{"shop", "red"}, {"stock", "blue"}};
  const auto config = parse_config(document, "podwired.json");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->namespaces, (std::map<std::string, std::string>{{"shop", "red"}, {"stock", "blue"}}));
  EXPECT_EQ(config->default_domain()->name, "red") << "none is called default";
  document["namespaces"] = {{"shop", "rad"}};
  EXPECT_NE(
      tenants_refusal(document).find("namespaces.shop is \"rad\", which is no domain of this node; did you "
                                     "mean \"red\"?"),
      std::string::npos);
  document["namespaces"] = {{"Shop", "red"}};
  EXPECT_NE(tenants_refusal(document).find("a key of namespaces"), std::string::npos);
  document["namespaces"] = {{"shop", 7}};
  EXPECT_NE(tenants_refusal(document).find("namespaces.shop"), std::string::npos);
  document["namespaces"] = Json::array();
  EXPECT_NE(tenants_refusal(document).find("must be an object such as"), std::string::npos);
}

TEST(TenantsConfig, PolicyDefaultNeedsTracking) {
  auto document = two_tenants();
  document["domains"][1]["policy_default"] = "deny";
  const auto config = parse_config(document, "podwired.json");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_FALSE(config->domains[0].isolates_pods);
  EXPECT_TRUE(config->domains[1].isolates_pods);
  document["domains"][0]["policy_default"] = "deny";
  EXPECT_NE(tenants_refusal(document).find("set \"stateful\": true as well"), std::string::npos);
  document["domains"][0]["policy_default"] = "never";
  EXPECT_NE(tenants_refusal(document).find("policy_default"), std::string::npos);
}

TEST(TenantsConfig, RoutedPrefixesMustNotOverlapHoweverManyThereAre) {
  auto document = two_tenants();
  document["domains"][0]["transport"] = "routed";
  document["domains"].push_back(
      {{"name", "green"}, {"vni", 3}, {"prefixes", {"10.1.7.0/24"}}, {"transport", "subnet"}});
  EXPECT_NE(
      tenants_refusal(document).find("domains[2]: prefix 10.1.7.0/24 overlaps 10.1.0.0/16 of domain \"red\""),
      std::string::npos)
      << tenants_refusal(document);
}

TEST(TenantsConfig, ClustersSayWhyADomainCannotBeAdded) {
  auto config = parse_config(two_tenants(), "podwired.json");
  ASSERT_TRUE(config);
  const auto added =
      read_added_domain(Json::parse(R"({"name": "green", "vni": 3, "prefixes": ["10.3.0.0/16"]})"), "params");
  ASSERT_TRUE(added) << added.error().message;
  for (const auto& [mode, reason] : {std::pair{ClusterMode::kFlannel, "a Flannel cluster has one network"},
                                     {ClusterMode::kEtcd, "told the same domains from its start"}}) {
    config->cluster.mode = mode;
    const auto refused = add_domain(*added, *config);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find(reason), std::string::npos) << refused.error().message;
    EXPECT_EQ(config->domains.size(), 2u);
  }
}

TEST(SharedList, ReadersKeepWhatTheyBeganWith) {
  SharedList<int> list{1, 2, 3};
  const auto& readable = list;
  auto at = readable.begin();
  list = std::vector<int>{7};
  EXPECT_EQ(*at++, 1);
  EXPECT_EQ(*at++, 2);
  EXPECT_EQ(*at++, 3);
  EXPECT_EQ(at, readable.end());
  EXPECT_EQ(readable.size(), 1u);
  EXPECT_EQ(readable.front(), 7);
}

TEST(SharedList, CopiesAreTheirOwn) {
  SharedList<int> list{1, 2};
  auto copy = list;
  copy.push_back(3);
  copy[0] = 9;
  EXPECT_EQ(std::vector<int>(std::as_const(list).begin(), std::as_const(list).end()), (std::vector{1, 2}));
  EXPECT_EQ(*std::as_const(copy).items(), (std::vector{9, 2, 3}));
  list = copy;
  copy.erase(copy.begin());
  EXPECT_EQ(*std::as_const(list).items(), (std::vector{9, 2, 3}));
}

TEST(SharedList, IsReadWhileItIsReplaced) {
  SharedList<std::string> list{"aaaa", "aaaa"};
  const auto& readable = list;
  std::atomic<bool> stop = false;
  std::thread reader([&] {
    while (!stop) {
      std::string first;
      for (const auto& text : readable) {
        if (first.empty()) first = text;
        ASSERT_EQ(text, first) << "of two lists";
      }
    }
  });
  for (int i = 0; i < 2000; ++i)
    list = std::vector<std::string>(i % 5 + 1, std::string(20, static_cast<char>('a' + i % 26)));
  stop = true;
  reader.join();
}

}  // namespace
}  // namespace podwire::control
