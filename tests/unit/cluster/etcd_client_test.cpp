// The client against a server that answers wrongly in every way that we could think of.
#include "control/cluster/etcd_client.hpp"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/unit/cluster/etcd_answers.hpp"
#include "tests/unit/control/temporary_directory.hpp"

namespace podwire::control {
namespace {

TEST(EtcdClient, ListsInPagesOfOneRevision) {
  ScriptedHttp server([](const HttpRequest& request) {
    const auto body = Json::parse(request.body);
    const auto from = *from_base64(body["key"].get<std::string>());
    if (from == "/p/")
      return json_reply(range_reply({item_json("/p/a", "1", 3), item_json("/p/b", "2", 4)}, true));
    EXPECT_EQ(body.value("revision", ""), "7");
    EXPECT_EQ(from, std::string("/p/b\0", 5));
    return json_reply(range_reply({item_json("/p/c", "3", 5)}));
  });
  EtcdClient client(options_for({server.url()}));
  const auto all = client.list("/p/");
  ASSERT_TRUE(all) << all.error().message;
  EXPECT_EQ(all->revision, 7);
  EXPECT_EQ(all->items, (std::vector<EtcdItem>{{"/p/a", "1", 3}, {"/p/b", "2", 4}, {"/p/c", "3", 5}}));
}

TEST(EtcdClient, AsksForSmallerPagesWhereValuesAreLarge) {
  ScriptedHttp server([](const HttpRequest& request) {
    const auto body = Json::parse(request.body);
    if (body["limit"] > 200) return json_reply(std::string((64u << 20) + 1, ' '));
    const auto from = *from_base64(body["key"].get<std::string>());
    return from == "/p/" ? json_reply(range_reply({item_json("/p/a", "1", 3)}, true))
                         : json_reply(range_reply({item_json("/p/b", "2", 4)}));
  });
  EtcdClient client(options_for({server.url()}, 10s));
  const auto all = client.list("/p/");
  ASSERT_TRUE(all) << all.error().message;
  EXPECT_EQ(all->items, (std::vector<EtcdItem>{{"/p/a", "1", 3}, {"/p/b", "2", 4}}));
}

struct Fault {
  const char* name;
  HttpReply reply;
  ErrorCode code = ErrorCode::kUnavailable;
  const char* says = "";
};

HttpReply slow_reply() {
  auto reply = json_reply(range_reply({}));
  reply.delay = 2s;
  return reply;
}
HttpReply dripping() {
  auto reply = json_reply(range_reply({}) + std::string(200, ' '));
  reply.between = 50ms;
  return reply;
}
HttpReply cut_reply(std::size_t bytes) {
  auto reply = json_reply(range_reply({item_json("/p/a", "1", 3)}));
  reply.sent = bytes;
  return reply;
}
HttpReply raw_reply(const char* text) {
  HttpReply reply;
  reply.raw = text;
  return reply;
}

std::vector<Fault> faults() {
  constexpr auto kGone = ErrorCode::kUnavailable;
  return {
      {"slow", slow_reply(), kGone, "no answer came in time"},
      {"dripping", dripping(), kGone, "not whole in time"},
      {"cut in the body", cut_reply(100), kGone},
      {"cut in the headers", cut_reply(20), kGone},
      {"closed at once", raw_reply("\r\n"), kGone},
      {"no HTTP", raw_reply("\x16\x03\x01\x02 this is TLS, or something\r\n\r\n"), kGone},
      {"wrong chunk size",
       raw_reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"), kGone},
      {"truncated JSON", json_reply("{\"header\":{\"revision\":\"7\"},\"kvs\":[{\"key"), kGone},
      {"no JSON", json_reply("<html>proxy</html>"), kGone},
      {"not an object", json_reply("[]"), kGone, "no object"},
      {"deep JSON", json_reply(std::string(100000, '[')), kGone},
      {"no revision", json_reply("{\"kvs\":[]}"), kGone, "revision is missing"},
      {"revision of another type", json_reply("{\"header\":{\"revision\":{}}}"), kGone, "no number"},
      {"negative revision", json_reply("{\"header\":{\"revision\":\"-1\"}}"), kGone, "no number"},
      {"huge revision", json_reply("{\"header\":{\"revision\":\"99999999999999999999\"}}"), kGone,
       "no number"},
      {"kvs of another type", json_reply("{\"header\":{\"revision\":\"7\"},\"kvs\":{}}"), kGone,
       "kvs is no array"},
      {"no base64",
       json_reply("{\"header\":{\"revision\":\"7\"},\"kvs\":[{\"key\":\"%\",\"mod_revision\":\"1\"}]}"),
       kGone, "no base64"},
      {"key outside", json_reply(range_reply({item_json("/q", "1", 3)})), kGone,
       "not those that were asked for"},
      {"keys backwards", json_reply(range_reply({item_json("/p/b", "1", 3), item_json("/p/a", "1", 3)})),
       kGone},
      {"endless pages", json_reply(range_reply({}, true)), kGone, "yet there is more"},
      {"the same page for ever", json_reply(range_reply({item_json("/p/a", "1", 3)}, true)), kGone},
      {"500", json_reply("", 500), kGone, "HTTP status 500"},
      {"503", json_reply(R"({"error":"etcdserver: no leader","code":14})", 503), kGone, "no leader"},
      {"400",
       json_reply(R"({"error":"etcdserver: mvcc: required revision has been compacted","code":11})", 400),
       ErrorCode::kInvalid, "compacted"},
      {"a redirection", json_reply("", 302), ErrorCode::kInvalid},
      {"not allowed", json_reply(R"({"error":"etcdserver: permission denied","code":7})", 403),
       ErrorCode::kDenied, "grant the role"},
      {"a token is wanted", json_reply(R"({"error":"etcdserver: user name is empty","code":3})", 400),
       ErrorCode::kDenied, "set cluster.user"},
  };
}

TEST(EtcdClient, EveryFaultIsAnErrorThatSaysSo) {
  for (const auto& fault : faults()) {
    ScriptedHttp server([&](const HttpRequest&) { return fault.reply; });
    EtcdClient client(options_for({server.url()}));
    const auto begun = std::chrono::steady_clock::now();
    const auto all = client.list("/p/");
    ASSERT_FALSE(all) << fault.name;
    EXPECT_EQ(all.error().code, fault.code) << fault.name << ": " << all.error().message;
    EXPECT_NE(all.error().message.find(fault.says), std::string::npos)
        << fault.name << ": " << all.error().message;
    EXPECT_LT(std::chrono::steady_clock::now() - begun, 30s) << fault.name;
  }
}

TEST(EtcdClient, GoesOnToTheNextServer) {
  ScriptedHttp ill([](const HttpRequest&) { return json_reply("", 503); });
  ScriptedHttp well([](const HttpRequest&) { return json_reply(range_reply({})); });
  EtcdClient client(options_for({"http://127.0.0.1:1", ill.url(), well.url()}));
  ASSERT_TRUE(client.list("/p/"));
  ASSERT_TRUE(client.list("/p/"));
  EXPECT_EQ(ill.requests().size(), 1u);  // it stays with the one that answers
  EXPECT_EQ(well.requests().size(), 2u);
}

TEST(EtcdClient, TellsOfEveryServerThatFailed) {
  EtcdClient client(options_for({"http://127.0.0.1:1", "https://127.0.0.1:2"}));
  const auto all = client.list("/p/");
  ASSERT_FALSE(all);
  EXPECT_NE(all.error().message.find("http://127.0.0.1:1: "), std::string::npos) << all.error().message;
  EXPECT_NE(all.error().message.find("https://127.0.0.1:2: "), std::string::npos) << all.error().message;
}

TEST(EtcdClient, ATlsHandshakeThatFailsIsToldAsThat) {
  ScriptedHttp plain([](const HttpRequest&) { return json_reply(range_reply({})); });
  auto url = plain.url();
  EtcdClient client(options_for({"https" + url.substr(4)}));
  const auto all = client.list("/p/");
  ASSERT_FALSE(all);
  EXPECT_EQ(all.error().code, ErrorCode::kUnavailable);
}

TEST(EtcdClient, NamesTheTlsFileThatItCannotRead) {
  auto options = options_for({"https://127.0.0.1:1"});
  options.tls.ca = "/no/such/ca.pem";
  const auto all = EtcdClient(std::move(options)).list("/p/");
  ASSERT_FALSE(all);
  EXPECT_NE(all.error().message.find("/no/such/ca.pem"), std::string::npos) << all.error().message;
}

class EtcdTokens : public ::testing::Test {
 protected:
  EtcdTokens() { std::ofstream(directory_.path() + "/password") << "secret\n"; }
  EtcdOptions options() {
    auto out = options_for({server_.url()});
    out.user = "podwire";
    out.password_file = directory_.path() + "/password";
    return out;
  }
  HttpReply serve(const HttpRequest& request) {
    if (request.path == "/v3/auth/authenticate") {
      const auto body = Json::parse(request.body);
      if (body["name"] != "podwire" || body["password"] != "secret")
        return json_reply(
            R"({"error":"etcdserver: authentication failed, invalid user ID or password","code":3})", 400);
      return json_reply("{\"token\":\"token-" + std::to_string(++tokens_) + "\"}");
    }
    if (request.authorization != valid_)
      return json_reply(R"({"error":"etcdserver: invalid auth token","code":16})", 401);
    return json_reply(range_reply({}));
  }

  TemporaryDirectory directory_;
  std::atomic<int> tokens_{0};
  std::string valid_ = "token-1";
  ScriptedHttp server_{[this](const HttpRequest& request) { return serve(request); }};
};

TEST_F(EtcdTokens, AreGotOnceAndRenewedWhenTheyExpire) {
  EtcdClient client(options());
  ASSERT_TRUE(client.list("/p/"));
  ASSERT_TRUE(client.list("/p/"));
  EXPECT_EQ(tokens_, 1);
  valid_ = "token-2";
  const auto renewed = client.list("/p/");
  ASSERT_TRUE(renewed) << renewed.error().message;
  EXPECT_EQ(tokens_, 2);
}

TEST_F(EtcdTokens, ThatAreNeverTakenEndInAnError) {
  valid_ = "another";
  EtcdClient client(options());
  const auto all = client.list("/p/");
  ASSERT_FALSE(all);
  EXPECT_EQ(all.error().code, ErrorCode::kDenied);
  EXPECT_EQ(tokens_, 2);
}

TEST_F(EtcdTokens, AWrongPasswordIsToldAsThat) {
  std::ofstream(directory_.path() + "/password") << "guess\n";
  EtcdClient client(options());
  const auto all = client.list("/p/");
  ASSERT_FALSE(all);
  EXPECT_EQ(all.error().code, ErrorCode::kDenied);
  EXPECT_NE(all.error().message.find("check cluster.user and cluster.password_file"), std::string::npos);
}

TEST(EtcdClient, CommitsOnConditions) {
  std::string sent;
  bool done = true;
  std::string answer = R"({"header":{"revision":"7"},"succeeded":true})";
  ScriptedHttp server([&](const HttpRequest& request) {
    sent = request.body;
    return json_reply(done ? answer : R"({"header":{"revision":"8"}})");
  });
  EtcdClient client(options_for({server.url()}));
  const EtcdTransaction transaction{{{"a", 0}, {"b", 5}}, {{"a", "1", 99}}, {"c"}};
  auto committed = client.commit(transaction);
  ASSERT_TRUE(committed);
  EXPECT_EQ(*committed, 7);
  EXPECT_EQ(Json::parse(sent), Json::parse(R"({
    "compare": [{"target":"MOD","result":"EQUAL","key":"YQ==","mod_revision":"0"},
                {"target":"MOD","result":"EQUAL","key":"Yg==","mod_revision":"5"}],
    "success": [{"request_put":{"key":"YQ==","value":"MQ==","lease":"99"}},
                {"request_delete_range":{"key":"Yw=="}}]})"));
  EtcdTransaction many;
  many.erased_below.push_back("d/");
  ASSERT_TRUE(client.commit(many));
  EXPECT_EQ(Json::parse(sent)["success"],
            Json::parse(R"([{"request_delete_range":{"key":"ZC8=","range_end":"ZDA="}}])"));
  done = false;
  committed = client.commit(transaction);
  ASSERT_TRUE(committed);
  EXPECT_EQ(*committed, 0);
  done = true;
  answer = R"({"header":{},"succeeded":true})";
  EXPECT_FALSE(client.commit(transaction));
}

TEST(EtcdClient, LeasesRunOut) {
  std::string reply = R"({"result":{"ID":"12","TTL":"15"}})";
  ScriptedHttp server([&](const HttpRequest& request) {
    return json_reply(request.path == "/v3/lease/grant" ? R"({"ID":"12","TTL":"15"})" : reply);
  });
  EtcdClient client(options_for({server.url()}));
  const auto lease = client.grant(15);
  ASSERT_TRUE(lease);
  EXPECT_EQ(*lease, 12);
  auto kept = client.keep_alive(*lease);
  ASSERT_TRUE(kept);
  EXPECT_TRUE(*kept);
  reply = R"({"result":{"ID":"12"}})";
  kept = client.keep_alive(*lease);
  ASSERT_TRUE(kept);
  EXPECT_FALSE(*kept);
  reply = "{}";
  EXPECT_FALSE(client.keep_alive(*lease));
}

// What watching a stream of these lines ends with, and the events that came.
struct Watched {
  Result<bool> end = true;
  std::vector<std::string> events;
};
Watched watch_lines(const std::string& lines, std::size_t wanted = SIZE_MAX, bool streams = true) {
  ScriptedHttp server([&](const HttpRequest&) {
    auto reply = json_reply(lines);
    reply.streams = streams;
    return reply;
  });
  EtcdClient client(options_for({server.url()}));
  Watched out;
  out.end = client.watch("/p/", 8, [&](const std::vector<EtcdEvent>& events) {
    for (const auto& event : events) out.events.push_back((event.erased ? "-" : "+") + event.item.key);
    return out.events.size() < wanted;
  });
  return out;
}

TEST(EtcdWatch, TellsEventsUntilNoneIsWanted) {
  const auto created = std::string("{\"result\":{\"header\":{\"revision\":\"8\"},\"created\":true}}\n");
  const auto one = "{\"result\":{\"events\":[{\"kv\":" + item_json("/p/a", "1", 9) + "}]}}\n";
  const auto two = "{\"result\":{\"events\":[{\"type\":\"DELETE\",\"kv\":" + item_json("/p/b", "", 10) +
                   "},{\"type\":\"PUT\",\"kv\":" + item_json("/p/c", "3", 10) + "}]}}\n";
  const auto watched = watch_lines(created + one + two, 3);
  ASSERT_TRUE(watched.end) << watched.end.error().message;
  EXPECT_EQ(watched.events, (std::vector<std::string>{"+/p/a", "-/p/b", "+/p/c"}));
}

TEST(EtcdWatch, FaultsEndIt) {
  const auto event = "{\"result\":{\"events\":[{\"kv\":" + item_json("/p/a", "1", 9) + "}]}}\n";
  const struct {
    const char* name;
    std::string lines;
    ErrorCode code;
  } cases[] = {
      {"compacted", "{\"result\":{\"canceled\":true,\"compact_revision\":\"20\"}}\n", ErrorCode::kNotFound},
      {"cancelled", "{\"result\":{\"canceled\":true,\"cancel_reason\":\"permission denied\"}}\n",
       ErrorCode::kUnavailable},
      {"error", "{\"error\":{\"grpc_code\":14,\"message\":\"transport is closing\"}}\n",
       ErrorCode::kUnavailable},
      {"no JSON", "{\"result\":\n", ErrorCode::kUnavailable},
      {"no object", "7\n", ErrorCode::kUnavailable},
      {"result of another type", "{\"result\":[]}\n", ErrorCode::kUnavailable},
      {"events of another type", "{\"result\":{\"events\":{}}}\n", ErrorCode::kUnavailable},
      {"an event without key", "{\"result\":{\"events\":[{}]}}\n", ErrorCode::kUnavailable},
      {"an unknown event",
       "{\"result\":{\"events\":[{\"type\":\"MOVE\",\"kv\":" + item_json("/p/a", "", 9) + "}]}}\n",
       ErrorCode::kUnavailable},
  };
  for (const auto& fault : cases) {
    const auto watched = watch_lines(event + fault.lines);
    ASSERT_FALSE(watched.end) << fault.name;
    EXPECT_EQ(watched.end.error().code, fault.code) << fault.name << ": " << watched.end.error().message;
    EXPECT_EQ(watched.events, std::vector<std::string>{"+/p/a"}) << fault.name;
  }
  const auto ended = watch_lines(event, SIZE_MAX, false);
  ASSERT_FALSE(ended.end);
  EXPECT_EQ(ended.end.error().code, ErrorCode::kUnavailable);
}

TEST(EtcdWatch, EndsWhenItIsCancelled) {
  ScriptedHttp server([](const HttpRequest&) {
    auto reply = json_reply("{\"result\":{\"created\":true}}\n");
    reply.streams = true;
    return reply;
  });
  EtcdClient client(options_for({server.url()}));
  std::atomic<bool> ended{false};
  std::thread canceller([&] {
    while (!ended) {
      std::this_thread::sleep_for(20ms);
      if (!server.requests().empty()) client.cancel();
    }
  });
  const auto end = client.watch("/p/", 8, [](const auto&) { return true; });
  ended = true;
  canceller.join();
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().code, ErrorCode::kUnavailable);
}

}  // namespace
}  // namespace podwire::control
