// The daemon's `flows` and `flows_flush`: names to ids and addresses on the way in, back to names on the way
// out, and every page of the engine's.
#include "tests/unit/control_api/daemon_fixture.hpp"

namespace podwire::control {
namespace {

class FlowsTest : public DaemonTest {
 protected:
  void SetUp() override {
    engine.flows = [this](const std::string& method, const Json& params) -> Result<Json> {
      asked.push_back(params);
      const auto after = params.at("after_id").get<unsigned>();
      if (method == "flows_flush") return Json{{"flushed", 2}, {"next_after_id", next(after)}};
      Json flows = Json::array();
      for (auto id = after + 1; id <= last && flows.size() < params.at("limit"); ++id)
        flows.push_back(flow(id));
      const auto at = after + static_cast<unsigned>(flows.size());
      return Json{{"flows", flows}, {"next_after_id", at < last ? Json(at) : Json()}};
    };
    engine.start();
    start();
    ASSERT_TRUE(call("port_add", {{"name", "vm1"},
                                  {"kind", "vhost"},
                                  {"socket", directory.path() + "/vm1.sock"},
                                  {"addresses", {"10.244.0.7", "fd00:10:244::7"}}}));
  }
  static Json flow(unsigned id) {
    return {{"id", id},
            {"protocol", "tcp"},
            {"domain", 2},
            {"source", "10.244.0.7"},
            {"destination", "10.9.9.9"}};
  }
  static Json next(unsigned after) { return after < 20 ? Json(after + 10) : Json(); }
  std::string refusal(const Json& params) {
    const auto reply = call("flows", params);
    return reply ? "accepted" : reply.error().message;
  }

  std::vector<Json> asked;  // of the engine
  unsigned last = 3;
};

TEST_F(FlowsTest, NamesComeInPlaceOfIds) {
  const auto reply = call("flows");
  ASSERT_TRUE(reply) << reply.error().message;
  ASSERT_EQ(reply->at("flows").size(), 3u);
  EXPECT_EQ(reply->at("flows")[0], (Json{{"id", 1},
                                         {"protocol", "tcp"},
                                         {"domain", "default"},
                                         {"source", "10.244.0.7"},
                                         {"destination", "10.9.9.9"},
                                         {"source_pod", "vm1"}}));
  EXPECT_FALSE(reply->contains("next_after"));
}

TEST_F(FlowsTest, TheBusiestAreAskedForByNameAndNamed) {
  engine.flows = [this](const std::string& method, const Json& params) -> Result<Json> {
    asked.push_back(params);
    if (method == "flows_sample") return Json{{"sample", 7}, {"seconds", 3}};
    auto busy = flow(1);
    busy["packets_per_s"] = 9;
    return Json{{"sample", 7}, {"packets_seen", 20}, {"flows", {busy}}};
  };
  EXPECT_EQ(done("flows_sample", {{"seconds", 3}}).at("sample"), 7);
  EXPECT_EQ(asked.back(), (Json{{"seconds", 3}}));
  const auto reply = done("flows_top", {{"sample", 7}, {"limit", 5}, {"pod", "vm1"}});
  EXPECT_EQ(asked.back(), (Json{{"sample", 7},
                                {"limit", 5},
                                {"domain", 2},
                                {"addresses", {"10.244.0.7/32", "fd00:10:244::7/128"}}}));
  EXPECT_EQ(reply.at("packets_seen"), 20);
  EXPECT_EQ(reply.at("flows")[0].at("source_pod"), "vm1");
  EXPECT_EQ(reply.at("flows")[0].at("packets_per_s"), 9);
  EXPECT_NE(refused("flows_top", {{"after", 3}}).find("unknown key \"after\""), std::string::npos);
}

TEST_F(FlowsTest, APodIsItsAddressesInItsDomain) {
  ASSERT_TRUE(call("flows", {{"pod", "vm1"}, {"state", "established"}, {"port", 80}, {"protocol", "tcp"}}));
  EXPECT_EQ(asked.back(), (Json{{"domain", 2},
                                {"addresses", {"10.244.0.7/32", "fd00:10:244::7/128"}},
                                {"protocol", "tcp"},
                                {"port", 80},
                                {"state", "established"},
                                {"after_id", 0},
                                {"limit", 1000}}));
  ASSERT_TRUE(call("flows", {{"address", "10.9.9.9"}, {"domain", "default"}}));
  EXPECT_EQ(asked.back().at("addresses"), Json::array({"10.9.9.9/32"}));
}

TEST_F(FlowsTest, WhoIsNotThereIsNamed) {
  EXPECT_NE(refusal({{"pod", "vm2"}}).find("\"vm2\""), std::string::npos);
  EXPECT_NE(refusal({{"domain", "defualt"}}).find("did you mean \"default\""), std::string::npos);
  EXPECT_NE(refusal({{"pod", "vm1"}, {"address", "10.0.0.1"}}).find("one or the other"), std::string::npos);
  EXPECT_NE(refusal({{"pdo", "vm1"}}).find("did you mean \"pod\""), std::string::npos);
}

TEST_F(FlowsTest, AThousandAndMoreComeInPages) {
  last = 20'000;
  int pages = 0;
  EXPECT_EQ(whole("flows", "flows", pages).size(), 20'000u);
  EXPECT_GT(pages, 1);
  const auto some = call("flows", {{"limit", 1500}, {"after", 100}});
  ASSERT_TRUE(some);
  EXPECT_EQ(some->at("flows").size(), 1500u);
  EXPECT_EQ(some->at("next_after"), 1600);
}

TEST_F(FlowsTest, FlushGoesThroughTheWholeTable) {
  const auto reply = call("flows_flush", {{"address", "10.9.0.0/16"}});
  ASSERT_TRUE(reply) << reply.error().message;
  EXPECT_EQ(*reply, (Json{{"flushed", 6}}));
  ASSERT_TRUE(call("flows_flush", {{"all", true}}));
  EXPECT_EQ(asked.back(), (Json{{"all", true}, {"after_id", 20}}));
}

}  // namespace
}  // namespace podwire::control
