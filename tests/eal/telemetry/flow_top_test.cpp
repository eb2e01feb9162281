// FlowTop with a worker that receives: what a sample tells, that there is one at a time, and that nothing is
// left of it.
#include "dataplane/telemetry/flow_top.hpp"

#include "tests/eal/worker/worker_fixture.hpp"
#include "tests/support/packet_builder.hpp"

namespace podwire::engine {
namespace {

using test::MemoryPort;
using tests::kIpA;
using tests::kIpB;

constexpr std::uint32_t kNowS = 1000;

class FlowTopTest : public test::WorkerFixture {
 protected:
  FlowTopTest() {
    for (int i = 0; i < 2; ++i) ports_.push_back(&add_memory());
    publish();
    const auto key = make_flow_key(DomainId(2), ip_proto::kUdp, IpAddr(kIpA), IpAddr(kIpB), 1000, 53);
    table_.insert(key, key.reversed(), {FlowState::kUdpReplied}, 1, kNowS, {PortId(1)});
  }

  void send(std::uint16_t port, unsigned count, bool back = false) {
    const auto bytes = tests::Packet()
                           .eth(tests::kMacB, tests::kMacA)
                           .ipv4(back ? kIpB : kIpA, back ? kIpA : kIpB)
                           .udp(back ? 53 : port, back ? port : 53)
                           .payload(100)
                           .bytes();
    std::vector<rte_mbuf*> all;
    for (unsigned i = 0; i < count; ++i) all.push_back(pools_.packet(bytes));
    const auto received = [this] {
      return sum([](const auto& c) -> const auto& { return c.engine.received; });
    };
    const auto before = received();
    ports_[back ? 1 : 0]->put(std::move(all));
    EXPECT_TRUE(wait_until([&] { return received() == before + count; }));
  }
  Result<Json> begin(int seconds = 1) {
    return top_.start(*workers_, {{"seconds", seconds}}, FlowTop::Clock::now());
  }
  // As time passes.
  void finish() {
    top_.tick(*workers_, FlowTop::Clock::now() + std::chrono::seconds(FlowTop::kMaxSeconds + 1));
  }
  std::string refusal(const Json& params) {
    const auto told = top_.top(params, kNowS);
    return told ? "accepted" : told.error().message;
  }

  std::vector<MemoryPort*> ports_;
  FlowTable table_{256, 1};
  FlowTop top_{table_};
};

TEST_F(FlowTopTest, TellsWhoHadTheMostTraffic) {
  send(1000, 50);  // before anybody asked
  const auto begun = begin();
  ASSERT_TRUE(begun) << begun.error().message;
  EXPECT_EQ(begun->at("sample"), 1);
  send(1000, 40);
  send(1000, 20, true);
  send(1001, 10);
  send(1001, 5, true);
  finish();
  send(1000, 50);  // afterwards
  const auto told = top_.top({{"sample", 1}}, kNowS);
  ASSERT_TRUE(told) << told.error().message;
  EXPECT_EQ(told->at("packets_seen"), 75);
  EXPECT_EQ(told->at("packets_sampled"), 75);
  const double seconds = told->at("seconds");
  ASSERT_EQ(told->at("flows").size(), 2u);
  const auto& first = told->at("flows")[0];
  EXPECT_EQ(first.at("state"), "udp_replied");
  EXPECT_EQ(first.at("source_port"), 1000);
  EXPECT_EQ(first.at("port"), 1);
  EXPECT_NEAR(first.at("packets_per_s").get<double>(), 60 / seconds, 1);
  EXPECT_NEAR(first.at("bits_per_s").get<double>(), 60 * 142 * 8 / seconds, 1);
  const auto& second = told->at("flows")[1];
  EXPECT_EQ(second.at("state"), "untracked");
  EXPECT_FALSE(second.contains("id"));
  EXPECT_NEAR(second.at("packets_per_s").get<double>(), 15 / seconds, 1);
}

TEST_F(FlowTopTest, TakesTheFiltersOfFlows) {
  ASSERT_TRUE(begin());
  send(1000, 4);
  send(1001, 8);
  finish();
  const auto ports = [&](const Json& params) {
    std::vector<int> out;
    const auto told = top_.top(params, kNowS);
    EXPECT_TRUE(told) << told.error().message;
    for (const auto& flow : told->at("flows")) out.push_back(flow.at("source_port"));
    return out;
  };
  EXPECT_EQ(ports(Json::object()), (std::vector{1001, 1000}));
  EXPECT_EQ(ports({{"limit", 1}}), std::vector{1001});
  EXPECT_EQ(ports({{"port", 1000}}), std::vector{1000});
  EXPECT_EQ(ports({{"state", "udp_replied"}}), std::vector{1000});
  EXPECT_EQ(ports({{"domain", 3}}), std::vector<int>());
  EXPECT_NE(refusal({{"limit", 1001}}).find("limit"), std::string::npos);
}

TEST_F(FlowTopTest, OneSampleAtATime) {
  EXPECT_NE(refusal(Json::object()).find("begin one with flows_sample"), std::string::npos);
  ASSERT_TRUE(begin(30));
  EXPECT_TRUE(top_.is_sampling());
  const auto second = begin();
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kConflict);
  EXPECT_NE(second.error().message.find("try again in 30 s"), std::string::npos) << second.error().message;
  EXPECT_NE(refusal({{"sample", 1}}).find("still under way"), std::string::npos);
  top_.tick(*workers_, FlowTop::Clock::now());
  EXPECT_TRUE(top_.is_sampling()) << "it is not over";
  finish();
  EXPECT_FALSE(top_.is_sampling());
  EXPECT_EQ(refusal({{"sample", 1}}), "accepted");
  ASSERT_TRUE(begin());
  finish();
  EXPECT_NE(refusal({{"sample", 1}}).find("not the last one"), std::string::npos);
  EXPECT_EQ(refusal({{"sample", 2}}), "accepted");
  for (const auto& seconds : {0, 31})
    EXPECT_FALSE(top_.start(*workers_, {{"seconds", seconds}}, FlowTop::Clock::now()));
}

TEST_F(FlowTopTest, NothingHappensIsAnAnswerToo) {
  ASSERT_TRUE(begin());
  finish();
  const auto told = top_.top(Json::object(), kNowS);
  ASSERT_TRUE(told) << told.error().message;
  EXPECT_EQ(told->at("packets_seen"), 0);
  EXPECT_TRUE(told->at("flows").empty());
}

}  // namespace
}  // namespace podwire::engine
