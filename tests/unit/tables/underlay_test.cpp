// Underlay: slots, the way to a VTEP, neighbours and what workers then read.
#include "dataplane/tables/underlay.hpp"

#include <gtest/gtest.h>
#include <algorithm>

#include "tests/unit/tables/objects.hpp"

namespace podwire::engine {
namespace {

using namespace testing_objects;

class UnderlayTest : public testing::Test {
 protected:
  void SetUp() override {
    auto& port = ports[PortId(1)];
    port.id = PortId(1);
    port.role = api::PortRole::kUplink;
    port.mac = mac(0xaa);
    port.mtu = 1500;
    base.ports = {uplink(1)};
    base.vteps = {vtep(1, "192.168.100.1", true), vtep(2, "192.168.100.2"), vtep(3, "10.9.0.3")};
    base.routes = {route(1, "192.168.100.0/24", {via_port(1)}, 1),
                   route(2, "0.0.0.0/0", {via_port(1, "192.168.100.254")}, 1)};
    change(base);
  }

  void change(const api::ObjectSet& put, const api::IdSet& remove = {}) {
    const auto staged = intent.stage(put, remove);
    ASSERT_TRUE(staged) << staged.error().message;
    underlay.add_slots(*staged, now);
    underlay.update(*staged, now);
    gone = underlay.remove_slots(*staged, now);
    underlay.tick(now);
  }
  Snapshot view() {
    Snapshot snapshot;
    underlay.fill(snapshot);
    return snapshot;
  }
  VtepEntry entry(std::uint32_t id) { return view().vteps.at(underlay.slot_of(VtepId(id))); }
  void answer(const std::string& address, const MacAddr& from) {
    underlay.learn_neighbor({PortId(1), ip(address)}, from, true, now);
  }

  std::map<PortId, PortEntry> ports;
  std::vector<std::string> asked;
  std::vector<std::uint32_t> gone;
  std::uint64_t now = 1'000'000;
  Intent intent;
  api::ObjectSet base;
  Underlay underlay{
      intent,
      [this](PortId id) {
        const auto it = ports.find(id);
        return it == ports.end() ? nullptr : &it->second;
      },
      [this](const NeighborKey& key, const MacAddr&) { asked.push_back(to_string(key.address)); }};
};

TEST_F(UnderlayTest, OnLinkVtepIsAskedForItselfAndOthersForTheirGateway) {
  EXPECT_EQ(asked, (std::vector<std::string>{"192.168.100.2", "192.168.100.254"}));
  EXPECT_EQ(underlay.reach(underlay.slot_of(VtepId(2))), VtepReach::kWaiting);
  EXPECT_FALSE(entry(2).resolved);
  EXPECT_TRUE(entry(2).has_source);
  EXPECT_EQ(entry(2).mtu, 1450);
}

TEST_F(UnderlayTest, AnswerResolvesEveryVtepBehindTheNextHop) {
  change({.vteps = {vtep(4, "10.9.0.4")}});
  underlay.take_publish_needed();
  answer("192.168.100.254", mac(0xfe));
  EXPECT_TRUE(underlay.take_publish_needed());
  for (const auto id : {3u, 4u}) {
    EXPECT_TRUE(entry(id).resolved);
    EXPECT_EQ(entry(id).egress, PortId(1));
    MacAddr destination;
    std::copy_n(entry(id).header.begin(), destination.bytes.size(), destination.bytes.begin());
    EXPECT_EQ(destination, mac(0xfe));
  }
  EXPECT_FALSE(entry(2).resolved);
  EXPECT_EQ(underlay.take_settled(), (std::set<NeighborKey>{{PortId(1), ip("192.168.100.254")}}));
}

TEST_F(UnderlayTest, Ipv6AndVlanAreInHeaderAndMtu) {
  ports[PortId(1)].vlan = 100;
  change({.vteps = {vtep(5, "fd00:100::1", true), vtep(6, "fd00:100::2")},
          .routes = {route(5, "fd00:100::/64", {via_port(1)}, 1)}});
  answer("fd00:100::2", mac(0x66));
  EXPECT_TRUE(entry(6).resolved);
  EXPECT_TRUE(entry(6).v6);
  EXPECT_EQ(entry(6).header_bytes, 74);
  EXPECT_EQ(entry(6).l3_offset, 18);
  EXPECT_EQ(entry(6).mtu, 1430);
}

TEST_F(UnderlayTest, VtepWithoutSourceOrRouteIsNotAskedFor) {
  asked.clear();
  change({.vteps = {vtep(5, "192.168.100.5", false, 8472), vtep(6, "fd00::6")}});
  EXPECT_TRUE(asked.empty());
  EXPECT_EQ(underlay.reach(underlay.slot_of(VtepId(5))), VtepReach::kNoSource);
  EXPECT_FALSE(entry(5).has_source);
  change({.vteps = {vtep(7, "fd00::7", true)}});
  EXPECT_EQ(underlay.reach(underlay.slot_of(VtepId(6))), VtepReach::kNoRoute);
  change({.vteps = {vtep(8, "192.168.100.1", true, 8472)}});
  EXPECT_EQ(underlay.reach(underlay.slot_of(VtepId(5))), VtepReach::kWaiting);
  EXPECT_EQ(asked, std::vector<std::string>{"192.168.100.5"});
}

TEST_F(UnderlayTest, ARouteConcernsTheVtepsOfItsPrefixOnly) {
  change({.vteps = {vtep(4, "10.9.1.1"), vtep(5, "fd00:100::1", true), vtep(6, "a09:3::1")},
          .routes = {route(6, "a00::/8", {via_port(1, "fd00:100::fe")}, 1)}});
  answer("192.168.100.254", mac(0xfe));
  answer("fd00:100::fe", mac(0x6e));
  const auto hop_of = [&](std::uint32_t id) { return *underlay.next_hop(underlay.slot_of(VtepId(id))); };
  const auto add = [&](std::uint32_t id, const char* prefix) {
    asked.clear();
    change({.routes = {route(id, prefix, {via_port(1, "192.168.100.77")}, 1)}});
    return asked;
  };
  const std::vector<std::string> gateway{"192.168.100.77"};
  underlay.take_publish_needed();
  EXPECT_TRUE(add(10, "10.8.0.0/16").empty()) << "nobody is there";
  EXPECT_TRUE(add(11, "10.9.0.4/32").empty());
  EXPECT_FALSE(underlay.take_publish_needed());
  EXPECT_EQ(add(12, "10.9.0.0/24"), gateway);
  EXPECT_EQ(hop_of(3).address, ip("192.168.100.77"));
  EXPECT_EQ(hop_of(4).address, ip("192.168.100.254"));
  EXPECT_EQ(hop_of(6).address, ip("fd00:100::fe"));
  // One that goes lets them fall back to what is left, one that changes takes them along.
  change({}, {.routes = {RouteId(12)}});
  EXPECT_EQ(hop_of(3).address, ip("192.168.100.254"));
  change({.routes = {route(10, "10.9.1.1/32", {via_port(1, "192.168.100.78")}, 1)}});
  EXPECT_EQ(hop_of(4).address, ip("192.168.100.78"));
  change({.routes = {route(10, "10.9.0.0/32", {via_port(1, "192.168.100.78")}, 1)}});
  EXPECT_EQ(hop_of(4).address, ip("192.168.100.254"));
  change({.routes = {route(2, "0.0.0.0/0", {via_port(1, "192.168.100.79")}, 1)}});
  EXPECT_EQ(hop_of(3).address, ip("192.168.100.79"));
  EXPECT_EQ(hop_of(4).address, ip("192.168.100.79"));
  EXPECT_EQ(hop_of(2).address, ip("192.168.100.2"));
}

TEST_F(UnderlayTest, BlackholeAndHostRoutesLeadNowhere) {
  ports[PortId(2)].id = PortId(2);
  ports[PortId(2)].role = api::PortRole::kHost;
  change({.ports = {host_tap(2)},
          .routes = {route(7, "10.9.0.3/32", {}, 1), route(8, "192.168.100.2/32", {via_port(2)}, 1)}});
  EXPECT_EQ(underlay.reach(underlay.slot_of(VtepId(3))), VtepReach::kNoRoute);
  EXPECT_EQ(underlay.reach(underlay.slot_of(VtepId(2))), VtepReach::kNoRoute);
  EXPECT_EQ(entry(2).mtu, 0);
  EXPECT_EQ(underlay.neighbors().size(), 0u);
}

TEST_F(UnderlayTest, RouteChangeMovesToAnotherNextHop) {
  answer("192.168.100.254", mac(0xfe));
  ASSERT_TRUE(entry(3).resolved);
  underlay.take_settled();
  change({.routes = {route(2, "0.0.0.0/0", {via_port(1, "192.168.100.253")}, 1)}});
  EXPECT_FALSE(entry(3).resolved);
  EXPECT_EQ(underlay.next_hop(underlay.slot_of(VtepId(3))), (NeighborKey{PortId(1), ip("192.168.100.253")}));
  EXPECT_EQ(underlay.neighbors().find({PortId(1), ip("192.168.100.254")}), nullptr);
  EXPECT_TRUE(underlay.take_settled().contains({PortId(1), ip("192.168.100.254")}));
}

TEST_F(UnderlayTest, ChangedAddressKeepsTheSlotAndAsksAnew) {
  answer("192.168.100.2", mac(0x22));
  const auto slot = underlay.slot_of(VtepId(2));
  change({.vteps = {vtep(2, "192.168.100.22")}});
  EXPECT_EQ(underlay.slot_of(VtepId(2)), slot);
  EXPECT_FALSE(entry(2).resolved);
  EXPECT_EQ(view().vtep4->find(vtep4_key(ip("192.168.100.22").v4(), 4789)), slot);
  EXPECT_EQ(view().vtep4->find(vtep4_key(ip("192.168.100.2").v4(), 4789)), 0u);
}

TEST_F(UnderlayTest, LostNeighborMakesItsVtepsUnresolved) {
  answer("192.168.100.2", mac(0x22));
  EXPECT_TRUE(entry(2).resolved);
  for (int i = 0; i < 400; ++i) underlay.tick(now += 100);
  EXPECT_FALSE(entry(2).resolved);
  EXPECT_EQ(underlay.reach(underlay.slot_of(VtepId(2))), VtepReach::kFailed);
  answer("192.168.100.2", mac(0x23));
  EXPECT_EQ(underlay.reach(underlay.slot_of(VtepId(2))), VtepReach::kResolved);
}

TEST_F(UnderlayTest, FreedSlotsRestBeforeTheyAreReused) {
  const auto slot = underlay.slot_of(VtepId(2));
  change({}, {.vteps = {VtepId(2)}});
  EXPECT_EQ(gone, std::vector<std::uint32_t>{slot});
  EXPECT_FALSE(view().vteps.at(slot).known);
  EXPECT_EQ(underlay.reach(slot), VtepReach::kGone);
  change({.vteps = {vtep(4, "192.168.100.4")}});
  EXPECT_NE(underlay.slot_of(VtepId(4)), slot);
  now += Underlay::kSlotRestMs;
  change({.vteps = {vtep(5, "192.168.100.5")}});
  EXPECT_EQ(underlay.slot_of(VtepId(5)), slot);
}

TEST_F(UnderlayTest, ReplacingAVtepUnderItsAddressLeavesTheNewOneFindable) {
  change({.vteps = {vtep(4, "192.168.100.2")}}, {.vteps = {VtepId(2)}});
  const auto slot = underlay.slot_of(VtepId(4));
  EXPECT_EQ(view().vtep4->find(vtep4_key(ip("192.168.100.2").v4(), 4789)), slot);
  answer("192.168.100.2", mac(0x22));
  EXPECT_TRUE(entry(4).resolved);
}

TEST_F(UnderlayTest, SwappedAddressesAreBothFound) {
  const auto a = underlay.slot_of(VtepId(2)), b = underlay.slot_of(VtepId(3));
  change({.vteps = {vtep(2, "10.9.0.3"), vtep(3, "192.168.100.2")}});
  EXPECT_EQ(view().vtep4->find(vtep4_key(ip("10.9.0.3").v4(), 4789)), a);
  EXPECT_EQ(view().vtep4->find(vtep4_key(ip("192.168.100.2").v4(), 4789)), b);
}

TEST_F(UnderlayTest, DynamicVtepsAreBoundedAdoptedAndDropped) {
  EXPECT_EQ(underlay.slot_at(ip("192.168.100.2"), 4789, now), underlay.slot_of(VtepId(2)));
  EXPECT_EQ(underlay.slot_at(ip("192.168.100.1"), 4789, now), 0u);  // our own address
  EXPECT_EQ(underlay.slot_at(ip("224.0.0.1"), 4789, now), 0u);
  const auto learned = underlay.slot_at(ip("192.168.100.50"), 4789, now);
  EXPECT_NE(learned, 0u);
  EXPECT_EQ(underlay.slot_at(ip("192.168.100.50"), 4789, now), learned);
  change({.vteps = {vtep(9, "192.168.100.50")}});
  EXPECT_EQ(underlay.slot_of(VtepId(9)), learned);
  for (std::uint32_t i = 0; i < Underlay::kMaxDynamic; ++i) {
    EXPECT_NE(underlay.slot_at(IpAddr(Ipv4::from_u32(0x0a000000 + i)), 4789, now), 0u);
  }
  EXPECT_EQ(underlay.slot_at(ip("10.77.0.1"), 4789, now), 0u);
  underlay.drop_dynamic([&](std::uint32_t slot) { return slot == learned; }, now);
  EXPECT_EQ(underlay.reach(learned), VtepReach::kWaiting);  // configured by now
  EXPECT_NE(underlay.slot_at(ip("10.77.0.1"), 4789, now), 0u);
}

TEST_F(UnderlayTest, ConfiguredVtepMovingOntoADynamicOneReplacesIt) {
  const auto learned = underlay.slot_at(ip("192.168.100.50"), 4789, now);
  change({.vteps = {vtep(2, "192.168.100.50")}});
  EXPECT_EQ(gone, std::vector<std::uint32_t>{learned});
  EXPECT_EQ(view().vtep4->find(vtep4_key(ip("192.168.100.50").v4(), 4789)), underlay.slot_of(VtepId(2)));
}

TEST_F(UnderlayTest, WeightedNextHopsAreSpreadOverVtepsAndStable) {
  ports[PortId(3)] = ports[PortId(1)];
  ports[PortId(3)].id = PortId(3);
  change({.ports = {uplink(3)},
          .routes = {route(2, "0.0.0.0/0",
                           {via_port(1, "192.168.100.254"), via_port(3, "192.168.101.254", 3)}, 1)}});
  api::ObjectSet many;
  for (std::uint32_t i = 0; i < 200; ++i)
    many.vteps.push_back(vtep(1000 + i, "10.20.0." + std::to_string(i + 1)));
  change(many);
  int second = 0;
  for (std::uint32_t i = 0; i < 200; ++i)
    second += underlay.next_hop(underlay.slot_of(VtepId(1000 + i)))->port == PortId(3);
  EXPECT_NEAR(second, 150, 30);
}

TEST_F(UnderlayTest, LocalVtepsAreListed) {
  const auto snapshot = view();
  ASSERT_EQ(snapshot.local_vteps.size(), 1u);
  EXPECT_EQ(snapshot.local_vteps[0], (LocalVtep{ip("192.168.100.1"), 4789, base.vteps[0].mac}));
}

}  // namespace
}  // namespace podwire::engine
