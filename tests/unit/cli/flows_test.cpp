// `podwirectl flows`: what may be typed, what is asked, and the page.
#include "control/cli/flows.hpp"

#include <gtest/gtest.h>

#include <sstream>

#include "control/cli/arguments.hpp"
#include "control/cli/run.hpp"
#include "control/cli/views.hpp"
#include "tests/support/text.hpp"
#include "tests/unit/cli/fake_daemon.hpp"
#include "tests/unit/cli/replies.hpp"

namespace podwire::control::cli {
namespace {

using test::contains;

Json question(const std::vector<std::string>& args) {
  const auto command = parse_arguments(args, "");
  EXPECT_TRUE(command) << command.error().message;
  return command ? command->question : Json();
}
std::string flows_refused(const std::vector<std::string>& args) {
  const auto command = parse_arguments(args, "");
  return command ? "accepted" : command.error().message;
}

TEST(Flows, OptionsBecomeTheDaemonsFilters) {
  EXPECT_EQ(question({"flows"}), Json::object());
  EXPECT_EQ(question({"flows", "--pod", "ns/web", "--port", "443", "--protocol", "tcp", "--domain", "blue",
                      "--state", "established", "--limit", "5"}),
            Json::parse(R"({"domain": "blue", "limit": 5, "pod": "ns/web", "port": 443, "protocol": "tcp",
                "state": "established"})"));
  EXPECT_EQ(question({"flows", "flush", "--address", "10.0.0.0/8"}),
            Json::parse(R"({"address": "10.0.0.0/8"})"));
  EXPECT_EQ(question({"flows", "flush", "--all"}), Json::parse(R"({"all": true})"));
}

TEST(Flows, TheBusiestMayBeAskedForWithAndWithoutANumber) {
  EXPECT_EQ(question({"flows", "--top"}), Json::parse(R"({"top": 10})"));
  EXPECT_EQ(question({"flows", "--top", "3", "--seconds", "5"}), Json::parse(R"({"seconds": 5, "top": 3})"));
  EXPECT_EQ(question({"flows", "list", "--top=4", "--port", "80"}), Json::parse(R"({"port": 80, "top": 4})"));
  EXPECT_EQ(question({"flows", "--top", "--port", "80"}), Json::parse(R"({"port": 80, "top": 10})"));
  EXPECT_TRUE(contains(flows_refused({"flows", "--top", "0"}), "from 1 to 1000"));
  EXPECT_TRUE(contains(flows_refused({"flows", "--top", "--seconds", "31"}), "from 1 to 30"));
  EXPECT_TRUE(contains(flows_refused({"flows", "--seconds", "3"}), "goes with --top"));
  EXPECT_TRUE(contains(flows_refused({"flows", "--top", "--limit", "3"}), "exclude each other"));
  EXPECT_TRUE(contains(flows_refused({"flows", "flush", "--top"}), "flows list"));
}

TEST(Flows, WhatMakesNoSenseIsRefused) {
  EXPECT_TRUE(contains(flows_refused({"flows", "flush"}), "--all for every one"));
  EXPECT_TRUE(contains(flows_refused({"flows", "flush", "--all", "--port", "80"}), "exclude each other"));
  EXPECT_TRUE(contains(flows_refused({"flows", "--all"}), "flows flush"));
  EXPECT_TRUE(contains(flows_refused({"flows", "flush", "--limit", "3"}), "flows list"));
  EXPECT_TRUE(contains(flows_refused({"flows", "--port", "70000"}), "from 0 to 65535"));
  EXPECT_TRUE(contains(flows_refused({"flows", "--address", "nobody"}), "an address or a prefix"));
  EXPECT_TRUE(contains(flows_refused({"flows", "--pod", "a", "--address", "10.0.0.1"}), "choose one"));
}

constexpr const char* kReply = R"({"flows": [
  {"id": 1, "protocol": "tcp", "domain": "default", "source": "10.244.1.10", "source_port": 4000,
   "destination": "10.96.0.1", "destination_port": 443, "state": "established", "idle_s": 3, "expires_s": 431997,
   "source_pod": "shop/web-0", "reply": {"domain": "default", "source": "10.244.1.20", "source_port": 6443,
   "destination": "10.244.1.10", "destination_port": 4000, "source_pod": "kube/api"}},
  {"id": 2, "protocol": "icmp6", "domain": "default", "source": "fd00::1", "destination": "fd00::2", "icmp_id": 7,
   "state": "icmp_new", "idle_s": 0, "expires_s": 30}]})";

TEST(Flows, AreATable) {
  const auto text = flows_view(Json::parse(kReply), false, {});
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_TRUE(contains(*text, "10.244.1.10:4000")) << *text;
  EXPECT_TRUE(contains(*text, "10.244.1.20:6443 > 10.244.1.10:4000")) << *text;
  EXPECT_TRUE(contains(*text, "shop/web-0 > kube/api")) << *text;
  EXPECT_TRUE(contains(*text, "fd00::1 id 7")) << *text;
  EXPECT_FALSE(contains(*text, "There are more"));
  EXPECT_TRUE(contains(*flows_view(Json::parse(kReply), true, {}), "There are more"));
}

TEST(Flows, TheBusiestAreATableToo) {
  auto reply = Json::parse(kReply);
  reply["flows"][0]["packets_per_s"] = 1200;
  reply["flows"][0]["bits_per_s"] = 12345678;
  reply["flows"][1] =
      Json::parse(R"({"protocol": "udp", "domain": "plain", "source": "10.0.0.1", "source_port": 7,
      "destination": "10.0.0.2", "destination_port": 9, "state": "untracked", "packets_per_s": 3, "bits_per_s": 9})");
  reply.update({{"seconds", 2.01}, {"packets_seen", 4000}, {"packets_sampled", 4000}});
  const auto text = top_flows_view(reply, {});
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_TRUE(contains(*text, "MBIT/S")) << *text;
  EXPECT_TRUE(contains(*text, "12.35")) << *text;
  EXPECT_TRUE(contains(*text, "untracked")) << *text;
  EXPECT_TRUE(contains(*text, "4,000 packets were received in 2.0 s, all of them counted")) << *text;
  EXPECT_FALSE(contains(*text, "IDLE"));
  reply["packets_sampled"] = 1000;
  EXPECT_TRUE(contains(*top_flows_view(reply, {}), "25.0 % of them looked at"));
  reply["flows"] = Json::array();
  EXPECT_TRUE(contains(*top_flows_view(reply, {}), "There was no such traffic. 4,000 packets"));
}

TEST(Flows, WithoutTranslationThereIsNoColumnForReplies) {
  auto reply = Json::parse(kReply);
  reply["flows"][0].erase("reply");
  EXPECT_FALSE(contains(*flows_view(reply, false, {}), "REPLY"));
}

TEST(Flows, AreCountedInStatus) {
  auto status = status_reply();
  status["engine"]["flows"] = {{"capacity", 1048576}, {"entries", 1234}};
  const auto page = status_view(status, {});
  ASSERT_TRUE(page) << page.error().message;
  EXPECT_TRUE(contains(*page, "1,234 of 1,048,576 tracked")) << *page;
}

struct FlowsOutcome {
  int status;
  std::string out, err;
};
FlowsOutcome typed(const std::vector<std::string>& args, const FakeDaemon& daemon) {
  std::ostringstream out, err;
  Terminal terminal{out, err};
  const int status = run(args, daemon.socket(), terminal);
  return {status, out.str(), err.str()};
}

TEST(Flows, PagesAreReadUntilThereAreEnough) {
  FakeDaemon daemon([](const RpcRequest& request) -> Result<Json> {
    const auto after = request.params.at("after").get<unsigned>();
    auto flow = Json::parse(kReply)["flows"][1];
    flow["id"] = after + 1;
    return Json{{"flows", {flow}}, {"next_after", after + 1}};
  });
  const auto outcome = typed({"flows", "--limit", "3", "--json"}, daemon);
  EXPECT_EQ(outcome.status, kExitDone) << outcome.err;
  EXPECT_EQ(Json::parse(outcome.out).at("flows").size(), 3u);
}

TEST(Flows, APageThatLeadsNowhereIsAnError) {
  for (const auto& next : {Json(0), Json("x"), Json(-1)}) {
    FakeDaemon daemon([&](const RpcRequest&) -> Result<Json> {
      return Json{{"flows", Json::array()}, {"next_after", next}};
    });
    EXPECT_EQ(typed({"flows"}, daemon).status, kExitRefused) << next;
  }
  FakeDaemon odd([](const RpcRequest&) -> Result<Json> { return Json{{"flows", 7}}; });
  EXPECT_EQ(typed({"flows"}, odd).status, kExitRefused);
}

TEST(Flows, TheBusiestAreMeasuredFirst) {
  std::vector<std::string> asked;
  FakeDaemon daemon([&](const RpcRequest& request) -> Result<Json> {
    asked.push_back(request.method + " " + request.params.dump());
    if (request.method == "flows_sample") return Json{{"sample", 4}, {"seconds", 1}};
    if (asked.size() == 2) return unavailable("sample 4 is still under way");
    return Json{{"seconds", 1.0}, {"packets_seen", 0}, {"packets_sampled", 0}, {"flows", Json::array()}};
  });
  const auto outcome = typed({"flows", "--top", "3", "--seconds", "1", "--port", "80"}, daemon);
  EXPECT_EQ(outcome.status, kExitDone) << outcome.err;
  EXPECT_TRUE(contains(outcome.out, "There was no such traffic")) << outcome.out;
  const std::string question = R"(flows_top {"port":80,"limit":3,"sample":4})";
  EXPECT_EQ(asked, (std::vector<std::string>{R"(flows_sample {"seconds":1})", question, question}));
}

TEST(Flows, FlushTellsHowMany) {
  FakeDaemon daemon([](const RpcRequest& request) -> Result<Json> {
    EXPECT_EQ(request.method, "flows_flush");
    return Json{{"flushed", request.params.at("port")}};
  });
  EXPECT_EQ(typed({"flows", "flush", "--port", "1"}, daemon).out, "1 connection forgotten\n");
  EXPECT_EQ(typed({"flows", "flush", "--port", "53"}, daemon).out, "53 connections forgotten\n");
}

}  // namespace
}  // namespace podwire::control::cli
