#include "control/cli/run.hpp"

#include <gtest/gtest.h>

#include <sstream>

#include "tests/support/text.hpp"
#include "tests/unit/cli/fake_daemon.hpp"
#include "tests/unit/cli/replies.hpp"

namespace podwire::control::cli {
namespace {

using test::contains;

struct Outcome {
  int status = -1;
  std::string out, err;
};

Outcome typed(const std::vector<std::string>& args, const std::string& socket = "/nonexistent/control.sock") {
  std::ostringstream out, err;
  Terminal terminal{out, err};
  const int status = run(args, socket, terminal);
  return {status, out.str(), err.str()};
}

Result<Json> recorded(const RpcRequest& request) {
  if (request.method == "status") return status_reply();
  if (request.method == "ports") return ports_reply();
  if (request.method == "endpoints") return endpoints_reply();
  if (request.method == "stats") return stats_reply();
  if (request.method == "explain") return explain_reply();
  if (request.method == "leave") return Json::object();
  return Error{ErrorCode::kUnknownVerb, "no such verb"};
}

TEST(Run, UnreachableDaemonExitsWith3AndSaysWhatToTry) {
  const auto outcome = typed({"status"});
  EXPECT_EQ(outcome.status, kExitUnreachable);
  EXPECT_EQ(outcome.out, "");
  EXPECT_TRUE(contains(outcome.err, "systemctl status podwired")) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "--socket")) << outcome.err;
}

TEST(Run, UsageErrorsExitWith2WithoutAskingTheDaemon) {
  EXPECT_EQ(typed({}).status, kExitUsage);
  EXPECT_EQ(typed({"prot"}).status, kExitUsage);
  EXPECT_EQ(typed({"leave"}).status, kExitUsage);
  EXPECT_TRUE(contains(typed({"leave"}).err, "leave --yes"));
}

TEST(Run, HelpNeedsNoDaemon) {
  EXPECT_EQ(typed({"--help"}).status, kExitDone);
  EXPECT_TRUE(contains(typed({"stats", "--help"}).out, "CYCLES/PACKET"));
}

TEST(Run, StatusExitsWith4WhenSomethingDiffers) {
  Json reply = status_reply();
  FakeDaemon daemon([&](const RpcRequest&) -> Result<Json> { return reply; });
  EXPECT_EQ(typed({"status"}, daemon.socket()).status, kExitDone);
  EXPECT_EQ(typed({"status", "--json"}, daemon.socket()).status, kExitDone);
  reply["differences"] = {"port 4 is missing; type: podwirectl reconcile"};
  EXPECT_EQ(typed({"status"}, daemon.socket()).status, kExitUnhealthy);
  EXPECT_EQ(typed({"status", "--json"}, daemon.socket()).status, kExitUnhealthy);
}

TEST(Run, JsonIsTheReplyAsItIs) {
  FakeDaemon daemon(recorded);
  const auto outcome = typed({"port", "--json"}, daemon.socket());
  EXPECT_EQ(outcome.status, kExitDone);
  EXPECT_EQ(*parse_json(outcome.out, "output"), ports_reply());
  const auto one = typed({"--json", "port", "show", "web-0"}, daemon.socket());
  EXPECT_EQ((*parse_json(one.out, "output"))["ports"].size(), 1u);
}

TEST(Run, PortShowHasTablesAndCounters) {
  FakeDaemon daemon([](const RpcRequest& request) -> Result<Json> {
    if (request.method == "stats") {
      return parsed(R"({"ports":[{"id":4,"received_packets":12345,"dropped_packets":0,
          "queues":[{"queue":0,"received_packets":12000},{"queue":1,"received_packets":345}]}]})");
    }
    Json reply = ports_reply();
    reply["ports"][1]["device"] = parsed(R"({"peer":"VPP 24.06","connected":true,
        "last_disconnect":"the peer closed the connection",
        "rings":[{"direction":"in","size":1024,"packets":12345},{"direction":"out","size":512,"full":7}]})");
    return reply;
  });
  const auto shown = typed({"port", "show", "web-0"}, daemon.socket());
  EXPECT_EQ(shown.status, kExitDone) << shown.err;
  for (const char* line :
       {"device peer                VPP 24.06", "device connected           yes",
        "device last disconnect     the peer closed the connection", "counters received packets  12345",
        "Device rings\nDIRECTION   SIZE  PACKETS  FULL\n", "in         1,024   12,345     -\n",
        "out          512        -     7\n",
        "Queue counters\nQUEUE  RECEIVED PACKETS\n    0            12,000\n    1               345\n"}) {
    EXPECT_TRUE(contains(shown.out, line)) << "no \"" << line << "\" in\n" << shown.out;
  }
  const auto json = *parse_json(typed({"port", "show", "web-0", "--json"}, daemon.socket()).out, "output");
  EXPECT_EQ(json["ports"][0]["counters"]["received_packets"], 12345);
}

TEST(Run, AddAndDelSendTheirParameters) {
  std::vector<std::pair<std::string, Json>> asked;
  FakeDaemon daemon([&](const RpcRequest& request) -> Result<Json> {
    asked.emplace_back(request.method, request.params);
    if (request.method == "port_add") {
      return parsed(R"({"id":7,"name":"vm1","domain":"default","mac":"02:00:00:00:00:01",
          "addresses":["10.244.0.2/16"],"socket":"/run/vm1.sock","socket_mode":"client"})");
    }
    return Json{{"deleted", asked.size() == 2}};
  });
  const auto added = typed(
      {"--socket", daemon.socket(), "port", "add", "vm1", "--kind", "vhost", "--socket", "/run/vm1.sock"});
  EXPECT_EQ(added.status, kExitDone) << added.err;
  EXPECT_TRUE(contains(added.out, "Added port vm1.\n")) << added.out;
  EXPECT_TRUE(contains(added.out, "10.244.0.2/16")) << added.out;
  EXPECT_TRUE(contains(added.out, "the peer; the engine connects")) << added.out;
  EXPECT_EQ(typed({"port", "del", "vm1"}, daemon.socket()).out, "Deleted port vm1.\n");
  const auto again = typed({"port", "del", "vm1"}, daemon.socket());
  EXPECT_EQ(again.out, "There was no port vm1.\n");
  EXPECT_EQ(again.status, kExitDone);
  ASSERT_EQ(asked.size(), 3u);
  EXPECT_EQ(asked[0].second, parsed(R"({"name":"vm1","kind":"vhost","socket":"/run/vm1.sock"})"));
  EXPECT_EQ(asked[1].first, "port_del");
}

TEST(Run, JoiningTellsWhoReachesWhom) {
  std::vector<std::pair<std::string, Json>> asked;
  FakeDaemon daemon([&](const RpcRequest& request) -> Result<Json> {
    asked.emplace_back(request.method, request.params);
    return parsed(R"({"domains":[{"name":"a","global":false,"reaches":["b","c"]},
        {"name":"b","global":true,"reaches":["a"]},{"name":"c","global":false,"reaches":[]}]})");
  });
  const auto joined = typed({"domain", "join", "a", "b", "c"}, daemon.socket());
  EXPECT_EQ(joined.status, kExitDone) << joined.err;
  EXPECT_EQ(
      joined.out,
      "Domain a reaches b, c.\nDomain b is global: all reach it, and it reaches all.\nDomain c reaches no "
      "other.\n");
  typed({"domain", "isolate", "b"}, daemon.socket());
  typed({"domain", "global", "b"}, daemon.socket());
  ASSERT_EQ(asked.size(), 3u);
  EXPECT_EQ(asked[0].first, "domain_join");
  EXPECT_EQ(asked[0].second, parsed(R"({"name":"a","domains":["b","c"]})"));
  EXPECT_EQ(asked[1].first, "domain_isolate");
  EXPECT_EQ(asked[2].first, "domain_global");
  EXPECT_EQ(asked[2].second, parsed(R"({"name":"b"})"));
}

TEST(Run, EveryPageOfAListIsFetched) {
  FakeDaemon daemon([](const RpcRequest& request) -> Result<Json> {
    Json reply = ports_reply();
    auto& ports = reply["ports"];
    const bool first = !request.params.contains("after");
    ports.erase(first ? 1 : 0);
    if (first) reply["next_after"] = ports[0]["id"];
    return reply;
  });
  EXPECT_EQ(typed({"port", "--names"}, daemon.socket()).out, "uplink\nweb-0\n");
  EXPECT_EQ(*parse_json(typed({"port", "--json"}, daemon.socket()).out, "output"), ports_reply());
}

TEST(Run, PagesThatDoNotAdvanceAreRefused) {
  FakeDaemon daemon([](const RpcRequest&) -> Result<Json> {
    Json reply = ports_reply();
    reply["next_after"] = 1;
    return reply;
  });
  const auto outcome = typed({"port"}, daemon.socket());
  EXPECT_EQ(outcome.status, kExitRefused);
  EXPECT_TRUE(contains(outcome.err, "do not advance")) << outcome.err;
}

TEST(Run, ShowOfSomethingUnknownExitsWith1) {
  FakeDaemon daemon(recorded);
  const auto outcome = typed({"port", "show", "wbe-0"}, daemon.socket());
  EXPECT_EQ(outcome.status, kExitRefused);
  EXPECT_EQ(outcome.err, "podwirectl: there is no port \"wbe-0\"; did you mean \"web-0\"?\n");
}

TEST(Run, NamesAreOneALine) {
  FakeDaemon daemon(recorded);
  EXPECT_EQ(typed({"port", "--names"}, daemon.socket()).out, "uplink\nweb-0\n");
}

TEST(Run, ExplainSendsTheQuestion) {
  Json asked;
  FakeDaemon daemon([&](const RpcRequest& request) -> Result<Json> {
    asked = request.params;
    return explain_reply();
  });
  const auto outcome = typed({"explain", "--from", "web-0", "--to", "fd00::1"}, daemon.socket());
  EXPECT_EQ(outcome.status, kExitDone) << outcome.err;
  EXPECT_EQ(asked, parsed(R"({"from":"web-0","to":"fd00::1","protocol":"icmp6"})"));
}

TEST(Run, ExplainFromNobodySuggestsAnEndpoint) {
  FakeDaemon daemon([](const RpcRequest& request) -> Result<Json> {
    if (request.method == "explain") return not_found("nobody is called \"wbe-0\"");
    return recorded(request);
  });
  const auto outcome = typed({"explain", "--from", "wbe-0", "--to", "1.1.1.1"}, daemon.socket());
  EXPECT_EQ(outcome.status, kExitRefused);
  EXPECT_EQ(outcome.err, "podwirectl: nobody is called \"wbe-0\"\n  Did you mean \"web-0\"?\n");
}

TEST(Run, RefusalsExitWith1AndAreMadePrintable) {
  FakeDaemon daemon(
      [](const RpcRequest&) -> Result<Json> { return unavailable("the engine is \033[2Jdown"); });
  const auto outcome = typed({"stats"}, daemon.socket());
  EXPECT_EQ(outcome.status, kExitRefused);
  EXPECT_EQ(outcome.err, "podwirectl: the engine is \\x1b[2Jdown\n");
}

TEST(Run, ReplyOfTheWrongShapeIsAnErrorThatNamesTheField) {
  FakeDaemon daemon(
      [](const RpcRequest&) -> Result<Json> { return parsed(R"({"ports":[{"id":1,"name":5}]})"); });
  const auto outcome = typed({"port"}, daemon.socket());
  EXPECT_EQ(outcome.status, kExitRefused);
  EXPECT_TRUE(contains(outcome.err, "ports[0].name must be a string, not an integer")) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "podwirectl port --json")) << outcome.err;
  EXPECT_EQ(typed({"port", "--json"}, daemon.socket()).status, kExitDone);
}

TEST(Run, RepliesThatAreNoObjectsAreErrorsForEveryVerb) {
  for (const Json& reply : {Json(), Json(7), Json("x"), Json::array()}) {
    FakeDaemon daemon([&](const RpcRequest&) -> Result<Json> { return reply; });
    for (const char* verb : {"status", "port", "domain", "endpoint", "route", "peer", "stats", "reconcile"}) {
      EXPECT_EQ(typed({verb}, daemon.socket()).status, kExitRefused) << verb << " " << reply.dump();
    }
    EXPECT_EQ(typed({"version"}, daemon.socket()).status, kExitDone);
    EXPECT_EQ(typed({"port", "show", "a"}, daemon.socket()).status, kExitRefused);
    EXPECT_EQ(typed({"route", "--domain", "a"}, daemon.socket()).status, kExitRefused);
    EXPECT_EQ(typed({"stats", "--watch", "0.1", "--count", "1"}, daemon.socket()).status, kExitRefused);
  }
}

TEST(Run, SilentDaemonRunsIntoTheTimeout) {
  const auto path = ::testing::TempDir() + "/podwirectl-silent-" + std::to_string(::getpid()) + ".sock";
  const auto listener = listen_unix(path, 0600);
  ASSERT_TRUE(listener);
  const auto outcome = typed({"status", "--timeout", "0.1"}, path);
  ::unlink(path.c_str());
  EXPECT_EQ(outcome.status, kExitUnreachable);
  EXPECT_TRUE(contains(outcome.err, "within 100 ms")) << outcome.err;
}

TEST(Run, VersionShowsWhatAnswers) {
  FakeDaemon daemon(recorded);
  EXPECT_TRUE(contains(typed({"version"}, daemon.socket()).out, "podwire-engine  0.1.0"));
  const auto alone = typed({"--version", "--json"});
  EXPECT_EQ(alone.status, kExitDone);
  EXPECT_TRUE((*parse_json(alone.out, "output"))["podwired"].is_null());
}

TEST(Run, LeaveWithYesAsksTheDaemon) {
  FakeDaemon daemon(recorded);
  const auto outcome = typed({"leave", "--yes"}, daemon.socket());
  EXPECT_EQ(outcome.status, kExitDone);
  EXPECT_TRUE(contains(outcome.out, "has left this node"));
}

TEST(Watch, ShowsRatesAsOftenAsAsked) {
  Json reply = stats_reply();
  FakeDaemon daemon([&](const RpcRequest&) -> Result<Json> {
    auto& packets = reply["ports"][0]["received_packets"];
    packets = packets.get<int>() + 100;
    return reply;
  });
  const auto outcome = typed({"stats", "ports", "--watch", "0.1", "--count", "2"}, daemon.socket());
  EXPECT_EQ(outcome.status, kExitDone) << outcome.err;
  const auto first = outcome.out.find("RECEIVED/S");
  ASSERT_NE(first, std::string::npos) << outcome.out;
  const auto second = outcome.out.find("RECEIVED/S", first + 1);
  ASSERT_NE(second, std::string::npos) << outcome.out;
  EXPECT_EQ(outcome.out.find("RECEIVED/S", second + 1), std::string::npos) << outcome.out;
}

TEST(Watch, JsonIsOneReplyALine) {
  FakeDaemon daemon(recorded);
  const auto outcome = typed({"stats", "drops", "--json", "--watch", "0.1", "--count", "2"}, daemon.socket());
  std::istringstream lines(outcome.out);
  int n = 0;
  for (std::string line; std::getline(lines, line); ++n) EXPECT_TRUE(parse_json(line, "line")) << line;
  EXPECT_EQ(n, 2);
}

TEST(Watch, GoesOnWhileTheEngineIsAway) {
  int calls = 0;
  FakeDaemon daemon([&](const RpcRequest&) -> Result<Json> {
    return ++calls == 2 ? Result<Json>(unavailable("the engine is down")) : Result<Json>(stats_reply());
  });
  const auto outcome = typed({"stats", "--watch", "0.1", "--count", "3"}, daemon.socket());
  EXPECT_EQ(outcome.status, kExitDone);
  EXPECT_EQ(outcome.err, "podwirectl: the engine is down\n");
  EXPECT_EQ(calls, 4);
}

TEST(Watch, FirstLookMustSucceed) {
  EXPECT_EQ(typed({"stats", "--watch", "0.1"}).status, kExitUnreachable);
}

}  // namespace
}  // namespace podwire::control::cli
