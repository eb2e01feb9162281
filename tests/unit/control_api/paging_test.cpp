#include "control/api/paging.hpp"

#include <sqlite3.h>
#include <sys/resource.h>

#include "tests/unit/control_api/daemon_fixture.hpp"

namespace podwire::control {
namespace {

Json objects(const std::vector<int>& ids, std::size_t bytes = 1) {
  Json list = Json::array();
  for (const auto id : ids)
    list.push_back({{"id", static_cast<unsigned>(id)}, {"name", std::string(bytes, 'x')}});
  return list;
}

TEST(Paging, KeepsOrderLimitAndSize) {
  const auto all = make_page("things", objects({3, 1, 2}), {});
  EXPECT_EQ(all, (Json{{"things", objects({1, 2, 3})}}));
  const auto first = make_page("things", objects({3, 1, 2}), {0, 2});
  EXPECT_EQ(first["things"], objects({1, 2}));
  EXPECT_EQ(first["next_after"], 2);
  const auto rest = make_page("things", objects({3, 1, 2}), {2, 2});
  EXPECT_EQ(rest, (Json{{"things", objects({3})}}));
  const auto large = make_page("things", objects({1, 2, 3}, 300'000), {});
  EXPECT_EQ(large["things"].size(), 1u);
  EXPECT_EQ(make_page("things", objects({1}, 2'000'000), {})["things"].size(), 1u) << "never an empty page";
  EXPECT_EQ(make_page("things", Json::array(), {}), (Json{{"things", Json::array()}}));
  Json nameless = {{{"name", "a"}}, {{"name", "b"}}, {{"name", "c"}}};
  EXPECT_EQ(make_page("things", nameless, {1, 1}), (Json{{"things", {{{"name", "b"}}}}, {"next_after", 2}}));
}

TEST(Paging, ParametersAreReadStrictly) {
  EXPECT_EQ(read_page(*parse_json(R"({"after":7,"limit":3})", "test"))->after, 7u);
  for (const char* bad : {R"({"limit":0})", R"({"after":-1})", R"({"aftre":1})", R"({"limit":"x"})"})
    EXPECT_FALSE(read_page(*parse_json(bad, "test"))) << bad;
}

// As many ports as there can be, but for the node's own.
TEST_F(DaemonTest, FourThousandAttachmentsAreListedInPages) {
  store.reset();
  sqlite3* raw = nullptr;
  ASSERT_EQ(sqlite3_open((directory.path() + "/state/podwire.db").c_str(), &raw), SQLITE_OK);
  const int filled = sqlite3_exec(
      raw,
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000) "
      "INSERT INTO attachment(port, endpoint, network, container_id, ifname, state, netns_path, "
      "netns_device, "
      "netns_inode, domain, mac, gateways, mtu, queues, ipam_type, config_json, pod_namespace, pod_name, "
      "pod_uid)"
      "SELECT i, i, 'podnet', printf('%064d', i), 'eth0', 'ready', '/run/netns/' || i, 1, i, 'default', "
      "printf('0a:58:0a:f4:%02x:%02x', i / 256, i % 256), '[]', 1450, 1, '', '{}', 'some-namespace', "
      "'some-deployment-' || i, '' FROM n",
      nullptr, nullptr, nullptr);
  EXPECT_EQ(filled, SQLITE_OK) << sqlite3_errmsg(raw);
  sqlite3_close(raw);
  rlimit limit{};  // the reconciler and the engine both hold a descriptor a tap
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  limit.rlim_cur = limit.rlim_max;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  engine.start();
  start();
  int pages = 0;
  for (const char* list : {"endpoints", "ports"}) {
    const auto all = whole(list, list, pages);
    ASSERT_EQ(all.size(), 4000u) << list;
    EXPECT_GT(pages, 1) << list;
    for (unsigned i = 0; i < 4000; ++i) ASSERT_EQ(all[i]["id"], i + 1) << list;
  }
  EXPECT_EQ(whole("endpoints", "endpoints", pages, {{"limit", 1500}}).size(), 4000u);
  EXPECT_EQ(pages, 3);
  EXPECT_EQ(whole("stats", "ports", pages).size(), 4000u);
  EXPECT_EQ((*call("ports", {{"after", 3999}}))["ports"][0]["attachment"]["pod_name"],
            "some-deployment-4000");
  const auto status = call("status");
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ((*status)["counts"]["ports"], 4000);
}

}  // namespace
}  // namespace podwire::control
