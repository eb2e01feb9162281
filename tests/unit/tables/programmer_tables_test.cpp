// Programmer: what workers find in FDB, FIB and domains for the objects.
#include "tests/unit/tables/programmer_fixture.hpp"

namespace podwire::engine {
namespace {

using namespace testing_objects;
using Kind = Adjacency::Kind;

class ProgrammerTables : public ProgrammerTest {
 protected:
  void SetUp() override {
    patch({.ports = {tap(3), tap(4)},
           .vteps = {vtep(1, "192.168.100.1", true), vtep(2, "192.168.100.2"), vtep(3, "192.168.100.3")},
           .domains = {domain(2, {"10.244.1.1/24", "fd00:1::1/64"})},
           .endpoints = {pod(1, 3, {"10.244.1.10", "fd00:1::10"}), remote(2, 2, {"10.244.2.10"})}});
  }
  std::uint32_t slot_of(const std::string& address) const {
    return tables().vtep4->find(vtep4_key(ip(address).v4(), 4789));
  }
};

TEST_F(ProgrammerTables, EndpointsAreHostRoutesAndFdbEntries) {
  for (const auto* found : {to("10.244.1.10"), to("fd00:1::10"), to(pod(1, 3, {}).mac)}) {
    ASSERT_NE(found, nullptr);
    EXPECT_EQ(found->kind, Kind::kPort);
    EXPECT_EQ(found->port, PortId(3));
    EXPECT_EQ(found->endpoint, EndpointId(1));
  }
  const auto* far = to("10.244.2.10");
  ASSERT_NE(far, nullptr);
  EXPECT_EQ(far->kind, Kind::kVtep);
  EXPECT_EQ(far->vtep, slot_of("192.168.100.2"));
  EXPECT_EQ(far->mac, remote(2, 2, {}).mac);
}

TEST_F(ProgrammerTables, GatewaysAndTheirSubnets) {
  EXPECT_EQ(to("10.244.1.1")->kind, Kind::kGateway);
  EXPECT_EQ(to("fd00:1::1")->kind, Kind::kGateway);
  EXPECT_EQ(to("10.244.1.99")->kind, Kind::kOnLink);
  EXPECT_EQ(to("fd00:1::99")->kind, Kind::kOnLink);
  EXPECT_EQ(to("10.244.9.1"), nullptr);
  const auto* entry = tables().domain(DomainId(2));
  EXPECT_EQ(entry->gateways4.size(), 1u);
  ASSERT_EQ(entry->gateways6.size(), 2u);
  EXPECT_EQ(entry->gateways6[1], Ipv6::link_local_of(kGatewayMac));
  EXPECT_EQ(tables().vni_to_domain->find({200}), 2u);
}

TEST_F(ProgrammerTables, PrefixLengthsFollowTheEntries) {
  const auto lengths = [&] { return tables().domain(DomainId(2))->fib4_lengths; };
  EXPECT_EQ(lengths(), std::uint64_t{1} << 32 | std::uint64_t{1} << 24);
  EXPECT_EQ(tables().domain(DomainId(2))->fib6_lengths_descending, (std::vector<std::uint8_t>{128, 64}));
  patch({.routes = {route(1, "10.0.0.0/8", {via_vtep(2)}), route(2, "::/0", {via_vtep(2)})}});
  EXPECT_EQ(lengths(), std::uint64_t{1} << 32 | std::uint64_t{1} << 24 | std::uint64_t{1} << 8);
  EXPECT_EQ(tables().domain(DomainId(2))->fib6_lengths_descending, (std::vector<std::uint8_t>{128, 64, 0}));
  patch({}, {.routes = {RouteId(1), RouteId(2)}});
  EXPECT_EQ(lengths(), std::uint64_t{1} << 32 | std::uint64_t{1} << 24);
}

TEST_F(ProgrammerTables, EndpointChangesNeedNoSnapshot) {
  const auto* before = publisher.current_for_main();
  patch({.endpoints = {remote(5, 3, {"10.244.3.5", "10.244.3.6"})}});
  patch({.endpoints = {remote(5, 2, {"10.244.3.6"})}});
  EXPECT_EQ(to("10.244.3.5"), nullptr);
  EXPECT_EQ(to("10.244.3.6")->vtep, slot_of("192.168.100.2"));
  patch({.routes = {route(7, "10.77.0.0/24", {via_vtep(2)})}});  // a length that was there already
  EXPECT_EQ(to("10.77.0.5")->route, RouteId(7));
  patch({}, {.endpoints = {EndpointId(5)}, .routes = {RouteId(7)}});
  EXPECT_EQ(to("10.244.3.6"), nullptr);
  EXPECT_EQ(to("10.77.0.5"), nullptr);
  EXPECT_EQ(publisher.current_for_main(), before);
}

TEST_F(ProgrammerTables, UnchangedEndpointsKeepTheirSlot) {
  const auto* before = to("10.244.2.10");
  auto more = remote(2, 2, {"10.244.2.10", "10.244.2.11"});
  more.name = "renamed";
  patch({.endpoints = {more}});
  EXPECT_EQ(to("10.244.2.10"), before);
  EXPECT_EQ(to("10.244.2.11"), before);
}

TEST_F(ProgrammerTables, RoutesThroughVteps) {
  auto with_mac = via_vtep(3);
  with_mac.mac = mac(0xabc);
  patch({.routes = {route(1, "10.50.0.0/16", {via_vtep(2)}), route(2, "10.51.0.0/16", {with_mac}),
                    route(3, "10.52.0.0/16", {})}});
  EXPECT_EQ(to("10.50.1.1")->mac, vtep(2, "1.1.1.1").mac);  // the VTEP's own
  EXPECT_EQ(to("10.50.1.1")->route, RouteId(1));
  EXPECT_EQ(to("10.51.1.1")->mac, mac(0xabc));
  EXPECT_EQ(to("10.51.1.1")->vtep, slot_of("192.168.100.3"));
  EXPECT_EQ(to("10.52.1.1")->kind, Kind::kBlackhole);
  auto changed = vtep(2, "192.168.100.2");
  changed.mac = mac(0xdef);
  patch({.vteps = {changed}});
  EXPECT_EQ(to("10.50.1.1")->mac, mac(0xdef));
}

TEST_F(ProgrammerTables, RoutesThroughAnEndpointFollowIt) {
  patch({.routes = {route(1, "172.16.0.0/12", {via_port(3, "10.244.1.10")}),
                    route(2, "172.32.0.0/16", {via_port(4, "10.244.1.20")})}});
  EXPECT_EQ(to("172.16.0.1")->kind, Kind::kPort);
  EXPECT_EQ(to("172.16.0.1")->mac, pod(1, 3, {}).mac);
  EXPECT_FALSE(to("172.16.0.1")->endpoint);          // the route decided
  EXPECT_EQ(to("172.32.0.1")->kind, Kind::kOnLink);  // nobody has the gateway's address
  patch({.endpoints = {pod(9, 4, {"10.244.1.20"})}});
  EXPECT_EQ(to("172.32.0.1")->mac, pod(9, 4, {}).mac);
  auto changed = pod(9, 4, {"10.244.1.20"});
  changed.mac = mac(0x99);
  patch({.endpoints = {changed}});
  EXPECT_EQ(to("172.32.0.1")->mac, mac(0x99));
  changed.addresses.clear();
  patch({.endpoints = {changed}});
  EXPECT_EQ(to("172.32.0.1")->kind, Kind::kOnLink);
  patch({.endpoints = {pod(9, 3, {"10.244.1.20"})}});  // on another port than the route says
  EXPECT_EQ(to("172.32.0.1")->kind, Kind::kOnLink);
}

TEST_F(ProgrammerTables, RouteToTheHostPortUsesItsMac) {
  auto open = domain(2, {"10.244.1.1/24", "fd00:1::1/64"});
  open.host_access = true;
  patch({.ports = {host_tap(7)}, .domains = {open}, .routes = {route(1, "192.168.100.1/32", {via_port(7)})}});
  EXPECT_EQ(to("192.168.100.1")->kind, Kind::kPort);
  EXPECT_EQ(to("192.168.100.1")->mac, host_tap(7).mac);
  EXPECT_EQ(tables().host_domain, DomainId(2));
  auto changed = host_tap(7);
  changed.descriptors = 0;
  changed.mac = mac(0x7777);
  patch({.ports = {changed}});
  EXPECT_EQ(to("192.168.100.1")->mac, mac(0x7777));
}

TEST_F(ProgrammerTables, MultipathGroupsAreWeighted) {
  patch({.routes = {route(1, "10.60.0.0/16", {via_vtep(2, 30), via_vtep(3, 10)})}});
  const auto* group = to("10.60.0.1");
  ASSERT_EQ(group->kind, Kind::kMultipath);
  ASSERT_EQ(group->paths_count, 4);
  int first = 0;
  for (std::uint32_t i = 0; i < group->paths_count; ++i) {
    const auto& path = tables().adjacencies[tables().paths.at(group->paths_first + i)];
    EXPECT_EQ(path.kind, Kind::kVtep);
    EXPECT_EQ(path.route, RouteId(1));
    first += path.vtep == slot_of("192.168.100.2");
  }
  EXPECT_EQ(first, 3);
  patch({.routes = {route(1, "10.60.0.0/16", {via_vtep(2)})}});
  EXPECT_EQ(to("10.60.0.1")->kind, Kind::kVtep);
}

TEST_F(ProgrammerTables, MultipathLeavesOutGatewaysThatNobodyIs) {
  patch({.routes = {route(1, "10.60.0.0/16", {via_port(3, "10.244.1.10"), via_port(4, "10.244.1.44")})}});
  EXPECT_EQ(to("10.60.0.1")->kind, Kind::kPort);
  EXPECT_EQ(to("10.60.0.1")->port, PortId(3));
  patch({.endpoints = {pod(9, 4, {"10.244.1.44"})}});
  EXPECT_EQ(to("10.60.0.1")->kind, Kind::kMultipath);
}

TEST_F(ProgrammerTables, MoreSpecificOwnersWinOneAddress) {
  patch({.routes = {route(1, "10.244.1.10/32", {via_vtep(2)}), route(2, "10.244.1.0/24", {via_vtep(3)}),
                    route(3, "10.244.1.1/32", {via_vtep(3)})}});
  EXPECT_EQ(to("10.244.1.10")->endpoint, EndpointId(1));
  EXPECT_EQ(to("10.244.1.99")->route, RouteId(2));  // a route beats the connected subnet
  EXPECT_EQ(to("10.244.1.1")->kind, Kind::kGateway);
  patch({}, {.endpoints = {EndpointId(1)}});
  EXPECT_EQ(to("10.244.1.10")->route, RouteId(1));
  patch({}, {.routes = {RouteId(1), RouteId(2)}});
  EXPECT_EQ(to("10.244.1.99")->kind, Kind::kOnLink);
}

TEST_F(ProgrammerTables, UnderlayRoutesLeadToTheirNextHops) {
  patch({.ports = {uplink(1)}, .routes = {route(1, "172.30.0.0/16", {via_port(1, "192.168.1.9")}, 1)}});
  ASSERT_NE(to("172.30.0.1", 1), nullptr);
  EXPECT_EQ(to("172.30.0.1", 1)->kind, Kind::kUnderlay);
  patch({}, {.routes = {RouteId(1)}});
  EXPECT_EQ(to("172.30.0.1", 1), nullptr);
}

TEST_F(ProgrammerTables, GatewayChangesMoveTheSubnet) {
  patch({.domains = {domain(2, {"10.244.7.1/26"})}});
  EXPECT_EQ(to("10.244.1.1"), nullptr);
  EXPECT_EQ(to("10.244.1.99"), nullptr);
  EXPECT_EQ(to("10.244.7.1")->kind, Kind::kGateway);
  EXPECT_EQ(to("10.244.7.60")->kind, Kind::kOnLink);
  EXPECT_EQ(to("10.244.7.65"), nullptr);
  EXPECT_NE(to("10.244.1.10"), nullptr);
}

TEST_F(ProgrammerTables, FloodListIsTheDomainsPodPortsAndVteps) {
  auto l2 = domain(3, {});
  l2.mode = api::DomainMode::kL2;
  l2.flood = {VtepId(3), VtepId(2)};
  patch({.ports = {tap(5, 3), tap(6, 3)}, .domains = {l2}});
  EXPECT_EQ(tables().domain(DomainId(3))->flood_ports, (std::vector<PortId>{PortId(5), PortId(6)}));
  EXPECT_EQ(tables().domain(DomainId(3))->flood_vteps,
            (std::vector<std::uint32_t>{slot_of("192.168.100.3"), slot_of("192.168.100.2")}));
  EXPECT_TRUE(tables().domain(DomainId(2))->flood_ports.empty());
  patch({}, {.ports = {PortId(5)}});
  EXPECT_EQ(tables().domain(DomainId(3))->flood_ports, std::vector<PortId>{PortId(6)});
}

TEST_F(ProgrammerTables, DomainThatGoesTakesItsTablesAlong) {
  patch({}, {.ports = {PortId(3), PortId(4)},
             .domains = {DomainId(2)},
             .endpoints = {EndpointId(1), EndpointId(2)}});
  EXPECT_EQ(tables().domain(DomainId(2)), nullptr);
  EXPECT_EQ(tables().vni_to_domain->find({200}), 0u);
  EXPECT_EQ(tables().fib4->size(), 0u);
  EXPECT_EQ(tables().fib6->size(), 0u);
  EXPECT_EQ(tables().fdb->size(), 0u);
  patch({.domains = {domain(2, {"10.0.0.1/8"})}});
  EXPECT_EQ(tables().domain(DomainId(2))->fib4_lengths, std::uint64_t{1} << 32 | std::uint64_t{1} << 8);
}

TEST_F(ProgrammerTables, SameAddressInTwoDomainsIsTwoEntries) {
  patch({.ports = {tap(5, 3)},
         .domains = {domain(3, {"10.244.1.1/24"})},
         .endpoints = {pod(5, 5, {"10.244.1.10"}, 3)}});
  EXPECT_EQ(to("10.244.1.10", 2)->endpoint, EndpointId(1));
  EXPECT_EQ(to("10.244.1.10", 3)->endpoint, EndpointId(5));
}

TEST_F(ProgrammerTables, TablesGrowAndSlotsAreReused) {
  api::ObjectSet many;
  for (std::uint32_t i = 0; i < 5000; ++i) {
    many.endpoints.push_back(remote(100 + i, 2,
                                    {to_string(Ipv4::from_u32(0x0b000000 + i)),
                                     to_string(IpAddr(*parse_ipv6("fd00:b::" + std::to_string(i % 9999))))}));
  }
  patch(many);
  for (std::uint32_t i = 0; i < 5000; i += 97) {
    ASSERT_NE(to(to_string(Ipv4::from_u32(0x0b000000 + i))), nullptr) << i;
    EXPECT_EQ(to(to_string(Ipv4::from_u32(0x0b000000 + i)))->endpoint, EndpointId(100 + i));
  }
  // Moving every endpoint a few times must not use up the slots: what was replaced is used again.
  std::uint32_t highest = 0;
  for (int round = 0; round < 6; ++round) {
    for (auto& endpoint : many.endpoints) endpoint.vtep = VtepId(round % 2 == 0 ? 3 : 2);
    patch(many);
    std::uint32_t top = 0;
    tables().fdb->for_each([&](const Key64&, std::uint32_t slot) { top = std::max(top, slot); });
    if (round < 2) {
      highest = std::max(highest, top);  // old and new slots take turns
    } else {
      EXPECT_LE(top, highest);
    }
  }
  EXPECT_EQ(programmer->counts().endpoints, 5002u);
}

}  // namespace
}  // namespace podwire::engine
