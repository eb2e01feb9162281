#include "control/config.hpp"

#include <gtest/gtest.h>

namespace podwire::control {
namespace {

Json sound() {
  return Json::parse(R"({
    "node": "node-a",
    "underlay": {"device": "eth0"},
    "domains": [{"name": "default", "vni": 1, "prefixes": ["10.244.1.0/24", "fd00:10:244:1::/64"], "host_access": true}],
    "peers": [{"name": "node-b", "address": "192.168.100.2", "domains": {"default": {"prefixes": ["10.244.2.0/24"]}}}]
  })");
}

Config parsed(const Json& document) {
  auto config = parse_config(document, "podwired.json");
  EXPECT_TRUE(config) << config.error().message;
  return config ? *config : Config{};
}

// The message with which `document` is refused.
std::string refusal(const Json& document) {
  auto config = parse_config(document, "podwired.json");
  EXPECT_FALSE(config);
  return config ? "" : config.error().message;
}

void expect_refused(const std::function<void(Json&)>& change, const std::string& expected) {
  auto document = sound();
  change(document);
  const auto message = refusal(document);
  EXPECT_NE(message.find(expected), std::string::npos) << "got: " << message << "\nwanted: " << expected;
  EXPECT_EQ(message.rfind("podwired.json: ", 0), 0u) << message;
}

TEST(Config, FillsInDefaults) {
  const auto config = parsed(sound());
  EXPECT_EQ(config.state_dir, "/var/lib/podwire");
  EXPECT_EQ(config.control_socket, "/run/podwire/control.sock");
  EXPECT_EQ(config.engine.socket, "/run/podwire/engine.sock");
  EXPECT_FALSE(config.engine.spawn);
  EXPECT_EQ(config.underlay.driver, UnderlayDriver::kAfXdp);
  EXPECT_EQ(config.underlay.host_interface, "podwire0");
  EXPECT_EQ(config.vxlan.port, 4789);
  ASSERT_EQ(config.domains.size(), 1u);
  const auto& domain = config.domains[0];
  EXPECT_EQ(domain.mode, api::DomainMode::kL3);
  ASSERT_EQ(domain.gateways.size(), 2u);
  EXPECT_EQ(to_string(domain.gateways[0]), "10.244.1.1");
  EXPECT_EQ(to_string(domain.gateways[1]), "fd00:10:244:1::1");
  EXPECT_FALSE(domain.mtu);
  EXPECT_FALSE(domain.learning);
  EXPECT_TRUE(domain.flood_peers);
}

TEST(Config, AMasqueradeImpliesConnections) {
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

TEST(Config, AGlobalDomainIsReachedByAllThatCanBeJoined) {
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

TEST(Config, RefusesAMasqueradeThatCannotBe) {
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

TEST(Config, ReadsEveryField) {
  auto document = sound();
  document["engine"] = {
      {"socket", "/tmp/e.sock"}, {"spawn", true}, {"binary", "/opt/e"}, {"config", "/etc/e.json"}};
  document["underlay"] = {{"devargs", "0000:01:00.0"},
                          {"addresses", {"192.168.100.1/24"}},
                          {"gateways", {"192.168.100.254"}},
                          {"vlan", 7},
                          {"mtu", 9000},
                          {"host_interface", nullptr}};
  document["vxlan"] = {{"port", 8472}, {"mac", "02:00:00:00:00:01"}};
  auto& domain = document["domains"][0];
  domain["host_access"] = false;
  domain["mode"] = "l2";
  domain["learning"] = true;
  domain["flood_peers"] = false;
  domain["mtu"] = 1400;
  domain["flow_limit"] = 5000;
  domain["dscp"] = 46;
  domain["gateways"] = {"fd00:10:244:1::fe", "10.244.1.254"};
  domain["ranges"] = Json::parse(R"([{"start": "10.244.1.10", "end": "10.244.1.20"}])");
  domain["exclude"] = {"10.244.1.15", "10.244.1.64/28"};
  document["peers"][0]["udp_port"] = 8472;
  document["peers"][0]["mac"] = "02:00:00:00:00:02";
  const auto config = parsed(document);
  EXPECT_TRUE(config.engine.spawn);
  EXPECT_EQ(config.underlay.vlan, 7);
  EXPECT_FALSE(config.underlay.host_interface);
  EXPECT_EQ(config.domains[0].mode, api::DomainMode::kL2);
  EXPECT_EQ(to_string(config.domains[0].gateways[0]), "10.244.1.254");  // in the order of the prefixes
  EXPECT_EQ(to_string(config.domains[0].exclude[0]), "10.244.1.15/32");
  EXPECT_EQ(config.domains[0].dscp, 46);
  EXPECT_TRUE(config.domains[0].trust_dscp);
  EXPECT_EQ(config.peers[0].udp_port, 8472);
}

TEST(Config, RefusesUnknownKeysWithASuggestion) {
  expect_refused([](Json& j) { j["peer"] = Json::array(); }, "did you mean \"peers\"?");
  expect_refused([](Json& j) { j["underlay"]["drivr"] = "af_xdp"; },
                 "unknown key \"drivr\" in underlay; did you mean \"driver\"?");
  expect_refused([](Json& j) { j["domains"][0]["prefix"] = "x"; },
                 "in domains[0]; did you mean \"prefixes\"?");
  expect_refused([](Json& j) { j["peers"][0]["adress"] = "x"; }, "in peers[0]; did you mean \"address\"?");
  expect_refused([](Json& j) { j["peers"][0]["domains"]["default"]["prefix"] = 1; },
                 "peers[0].domains.default");
}

TEST(Config, NamesThePathOfAWrongValue) {
  expect_refused([](Json& j) { j["domains"][0]["vni"] = 16777216; },
                 "domains[0].vni is 16777216, must be from 0 to 16777215");
  expect_refused([](Json& j) { j["domains"][0]["prefixes"][1] = "10.0.0.0"; }, "domains[0].prefixes[1]");
  expect_refused([](Json& j) { j["vxlan"] = {{"port", 0}}; }, "vxlan.port is 0");
  expect_refused([](Json& j) { j["underlay"]["mtu"] = 100; }, "underlay.mtu is 100");
  expect_refused([](Json& j) { j["underlay"]["driver"] = "dpdk"; }, "\"af_xdp\", \"af_packet\"");
  expect_refused([](Json& j) { j["cluster"] = "etcd"; }, "cluster is \"etcd\", which needs to know where");
  expect_refused([](Json& j) { j["state_dir"] = "relative"; },
                 "state_dir is \"relative\", must be an absolute path");
  expect_refused([](Json& j) { j["log_level"] = "loud"; }, "log_level is \"loud\"");
}

TEST(Config, RefusesAnUnusableUnderlay) {
  expect_refused([](Json& j) { j.erase("underlay"); }, "underlay is missing");
  expect_refused([](Json& j) { j["underlay"] = Json::object(); }, "exactly one of device");
  expect_refused([](Json& j) { j["underlay"]["devargs"] = "net_null0"; }, "exactly one of device");
  expect_refused(
      [](Json& j) {
        j["underlay"] = {{"devargs", "net_null0"}};
      },
      "underlay.addresses is missing");
  expect_refused([](Json& j) { j["underlay"]["device"] = "a-name-that-is-too-long"; }, "underlay.device");
  expect_refused([](Json& j) { j["underlay"]["host_interface"] = "eth0"; }, "the underlay device itself");
  expect_refused(
      [](Json& j) {
        j["underlay"]["gateways"] = {"10.0.0.1", "10.0.0.2"};
      },
      "10.0.0.2 is the second of its family");
  expect_refused([](Json& j) { j["underlay"]["host_interface"] = nullptr; },
                 "host_access needs a host interface");
}

TEST(Config, HostServicesHaveAddressesOfTheirOwn) {
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

TEST(Config, ChecksDomainsAgainstEachOther) {
  const auto second = [](Json& j) -> Json& {
    j["domains"].push_back(Json::parse(R"({"name": "blue", "vni": 2, "prefixes": ["10.9.0.0/24"]})"));
    return j["domains"][1];
  };
  expect_refused([&](Json& j) { second(j)["name"] = "default"; },
                 "domains[1].name is \"default\", which an earlier domain has");
  expect_refused([&](Json& j) { second(j)["vni"] = 1; }, "domains[1].vni is 1, which an earlier domain has");
  expect_refused([&](Json& j) { second(j)["host_access"] = true; }, "domain \"default\" has it already");
  expect_refused([](Json& j) { j["domains"] = Json::array(); }, "domains is empty");
  auto overlapping = sound();
  second(overlapping)["prefixes"] = {"10.244.1.0/24"};  // tenants may overlap
  parsed(overlapping);
}

TEST(Config, ChecksPrefixesGatewaysAndRanges) {
  const auto domain = [](Json& j) -> Json& { return j["domains"][0]; };
  expect_refused([&](Json& j) { domain(j)["prefixes"] = {"10.244.1.7/24"}; }, "did you mean 10.244.1.0/24?");
  expect_refused(
      [&](Json& j) {
        domain(j)["prefixes"] = {"10.244.1.0/24", "10.245.0.0/24"};
      },
      "second IPv4 prefix");
  expect_refused([&](Json& j) { domain(j)["prefixes"] = {"10.244.1.0/31"}; },
                 "no room for a gateway and a pod");
  expect_refused([&](Json& j) { domain(j)["prefixes"] = {"fe80::/64"}; }, "link-local");
  expect_refused([&](Json& j) { domain(j)["prefixes"] = Json::array(); }, "prefixes is empty");
  expect_refused([&](Json& j) { domain(j)["gateways"] = {"10.244.1.1"}; },
                 "no address inside fd00:10:244:1::/64");
  expect_refused(
      [&](Json& j) {
        domain(j)["gateways"] = {"10.244.1.1", "fd00:10:244:1::1", "10.0.0.1"};
      },
      "10.0.0.1 is one too many");
  expect_refused(
      [&](Json& j) {
        domain(j)["gateways"] = {"10.244.1.255", "fd00:10:244:1::1"};
      },
      "network or broadcast address");
  expect_refused(
      [&](Json& j) {
        domain(j)["ranges"] = Json::parse(R"([{"start": "10.244.1.10", "end": "10.244.2.20"}])");
      },
      "domains[0].ranges[0]: 10.244.2.20 is inside none");
  expect_refused(
      [&](Json& j) {
        domain(j)["ranges"] = Json::parse(R"([{"start": "10.244.1.20", "end": "10.244.1.10"}])");
      },
      "is before start");
  expect_refused(
      [&](Json& j) { domain(j)["ranges"] = Json::parse(R"([{"start": "10.244.1.20", "end": "fd00::1"}])"); },
      "different families");
  expect_refused([&](Json& j) { domain(j)["exclude"] = {"10.245.0.0/24"}; },
                 "domains[0].exclude[0] is 10.245.0.0/24");
  expect_refused([&](Json& j) { domain(j)["exclude"] = {"x"}; }, "domains[0].exclude[0]");
  expect_refused([&](Json& j) { domain(j)["learning"] = true; }, "learning is for mode \"l2\"");
  expect_refused([&](Json& j) { domain(j)["dscp"] = 64; }, "domains[0].dscp is 64, must be from 0 to 63");
  expect_refused([&](Json& j) { domain(j)["trust_dscp"] = 1; },
                 "domains[0].trust_dscp must be true or false, not an integer");
  expect_refused([&](Json& j) { domain(j)["dscp"] = 10, domain(j)["trust_dscp"] = false; },
                 "domains[0].trust_dscp is false beside dscp");
  expect_refused([&](Json& j) { domain(j)["flow_limit"] = 16777217; },
                 "domains[0].flow_limit is 16777217, must be from 0 to 16777216");
}

TEST(Config, ChecksPeers) {
  const auto add = [](Json& j, const char* name, const char* address, const char* prefix) {
    j["peers"].push_back(
        {{"name", name}, {"address", address}, {"domains", {{"default", {{"prefixes", {prefix}}}}}}});
  };
  expect_refused([&](Json& j) { add(j, "node-b", "192.168.100.3", "10.244.3.0/24"); },
                 "peers[1].name is \"node-b\", which an earlier");
  expect_refused([&](Json& j) { add(j, "node-a", "192.168.100.3", "10.244.3.0/24"); },
                 "this node's own name");
  expect_refused([&](Json& j) { add(j, "node-c", "192.168.100.2", "10.244.3.0/24"); },
                 "192.168.100.2, which an earlier peer has");
  expect_refused([&](Json& j) { add(j, "node-c", "192.168.100.3", "10.244.2.0/24"); },
                 "peer \"node-b\" has 10.244.2.0/24 already");
  expect_refused([&](Json& j) { add(j, "node-c", "192.168.100.3", "10.244.1.128/25"); },
                 "overlaps this node's 10.244.1.0/24");
  expect_refused([&](Json& j) { add(j, "node-c", "192.168.100.3", "10.244.3.1/24"); },
                 "did you mean 10.244.3.0/24?");
  expect_refused([](Json& j) { j["peers"][0]["domains"]["defualt"] = Json::object(); },
                 "did you mean \"default\"?");
  expect_refused([](Json& j) { j["peers"][0]["address"] = "224.0.0.1"; }, "must be a unicast address");
  expect_refused([](Json& j) { j["underlay"]["addresses"] = {"fd00:100::1/64"}; },
                 "underlay.addresses has none of that family");
  expect_refused([](Json& j) { j["underlay"]["addresses"] = {"192.168.100.2/24"}; }, "this node's own");
}

TEST(Config, ReadsHowPodsAreReached) {
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

TEST(Config, ChecksHowPodsAreReached) {
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

TEST(Config, ReadsPodSocketsAndDns) {
  EXPECT_EQ(parsed(sound()).pod_sockets.directory, "/run/podwire/pods");
  EXPECT_EQ(parsed(sound()).pod_sockets.group, 0u);
  EXPECT_EQ(parsed(sound()).pod_sockets.mode, 0660);
  auto j = sound();
  j["pod_sockets"] = {{"directory", "/run/pods/"}, {"group", 107}, {"mode", "0666"}};
  j["domains"][0]["dns"] = {{"servers", {"10.96.0.10", "fd00::a"}}, {"search", {"svc.cluster.local"}}};
  const auto config = parsed(j);
  EXPECT_EQ(config.pod_sockets.directory, "/run/pods");
  EXPECT_EQ(config.pod_sockets.group, 107u);
  EXPECT_EQ(config.pod_sockets.mode, 0666);
  EXPECT_EQ(config.domains[0].dns_servers.size(), 2u);
  EXPECT_EQ(config.domains[0].search_domains, std::vector<std::string>{"svc.cluster.local"});
  j["pod_sockets"]["group"] = "root";
  EXPECT_EQ(parsed(j).pod_sockets.group, 0u);
}

TEST(Config, ChecksPodSocketsAndDns) {
  const auto sockets = [](const char* key, Json value) {
    return [=](Json& j) { j["pod_sockets"][key] = value; };
  };
  expect_refused(sockets("directory", "run/pods"), "pod_sockets.directory is \"run/pods\"");
  expect_refused(sockets("directory", "/" + std::string(70, 'x')), "with 71 characters");
  expect_refused(sockets("group", "no-such-group"), "groupadd");
  expect_refused(sockets("group", -1), "pod_sockets.group");
  expect_refused(sockets("mode", "rw"), "octal mode");
  expect_refused(sockets("mode", "1777"), "octal mode");
  expect_refused(sockets("mode", 660), "pod_sockets.mode must be a string");
  expect_refused(sockets("gruop", 1), "did you mean");
  const auto dns = [](const char* key, Json value) {
    return [=](Json& j) { j["domains"][0]["dns"][key] = value; };
  };
  expect_refused(dns("servers", {"0.0.0.0"}), "domains[0].dns");
  expect_refused(dns("servers", Json(std::vector<std::string>(9, "10.0.0.1"))), "domains[0].dns");
  expect_refused(dns("search", {"a b"}), "domains[0].dns");
  expect_refused(dns("server", {"10.0.0.1"}), "did you mean");
}

TEST(Config, SurvivesEveryTruncation) {
  const auto text = sound().dump();
  for (std::size_t n = 0; n < text.size(); ++n) {
    EXPECT_FALSE(parse_json(text.substr(0, n), "podwired.json")) << n;
  }
}

TEST(Config, RefusesEveryFieldOfAWrongType) {
  const auto document = sound().flatten();
  for (const auto& [pointer, value] : document.items()) {
    for (const Json& wrong :
         {Json(), Json(true), Json(1.5), Json(-1), Json("\x01"), Json::array({1}), Json{{"a", 1}}}) {
      auto changed = sound();
      changed[Json::json_pointer(pointer)] = wrong;
      // Whatever it is, it must be an answer: a configuration or a message.
      auto config = parse_config(changed, "podwired.json");
      EXPECT_TRUE(config || !config.error().message.empty()) << pointer;
    }
  }
}

}  // namespace
}  // namespace podwire::control
