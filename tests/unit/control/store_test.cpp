#include "control/state/store.hpp"

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <set>
#include <thread>

#include "tests/unit/control/temporary_directory.hpp"

namespace podwire::control {
namespace {

IpAddr ip_of(const char* text) {
  return *parse_ip(text);
}

std::vector<DomainPools> pools() {
  DomainPools domain{"default", 1450, {}};
  domain.pools.emplace_back(AddressPool::Spec{*parse_prefix("10.244.1.0/24"), ip_of("10.244.1.1"), {}, {}});
  domain.pools.emplace_back(AddressPool::Spec{*parse_prefix("fd00:1::/64"), ip_of("fd00:1::1"), {}, {}});
  DomainPools small{"small", 1450, {}};
  small.pools.emplace_back(AddressPool::Spec{*parse_prefix("10.9.0.0/30"), ip_of("10.9.0.1"), {}, {}});
  return {domain, small};
}

class StoreTest : public ::testing::Test {
 protected:
  StoreTest() { open(); }
  // As a daemon does at its start.
  void open() {
    store_.reset();
    auto opened = Store::open(directory_.path() + "/state");
    ASSERT_TRUE(opened) << opened.error().message;
    store_ = std::move(*opened);
    store_->set_domains(pools());
  }
  static AttachmentRequest request(const std::string& container, const std::string& domain = "default") {
    AttachmentRequest r;
    r.key = {"podwire", container, "eth0"};
    r.domain = domain;
    r.netns_path = "/run/netns/" + container;
    r.netns_device = 4;
    r.netns_inode = 0xf000000012345678;
    r.config_json = R"({"name": "podwire"})";
    return r;
  }
  Attachment add(const AttachmentRequest& r) {
    auto added = store_->begin_add(r);
    EXPECT_TRUE(added) << added.error().message;
    return added ? *added : Attachment{};
  }
  void expect_refused(const AttachmentRequest& r, ErrorCode code, const std::string& text) {
    auto added = store_->begin_add(r);
    ASSERT_FALSE(added);
    EXPECT_EQ(added.error().code, code) << added.error().message;
    EXPECT_NE(added.error().message.find(text), std::string::npos) << added.error().message;
  }
  void remove(const std::string& container) {
    ASSERT_TRUE(store_->begin_delete(request(container).key));
    ASSERT_TRUE(store_->finish_delete(request(container).key));
  }
  std::string database() const { return directory_.path() + "/state/podwire.db"; }

  TemporaryDirectory directory_;
  std::unique_ptr<Store> store_;
};

TEST_F(StoreTest, AllotsEverythingAnAttachmentNeeds) {
  const auto a = add(request("c1"));
  EXPECT_EQ(a.state, AttachmentState::kAdding);
  EXPECT_EQ(a.port, PortId(1));
  EXPECT_EQ(a.endpoint, EndpointId(1));
  EXPECT_FALSE(a.mac.is_multicast());
  EXPECT_EQ(a.mac.bytes[0] & 2, 2);
  EXPECT_EQ(a.mtu, 1450);
  ASSERT_EQ(a.addresses.size(), 2u);
  EXPECT_EQ(to_string(a.addresses[0]), "10.244.1.2/24");
  EXPECT_EQ(to_string(a.addresses[1]), "fd00:1::2/64");
  ASSERT_EQ(a.gateways.size(), 2u);
  EXPECT_EQ(to_string(a.gateways[0]), "10.244.1.1");
}

TEST_F(StoreTest, KeepsEveryFieldAcrossARestart) {
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

TEST_F(StoreTest, ConcurrentAddsGetDistinctEverything) {
  constexpr int kCallers = 100;
  std::vector<Attachment> got(kCallers);
  std::vector<std::thread> threads;
  for (int i = 0; i < kCallers; ++i) {
    threads.emplace_back([&, i] {
      auto added = store_->begin_add(request("c" + std::to_string(i)));
      ASSERT_TRUE(added) << added.error().message;
      got[static_cast<std::size_t>(i)] = *added;
      ASSERT_TRUE(store_->mark_ready(added->key));
    });
  }
  for (auto& t : threads) t.join();
  std::set<IpPrefix> addresses;
  std::set<PortId> ports;
  std::set<MacAddr> macs;
  for (const auto& a : got) {
    addresses.insert(a.addresses.begin(), a.addresses.end());
    ports.insert(a.port);
    macs.insert(a.mac);
  }
  EXPECT_EQ(addresses.size(), 2u * kCallers);
  EXPECT_EQ(ports.size(), std::size_t{kCallers});
  EXPECT_EQ(ports.rbegin()->value(), kCallers);  // lowest first, no holes
  EXPECT_EQ(macs.size(), std::size_t{kCallers});
}

TEST_F(StoreTest, OneCallersFailureRollsBackOnlyItsOwn) {
  std::vector<std::thread> threads;
  std::atomic<int> added{0}, refused{0};
  for (int i = 0; i < 20; ++i) {
    threads.emplace_back([&, i] {
      auto r = request("c" + std::to_string(i));
      r.requested_ips = {ip_of("10.244.1.77")};  // one of them gets it
      store_->begin_add(r) ? ++added : ++refused;
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(added, 1);
  EXPECT_EQ(refused, 19);
  auto all = store_->list();
  ASSERT_TRUE(all);
  ASSERT_EQ(all->size(), 1u);
  EXPECT_EQ(all->front().port, PortId(1));
}

TEST_F(StoreTest, RefusesASecondAddOfTheSameKey) {
  add(request("c1"));
  expect_refused(request("c1"), ErrorCode::kConflict, "exists already in state \"adding\"");
  ASSERT_TRUE(store_->mark_ready(request("c1").key));
  expect_refused(request("c1"), ErrorCode::kConflict, "in state \"ready\"; delete it first (CNI DEL)");
}

TEST_F(StoreTest, DeletesInTwoStepsAndRepeats) {
  add(request("c1"));
  ASSERT_TRUE(store_->mark_ready(request("c1").key));
  for (int i = 0; i < 2; ++i) {
    auto begun = store_->begin_delete(request("c1").key);
    ASSERT_TRUE(begun && *begun);
    EXPECT_EQ((*begun)->addresses.size(), 2u);
  }
  auto ready = store_->mark_ready(request("c1").key);
  ASSERT_FALSE(ready);
  EXPECT_EQ(ready.error().code, ErrorCode::kConflict);
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(store_->finish_delete(request("c1").key));
  auto gone = store_->begin_delete(request("c1").key);
  ASSERT_TRUE(gone);
  EXPECT_FALSE(*gone);
  EXPECT_FALSE(store_->mark_ready(request("c1").key));
}

TEST_F(StoreTest, FreesIdsAndAddressesWithTheAttachment) {
  add(request("c1"));
  add(request("c2"));
  remove("c1");
  const auto usage = *store_->usage();
  EXPECT_EQ(usage[0].used, 1u);
  EXPECT_EQ(usage[0].free, 252u);
  EXPECT_EQ(add(request("c3")).port, PortId(1));  // lowest free
}

TEST_F(StoreTest, ReturningContainerGetsItsFormerAddress) {
  add(request("c0"));
  const auto first = add(request("c1"));
  remove("c1");
  add(request("c2"));  // the cursor moves on
  open();
  EXPECT_EQ(add(request("c1")).addresses, first.addresses);
}

TEST_F(StoreTest, FormerAddressThatIsTakenIsNotGiven) {
  const auto first = add(request("c1"));
  remove("c1");
  auto other = request("c2");
  other.requested_ips = {first.addresses[0].address};
  add(other);
  EXPECT_NE(add(request("c1")).addresses[0], first.addresses[0]);
}

TEST_F(StoreTest, ReleasedAddressIsNotReusedAtOnce) {
  const auto first = add(request("c1"));
  remove("c1");
  EXPECT_NE(add(request("c2")).addresses[0], first.addresses[0]);
}

TEST_F(StoreTest, ExhaustionNamesDomainAndNumbersAndEndsWithADelete) {
  add(request("c1", "small"));
  expect_refused(request("c2", "small"), ErrorCode::kExhausted,
                 "domain \"small\" has no IPv4 address left: all 1");
  remove("c1");
  EXPECT_EQ(to_string(add(request("c2", "small")).addresses[0]), "10.9.0.2/30");
}

TEST_F(StoreTest, RefusedAddLeavesNothing) {
  add(request("c1", "small"));
  expect_refused(request("c2", "small"), ErrorCode::kExhausted, "small");
  EXPECT_EQ(add(request("c3")).port, PortId(2));
  EXPECT_FALSE(*store_->find(request("c2").key));
}

TEST_F(StoreTest, RequestedAddresses) {
  auto r = request("c1");
  r.requested_ips = {ip_of("10.244.1.77")};
  const auto a = add(r);
  EXPECT_EQ(to_string(a.addresses[0]), "10.244.1.77/24");
  EXPECT_EQ(to_string(a.addresses[1]), "fd00:1::2/64");  // the other family as usual
  auto again = request("c2");
  again.requested_ips = {ip_of("10.244.1.77")};
  expect_refused(again, ErrorCode::kConflict, "taken by interface eth0 of container c1");
  again.requested_ips = {ip_of("10.244.1.1")};
  expect_refused(again, ErrorCode::kInvalid, "is the gateway");
  again.requested_ips = {ip_of("10.1.1.1")};
  expect_refused(again, ErrorCode::kInvalid,
                 "outside the prefixes of domain \"default\" (10.244.1.0/24, fd00:1::/64)");
  again.requested_ips = {ip_of("10.244.1.5"), ip_of("10.244.1.6")};
  expect_refused(again, ErrorCode::kInvalid, "one address a prefix");
}

TEST_F(StoreTest, DelegatedAddressesAreRecordedAndChecked) {
  auto r = request("c1");
  r.ipam_type = "host-local";
  r.fixed_addresses = {*parse_prefix("10.244.1.50/24")};
  r.gateways = {ip_of("10.244.1.1")};
  const auto a = add(r);
  EXPECT_EQ(a.addresses, r.fixed_addresses);
  EXPECT_EQ(a.gateways, r.gateways);
  auto again = request("c2");
  again.ipam_type = "host-local";
  again.fixed_addresses = r.fixed_addresses;
  expect_refused(again, ErrorCode::kConflict, "10.244.1.50");
  again.fixed_addresses = {*parse_prefix("10.244.1.1/24")};
  expect_refused(again, ErrorCode::kConflict, "is the gateway");
  remove("c1");
  add(again = [&] {
    auto x = request("c3");
    x.ipam_type = "host-local";
    x.fixed_addresses = r.fixed_addresses;
    return x;
  }());
}

TEST_F(StoreTest, RequestedMac) {
  auto r = request("c1");
  r.mac = *parse_mac("02:11:22:33:44:55");
  EXPECT_EQ(add(r).mac, *r.mac);
  auto again = request("c2");
  again.mac = r.mac;
  expect_refused(again, ErrorCode::kConflict, "taken by interface eth0 of container c1");
  again.mac = *parse_mac("02:70:77:00:00:01");
  expect_refused(again, ErrorCode::kConflict, "gateway");
  again.mac = *parse_mac("ff:ff:ff:ff:ff:ff");
  expect_refused(again, ErrorCode::kInvalid, "unicast");
}

TEST_F(StoreTest, UnknownDomainGetsASuggestion) {
  expect_refused(request("c1", "defualt"), ErrorCode::kNotFound, "did you mean \"default\"?");
}

TEST_F(StoreTest, IdsAreStableAndLowestFirst) {
  EXPECT_EQ(*store_->id_for("domain", "default"), 2u);
  EXPECT_EQ(*store_->id_for("domain", "blue"), 3u);
  EXPECT_EQ(*store_->id_for("port", "uplink"), 1u);
  open();
  EXPECT_EQ(*store_->id_for("domain", "default"), 2u);
  ASSERT_TRUE(store_->keep_ids("domain", {"blue"}));
  EXPECT_EQ(*store_->id_for("domain", "red"), 2u);
  EXPECT_EQ(*store_->id_for("domain", "blue"), 3u);
  EXPECT_EQ(add(request("c1")).port, PortId(2));  // the uplink has 1
}

TEST_F(StoreTest, PortsRunOut) {
  store_.reset();
  // One transaction in place of 4,095.
  sqlite3* raw = nullptr;
  ASSERT_EQ(sqlite3_open(database().c_str(), &raw), SQLITE_OK);
  const int filled =
      sqlite3_exec(raw,
                   "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 4095) "
                   "INSERT INTO ids(noun, name, id) SELECT 'port', 'taken/' || id, id FROM n",
                   nullptr, nullptr, nullptr);
  EXPECT_EQ(filled, SQLITE_OK) << sqlite3_errmsg(raw);
  sqlite3_close(raw);
  open();
  expect_refused(request("c1"), ErrorCode::kExhausted, "all from 1 to 4095 are in use");
}

TEST_F(StoreTest, FactsComeBack) {
  EXPECT_FALSE(*store_->get_fact("underlay"));
  ASSERT_TRUE(store_->set_fact("underlay", "{}"));
  open();
  EXPECT_EQ(**store_->get_fact("underlay"), "{}");
  ASSERT_TRUE(store_->set_fact("underlay", std::nullopt));
  EXPECT_FALSE(*store_->get_fact("underlay"));
}

TEST_F(StoreTest, WhatWasAnsweredSurvivesAKill) {
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

TEST_F(StoreTest, SocketsAndOptionsComeBack) {
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

TEST_F(StoreTest, DatabaseOfTheFirstVersionIsBroughtUp) {
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
      "ALTER TABLE address DROP COLUMN endpoint; PRAGMA user_version=1",
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

TEST_F(StoreTest, EndpointsGoWithTheirPort) {
  auto r = request("vm1");
  r.key = {"", "vm1", ""};
  const auto port = add(r);
  EndpointRequest e{r.key, "vip", std::nullopt, {ip_of("10.244.1.60")}, {true, "vip", {}}};
  EXPECT_FALSE(store_->add_endpoint(e)) << "the port is not ready";
  ASSERT_TRUE(store_->mark_ready(r.key));
  const auto with = store_->add_endpoint(e);
  ASSERT_TRUE(with) << with.error().message;
  ASSERT_EQ(with->extra_endpoints.size(), 1u);
  EXPECT_EQ(with->addresses, port.addresses) << "its own are not mixed with the other's";
  EXPECT_EQ(with->extra_endpoints[0].addresses, (std::vector<IpPrefix>{*parse_prefix("10.244.1.60/24")}));
  EXPECT_EQ(with->extra_endpoints[0].options, e.options);
  EXPECT_NE(with->extra_endpoints[0].id, port.endpoint);
  open();
  EXPECT_EQ((*store_->list())[0].extra_endpoints[0].mac, with->extra_endpoints[0].mac);
  ASSERT_TRUE(store_->finish_delete(r.key));
  auto again = add(r);
  EXPECT_TRUE(again.extra_endpoints.empty());
  ASSERT_TRUE(store_->mark_ready(r.key));
  EXPECT_TRUE(store_->add_endpoint(e)) << "name, id and address are free again";
  const auto without = store_->remove_endpoint(r.key, "vip");
  ASSERT_TRUE(without);
  EXPECT_TRUE(without->extra_endpoints.empty());
  EXPECT_TRUE(store_->remove_endpoint(r.key, "vip")) << "again";
}

TEST_F(StoreTest, SecondDaemonIsRefused) {
  auto second = Store::open(directory_.path() + "/state");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kConflict);
  EXPECT_NE(second.error().message.find("another podwired"), std::string::npos);
}

TEST_F(StoreTest, DamagedFileGivesAClearError) {
  store_.reset();
  std::ofstream(database(), std::ios::trunc) << std::string(8192, 'x');
  auto opened = Store::open(directory_.path() + "/state");
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().message.find(database()), std::string::npos) << opened.error().message;
  EXPECT_NE(opened.error().message.find("damaged"), std::string::npos) << opened.error().message;
}

TEST_F(StoreTest, ForeignAndNewerDatabasesAreRefused) {
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
