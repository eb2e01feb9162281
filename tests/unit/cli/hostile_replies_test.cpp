// Every reply with every one of its values removed or replaced by one of another type, through everything
// that reads it: the outcome is a page or an error with a message, never an exception.
#include <gtest/gtest.h>

#include <functional>

#include "control/cli/select.hpp"
#include "control/cli/stats.hpp"
#include "control/cli/views.hpp"
#include "tests/unit/cli/replies.hpp"

namespace podwire::control::cli {
namespace {

using Reader = std::function<Result<std::string>(const Json&)>;

const std::vector<Json>& replacements() {
  static const std::vector<Json> all{nullptr,
                                     true,
                                     -1,
                                     1e308,
                                     std::numeric_limits<std::int64_t>::min(),
                                     std::numeric_limits<std::uint64_t>::max(),
                                     "",
                                     "\033[2J\n",
                                     Json::array(),
                                     Json::object(),
                                     Json::array({1, nullptr, Json::object()}),
                                     Json{{"a", {{"b", 1}}}}};
  return all;
}

// Calls `visit` with each variant of `root` in which one value is replaced or gone. `at` points into `root`.
void for_each_variant(Json& root, Json& at, const std::function<void(const Json&)>& visit) {
  const Json original = at;
  for (const auto& other : replacements()) {
    at = other;
    visit(root);
  }
  at = original;
  if (at.is_object()) {
    for (const auto& [key, value] : original.items()) {
      at.erase(key);
      visit(root);
      at = original;
      for_each_variant(root, at[key], visit);
    }
  } else if (at.is_array()) {
    for (std::size_t i = 0; i < at.size(); ++i) for_each_variant(root, at[i], visit);
  }
}

void expect_survives(Json reply, const Reader& read) {
  int variants = 0;
  for_each_variant(reply, reply, [&](const Json& variant) {
    ++variants;
    const auto page = read(variant);
    if (!page) {
      EXPECT_FALSE(page.error().message.empty()) << variant.dump();
    } else {
      EXPECT_EQ(page->find('\033'), std::string::npos) << variant.dump();
    }
  });
  EXPECT_GT(variants, 20);
  EXPECT_TRUE(read(reply));
}

// A view, preceded by what `show` and `--names` do with the same reply.
Reader listed(const char* verb_name, const char* word,
              Result<std::string> (*view)(const Json&, const Style&)) {
  return [=](const Json& reply) -> Result<std::string> {
    const auto& verb = *find_verb(verb_name);
    if (const auto names = object_names(verb, reply); !names && names.error().message.empty()) {
      return Error{ErrorCode::kInternal, ""};
    }
    if (const auto found = select_named(verb, reply, word)) {
      PODWIRE_TRY(const std::string page, details_view(*found, verb.list_key.c_str(), {}));
      EXPECT_EQ(page.find('\033'), std::string::npos);
      PODWIRE_TRY(const std::string port,
                  verb.name == "port" ? port_view(with_counters(*found, *found), {}) : page);
      EXPECT_EQ(port.find('\033'), std::string::npos);
    }
    return view(reply, {});
  };
}

TEST(HostileReplies, Status) {
  expect_survives(status_reply(), [](const Json& reply) { return status_view(reply, {}); });
}

TEST(HostileReplies, Ports) {
  expect_survives(ports_reply(), listed("port", "4be3f0a1b2c3", ports_view));
}
TEST(HostileReplies, Domains) {
  expect_survives(domains_reply(), listed("domain", "77", domains_view));
}
TEST(HostileReplies, Endpoints) {
  expect_survives(endpoints_reply(), listed("endpoint", "10.244.1.10", endpoints_view));
}
TEST(HostileReplies, Routes) {
  expect_survives(routes_reply(), listed("route", "10.244.2.1", routes_view));
}
TEST(HostileReplies, Peers) {
  expect_survives(peers_reply(), listed("peer", "192.168.100.2", peers_view));
}

TEST(HostileReplies, Nodes) {
  expect_survives(nodes_reply(), listed("node", "node-b", nodes_view));
}

TEST(HostileReplies, Explain) {
  const Json question = {{"from", "a"}, {"to", "b"}, {"protocol", "icmp"}};
  expect_survives(explain_reply(), [&](const Json& reply) { return explain_view(reply, question, {}); });
}

TEST(HostileReplies, Reconcile) {
  expect_survives(parsed(R"({"generation":43,"changed":1})"),
                  [](const Json& reply) { return reconcile_view(reply); });
}

TEST(HostileReplies, Stats) {
  const auto sane = *read_stats(stats_reply(), "all");
  for (const char* section : {"all", "ports", "stages", "drops", "domains", "ledger"}) {
    expect_survives(stats_reply(), [&](const Json& reply) -> Result<std::string> {
      PODWIRE_TRY(const Stats stats, read_stats(reply, section));
      filter_stats(reply, section);
      return totals_view(stats, section, {}) + rates_view(sane, stats, 1.0, section, {}) +
             rates_view(stats, sane, 1.0, section, {});
    });
  }
}

}  // namespace
}  // namespace podwire::control::cli
