// Lists and flushes of the connection table: every filter, pages, what a connection looks like.
#include "dataplane/tables/flow_views.hpp"

#include <gtest/gtest.h>

#include <set>

namespace podwire::engine {
namespace {

constexpr std::uint32_t kNow = 1000;

Json question(const char* text) {
  return Json::parse(text);
}

class FlowViews : public ::testing::Test {
 protected:
  FlowViews() {
    add("10.0.0.1", "10.0.0.2", ip_proto::kTcp, 4000, 80, FlowState::kEstablished);
    add("10.0.0.1", "10.0.0.3", ip_proto::kUdp, 5000, 53, FlowState::kUdpReplied);
    add("fd00::1", "fd00::2", ip_proto::kTcp, 4000, 443, FlowState::kSynSent);
    add("10.0.0.1", "10.0.0.9", ip_proto::kIcmp, 77, 77, FlowState::kIcmpNew, 3);
  }

  void add(const char* source, const char* destination, std::uint8_t protocol, std::uint16_t from,
           std::uint16_t to, FlowState state, std::uint16_t domain = 2) {
    const auto key =
        make_flow_key(DomainId(domain), protocol, *parse_ip(source), *parse_ip(destination), from, to);
    table_.insert(key, key.reversed(), {state}, 1, kNow - 30, {PortId(11)});
  }

  // Ids of what `params` lists.
  std::set<int> listed(const char* params) {
    const auto reply = list_flows(table_, question(params), kNow);
    EXPECT_TRUE(reply) << reply.error().message;
    std::set<int> ids;
    if (!reply) return ids;
    for (const auto& flow : reply->at("flows")) ids.insert(flow.at("id").get<int>());
    return ids;
  }
  std::string refusal(const char* params) {
    const auto reply = list_flows(table_, question(params), kNow);
    return reply ? "accepted" : reply.error().message;
  }

  FlowTable table_{256, 1};
};

TEST_F(FlowViews, ListsWhatAConnectionIs) {
  const auto reply = list_flows(table_, question(R"({"protocol": "udp"})"), kNow);
  ASSERT_TRUE(reply) << reply.error().message;
  EXPECT_EQ(reply->at("flows"), question(R"([{"id": 2, "protocol": "udp", "domain": 2, "source": "10.0.0.1",
      "destination": "10.0.0.3", "source_port": 5000, "destination_port": 53, "state": "udp_replied",
      "idle_s": 30, "expires_s": 90, "port": 11}])"));
  EXPECT_TRUE(reply->at("next_after_id").is_null());
}

TEST_F(FlowViews, NamesEchoByItsIdentifier) {
  const auto reply = list_flows(table_, question(R"({"domain": 3})"), kNow);
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->at("flows").at(0).at("icmp_id"), 77);
  EXPECT_FALSE(reply->at("flows").at(0).contains("source_port"));
}

TEST_F(FlowViews, EveryFilterSelects) {
  EXPECT_EQ(listed("{}"), (std::set<int>{1, 2, 3, 4}));
  EXPECT_EQ(listed(R"({"domain": 2})"), (std::set<int>{1, 2, 3}));
  EXPECT_EQ(listed(R"({"protocol": "tcp"})"), (std::set<int>{1, 3}));
  EXPECT_EQ(listed(R"({"protocol": "17"})"), (std::set<int>{2}));
  EXPECT_EQ(listed(R"({"port": 4000})"), (std::set<int>{1, 3}));
  EXPECT_EQ(listed(R"({"port": 53})"), (std::set<int>{2}));
  EXPECT_EQ(listed(R"({"state": "syn_sent"})"), (std::set<int>{3}));
  EXPECT_EQ(listed(R"({"addresses": ["10.0.0.2/32"]})"), (std::set<int>{1}));
  EXPECT_EQ(listed(R"({"addresses": ["10.0.0.0/30", "fd00::/16"]})"), (std::set<int>{1, 2, 3, 4}));
  EXPECT_EQ(listed(R"({"addresses": ["10.0.0.1/32"], "protocol": "tcp", "port": 80})"), (std::set<int>{1}));
  EXPECT_EQ(listed(R"({"addresses": ["10.9.0.0/16"]})"), (std::set<int>{}));
}

TEST_F(FlowViews, AConnectionWithATranslatedReplyIsFoundByBothKeys) {
  const auto original =
      make_flow_key(DomainId(2), ip_proto::kTcp, *parse_ip("10.0.0.1"), *parse_ip("10.96.0.1"), 4001, 443);
  const auto reply =
      make_flow_key(DomainId(2), ip_proto::kTcp, *parse_ip("10.0.0.7"), *parse_ip("10.0.0.1"), 6443, 4001);
  table_.insert(original, reply, {FlowState::kEstablished}, 1, kNow);
  for (const auto* filter :
       {R"({"addresses": ["10.96.0.1/32"]})", R"({"addresses": ["10.0.0.7/32"]})", R"({"port": 6443})"}) {
    const auto found = list_flows(table_, question(filter), kNow);
    ASSERT_TRUE(found);
    ASSERT_EQ(found->at("flows").size(), 1u) << filter;
    const auto& flow = found->at("flows").at(0);
    EXPECT_EQ(flow.at("destination"), "10.96.0.1");
    EXPECT_EQ(flow.at("reply").at("source"), "10.0.0.7");
    EXPECT_EQ(flow.at("reply").at("source_port"), 6443);
    EXPECT_TRUE(flow.at("port").is_null());
  }
}

TEST_F(FlowViews, PagesGoOnWhereTheLastEnded) {
  std::set<int> seen;
  Json params = question(R"({"limit": 3})");
  const auto first = list_flows(table_, params, kNow);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->at("flows").size(), 3u);
  params["after_id"] = first->at("next_after_id");
  const auto second = list_flows(table_, params, kNow);
  ASSERT_TRUE(second);
  EXPECT_EQ(second->at("flows").size(), 1u);
  EXPECT_EQ(second->at("flows").at(0).at("id"), 4);
  EXPECT_TRUE(second->at("next_after_id").is_null());
}

TEST_F(FlowViews, WrongFiltersAreRefusedByName) {
  EXPECT_NE(refusal(R"({"protocol": "tpc"})").find("params.protocol is \"tpc\""), std::string::npos);
  EXPECT_NE(refusal(R"({"state": "open"})").find("params.state"), std::string::npos);
  EXPECT_NE(refusal(R"({"adresses": []})").find("addresses"), std::string::npos);
  EXPECT_NE(refusal(R"({"limit": 0})").find("params.limit"), std::string::npos);
}

TEST_F(FlowViews, FlushesWhatFitsAndNothingElse) {
  const auto flushed = flush_flows(table_, question(R"({"addresses": ["10.0.0.1/32"], "domain": 2})"));
  ASSERT_TRUE(flushed) << flushed.error().message;
  EXPECT_EQ(flushed->at("flushed"), 2);
  EXPECT_EQ(listed("{}"), (std::set<int>{3, 4}));
  EXPECT_EQ(table_.begun_by(PortId(11)), 2u);
}

TEST_F(FlowViews, FlushesAllOnlyWhenToldSo) {
  for (const auto* params : {"{}", R"({"after_id": 1})", R"({"all": false})", R"({"all": true, "port": 80})"})
    EXPECT_FALSE(flush_flows(table_, question(params))) << params;
  EXPECT_EQ(listed("{}").size(), 4u);
  const auto flushed = flush_flows(table_, question(R"({"all": true})"));
  ASSERT_TRUE(flushed);
  EXPECT_EQ(flushed->at("flushed"), 4);
  EXPECT_EQ(table_.begun_by(PortId(11)), 0u);
}

}  // namespace
}  // namespace podwire::engine
