// Endpoints of the underlay: what the engine takes, and that they are neighbours and nothing else. With a
// pool, because who wants a neighbour that is gone asks for it; the questions themselves go nowhere.
#include <rte_mbuf.h>

#include "tests/unit/tables/programmer_fixture.hpp"

namespace podwire::engine {
namespace {

using namespace testing_objects;

constexpr unsigned kQuestions = 255;

rte_mempool* pool_for_questions() {
  static rte_mempool* const made = rte_pktmbuf_pool_create("permanent_test", kQuestions, 0, kMbufPrivateBytes,
                                                           RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
  return made;
}

class PermanentNeighbors : public ProgrammerTest {
 protected:
  PermanentNeighbors() : ProgrammerTest(nullptr, pool_for_questions()) {}
  void TearDown() override {
    programmer.reset();
    EXPECT_EQ(rte_mempool_avail_count(pool_for_questions()), kQuestions);
  }
  std::uint64_t asked() const { return counters.engine.generated.get(); }
  void SetUp() override {
    patch({.ports = {uplink(1), host_tap(2), tap(3)},
           .vteps = {vtep(1, "192.168.100.1", true), vtep(2, "10.9.0.2")},
           .domains = {domain(2)},
           .endpoints = {pod(1, 3, {"10.244.1.10"})},
           .routes = {route(1, "192.168.100.0/24", {via_port(1)}, 1),
                      route(2, "0.0.0.0/0", {via_port(1, "192.168.100.254")}, 1),
                      route(3, "10.244.2.0/24", {via_vtep(2)})}});
  }
  static api::Endpoint neighbor(std::uint32_t id, const std::string& address, const MacAddr& at) {
    auto endpoint = pod(id, 1, {address}, 1);
    endpoint.mac = at;
    return endpoint;
  }
  // "STATE MAC" of what the engine says of an address; empty: nothing.
  std::string known(const std::string& address) const {
    const auto reply = programmer->neighbors(Json::object(), now);
    EXPECT_TRUE(reply) << reply.error().message;
    for (const auto& one : reply->at("neighbors")) {
      if (one.at("address") != address) continue;
      return one.at("state").get<std::string>() + " " +
             (one.at("mac").is_null() ? std::string("none") : one.at("mac").get<std::string>());
    }
    return {};
  }
  // Where outer frames to VTEP 2 go; zero: it is not resolved.
  MacAddr outer_destination() const {
    for (const auto& entry : tables().vteps) {
      if (entry.id != VtepId(2) || !entry.resolved) continue;
      MacAddr out;
      std::copy_n(entry.header.begin(), out.bytes.size(), out.bytes.begin());
      return out;
    }
    return {};
  }
};

TEST_F(PermanentNeighbors, ResolveWhatGoesByThemAtOnceAndAnew) {
  EXPECT_TRUE(outer_destination().is_zero());
  patch({.endpoints = {neighbor(9, "192.168.100.254", mac(0xfe))}});
  EXPECT_EQ(outer_destination(), mac(0xfe));
  EXPECT_EQ(known("192.168.100.254"), "permanent 02:00:00:00:00:fe");
  patch({.endpoints = {neighbor(9, "192.168.100.254", mac(0xfd))}});
  EXPECT_EQ(outer_destination(), mac(0xfd));
  const auto before = asked();
  for (int i = 0; i < 100; ++i) programmer->tick(now += 1000);
  EXPECT_EQ(outer_destination(), mac(0xfd));
  EXPECT_EQ(asked(), before);
  Event event;  // somebody says so
  event.kind = Event::Kind::kNeighbor;
  event.solicited = true;
  event.port = PortId(1);
  event.domain = kUnderlayDomain;
  event.address = *parse_ip("192.168.100.254");
  event.mac = mac(0xbad);
  programmer->on_event(event, now);
  programmer->flush(now);
  EXPECT_EQ(outer_destination(), mac(0xfd));
  patch({}, {.endpoints = {EndpointId(9)}});
  EXPECT_TRUE(outer_destination().is_zero());
  EXPECT_EQ(known("192.168.100.254"), "incomplete none");
  EXPECT_EQ(asked(), before + 1);
  programmer->on_event(event, now);
  programmer->flush(now);
  EXPECT_EQ(outer_destination(), mac(0xbad));
}

TEST_F(PermanentNeighbors, AreThereBeforeSomebodyWantsThem) {
  patch({.endpoints = {neighbor(9, "192.168.100.77", mac(0x77))}});
  EXPECT_EQ(known("192.168.100.77"), "permanent 02:00:00:00:00:77");
  patch({.vteps = {vtep(2, "192.168.100.77")}});
  EXPECT_EQ(outer_destination(), mac(0x77));
  patch({.vteps = {vtep(2, "10.9.0.2")}});
  EXPECT_EQ(known("192.168.100.77"), "permanent 02:00:00:00:00:77");
}

TEST_F(PermanentNeighbors, SurviveAReplaceOfWhatStandsForThem) {
  patch({.endpoints = {neighbor(9, "192.168.100.254", mac(0xfe))}});
  patch({.endpoints = {neighbor(8, "192.168.100.254", mac(0xfe))}}, {.endpoints = {EndpointId(9)}});
  EXPECT_EQ(outer_destination(), mac(0xfe));
  // A full replace without it takes it away.
  programmer->replace_begin();
  auto port = uplink(1);
  ASSERT_TRUE(
      programmer->replace_chunk({.ports = {port},
                                 .vteps = {vtep(1, "192.168.100.1", true), vtep(2, "10.9.0.2")},
                                 .routes = {route(2, "0.0.0.0/0", {via_port(1, "192.168.100.254")}, 1)}},
                                {}));
  ASSERT_TRUE(programmer->replace_commit(now));
  EXPECT_EQ(known("192.168.100.254"), "incomplete none");
}

TEST_F(PermanentNeighbors, OfOneRouterMayShareItsMac) {
  patch({.endpoints = {neighbor(8, "192.168.100.254", mac(0xfe)), neighbor(9, "fe80::1", mac(0xfe))}});
  EXPECT_EQ(known("fe80::1"), "permanent 02:00:00:00:00:fe");
  refused({.endpoints = {neighbor(10, "fe80::1", mac(0xfd))}}, {},
          "endpoint 10 \"ns/pod10\": address fe80::1 is endpoint 9 \"ns/pod9\"'s already in domain 1");
}

TEST_F(PermanentNeighbors, LeadNoPacketAnywhereByThemselves) {
  const auto* before = to("192.168.100.77", 1);
  const auto* uplink_entry = tables().ports.at(1);
  patch({.endpoints = {neighbor(9, "192.168.100.77", mac(0x77))}});
  EXPECT_EQ(to("192.168.100.77", 1), before);
  EXPECT_EQ(to(mac(0x77), 1), nullptr);
  EXPECT_EQ(tables().ports.at(1), uplink_entry);  // no source filter
  EXPECT_TRUE(tables().ports.at(1)->macs.empty());
}

TEST_F(PermanentNeighbors, ChangeIntoEndpointsOfDomainsAndBack) {
  patch({.endpoints = {neighbor(1, "192.168.100.254", mac(0xfe))}});
  EXPECT_EQ(outer_destination(), mac(0xfe));
  EXPECT_EQ(to(mac(0x1001)), nullptr);
  patch({.endpoints = {pod(1, 3, {"10.244.1.10"})}});
  EXPECT_TRUE(outer_destination().is_zero());
  EXPECT_NE(to(mac(0x1001)), nullptr);
}

TEST_F(PermanentNeighbors, HaveOneFormOnly) {
  const std::string who =
      "endpoint 9 \"ns/pod9\": domain is 1, the underlay, where endpoints are permanent "
      "neighbours behind an uplink; ";
  auto bad = neighbor(9, "192.168.100.77", mac(0x77));
  bad.port = PortId(2);
  refused({.endpoints = {bad}}, {}, who + "port 2 \"host2\" has the role host: use an uplink's port");
  bad.port = PortId(7);
  refused({.endpoints = {bad}}, {}, "endpoint 9 \"ns/pod9\": port 7 does not exist");
  bad.port = PortId();
  bad.vtep = VtepId(2);
  refused({.endpoints = {bad}}, {}, who + "it is behind vtep 2 \"vtep2\": use an uplink's port");
  bad = neighbor(9, "192.168.100.77", mac(0x77));
  bad.addresses.clear();
  refused({.endpoints = {bad}}, {}, who + "addresses is empty: list at least one");
  const auto with = [&](auto&& change) {
    auto other = neighbor(9, "192.168.100.77", mac(0x77));
    change(other);
    refused({.endpoints = {other}}, {},
            who + "they have a port, a MAC and addresses only: leave allowed_pairs");
  };
  with([](api::Endpoint& e) { e.allowed_pairs.emplace_back(); });
  with([](api::Endpoint& e) { e.dhcp = true; });
  with([](api::Endpoint& e) { e.hostname = "router"; });
  with([](api::Endpoint& e) { e.policy = PolicyId(1); });
  with([](api::Endpoint& e) { e.identity = IdentityId(1); });
  with([](api::Endpoint& e) { e.egress = {*parse_ip("192.0.2.1")}; });
  with([](api::Endpoint& e) { e.floating = {*parse_ip("192.0.2.1")}; });
}

TEST_F(PermanentNeighbors, HoldTheirPort) {
  patch({.endpoints = {neighbor(9, "192.168.100.77", mac(0x77))}});
  refused({}, {.ports = {PortId(1)}, .routes = {RouteId(1), RouteId(2)}},
          "port 1 \"uplink1\" cannot be deleted: endpoint 9 \"ns/pod9\" is on it");
  patch({}, {.ports = {PortId(1)}, .endpoints = {EndpointId(9)}, .routes = {RouteId(1), RouteId(2)}});
  EXPECT_EQ(known("192.168.100.77"), "");
}

TEST_F(PermanentNeighbors, AreBoundedInNumber) {
  api::ObjectSet all;
  for (std::uint32_t i = 0; i < kMaxPermanentNeighbors; ++i)
    all.endpoints.push_back(
        neighbor(100 + i, to_string(IpAddr(Ipv4::from_u32(0x0a090000 + i + 1))), mac(0x5000 + i)));
  patch(all);
  refused(
      {.endpoints = {neighbor(9, "192.168.100.77", mac(0x77))}}, {},
      "endpoint 9 \"ns/pod9\": there are 4096 permanent neighbours (addresses of endpoints in domain 1), and "
      "4096 are the most there can be; delete some");
  patch({.endpoints = {neighbor(9, "192.168.100.77", mac(0x77))}}, {.endpoints = {EndpointId(100)}});
  EXPECT_EQ(known("10.9.0.1"), "");
}

}  // namespace
}  // namespace podwire::engine
