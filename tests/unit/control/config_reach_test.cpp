// How pods and the world reach each other: masquerade, global domains, services of the host, transports.
#include "tests/unit/control/config_fixture.hpp"

namespace podwire::control::tests {
namespace {

TEST(ConfigReach, AMasqueradeImpliesConnections) {
  auto document = sound();
  EXPECT_FALSE(parsed(document).domains[0].stateful);
  auto& domain = document["domains"][0];
  domain["masquerade"] = true;
  EXPECT_TRUE(parsed(document).domains[0].stateful);
  EXPECT_EQ(parsed(document).domains[0].masquerade->ports, (api::PortRange{16384, 29999}));
  domain["masquerade"] = {
      {"addresses", {"192.168.100.1"}}, {"ports", {20000, 20999}}, {"except", {"10.0.0.0/8"}}};
  const auto masquerade = *parsed(document).domains[0].masquerade;
  EXPECT_EQ(masquerade.addresses, std::vector<IpAddr>{*parse_ip("192.168.100.1")});
  EXPECT_EQ(masquerade.ports, (api::PortRange{20000, 20999}));
  EXPECT_EQ(masquerade.except, std::vector<IpPrefix>{*parse_prefix("10.0.0.0/8")});
  domain["masquerade"] = false;
  EXPECT_FALSE(parsed(document).domains[0].masquerade);
  domain["stateful"] = true;
  EXPECT_TRUE(parsed(document).domains[0].stateful);
}

TEST(ConfigReach, AGlobalDomainIsReachedByAllThatCanBeJoined) {
  const auto with = [](const Json& other) {
    return [other](Json& document) {
      document["domains"][0]["global"] = true;
      document["domains"].push_back(other);
    };
  };
  auto document = sound();
  with({{"name", "blue"}, {"vni", 2}, {"prefixes", {"10.50.1.0/24"}}})(document);
  with({{"name", "lan"}, {"vni", 3}, {"mode", "l2"}, {"prefixes", {"10.50.1.0/24"}}})(document);
  EXPECT_TRUE(parsed(document).domains[0].global);
  EXPECT_FALSE(parsed(document).domains[1].global);
  expect_refused(with({{"name", "blue"}, {"vni", 2}, {"prefixes", {"10.244.0.0/16"}}}),
                 "domain \"blue\" has 10.244.0.0/16 and domain \"default\" 10.244.1.0/24, which overlap");
  expect_refused(with({{"name", "blue"}, {"vni", 2}, {"prefixes", {"10.244.2.128/25"}}}),
                 "domain \"default\" has 10.244.2.0/24 and domain \"blue\" 10.244.2.128/25, which overlap");
  expect_refused(with({{"name", "blue"}, {"vni", 2}, {"prefixes", {"10.50.1.0/24"}}, {"stateful", true}}),
                 "domain \"blue\" tracks connections and domain \"default\" does not");
  expect_refused(
      with({{"name", "lan"}, {"vni", 2}, {"mode", "l2"}, {"prefixes", {"10.50.1.0/24"}}, {"global", true}}),
      "domains[1].global is for mode \"l3\"; this domain is \"l2\"");
  expect_refused([](Json& json) { json["domains"][0]["global"] = "yes"; }, "domains[0].global");
}

TEST(ConfigReach, RefusesAMasqueradeThatCannotBe) {
  const auto with = [](const Json& masquerade) {
    return [masquerade](Json& document) { document["domains"][0]["masquerade"] = masquerade; };
  };
  expect_refused(with("yes"), "masquerade must be true, false or an object");
  expect_refused(with({{"port", 1}}), "masquerade");
  expect_refused(with({{"ports", {80, 90}}}),
                 "domains[0].masquerade.ports begins at 80, must be 1024 or above");
  expect_refused(with({{"except", {"10.0.0.1/8"}}}), "domains[0].masquerade.except");
  expect_refused(with({{"addresses", {"192.168.100.1", "192.168.100.2"}}}),
                 "domains[0].masquerade.addresses must have one IPv4 address");
  expect_refused(
      [](Json& document) {
        document["underlay"]["addresses"] = {"192.168.100.1/24"};
        document["domains"][0]["masquerade"] = {{"addresses", {"192.168.100.9"}}};
      },
      "masquerade.addresses: 192.168.100.9 is none of underlay.addresses");
  expect_refused(
      [](Json& document) {
        document["domains"][0]["stateful"] = false;
        document["domains"][0]["masquerade"] = true;
      },
      "stateful is false, but masquerade needs connections to be tracked");
}

TEST(ConfigReach, HostServicesHaveAddressesOfTheirOwn) {
  const auto by_default = parsed(sound()).host_services;
  EXPECT_TRUE(by_default.enabled);
  ASSERT_EQ(by_default.prefixes.size(), 2u);
  EXPECT_EQ(to_string(by_default.prefixes[0]), "169.254.112.0/26");
  EXPECT_EQ(to_string(by_default.prefixes[1]), "fd70:6f64:7769:7265::/64");
  auto document = sound();
  document["host_services"] = nullptr;
  EXPECT_FALSE(parsed(document).host_services.enabled);
  document["host_services"] = {{"prefixes", {"198.18.0.0/24"}}};
  EXPECT_EQ(to_string(parsed(document).host_services.prefixes.at(0)), "198.18.0.0/24");
  document.erase("host_services");
  document["domains"][0].erase("host_access");
  document["underlay"]["host_interface"] = nullptr;
  EXPECT_FALSE(parsed(document).host_services.enabled);

  const auto refused = [](const Json& prefixes, const std::string& message) {
    expect_refused([&](Json& j) { j["host_services"]["prefixes"] = prefixes; }, message);
  };
  refused({"198.18.0.0/27"}, "198.18.0.0/27 is too small; the longest that will do is /26");
  refused({"fd00:70::/123"}, "the longest that will do is /122");
  refused({"198.18.0.1/24"}, "has host bits set; did you mean 198.18.0.0/24?");
  refused({"127.1.0.0/16"}, "127.1.0.0/16 cannot be routed");
  refused({"fe80::/64"}, "fe80::/64 cannot be routed");
  refused({"198.18.0.0/24", "198.19.0.0/24"}, "198.19.0.0/24 is the second of its family");
  refused({"10.244.0.0/16"}, "overlaps domain \"default\" with 10.244.1.0/24");
  refused({"10.244.2.0/24"}, "overlaps peer \"node-b\" with 10.244.2.0/24");
  refused(Json::array(), "host_services.prefixes is empty");
  expect_refused([](Json& j) { j["host_services"] = 7; }, "must be true, false or an object with prefixes");
  expect_refused(
      [](Json& j) {
        j["domains"][0].erase("host_access");
        j["underlay"]["host_interface"] = nullptr;
        j["host_services"] = true;
      },
      "host_services needs a host interface");
}

TEST(ConfigReach, ReadsHowPodsAreReached) {
  auto document = sound();
  EXPECT_EQ(parsed(document).domains[0].transport, DomainTransport::kTunnel);
  EXPECT_FALSE(parsed(document).has_routed_domains());
  EXPECT_EQ(parsed(document).routing.tables, std::vector<std::uint32_t>{254});
  document["domains"][0]["transport"] = "subnet";
  EXPECT_EQ(parsed(document).domains[0].transport, DomainTransport::kSubnet);
  document["domains"][0]["transport"] = "routed";
  document["domains"][0]["announce"] = "both";
  document["routing"] = {{"tables", {100, 254}}, {"announce_table", 1080}};
  const auto config = parsed(document);
  EXPECT_EQ(config.domains[0].transport, DomainTransport::kRouted);
  EXPECT_EQ(config.domains[0].announce, DomainAnnounce::kBoth);
  EXPECT_TRUE(config.has_routed_domains());
  EXPECT_EQ(config.routing.tables, (std::vector<std::uint32_t>{100, 254}));
  EXPECT_EQ(config.routing.announce_table, 1080u);
}

TEST(ConfigReach, ChecksHowPodsAreReached) {
  const auto expect = [](const std::function<void(Json&)>& change, const char* expected) {
    expect_refused(
        [&](Json& d) {
          d["domains"][0]["transport"] = "routed";
          change(d);
        },
        expected);
  };
  expect([](Json& d) { d["domains"][0]["transport"] = "bgp"; }, "domains[0].transport");
  expect(
      [](Json& d) {
        d["domains"][0]["mode"] = "l2";
        d["peers"] = Json::array();
      },
      "only domains of mode \"l3\"");
  expect(
      [](Json& d) {
        d["underlay"]["host_interface"] = nullptr;
        d["domains"][0]["host_access"] = false;
      },
      "needs a host interface");
  expect(
      [](Json& d) {
        d["underlay"]["addresses"] = {"10.244.1.5/16"};
        d["domains"][0]["host_access"] = false;
        d["peers"] = Json::array();
      },
      "contains the underlay address 10.244.1.5/16");
  expect(
      [](Json& d) {
        d["domains"].push_back(
            {{"name", "other"}, {"vni", 2}, {"prefixes", {"10.244.1.128/25"}}, {"transport", "subnet"}});
      },
      "domains[1]: prefix 10.244.1.128/25 overlaps 10.244.1.0/24 of domain \"default\"");
  expect([](Json& d) { d["domains"][0]["announce"] = "pod"; }, "domains[0].announce");
  expect_refused([](Json& d) { d["domains"][0]["announce"] = "pods"; },
                 "domains[0].announce is for pods that are reached without tunnels");
  expect([](Json& d) { d["routing"]["tables"] = Json::array(); }, "routing.tables is empty");
  expect([](Json& d) { d["routing"]["tables"] = {254, 255}; }, "routing.tables[1] is 255");
  expect([](Json& d) { d["routing"]["tables"] = {7, 7}; }, "routing.tables[1] is 7, which is listed already");
  expect([](Json& d) { d["routing"]["tables"] = {-1}; }, "routing.tables[0]");
  expect([](Json& d) { d["routing"]["announce_table"] = 255; }, "routing.announce_table is 255");
  expect([](Json& d) { d["routing"]["table"] = 1; }, "did you mean");
}

}  // namespace
}  // namespace podwire::control::tests
