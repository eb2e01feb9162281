// Long listings page by page, and an answer that has thousands of keys.
#include "control/cluster/etcd_pages.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <thread>

#include "control/cluster/etcd_messages.hpp"
#include "tests/unit/cluster/etcd_answers.hpp"

namespace podwire::control {
namespace {

// A store with so many keys below "/p/", in order.
class NumberedKeys {
 public:
  explicit NumberedKeys(int count) {
    for (int i = 0; i < count; ++i) keys_.insert("/p/" + std::to_string(100'000 + i));
  }
  HttpReply answer(const HttpRequest& request) const {
    const auto body = Json::parse(request.body);
    const auto from = *from_base64(body["key"].get<std::string>());
    const auto end = *from_base64(body["range_end"].get<std::string>());
    std::vector<std::string> items;
    auto at = keys_.lower_bound(from);
    for (; at != keys_.end() && *at < end && items.size() < body["limit"].get<std::size_t>(); ++at)
      items.push_back(item_json(*at, "x", 3));
    return json_reply(range_reply(items, at != keys_.end() && *at < end));
  }
  std::set<std::string> keys_;
};

Json body_of_request(const ScriptedHttp& server, std::size_t number) {
  return Json::parse(server.requests().at(number).body);
}

std::vector<std::string> keys_of(Result<std::vector<EtcdItem>> page) {
  std::vector<std::string> keys;
  EXPECT_TRUE(page) << page.error().message;
  if (!page) return keys;
  for (const auto& item : *page) keys.push_back(item.key);
  return keys;
}

TEST(EtcdPages, GrowAsLongAsAnswersComeQuickly) {
  const NumberedKeys store(9000);
  ScriptedHttp server([&](const HttpRequest& request) { return store.answer(request); });
  EtcdClient client(options_for({server.url()}, 30s));
  const auto all = client.list("/p/");
  ASSERT_TRUE(all) << all.error().message;
  EXPECT_EQ(all->items.size(), 9000u);
  EXPECT_TRUE(std::is_sorted(all->items.begin(), all->items.end(),
                             [](const EtcdItem& a, const EtcdItem& b) { return a.key < b.key; }));
  const auto requests = server.requests().size();
  EXPECT_LE(requests, 5u);
  for (std::size_t i = 1; i < requests; ++i) EXPECT_EQ(body_of_request(server, i).value("revision", ""), "7");
}

TEST(EtcdPages, ShrinkWhereAnswersAreSlow) {
  const NumberedKeys store(5000);
  ScriptedHttp server([&](const HttpRequest& request) {
    auto reply = store.answer(request);
    if (server.requests().size() == 1) reply.delay = 1700ms;
    return reply;
  });
  EtcdClient client(options_for({server.url()}, 30s));
  EtcdPages pages(client, {EtcdSpan::below("/p/")});
  EXPECT_EQ(keys_of(pages.next()).size(), 2000u);
  EXPECT_LE(keys_of(pages.next()).size(), 1000u);
}

TEST(EtcdPages, TheNextIsOnItsWayWhileOneIsLookedAt) {
  const NumberedKeys store(3000);
  ScriptedHttp server([&](const HttpRequest& request) { return store.answer(request); });
  EtcdClient client(options_for({server.url()}, 30s));
  EtcdPages pages(client, {EtcdSpan::below("/p/")});
  EXPECT_EQ(keys_of(pages.next()).size(), 2000u);
  for (int i = 0; i < 2000 && server.requests().size() < 2; ++i) std::this_thread::sleep_for(5ms);
  EXPECT_EQ(server.requests().size(), 2u);
  EXPECT_EQ(keys_of(pages.next()).size(), 1000u);
  EXPECT_TRUE(keys_of(pages.next()).empty());
  EXPECT_TRUE(keys_of(pages.next()).empty());
  EXPECT_EQ(server.requests().size(), 2u);
}

TEST(EtcdPages, SpansAreReadAtOneRevision) {
  ScriptedHttp server([](const HttpRequest& request) {
    const auto from = *from_base64(Json::parse(request.body)["key"].get<std::string>());
    if (from == "/p/b/") return json_reply(range_reply({}));
    return json_reply(range_reply({item_json(from + "1", "", 3)}));
  });
  EtcdClient client(options_for({server.url()}, 30s));
  EtcdPages pages(client, {EtcdSpan::below("/p/a/"), EtcdSpan::below("/p/b/"), {"/p/c", "/p/x"}});
  EXPECT_EQ(keys_of(pages.next()), std::vector<std::string>{"/p/a/1"});
  EXPECT_EQ(pages.revision(), 7);
  EXPECT_EQ(keys_of(pages.next()), std::vector<std::string>{"/p/c1"});
  EXPECT_TRUE(keys_of(pages.next()).empty());
  ASSERT_EQ(server.requests().size(), 3u);
  EXPECT_FALSE(body_of_request(server, 0).contains("revision"));
  EXPECT_EQ(body_of_request(server, 1).value("revision", ""), "7");
  EXPECT_EQ(body_of_request(server, 2)["range_end"], to_base64("/p/x"));
  EtcdPages later(client, {EtcdSpan::below("/p/a/")}, 5);
  EXPECT_EQ(keys_of(later.next()).size(), 1u);
  EXPECT_EQ(body_of_request(server, 3).value("revision", ""), "5");
}

TEST(EtcdPages, AnErrorIsTheEnd) {
  const NumberedKeys store(3000);
  ScriptedHttp server([&](const HttpRequest& request) {
    return server.requests().size() == 1 ? store.answer(request) : json_reply("", 503);
  });
  EtcdClient client(options_for({server.url()}, 30s));
  EtcdPages pages(client, {EtcdSpan::below("/p/")});
  EXPECT_EQ(keys_of(pages.next()).size(), 2000u);
  const auto second = pages.next();
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kUnavailable);
  EXPECT_TRUE(keys_of(pages.next()).empty());
}

TEST(EtcdPages, WhoHasEnoughDoesNotWaitForTheNext) {
  const NumberedKeys store(3000);
  ScriptedHttp server([&](const HttpRequest& request) {
    auto reply = store.answer(request);
    if (server.requests().size() > 1) reply.delay = 60s;
    return reply;
  });
  EtcdClient client(options_for({server.url()}, 120s));
  const auto begun = std::chrono::steady_clock::now();
  {
    EtcdPages pages(client, {EtcdSpan::below("/p/")});
    EXPECT_EQ(keys_of(pages.next()).size(), 2000u);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begun, 30s);
}

TEST(EtcdPage, IsReadWhateverStandsBetween) {
  const auto page =
      read_etcd_page(R"({"kvs":[{"version":"3","key":"YQ==","create_revision":"2","value":"Yg==",
      "mod_revision":"5","lease":"77","of newer versions":[{"key":"eA=="},[[]],null]},
      {"key":"Yw==","mod_revision":6,"value":""}],"count":"2","header":{"cluster_id":"1","raft":{"revision":"9"},
      "revision":"8"},"more":true,"more still":{"more":false}})");
  ASSERT_TRUE(page) << page.error().message;
  EXPECT_EQ(page->revision, 8);
  EXPECT_TRUE(page->more);
  EXPECT_EQ(page->items, (std::vector<EtcdItem>{{"a", "b", 5, 77}, {"c", "", 6}}));
}

TEST(EtcdPage, CutShortItIsNone) {
  const auto whole = range_reply({item_json("/p/a", "1", 3), item_json("/p/b", "2", 4)}, true);
  ASSERT_TRUE(read_etcd_page(whole));
  for (std::size_t length = 0; length < whole.size(); ++length)
    EXPECT_FALSE(read_etcd_page(whole.substr(0, length))) << length;
}

TEST(EtcdPage, OfAnotherShapeItIsNone) {
  const std::pair<const char*, const char*> cases[] = {
      {"7", "no object"},
      {R"({"header":7})", "header is no object"},
      {R"({"header":{"revision":"7"},"kvs":null})", "kvs is no array"},
      {R"({"header":{"revision":"7"},"kvs":[7]})", "are no object"},
      {R"({"header":{"revision":"7"},"kvs":[[]]})", "are no object"},
      {R"({"header":{"revision":"7"},"kvs":[{"key":7,"mod_revision":"1"}]})", "key is no text"},
      {R"({"header":{"revision":"7"},"kvs":[{"key":"YQ==","value":{},"mod_revision":"1"}]})",
       "value is no text"},
      {R"({"header":{"revision":"7"},"kvs":[{"key":"YQ==","mod_revision":1.5}]})",
       "mod_revision is no number"},
      {R"({"header":{"revision":"7"},"kvs":[{"key":"YQ==","mod_revision":"1","lease":"-1"}]})",
       "lease is no number"},
      {R"({"header":{"revision":"7"},"kvs":[{"key":"YQ=="}]})", "a key or its revision is missing"},
      {R"({"header":{"revision":18446744073709551615}})", "revision is no number"},
      {R"({"header":null})", "revision is missing"},
  };
  for (const auto& [text, says] : cases) {
    const auto page = read_etcd_page(text);
    ASSERT_FALSE(page) << text;
    EXPECT_EQ(page.error().code, ErrorCode::kUnavailable);
    EXPECT_NE(page.error().message.find(says), std::string::npos) << text << ": " << page.error().message;
  }
  EXPECT_FALSE(read_etcd_page("{\"x\":" + std::string(1000, '[') + std::string(1000, ']') + "}"));
}

}  // namespace
}  // namespace podwire::control
