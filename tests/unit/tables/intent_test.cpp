// Intent: every cross-object rule with its message, and that a refused change leaves nothing behind.
#include "dataplane/tables/intent.hpp"

#include <gtest/gtest.h>

#include "tests/unit/tables/objects.hpp"

namespace podwire::engine {
namespace {

using namespace testing_objects;

class IntentTest : public testing::Test {
 protected:
  void SetUp() override {
    base.ports = {uplink(1), host_tap(2), tap(3), tap(4)};
    base.vteps = {vtep(1, "192.168.100.1", true), vtep(2, "192.168.100.2"), vtep(3, "192.168.100.3")};
    auto open = domain(2, {"10.244.1.1/24", "fd00:1::1/64"});
    open.host_access = true;
    auto l2 = domain(3, {"10.1.0.1/24"});
    l2.mode = api::DomainMode::kL2;
    l2.flood = {VtepId(3)};
    base.domains = {open, l2};
    base.endpoints = {pod(1, 3, {"10.244.1.10", "fd00:1::10"}), remote(2, 2, {"10.244.2.10"})};
    base.routes = {
        route(1, "10.244.2.0/24", {via_vtep(2)}), route(2, "172.16.0.0/12", {via_port(3, "10.244.1.10")}),
        route(3, "192.168.100.0/24", {via_port(1)}, 1), route(4, "192.168.100.1/32", {via_port(2)})};
    const auto staged = intent.stage(base, {});
    ASSERT_TRUE(staged) << staged.error().message;
  }

  // `put` and `remove` are refused with a message that has `text`, and nothing has changed.
  void refused(const api::ObjectSet& put, const api::IdSet& remove, const std::string& text) {
    const auto staged = intent.stage(put, remove);
    ASSERT_FALSE(staged) << "accepted, expected: " << text;
    EXPECT_NE(staged.error().message.find(text), std::string::npos) << staged.error().message;
    unchanged();
  }
  void refused(const api::ObjectSet& put, const std::string& text) { refused(put, {}, text); }
  void accepted(const api::ObjectSet& put, const api::IdSet& remove = {}) {
    const auto staged = intent.stage(put, remove);
    ASSERT_TRUE(staged) << staged.error().message;
    intent.rollback(*staged);
    unchanged();
  }
  // The same objects, and indexes that still work.
  void unchanged() {
    EXPECT_EQ(intent.ports().size(), 4u);
    EXPECT_EQ(intent.vteps().size(), 3u);
    EXPECT_EQ(intent.domains().size(), 2u);
    EXPECT_EQ(intent.endpoints().size(), 2u);
    EXPECT_EQ(intent.routes().size(), 4u);
    auto again = base;
    for (auto& port : again.ports) port.descriptors = 0;
    const auto staged = intent.stage(again, intent.surplus(again));
    ASSERT_TRUE(staged) << staged.error().message;
    EXPECT_TRUE(staged->empty());
    EXPECT_EQ(intent.host_port(), PortId(2));
    EXPECT_EQ(intent.host_domain(), DomainId(2));
    EXPECT_EQ(intent.local_vteps(), std::set<VtepId>{VtepId(1)});
    ASSERT_NE(intent.endpoint_with(DomainId(2), ip("10.244.1.10")), nullptr);
    EXPECT_EQ(intent.endpoint_with(DomainId(2), ip("10.244.1.10"))->id, EndpointId(1));
    EXPECT_EQ(intent.routes_through(VtepId(2)).size(), 1u);
  }

  api::ObjectSet base;
  Intent intent;
};

TEST_F(IntentTest, PortRules) {
  auto big = tap(5);
  big.id = PortId(4096);
  refused({.ports = {big}}, "port 4096 \"pod5\": id is 4096, must be 1 to 4095");
  auto twin = tap(5);
  twin.name = "pod3";
  refused({.ports = {twin}}, "port 5 \"pod3\": the name is port 3 \"pod3\"'s already; choose another");
  refused({.ports = {tap(5, 9)}},
          "port 5 \"pod5\": domain 9 does not exist; add it in the same change or before");
  refused({.ports = {host_tap(5)}},
          "port 5 \"host5\": role is host, but port 2 \"host2\" is the host port already");
  refused({.ports = {tap(5), tap(5)}}, "port 5 \"pod5\": id 5 appears twice in one change");
}

TEST_F(IntentTest, PortReferrerRules) {
  refused({}, {.ports = {PortId(3)}}, "port 3 \"pod3\" cannot be deleted: endpoint 1 \"ns/pod1\" is on it");
  refused({}, {.ports = {PortId(1)}},
          "port 1 \"uplink1\" cannot be deleted: route 3 192.168.100.0/24 goes through it");
  refused({.ports = {tap(3, 3)}},
          "endpoint 1 \"ns/pod1\": domain is 2, but port 3 \"pod3\" is in domain 3; put both into one");
  accepted({}, {.ports = {PortId(3)}, .endpoints = {EndpointId(1)}, .routes = {RouteId(2)}});
}

TEST_F(IntentTest, VtepRules) {
  auto twin = vtep(4, "192.168.100.4");
  twin.name = "vtep2";
  refused({.vteps = {twin}}, "vtep 4 \"vtep2\": the name is vtep 2 \"vtep2\"'s already");
  refused({.vteps = {vtep(4, "192.168.100.2")}},
          "vtep 4 \"vtep4\": address 192.168.100.2 with UDP port 4789 is vtep 2 \"vtep2\"'s already");
  accepted({.vteps = {vtep(4, "192.168.100.2", false, 8472)}});
  refused({.vteps = {vtep(4, "192.168.100.1", false, 8472)}},
          "vtep 4 \"vtep4\": address 192.168.100.1 is vtep 1 \"vtep1\"'s, which is local");
  refused({.vteps = {vtep(4, "192.168.100.2", true, 8472)}},
          "vtep 4 \"vtep4\": address 192.168.100.2 is vtep 2 \"vtep2\"'s, which is remote");
}

TEST_F(IntentTest, VtepReferrerRules) {
  refused({}, {.vteps = {VtepId(2)}},
          "vtep 2 \"vtep2\" cannot be deleted: endpoint 2 \"ns/pod2\" is behind it");
  refused({}, {.vteps = {VtepId(2)}, .endpoints = {EndpointId(2)}},
          "vtep 2 \"vtep2\" cannot be deleted: route 1 10.244.2.0/24 goes through it");
  refused({}, {.vteps = {VtepId(3)}},
          "vtep 3 \"vtep3\" cannot be deleted: domain 3 \"domain3\" floods to it");
  refused({.vteps = {vtep(2, "192.168.100.2", true)}}, "vtep 2 \"vtep2\" cannot become local: endpoint 2");
  accepted({}, {.vteps = {VtepId(2)}, .endpoints = {EndpointId(2)}, .routes = {RouteId(1)}});
}

TEST_F(IntentTest, DomainRules) {
  auto big = domain(4);
  big.id = DomainId(8192);
  refused({.domains = {big}}, "domain 8192 \"domain4\": id is 8192, must be 2 to 8191");
  auto twin = domain(4);
  twin.name = "domain2";
  refused({.domains = {twin}}, "domain 4 \"domain2\": the name is domain 2 \"domain2\"'s already");
  auto vni = domain(4);
  vni.vni = Vni(200);
  refused({.domains = {vni}},
          "domain 4 \"domain4\": VNI 200 is domain 2 \"domain2\"'s already; choose another");
  auto host = domain(4);
  host.host_access = true;
  refused({.domains = {host}},
          "domain 4 \"domain4\": host_access is true, but domain 2 \"domain2\" has it already");
  auto gateways = domain(4);
  gateways.gateways.assign(17, prefix("10.0.0.1/24"));
  refused({.domains = {gateways}}, "domain 4 \"domain4\": has 17 gateways, at most 16");
  refused({.domains = {domain(4, {"224.0.0.1/24"})}}, "gateway 224.0.0.1/24 is no unicast address");
  refused({.domains = {domain(4, {"10.0.0.1/24", "10.0.0.1/16"})}}, "gateway 10.0.0.1 is listed twice");
  auto flood = base.domains[1];
  flood.flood = {VtepId(9)};
  refused({.domains = {flood}}, "domain 3 \"domain3\".flood: vtep 9 does not exist");
  flood.flood = {VtepId(1)};
  refused({.domains = {flood}}, "domain 3 \"domain3\".flood: vtep 1 \"vtep1\" is local");
  flood.flood = {VtepId(2), VtepId(2)};
  refused({.domains = {flood}}, "domain 3 \"domain3\".flood: vtep 2 \"vtep2\" is listed twice");
}

TEST_F(IntentTest, DomainCollidesWithItsEndpoints) {
  auto changed = base.domains[0];
  changed.gateways = {prefix("10.244.1.10/24")};
  refused({.domains = {changed}},
          "domain 2 \"domain2\": gateway 10.244.1.10 is the address of endpoint 1 \"ns/pod1\"");
  changed = base.domains[0];
  changed.gateway_mac = base.endpoints[0].mac;
  refused({.domains = {changed}}, "is the MAC of endpoint 1 \"ns/pod1\"; give one of them another");
}

TEST_F(IntentTest, DomainReferrerRules) {
  refused({}, {.domains = {DomainId(2)}}, "domain 2 \"domain2\" cannot be deleted: port 3 \"pod3\" is in it");
  auto moved = base.ports;
  api::IdSet ports_too{.ports = {PortId(3), PortId(4)},
                       .domains = {DomainId(2)},
                       .endpoints = {EndpointId(1)},
                       .routes = {RouteId(2)}};
  refused({}, ports_too, "domain 2 \"domain2\" cannot be deleted: endpoint 2 \"ns/pod2\" is in it");
  ports_too.endpoints.push_back(EndpointId(2));
  refused({}, ports_too, "domain 2 \"domain2\" cannot be deleted: route 1 10.244.2.0/24 is in it");
  ports_too.routes = {RouteId(1), RouteId(2), RouteId(4)};
  accepted({}, ports_too);
  auto closed = base.domains[0];
  closed.host_access = false;
  refused({.domains = {closed}},
          "route 4 192.168.100.1/32: next hop port 2 \"host2\" is the host port, but domain 2 has no "
          "host_access");
}

TEST_F(IntentTest, EndpointRules) {
  refused({.endpoints = {pod(5, 3, {}, 1)}}, "endpoint 5 \"ns/pod5\": domain is 1, the underlay");
  refused({.endpoints = {pod(5, 3, {}, 9)}}, "endpoint 5 \"ns/pod5\": domain 9 does not exist");
  refused({.endpoints = {pod(5, 9, {})}}, "endpoint 5 \"ns/pod5\": port 9 does not exist");
  refused({.endpoints = {remote(5, 9, {})}}, "endpoint 5 \"ns/pod5\": vtep 9 does not exist");
  refused({.endpoints = {remote(5, 1, {})}}, "endpoint 5 \"ns/pod5\": vtep 1 \"vtep1\" is local");
  refused({.endpoints = {pod(5, 2, {})}},
          "endpoint 5 \"ns/pod5\": port 2 \"host2\" has the role host; endpoints are on pod ports");
  refused({.endpoints = {pod(5, 3, {}, 3)}},
          "endpoint 5 \"ns/pod5\": domain is 3, but port 3 \"pod3\" is in domain 2; put both into one");
  auto twin = pod(5, 4, {});
  twin.mac = base.endpoints[0].mac;
  refused({.endpoints = {twin}},
          "endpoint 5 \"ns/pod5\": MAC 02:00:00:00:10:01 is endpoint 1 \"ns/pod1\"'s already in domain 2");
  refused({.endpoints = {pod(5, 4, {"10.244.2.10"})}},
          "endpoint 5 \"ns/pod5\": address 10.244.2.10 is endpoint 2 \"ns/pod2\"'s already in domain 2");
  refused({.endpoints = {pod(5, 4, {"10.244.1.5", "10.244.1.5"})}}, "address 10.244.1.5 is listed twice");
  refused({.endpoints = {pod(5, 4, {"10.244.1.1"})}},
          "endpoint 5 \"ns/pod5\": address 10.244.1.1 is the gateway's of domain 2 \"domain2\"");
  auto gateway = pod(5, 4, {});
  gateway.mac = kGatewayMac;
  refused({.endpoints = {gateway}},
          "endpoint 5 \"ns/pod5\": MAC 02:70:77:00:00:01 is the gateway's of domain 2 \"domain2\"");
}

TEST_F(IntentTest, OneAddressInTwoDomainsIsTwoAddresses) {
  accepted({.ports = {tap(6, 3)}, .endpoints = {pod(6, 6, {"10.244.1.10"}, 3)}});
}

TEST_F(IntentTest, RouteRules) {
  refused({.routes = {route(9, "10.9.0.0/16", {}, 9)}}, "route 9 10.9.0.0/16: domain 9 does not exist");
  refused({.routes = {route(9, "10.244.2.0/24", {})}},
          "route 9 10.244.2.0/24: the prefix is route 1 10.244.2.0/24's already in domain 2");
  refused({.routes = {route(9, "224.0.0.0/8", {})}}, "route 9 224.0.0.0/8: the prefix is multicast");
  refused({.routes = {route(9, "10.9.0.0/16", {via_vtep(9)})}}, "route 9 10.9.0.0/16: vtep 9 does not exist");
  refused({.routes = {route(9, "10.9.0.0/16", {via_vtep(1)})}}, "next hop vtep 1 \"vtep1\" is local");
  refused({.routes = {route(9, "10.9.0.0/16", {via_vtep(2)}, 1)}},
          "but the underlay (domain 1) has no tunnels");
  refused({.routes = {route(9, "10.9.0.0/16", {via_port(9)})}}, "route 9 10.9.0.0/16: port 9 does not exist");
  refused({.routes = {route(9, "10.9.0.0/16", {via_port(3, "224.0.0.9")})}},
          "next hop address 224.0.0.9 is multicast");
  refused({.routes = {route(9, "10.9.0.0/16", {via_port(2)}, 3)}},
          "next hop port 2 \"host2\" is the host port, but domain 3 has no host_access");
  refused({.routes = {route(9, "10.9.0.0/16", {via_port(3)}, 3)}},
          "next hop port 3 \"pod3\" is in domain 2, the route in domain 3");
  refused({.routes = {route(9, "10.9.0.0/16", {via_port(1)})}},
          "next hop port 1 \"uplink1\" is in domain 1, the route in domain 2");
}

TEST_F(IntentTest, DeletingWhatIsNotThereIsNoError) {
  accepted({}, {.ports = {PortId(77)},
                .vteps = {VtepId(77)},
                .domains = {DomainId(77)},
                .endpoints = {EndpointId(77)},
                .routes = {RouteId(77)}});
}

TEST_F(IntentTest, NamesMacsAndAddressesCanBeSwappedInOneChange) {
  auto a = base.endpoints[0];
  auto b = base.endpoints[1];
  std::swap(a.mac, b.mac);
  std::swap(a.addresses, b.addresses);
  auto p = base.ports[2];
  auto q = base.ports[3];
  std::swap(p.name, q.name);
  accepted({.ports = {p, q}, .endpoints = {a, b}});
}

TEST_F(IntentTest, DeleteAndPutOfOneIdIsAChange) {
  auto changed = base.endpoints[0];
  changed.addresses = {ip("10.244.1.11")};
  const auto staged = intent.stage({.endpoints = {changed}}, {.endpoints = {EndpointId(1)}});
  ASSERT_TRUE(staged);
  ASSERT_EQ(staged->endpoints.size(), 1u);
  EXPECT_TRUE(staged->endpoints[0].before && staged->endpoints[0].after);
}

TEST_F(IntentTest, LaterErrorUndoesEverythingBeforeIt) {
  refused({.ports = {tap(7)},
           .vteps = {vtep(7, "192.168.100.7")},
           .domains = {domain(7)},
           .endpoints = {pod(7, 7, {"10.244.1.77"}), pod(8, 99, {})}},
          {.endpoints = {EndpointId(2)}, .routes = {RouteId(1)}}, "port 99 does not exist");
}

TEST_F(IntentTest, DescriptorsAreOfTheMessageNotOfTheObject) {
  EXPECT_EQ(intent.port(PortId(3))->descriptors, 0);
  const auto staged = intent.stage({.ports = {tap(3, 2, 1)}}, {});
  ASSERT_TRUE(staged);
  ASSERT_EQ(staged->ports.size(), 1u);  // new queues are a change
  EXPECT_EQ(staged->ports[0].after->descriptors, 1);
}

TEST_F(IntentTest, LookupFindsTheLongestPrefix) {
  ASSERT_TRUE(intent.stage({.routes = {route(10, "0.0.0.0/0", {via_port(1, "192.168.100.254")}, 1),
                                       route(11, "::/0", {via_port(1, "fe80::1")}, 1)}},
                           {}));
  EXPECT_EQ(intent.lookup(kUnderlayDomain, ip("192.168.100.77"))->id, RouteId(3));
  EXPECT_EQ(intent.lookup(kUnderlayDomain, ip("8.8.8.8"))->id, RouteId(10));
  EXPECT_EQ(intent.lookup(kUnderlayDomain, ip("2001:db8::1"))->id, RouteId(11));
  EXPECT_EQ(intent.lookup(DomainId(2), ip("8.8.8.8")), nullptr);
}

}  // namespace
}  // namespace podwire::engine
