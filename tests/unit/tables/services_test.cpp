// Services among the other objects: their cross-object rules, and the table that the programmer publishes.
#include "dataplane/headers/headers.hpp"
#include "dataplane/tables/service_table.hpp"
#include "tests/unit/tables/programmer_fixture.hpp"

namespace podwire::engine {
namespace {

using namespace testing_objects;

class ProgrammerServices : public ProgrammerTest {
 protected:
  void SetUp() override {
    api::ObjectSet all;
    all.ports = {uplink(1), host_tap(2), tap(3)};
    all.vteps = {vtep(1, "192.168.100.1", true), vtep(2, "192.168.100.2")};
    all.domains = {domain(2), domain(3, {"10.1.0.1/24"})};
    all.domains[0].stateful = all.domains[0].host_access = true;
    all.endpoints = {pod(1, 3, {"10.244.1.10"})};
    all.routes = {route(1, "192.168.100.7/32", {via_port(2)})};
    pods = all.domains[0];
    patch(all);
  }

  static api::Service service(std::uint32_t id, const std::string& address, std::uint16_t port = 80,
                              std::vector<std::string> backends = {"10.244.1.10"}) {
    api::Service made;
    made.id = ServiceId(id);
    made.name = "ns/web" + std::to_string(id);
    made.domain = DomainId(2);
    api::ServiceFrontend frontend;
    frontend.domain = address.empty() ? kUnderlayDomain : DomainId(2);
    if (!address.empty()) frontend.address = ip(address);
    frontend.port = port;
    made.frontends = {frontend};
    for (const auto& backend : backends) made.backends.push_back({ip(backend), 8080});
    return made;
  }
  const ServiceEntry* found(const std::string& address, std::uint16_t port = 80, DomainId in = DomainId(2)) {
    if (tables().services == nullptr) return nullptr;
    return tables().services->find(make_flow_key(in, ip_proto::kTcp,
                                                 ip(address).is_v4() ? ip("10.244.1.10") : ip("fd00::1"),
                                                 ip(address), 40000, port));
  }

  api::Domain pods;
};

TEST_F(ProgrammerServices, AreFoundUntilTheyAreDeleted) {
  EXPECT_EQ(tables().services, nullptr);
  patch({.services = {service(1, "10.96.0.1"), service(2, "10.96.0.2")}});
  ASSERT_NE(found("10.96.0.1"), nullptr);
  EXPECT_EQ(found("10.96.0.1")->name, "ns/web1");
  EXPECT_EQ(programmer->counts().services, 2u);
  const auto page = programmer->dump({{"noun", "services"}});
  ASSERT_TRUE(page);
  EXPECT_EQ((*page)["objects"][0], api::to_json(service(1, "10.96.0.1")));
  patch({}, {.services = {ServiceId(1)}});
  EXPECT_EQ(found("10.96.0.1"), nullptr);
  EXPECT_NE(found("10.96.0.2"), nullptr);
  patch({}, {.services = {ServiceId(2)}});
  EXPECT_EQ(tables().services, nullptr);
}

TEST_F(ProgrammerServices, KeepTheirTablesWhenOthersChange) {
  patch({.services = {service(1, "10.96.0.1"), service(2, "10.96.0.2")}});
  const auto* kept = found("10.96.0.1");
  const auto* changed = found("10.96.0.2");
  const auto* table = tables().services;
  patch({.services = {service(2, "10.96.0.2", 80, {"10.244.1.11"})}});
  EXPECT_EQ(found("10.96.0.1"), kept);
  EXPECT_NE(found("10.96.0.2"), changed);
  EXPECT_NE(tables().services, table);
  table = tables().services;
  patch({.endpoints = {pod(2, 3, {"10.244.1.12"})}});
  EXPECT_EQ(tables().services, table);
}

TEST_F(ProgrammerServices, AReplaceTakesAwayWhatItDoesNotHave) {
  patch({.services = {service(1, "10.96.0.1"), service(2, "10.96.0.2")}});
  programmer->replace_begin();
  api::ObjectSet kept{.ports = {uplink(1)}, .domains = {pods}, .services = {service(2, "10.96.0.2")}};
  kept.domains[0].host_access = false;
  ASSERT_TRUE(programmer->replace_chunk(kept, {}));
  const auto result = programmer->replace_commit(now);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(found("10.96.0.1"), nullptr);
  EXPECT_NE(found("10.96.0.2"), nullptr);
}

TEST_F(ProgrammerServices, AddressesOfTheNodeAreFollowed) {
  patch({.services = {service(1, "", 8080)}});
  const auto published = [&](const std::string& address) {
    return found(address, 8080, kUnderlayDomain) != nullptr;
  };
  EXPECT_TRUE(published("192.168.100.1")) << "a local VTEP's";
  EXPECT_FALSE(published("192.168.100.2")) << "a peer's";
  EXPECT_TRUE(published("192.168.100.7")) << "a host route's through the host port";
  EXPECT_FALSE(published("192.168.100.8"));
  pods.masquerade.emplace();
  pods.masquerade->addresses = {ip("192.168.100.8"), ip("fd00:100::8")};
  patch({.domains = {pods}});
  EXPECT_TRUE(published("192.168.100.8"));
  EXPECT_TRUE(published("fd00:100::8"));
  patch({}, {.routes = {RouteId(1)}});
  EXPECT_FALSE(published("192.168.100.7"));
}

TEST_F(ProgrammerServices, RefusedOnesLeaveEverything) {
  patch({.services = {service(1, "10.96.0.1"), service(2, "", 8080)}});
  refused({.services = {service(3, "10.96.0.1")}}, {},
          "service 3 \"ns/web3\": frontend tcp 10.96.0.1:80 of domain 2 is service 1 \"ns/web1\"'s already; "
          "choose another port or address");
  refused({.services = {service(3, "", 8080)}}, {},
          "service 3 \"ns/web3\": frontend tcp *:8080 of domain 1 is service 2 \"ns/web2\"'s already");
  auto twice = service(3, "fd00::1", 80, {});
  twice.frontends.push_back(twice.frontends[0]);
  refused({.services = {twice}}, {}, "frontend tcp [fd00::1]:80 of domain 2 is listed twice");
  refused({.services = {service(3, "10.96.0.3", 80, {"10.244.1.10", "10.244.1.10"})}}, {},
          "backend 10.244.1.10 port 8080 is listed twice");
  refused({.services = {service(3, "10.96.0.3", 80, {"fd00::10"})}}, {},
          "backend fd00::10 port 8080 is IPv6, but no frontend is");
  auto away = service(3, "10.96.0.3");
  away.domain = away.frontends[0].domain = DomainId(9);
  refused({.services = {away}}, {}, "service 3 \"ns/web3\": domain 9 does not exist");
  away.domain = away.frontends[0].domain = DomainId(3);
  refused({.services = {away}}, {}, "domain 3 \"domain3\" is not stateful");
  EXPECT_EQ(programmer->counts().services, 2u);
  EXPECT_NE(found("10.96.0.1"), nullptr);
  EXPECT_EQ(found("10.96.0.3"), nullptr);
}

TEST_F(ProgrammerServices, HoldTheirDomain) {
  patch({.services = {service(1, "10.96.0.1")}});
  pods.stateful = false;
  refused({.domains = {pods}}, {},
          "domain 2 \"domain2\" cannot become stateless: service 1 \"ns/web1\" is in it");
  refused({}, {.ports = {PortId(3)}, .domains = {DomainId(2)}, .endpoints = {EndpointId(1)}},
          "domain 2 \"domain2\" cannot be deleted: service 1 \"ns/web1\" is in it; delete that too");
  patch({}, {.services = {ServiceId(1)}});
  patch({.domains = {pods}});
}

TEST_F(ProgrammerServices, TwoSwapTheirFrontendsInOneChange) {
  patch({.services = {service(1, "10.96.0.1"), service(2, "10.96.0.2")}});
  patch({.services = {service(1, "10.96.0.2"), service(2, "10.96.0.1")}});
  EXPECT_EQ(found("10.96.0.1")->id, ServiceId(2));
  EXPECT_EQ(found("10.96.0.2")->id, ServiceId(1));
}

}  // namespace
}  // namespace podwire::engine
