// The store as a file: what survives restarts and kills, older and foreign databases, damage.
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "tests/unit/control/store_fixture.hpp"

namespace podwire::control {
namespace {

using StoreFileTest = StoreTest;

TEST_F(StoreFileTest, KeepsEveryFieldAcrossARestart) {
  auto r = request("c1");
  r.mtu = 1400;
  r.queues = 4;
  r.pod_namespace = "ns";
  r.pod_name = "web";
  r.pod_uid = "u-1";
  const auto before = add(r);
  const auto epoch = store_->epoch();
  open();
  EXPECT_EQ(store_->epoch(), epoch + 1);
  auto found = store_->find(r.key);
  ASSERT_TRUE(found && *found);
  const auto& after = **found;
  EXPECT_EQ(after.key, before.key);
  EXPECT_EQ(after.netns_path, r.netns_path);
  EXPECT_EQ(after.netns_inode, r.netns_inode);
  EXPECT_EQ(after.port, before.port);
  EXPECT_EQ(after.endpoint, before.endpoint);
  EXPECT_EQ(after.mac, before.mac);
  EXPECT_EQ(after.addresses, before.addresses);
  EXPECT_EQ(after.gateways, before.gateways);
  EXPECT_EQ(after.mtu, 1400);
  EXPECT_EQ(after.queues, 4);
  EXPECT_EQ(after.config_json, r.config_json);
  EXPECT_EQ(after.pod_name, "web");
  EXPECT_EQ(after.state, AttachmentState::kAdding);
}

TEST_F(StoreFileTest, FactsComeBack) {
  EXPECT_FALSE(*store_->get_fact("underlay"));
  ASSERT_TRUE(store_->set_fact("underlay", "{}"));
  open();
  EXPECT_EQ(**store_->get_fact("underlay"), "{}");
  ASSERT_TRUE(store_->set_fact("underlay", std::nullopt));
  EXPECT_FALSE(*store_->get_fact("underlay"));
}

TEST_F(StoreFileTest, WhatWasAnsweredSurvivesAKill) {
  store_.reset();
  const auto child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto opened = Store::open(directory_.path() + "/state");
    if (!opened) ::_exit(1);
    (*opened)->set_domains(pools());
    for (int i = 0; i < 10; ++i) {
      if (!(*opened)->begin_add(request("c" + std::to_string(i)))) ::_exit(2);
    }
    ::kill(::getpid(), SIGKILL);  // no destructor, no checkpoint
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status)) << WEXITSTATUS(status);
  open();
  EXPECT_EQ(store_->list()->size(), 10u);
  EXPECT_EQ(add(request("c10")).port, PortId(11));
}

TEST_F(StoreFileTest, SocketsAndOptionsComeBack) {
  auto r = request("c1");
  r.kind = api::PortKind::kMemif;
  r.socket = {"", api::SocketMode::kClient, 107, 0660, 3, "sesame", 512, 4096, true};
  r.pods_directory = "/run/podwire/pods";
  r.device_info = "/run/info.json";
  r.options = {true, "web-1", {{*parse_prefix("10.9.0.0/24"), *parse_mac("02:00:00:00:00:09")}}};
  const auto added = add(r);
  EXPECT_EQ(added.socket.path, "/run/podwire/pods/c1/eth0.sock");
  open();
  const auto found = **store_->find(r.key);
  EXPECT_EQ(found.kind, added.kind);
  EXPECT_EQ(found.socket, added.socket);
  EXPECT_EQ(found.pod_directory, "/run/podwire/pods/c1");
  EXPECT_EQ(found.device_info, r.device_info);
  EXPECT_EQ(found.options, r.options);
}

TEST_F(StoreFileTest, DatabaseOfTheFirstVersionIsBroughtUp) {
  const auto old = add(request("c1"));
  ASSERT_TRUE(store_->mark_ready(old.key));
  store_.reset();
  // Back to what the first version made.
  sqlite3* raw = nullptr;
  ASSERT_EQ(sqlite3_open(database().c_str(), &raw), SQLITE_OK);
  const int undone = sqlite3_exec(
      raw,
      "DROP INDEX attachment_by_socket; DROP INDEX attachment_by_container;"
      "DROP INDEX attachment_by_directory; DROP TABLE extra_endpoint;"
      "ALTER TABLE attachment DROP COLUMN kind; ALTER TABLE attachment DROP COLUMN socket;"
      "ALTER TABLE attachment DROP COLUMN pod_directory; ALTER TABLE attachment DROP COLUMN options;"
      "ALTER TABLE address DROP COLUMN endpoint;"
      "DROP TABLE manifest; DROP TABLE published_port; PRAGMA user_version=1",
      nullptr, nullptr, nullptr);
  EXPECT_EQ(undone, SQLITE_OK) << sqlite3_errmsg(raw);
  sqlite3_close(raw);
  open();
  const auto all = *store_->list();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].key, old.key);
  EXPECT_EQ(all[0].addresses, old.addresses);
  EXPECT_EQ(all[0].kind, api::PortKind::kTap);
  EXPECT_EQ(add(request("c2")).port, PortId(2));
}

TEST_F(StoreFileTest, SecondDaemonIsRefused) {
  auto second = Store::open(directory_.path() + "/state");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kConflict);
  EXPECT_NE(second.error().message.find("another podwired"), std::string::npos);
}

TEST_F(StoreFileTest, DamagedFileGivesAClearError) {
  store_.reset();
  std::ofstream(database(), std::ios::trunc) << std::string(8192, 'x');
  auto opened = Store::open(directory_.path() + "/state");
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().message.find(database()), std::string::npos) << opened.error().message;
  EXPECT_NE(opened.error().message.find("damaged"), std::string::npos) << opened.error().message;
}

TEST_F(StoreFileTest, ForeignAndNewerDatabasesAreRefused) {
  store_.reset();
  sqlite3* raw = nullptr;
  ASSERT_EQ(sqlite3_open(database().c_str(), &raw), SQLITE_OK);
  sqlite3_exec(raw, "PRAGMA user_version=99", nullptr, nullptr, nullptr);
  auto newer = Store::open(directory_.path() + "/state");
  ASSERT_FALSE(newer);
  EXPECT_NE(newer.error().message.find("schema version 99"), std::string::npos) << newer.error().message;
  sqlite3_exec(raw, "PRAGMA application_id=1", nullptr, nullptr, nullptr);
  auto foreign = Store::open(directory_.path() + "/state");
  ASSERT_FALSE(foreign);
  EXPECT_NE(foreign.error().message.find("some other program"), std::string::npos) << foreign.error().message;
  sqlite3_close(raw);
}

TEST(Store, UnusableDirectoryIsNamed) {
  auto opened = Store::open("/dev/null/state");
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().message.find("/dev/null/state"), std::string::npos);
}

}  // namespace
}  // namespace podwire::control
