// The verbs address_egress, address_floating, address_del and addresses: all or nothing, and kept.
#include "tests/unit/control_api/daemon_fixture.hpp"

namespace podwire::control {
namespace {

class AddressesTest : public DaemonTest {
 protected:
  AddressesTest() {
    config.domains[0].stateful = true;
    config.domains[0].masquerade = MasqueradeConfig{};
    config.underlay.host_interface.reset();
    engine.start();
    start();
  }
  static Json given(const char* name, std::vector<std::string> addresses) {
    return {{"name", name}, {"addresses", std::move(addresses)}};
  }
  Json listed() { return (*call("addresses"))["addresses"]; }
};

TEST_F(AddressesTest, AreListedAndKeptUntilTheyAreDeleted) {
  const auto reply = done("address_egress", given("shop", {"198.51.100.1", "2001:db8::1"}));
  EXPECT_EQ(reply["kind"], "egress");
  EXPECT_EQ(reply["addresses"], (Json{"198.51.100.1", "2001:db8::1"}));
  EXPECT_EQ(reply["warnings"].size(), 2u);  // the node here has no address at all
  done("address_floating", given("shop/web", {"198.51.100.2"}));
  done("address_floating", given("shop/web", {"198.51.100.3"}));
  const Json all = Json::parse(R"([
      {"name": "shop", "kind": "egress", "addresses": ["198.51.100.1", "2001:db8::1"], "pods": []},
      {"name": "shop/web", "kind": "floating", "addresses": ["198.51.100.3"], "pods": []}])");
  EXPECT_EQ(listed(), all);
  start();
  EXPECT_EQ(listed(), all);
  EXPECT_EQ(done("address_del", {{"name", "shop"}})["deleted"], Json{"shop"});
  EXPECT_TRUE(done("address_del", {{"name", "shop"}})["deleted"].empty());
  EXPECT_EQ(listed().size(), 1u);
}

TEST_F(AddressesTest, APortThatWasAddedHasItsOwn) {
  done("port_add", {{"name", "vm1"}, {"kind", "vhost"}, {"socket", directory.path() + "/vm1.sock"}});
  const auto reply = done("address_floating", given("vm1", {"198.51.100.1"}));
  EXPECT_EQ(reply["pods"], Json{"vm1"});
  const auto endpoints = engine.endpoint_objects();
  ASSERT_EQ(endpoints.size(), 1u);
  EXPECT_EQ(endpoints.begin()->second.floating, std::vector<IpAddr>{*parse_ip("198.51.100.1")});
  expect_agreement();
}

TEST_F(AddressesTest, WhatIsRefusedChangesNothing) {
  done("address_floating", given("shop/web", {"198.51.100.1"}));
  const auto says = [&](const char* method, const Json& params, const char* text) {
    const auto message = refused(method, params);
    EXPECT_NE(message.find(text), std::string::npos) << message;
  };
  says("address_egress", given("shop", {"198.51.100.1"}), "is the floating address of shop/web");
  says("address_egress", given("shop", {}), "give an address");
  says("address_egress", given("shop", {"198.51.100.2", "198.51.100.3"}), "is the second of its family");
  says("address_egress", given("shop", {"10.244.0.9"}), "the pods' prefix of domain \"default\"");
  says("address_egress", given("shop/web", {"198.51.100.2"}), "params.name");
  says("address_floating", given("shop/We b", {"198.51.100.2"}), "params.name");
  says("address_egress", given("shop", {"127.0.0.1"}), "is no unicast address");
  done("address_floating", given("vm1", {"198.51.100.9"}));
  says("address_egress", given("vm1", {"198.51.100.2"}), "port \"vm1\" has a floating address");
  EXPECT_EQ(listed().size(), 2u);
  config.domains[0].masquerade.reset();
  says("address_egress", given("shop", {"198.51.100.2"}), "no domain of this node has a masquerade");
}

TEST_F(AddressesTest, AreComparedWithTheOtherNodes) {
  RemoteNodes others(config, config, *store, *reconciler);
  NodeUnderlay own;
  own.addresses = {*parse_prefix("192.168.100.1/24")};
  ASSERT_TRUE(others.load(reconciler->node(), own));
  daemon->addresses.compare_with(others);
  const auto node = [](const char* name, const char* address) {
    ClusterNode out;
    out.name = name;
    out.record = {{*parse_ip(address)}, 4789, kGatewayMac};
    return out;
  };
  others.change({true, {node("node2", "192.168.100.2")}, {}});
  const auto message = refused("address_egress", given("shop", {"192.168.100.2"}));
  EXPECT_EQ(message, "address 192.168.100.2 is that of node \"node2\" of the cluster; choose another");
  EXPECT_TRUE(listed().empty());
  done("address_egress", given("shop", {"192.168.100.3"}));
  done("address_floating", given("shop/web", {"192.168.100.4"}));
  EXPECT_TRUE(daemon->addresses.differences()->empty());
  // Whoever comes later is told of, also where it is left out.
  auto late = node("node4", "192.168.100.4");
  late.record.udp_port = 9999;
  others.change({false, {node("node3", "192.168.100.3"), late}, {}});
  EXPECT_EQ(
      *daemon->addresses.differences(),
      (std::vector<std::string>{
          "address 192.168.100.3 of shop is that of node \"node3\" too, which came later; give shop another: "
          "podwirectl address egress shop --address ADDRESS",
          "address 192.168.100.4 of shop/web is that of node \"node4\" too, which came later; give shop/web "
          "another: podwirectl address floating shop/web --address ADDRESS"}));
  others.change({false, {}, {"node3", "node4"}});
  EXPECT_TRUE(daemon->addresses.differences()->empty());
}

}  // namespace
}  // namespace podwire::control
