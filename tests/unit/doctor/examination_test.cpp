// Examinations of peers whose engine is a few lines: which probes are sent, and what is made of the answers.
#include "control/doctor/examination.hpp"

#include <gtest/gtest.h>

#include <map>

namespace podwire::control::doctor_tests {
namespace {

// Answers probes to `gateway` of at most `passes` bytes at once; loses all others.
struct FakeProbes {
  std::string gateway = "10.244.2.1";
  unsigned passes = 65535, limit = 65535;
  unsigned lose_first = 0;                      // of those that would pass
  unsigned lose_of_size = 0, lost_of_size = 0;  // the first two of this size
  std::map<std::uint32_t, bool> sent{};         // id, and whether it is answered
  std::size_t largest_call = 0;

  Result<Json> operator()(const std::string& verb, const Json& params) {
    if (verb == "stats") return Json{{"drops", Json::array()}};
    if (verb == "unknown_vnis") {
      return Json{{"unknown_vnis",
                   {{{"address", "127.0.0.2"}, {"vni", 9}, {"age_ms", 5}},
                    {{"address", "127.0.0.2"}, {"vni", 8}, {"age_ms", 500'000}},
                    {{"address", "127.0.0.3"}, {"vni", 7}, {"age_ms", 5}}}}};
    }
    return verb == "probe" ? send(params) : results(params);
  }

  Json send(const Json& params) {
    Json list = Json::array();
    largest_call = std::max(largest_call, params.at("probes").size());
    for (const auto& probe : params.at("probes")) {
      const auto bytes = probe.at("bytes").get<unsigned>();
      if (bytes > limit) {
        list.push_back({{"problem", "too_long"}, {"message", "too long"}, {"limit", limit}});
        continue;
      }
      bool answered = probe.at("to") == gateway && bytes <= passes;
      if (answered && lose_first > 0) {
        --lose_first;
        answered = false;
      }
      if (answered && bytes == lose_of_size && lost_of_size < 2) {
        ++lost_of_size;
        answered = false;
      }
      const auto id = static_cast<std::uint32_t>(sent.size() + 1);
      sent[id] = answered;
      list.push_back({{"id", id}, {"vtep", 2}});
    }
    return {{"probes", std::move(list)}};
  }

  Json results(const Json& params) const {
    Json list = Json::array();
    for (const auto& id : params.at("ids")) {
      if (sent.at(id.get<std::uint32_t>()))
        list.push_back({{"id", id}, {"state", "answered"}, {"rtt_us", 100 + id.get<unsigned>()}});
      else
        list.push_back({{"id", id}, {"state", "lost"}, {"next_hop", "resolved"}});
    }
    return {{"results", std::move(list)}};
  }
};

std::vector<ExaminedPeer> one_peer() {
  ExaminedPath path;
  path.domain = "default";
  path.id = DomainId(2);
  path.mtu = 1450;
  path.gateways = {*parse_ip("10.244.2.1"), *parse_ip("10.244.2.0")};
  ExaminedPeer peer;
  peer.name = "node2";
  peer.address = *parse_ip("127.0.0.2");
  peer.udp_port = 4789;
  peer.paths = {path};
  return {peer};
}

ExaminedPath examined(FakeProbes& engine, const Thoroughness& how = {}) {
  auto peers = one_peer();
  const AskEngine ask = [&](const std::string& verb, const Json& params) { return engine(verb, params); };
  const auto done = examine(ask, peers, how);
  EXPECT_TRUE(done) << done.error().message;
  EXPECT_EQ(peers[0].unknown_vnis, std::vector{Vni(9)});
  return peers[0].paths[0];
}

TEST(Examination, CountsAnswersOfTheGatewayThatAnswers) {
  for (const char* gateway : {"10.244.2.1", "10.244.2.0"}) {
    FakeProbes engine{.gateway = gateway};
    const auto path = examined(engine);
    EXPECT_EQ(to_string(*path.answers), gateway);
    EXPECT_EQ(path.sent, 5u);
    EXPECT_EQ(path.answered, 5u);
    EXPECT_GE(path.rtt_min_us, 100u);
    EXPECT_GE(path.rtt_max_us, path.rtt_min_us);
    EXPECT_EQ(path.largest, 1450);
  }
}

TEST(Examination, CountsLoss) {
  FakeProbes engine{.lose_first = 2};
  const auto path = examined(engine);
  EXPECT_EQ(path.sent, 5u);
  EXPECT_EQ(path.answered, 3u);
  EXPECT_EQ(path.largest, 1450);
}

TEST(Examination, FindsTheLargestSizeThatPasses) {
  for (const unsigned passes : {100u, 101u, 567u, 1349u, 1350u, 1449u}) {
    FakeProbes engine{.passes = passes};
    EXPECT_EQ(examined(engine).largest, passes);
    EXPECT_LE(engine.largest_call, 256u);
  }
}

TEST(Examination, IsNotMisledByOneLoss) {
  FakeProbes engine{.lose_of_size = 1450};
  EXPECT_EQ(examined(engine).largest, 1450);
}

TEST(Examination, KnowsTheUplinksLimit) {
  FakeProbes engine{.limit = 1400};
  const auto path = examined(engine);
  EXPECT_EQ(path.room, 1400);
  EXPECT_EQ(path.largest, 1400);
  FakeProbes both{.passes = 1300, .limit = 1400};
  EXPECT_EQ(examined(both).largest, 1300);
}

TEST(Examination, SeesSilence) {
  FakeProbes engine{.passes = 0};
  const auto path = examined(engine, {.rounds = 3, .sizes = false});
  EXPECT_EQ(path.sent, 3u);
  EXPECT_EQ(path.answered, 0u);
  EXPECT_EQ(path.next_hop, "resolved");
  EXPECT_FALSE(path.answers);
  EXPECT_EQ(path.largest, 0);
}

TEST(Examination, IsGivenUpWhenItShallStop) {
  const std::atomic<bool> stop = true;
  FakeProbes engine{.passes = 0};
  auto peers = one_peer();
  const AskEngine ask = [&](const std::string& verb, const Json& params) { return engine(verb, params); };
  const auto done = examine(ask, peers, {.stop = &stop});
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().message, "podwired is ending");
}

TEST(Examination, FailsWhereTheEngineDoesNotAnswerOrTalksNonsense) {
  auto peers = one_peer();
  EXPECT_FALSE(examine([](const std::string&, const Json&) -> Result<Json> { return unavailable("gone"); },
                       peers, {}));
  for (const char* nonsense :
       {"[]", "{}", R"({"probes": 1})", R"({"probes": []})", R"({"probes": [{"id": "x"}]})"}) {
    const AskEngine ask = [&](const std::string& verb, const Json&) -> Result<Json> {
      if (verb == "stats") return Json::object();
      return *parse_json(nonsense, "test");
    };
    auto again = one_peer();
    again[0].paths[0].gateways.resize(1);
    EXPECT_FALSE(examine(ask, again, {.rounds = 1, .sizes = false})) << nonsense;
  }
}

}  // namespace
}  // namespace podwire::control::doctor_tests
