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

}  // namespace
}  // namespace podwire::control
