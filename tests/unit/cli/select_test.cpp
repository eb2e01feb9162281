#include "control/cli/select.hpp"

#include <gtest/gtest.h>

#include "tests/unit/cli/replies.hpp"

namespace podwire::control::cli {
namespace {

// The ids of what `word` selects, in order; empty when nothing.
std::vector<int> selected(const char* verb_name, const Json& reply, const std::string& word) {
  const auto& verb = *find_verb(verb_name);
  const auto found = select_named(verb, reply, word);
  std::vector<int> ids;
  if (!found) return ids;
  for (const auto& object : (*found)[verb.list_key]) ids.push_back(object.value("id", 0));
  return ids;
}

using Ids = std::vector<int>;

TEST(SelectPort, TakesNameIdContainerAndPod) {
  for (const char* word : {"web-0", "4", "4be3f0a1b2c3", "4be3f0a1b2c3d4e5f60718293a4b5c6d", "prod/web-0"}) {
    EXPECT_EQ(selected("port", ports_reply(), word), Ids{4}) << word;
  }
  EXPECT_EQ(selected("port", ports_reply(), "4be3f0a1b2c"), Ids{});  // shorter than tables show
}

TEST(SelectEndpoint, TakesAddressesInAnySpelling) {
  for (const char* word :
       {"10.244.1.10", "FD00:10:244:1:0::a", "02:00:00:00:00:0a", "prod/web-0", "1", "4be3f0a1b2c3"}) {
    EXPECT_EQ(selected("endpoint", endpoints_reply(), word), Ids{1}) << word;
  }
}

TEST(SelectDomain, TakesNameIdAndVni) {
  EXPECT_EQ(selected("domain", domains_reply(), "blue"), Ids{3});
  EXPECT_EQ(selected("domain", domains_reply(), "77"), Ids{3});
  EXPECT_EQ(selected("domain", domains_reply(), "2"), Ids{2});
}

TEST(SelectRoute, PrefixIsExactAndAddressListsLongestFirst) {
  EXPECT_EQ(selected("route", routes_reply(), "10.244.0.0/16"), Ids{1});
  EXPECT_EQ(selected("route", routes_reply(), "10.244.2.0/24"), (Ids{2, 3}));
  EXPECT_EQ(selected("route", routes_reply(), "10.244.2.9/24"), (Ids{2, 3}));
  EXPECT_EQ(selected("route", routes_reply(), "10.244.2.17"), (Ids{2, 3, 1}));
  EXPECT_EQ(selected("route", routes_reply(), "10.9.9.9"), Ids{});
}

TEST(SelectRoute, RefusesWhatIsNoPrefix) {
  const auto found = select_named(*find_verb("route"), routes_reply(), "node-b");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, ErrorCode::kNotFound);
  EXPECT_NE(found.error().message.find("neither a prefix nor an address"), std::string::npos);
}

TEST(SelectPeer, TakesNameAndAddress) {
  EXPECT_TRUE(select_named(*find_verb("peer"), peers_reply(), "node-b"));
  EXPECT_TRUE(select_named(*find_verb("peer"), peers_reply(), "192.168.100.2"));
}

TEST(Select, UnknownNameGetsASuggestion) {
  const auto found = select_named(*find_verb("port"), ports_reply(), "wbe-0");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(found.error().message, "there is no port \"wbe-0\"; did you mean \"web-0\"?");
  EXPECT_EQ(select_named(*find_verb("port"), ports_reply(), "something-else").error().message,
            "there is no port \"something-else\"; see: podwirectl port");
}

TEST(Select, KeepsTheRestOfTheReply) {
  Json reply = ports_reply();
  reply["generation"] = 7;
  const auto found = select_named(*find_verb("port"), reply, "uplink");
  ASSERT_TRUE(found);
  EXPECT_EQ((*found)["generation"], 7);
  EXPECT_EQ((*found)["ports"].size(), 1u);
}

TEST(SelectDomainOfRoutes, FiltersAndSuggests) {
  const auto& route = *find_verb("route");
  const auto found = select_domain(route, routes_reply(), "blue");
  ASSERT_TRUE(found);
  EXPECT_EQ((*found)["routes"].size(), 2u);
  EXPECT_EQ(select_domain(route, routes_reply(), "bleu").error().message,
            "there is no route in domain \"bleu\"; did you mean \"blue\"?");
}

TEST(ObjectNames, AreListedOnce) {
  EXPECT_EQ(*object_names(*find_verb("port"), ports_reply()), (std::vector<std::string>{"uplink", "web-0"}));
  EXPECT_EQ(*object_names(*find_verb("route"), routes_reply()),
            (std::vector<std::string>{"10.244.0.0/16", "10.244.2.0/24", "10.50.0.0/16"}));
}

}  // namespace
}  // namespace podwire::control::cli
