// Programmer: MAC addresses learned from traffic, and the neighbour and fdb views.
#include "tests/unit/tables/programmer_fixture.hpp"

namespace podwire::engine {
namespace {

using namespace testing_objects;

class ProgrammerLearning : public ProgrammerTest {
 protected:
  void SetUp() override {
    auto small = learning_domain();
    small.fdb_limit = 4;
    small.fdb_ageing_s = 60;
    patch({.ports = {tap(3), tap(4), tap(5, 3)},
           .vteps = {vtep(1, "192.168.100.1", true), vtep(2, "192.168.100.2")},
           .domains = {small, domain(3, {})},
           .endpoints = {pod(1, 3, {"10.244.1.10"})}});
  }
  void seen(const MacAddr& address, std::uint16_t port, std::uint16_t in = 2) {
    Event event;
    event.port = PortId(port);
    event.domain = DomainId(in);
    event.mac = address;
    programmer->on_event(event, now);
  }
  void seen_behind(const MacAddr& address, const std::string& sender) {
    Event event;
    event.from_tunnel = true;
    event.domain = DomainId(2);
    event.mac = address;
    event.address = ip(sender);
    event.udp_port = 4789;
    programmer->on_event(event, now);
    programmer->flush(now);
  }
  void pass(std::uint64_t seconds) {
    for (std::uint64_t i = 0; i < seconds; ++i) programmer->tick(now += 1000);
  }
};

TEST_F(ProgrammerLearning, LearnsMovesAndReportsPorts) {
  seen(mac(0x50), 3);
  ASSERT_NE(to(mac(0x50)), nullptr);
  EXPECT_TRUE(to(mac(0x50))->learned);
  EXPECT_EQ(to(mac(0x50))->port, PortId(3));
  seen(mac(0x50), 4);
  EXPECT_EQ(to(mac(0x50))->port, PortId(4));
  EXPECT_EQ(programmer->counts().fdb, 1u);
  now += 5000;
  const auto view = programmer->fdb({{"domain", 2}}, now);
  ASSERT_TRUE(view);
  EXPECT_EQ((*view)["entries"][0],
            (Json{{"domain", 2}, {"mac", to_string(mac(0x50))}, {"port", 4}, {"age_s", 5}}));
}

TEST_F(ProgrammerLearning, LearnsBehindVtepsAndMovesBack) {
  seen_behind(mac(0x50), "192.168.100.2");
  ASSERT_NE(to(mac(0x50)), nullptr);
  EXPECT_EQ(to(mac(0x50))->kind, Adjacency::Kind::kVtep);
  EXPECT_EQ(tables().vteps.at(to(mac(0x50))->vtep).id, VtepId(2));
  EXPECT_EQ((*programmer->fdb(Json::object(), now))["entries"][0]["vtep"], 2);
  seen(mac(0x50), 4);
  EXPECT_EQ(to(mac(0x50))->kind, Adjacency::Kind::kPort);
}

TEST_F(ProgrammerLearning, UnknownSenderBecomesAVtepForAsLongAsItIsNeeded) {
  seen_behind(mac(0x50), "192.168.100.99");
  const auto slot = to(mac(0x50))->vtep;
  EXPECT_TRUE(tables().vteps.at(slot).known);
  EXPECT_EQ(tables().vteps.at(slot).id, VtepId());
  EXPECT_EQ(tables().vtep4->find(vtep4_key(ip("192.168.100.99").v4(), 4789)), slot);
  EXPECT_EQ((*programmer->fdb(Json::object(), now))["entries"][0]["address"], "192.168.100.99");
  pass(62);
  EXPECT_EQ(to(mac(0x50)), nullptr);
  EXPECT_FALSE(tables().vteps.at(slot).known);
}

TEST_F(ProgrammerLearning, ConfigurationIsNeverOverridden) {
  const auto configured = pod(1, 3, {}).mac;
  seen(configured, 4);
  EXPECT_EQ(to(configured)->port, PortId(3));
  EXPECT_FALSE(to(configured)->learned);
  seen(mac(0x50), 4);
  auto endpoint = pod(9, 3, {});
  endpoint.mac = mac(0x50);
  patch({.endpoints = {endpoint}});
  EXPECT_EQ(to(mac(0x50))->endpoint, EndpointId(9));
  EXPECT_EQ(programmer->counts().fdb, 0u);
  patch({}, {.endpoints = {EndpointId(9)}});
  EXPECT_EQ(to(mac(0x50)), nullptr);
}

TEST_F(ProgrammerLearning, IgnoresWhatCannotBeAHost) {
  seen(MacAddr(), 3);
  seen(MacAddr{{1, 0, 0, 0, 0, 1}}, 3);
  seen(kGatewayMac, 3);
  seen(mac(0x50), 5);                       // not a port of this domain
  seen(mac(0x50), 5, 3);                    // a domain that does not learn
  seen(mac(0x50), 77, 77);                  // neither
  seen_behind(mac(0x51), "192.168.100.1");  // our own address
  EXPECT_EQ(programmer->counts().fdb, 0u);
}

TEST_F(ProgrammerLearning, KeepsToTheDomainsLimitButStillMoves) {
  for (std::uint64_t i = 0; i < 10; ++i) seen(mac(0x50 + i), 3);
  EXPECT_EQ(programmer->counts().fdb, 4u);
  EXPECT_EQ(to(mac(0x54)), nullptr);
  seen(mac(0x50), 4);
  EXPECT_EQ(to(mac(0x50))->port, PortId(4));
}

TEST_F(ProgrammerLearning, AgesWhatWasNotSeenForAWhile) {
  seen(mac(0x50), 3);
  seen(mac(0x51), 3);
  pass(30);
  seen(mac(0x50), 3);
  pass(32);
  EXPECT_NE(to(mac(0x50)), nullptr);
  EXPECT_EQ(to(mac(0x51)), nullptr);
  pass(30);
  EXPECT_EQ(to(mac(0x50)), nullptr);
}

TEST_F(ProgrammerLearning, LeavingADomainPurgesThePortsEntries) {
  seen(mac(0x50), 4);
  seen(mac(0x51), 3);
  patch({.ports = {tap(4, 3, 0)}});
  EXPECT_EQ(to(mac(0x50)), nullptr);
  EXPECT_NE(to(mac(0x51)), nullptr);
  seen(mac(0x52), 3);
  patch({}, {.ports = {PortId(3)}, .endpoints = {EndpointId(1)}});
  EXPECT_EQ(programmer->counts().fdb, 0u);
}

TEST_F(ProgrammerLearning, RemovedVtepAndSwitchedOffLearningPurge) {
  seen_behind(mac(0x50), "192.168.100.2");
  patch({}, {.vteps = {VtepId(2)}});
  EXPECT_EQ(to(mac(0x50)), nullptr);
  seen(mac(0x51), 4);
  auto off = learning_domain();
  off.learning = false;
  patch({.domains = {off}});
  EXPECT_EQ(to(mac(0x51)), nullptr);
}

TEST_F(ProgrammerLearning, TableGrowsWhileLearning) {
  auto large = learning_domain();
  large.fdb_limit = 3000;
  patch({.domains = {large}});
  for (std::uint64_t i = 0; i < 3000; ++i) seen(mac(0x10000 + i), 4);
  programmer->flush(now);
  for (std::uint64_t i = 0; i < 3000; i += 61) EXPECT_NE(to(mac(0x10000 + i)), nullptr) << i;
}

TEST_F(ProgrammerLearning, ViewsRefuseBadParameters) {
  EXPECT_EQ(programmer->fdb({{"domain", 9}}, now).error().message,
            "params.domain is 9, which does not exist; see dump of domains");
  EXPECT_FALSE(programmer->fdb({{"port", 9}}, now));
  EXPECT_FALSE(programmer->neighbors({{"x", 1}}, now));
  EXPECT_TRUE((*programmer->neighbors(Json::object(), now))["neighbors"].empty());
}

}  // namespace
}  // namespace podwire::engine
