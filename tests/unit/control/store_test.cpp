// What the store allots, and to whom: ids, ports, addresses, MACs.
#include <sqlite3.h>

#include <set>
#include <thread>

#include "tests/unit/control/store_fixture.hpp"

namespace podwire::control {
namespace {

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

}  // namespace
}  // namespace podwire::control
