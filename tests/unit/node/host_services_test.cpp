// HostServices on a kernel of its own: ports are held and led to, what somebody removes is told and put back.
#include "control/node/host_services.hpp"

#include "control/netlink/netlink.hpp"
#include "control/node/host_routes.hpp"
#include "control/node/nft.hpp"
#include "tests/unit/netlink/private_netns.hpp"
#include "tests/unit/node/host_fixture.hpp"

namespace podwire::control {
namespace {

using host_testing::node_port_service;
using host_testing::published;
using host_testing::publishing_pod;
using host_testing::small_config;
using host_testing::small_node;

class HostServicesTest : public ::testing::Test {
 protected:
  // In a namespace with the interface podwire0, which carries the node's addresses.
  void with_node(const std::function<void()>& body) {
    run_in_netns(-1, [&] {
      auto opened = netlink::Netlink::open();
      ASSERT_TRUE(opened);
      netlink::Batch make;
      make.add_veth("podwire0", "engine");
      ASSERT_TRUE(opened->apply(make));
      const auto link = *opened->link("podwire0");
      netlink::Batch furnish;
      furnish.change_link(link, {.up = true, .mtu = {}, .mac = {}, .new_name = {}});
      furnish.change_link(*opened->link("engine"), {.up = true, .mtu = {}, .mac = {}, .new_name = {}});
      for (const char* const address : {"192.168.100.1/24", "192.168.100.2/24", "fd00:100::1/64"})
        furnish.add_address(link, {.prefix = *parse_prefix(address), .nodad = true});
      const auto furnished = opened->apply(furnish);
      ASSERT_TRUE(furnished) << furnished.error().message;
      NodeUnderlay underlay;
      underlay.addresses = {*parse_prefix("192.168.100.1/24"), *parse_prefix("fd00:100::1/64")};
      host.emplace(config);
      host->set_node(node, underlay);
      host->start();
      body();
      host.reset();
    });
  }
  static std::string table() {
    auto printed = run_nft({"list", "table", "inet", kHostTable}, "", "is tested");
    return printed ? *printed : std::string();
  }
  static std::set<std::string> routes() {
    auto opened = netlink::Netlink::open();
    std::set<std::string> out;
    const auto link = *opened->link("podwire0");
    const auto all = *opened->routes(link.index);
    for (const auto& route : all) {
      if (route.protocol == netlink::kRouteProtocol) out.insert(to_string(route.destination));
    }
    return out;
  }
  void expect_refused(const Result<void>& result, const std::string& text) {
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::kConflict);
    EXPECT_NE(result.error().message.find(text), std::string::npos) << result.error().message;
  }

  Config config = small_config();
  NodeObjects node = small_node();
  std::optional<HostServices> host;
};

TEST_F(HostServicesTest, HoldsAndLeadsUntilItLetsGo) {
  with_node([&] {
    EXPECT_EQ(host->differences(), std::vector<std::string>{});
    const auto pod = publishing_pod(7, {published(8080), published(81, "192.168.100.2")});
    const auto held = host->hold(pod);
    ASSERT_TRUE(held) << held.error().message;
    host->lead();
    EXPECT_NE(table().find("tcp . 8080"), std::string::npos) << table();
    EXPECT_NE(table().find("192.168.100.2 . tcp . 81 : 169.254.112.3"), std::string::npos) << table();
    EXPECT_FALSE(hold_port({true, api::ServiceProtocol::kTcp, 8080}));
    EXPECT_EQ(host->differences(), std::vector<std::string>{});
    host->let_go(pod);
    EXPECT_EQ(table().find("tcp ."), std::string::npos) << table();
    EXPECT_TRUE(hold_port({true, api::ServiceProtocol::kTcp, 8080}));
    EXPECT_TRUE(host->remove());
    EXPECT_EQ(table(), "");
  });
}

TEST_F(HostServicesTest, RoutesClusterAddressesToTheEngine) {
  const std::set<std::string> prefixes{"169.254.112.0/26", "fd70:6f64:7769:7265::/64"};
  with_node([&] {
    EXPECT_EQ(routes(), prefixes);
    ASSERT_TRUE(host->hold({node_port_service(node, 30080)}));
    host->lead();
    auto more = prefixes;
    more.insert("10.96.0.10/32");
    EXPECT_EQ(routes(), more);
    ASSERT_TRUE(host->hold({node_port_service(node, 0, "10.96.0.11")}));
    host->lead();
    more.erase("10.96.0.10/32");
    more.insert("10.96.0.11/32");
    EXPECT_EQ(routes(), more);
    ASSERT_TRUE(host->hold(std::vector<api::Service>{}));
    host->lead();
    EXPECT_EQ(routes(), prefixes);
  });
}

TEST_F(HostServicesTest, APortIsOneServicesOrOnePods) {
  with_node([&] {
    ASSERT_TRUE(host->hold({node_port_service(node, 30080)}));
    expect_refused(
        host->hold(publishing_pod(7, {published(9000), published(30080, "192.168.100.2")})),
        "host port tcp 192.168.100.2:30080 is taken: service shop/web:http has it; publish another");
    EXPECT_TRUE(hold_port({true, api::ServiceProtocol::kTcp, 9000})) << "all or nothing";
    ASSERT_TRUE(host->hold(publishing_pod(7, {published(30081)})));
    expect_refused(host->hold({node_port_service(node, 30081)}),
                   "is taken: pod shop/pod-7/eth0 tcp *:30081 has it");
    EXPECT_FALSE(hold_port({true, api::ServiceProtocol::kTcp, 30080})) << "the services before stay";
  });
}

TEST_F(HostServicesTest, WhatSomebodyRemovesIsToldAndPutBack) {
  with_node([&] {
    ASSERT_TRUE(host->hold({node_port_service(node, 30080)}));
    host->lead();
    ASSERT_TRUE(apply_nft("delete table inet podwire_host\n", "is tested"));
    auto opened = netlink::Netlink::open();
    netlink::Route route;
    route.destination = *parse_prefix("10.96.0.10/32");
    route.link = opened->link("podwire0")->index;
    netlink::Batch removal;
    removal.remove_route(route);
    ASSERT_TRUE(opened->apply(removal));
    const auto found = host->differences();
    ASSERT_EQ(found.size(), 2u);
    EXPECT_NE(found[0].find("the nftables table inet podwire_host"), std::string::npos) << found[0];
    EXPECT_NE(found[1].find("to 10.96.0.10/32 through podwire0 is gone"), std::string::npos) << found[1];
    // A change finds out as well.
    ASSERT_TRUE(host->hold(publishing_pod(7, {published(8080)})));
    host->lead();
    EXPECT_NE(table().find("tcp . 30080"), std::string::npos) << table();
    EXPECT_EQ(host->differences(), std::vector<std::string>{});
    ASSERT_TRUE(apply_nft("delete table inet podwire_host\n", "is tested"));
    host->restore();
    EXPECT_EQ(host->differences(), std::vector<std::string>{});
  });
}

TEST_F(HostServicesTest, ANewDaemonPutsRightWhatTheOldOneLeft) {
  with_node([&] {
    ASSERT_TRUE(host->hold({node_port_service(node, 30080)}));
    host->lead();
    // As if it had been killed: the kernel keeps all but the ports.
    host.emplace(config);
    host->set_node(node, NodeUnderlay{});
    ASSERT_TRUE(host->hold(publishing_pod(7, {published(8080)})));
    const auto thief = hold_port({true, api::ServiceProtocol::kTcp, 8080});
    ASSERT_TRUE(thief);
    host->start();
    EXPECT_EQ(table().find("30080"), std::string::npos) << table();
    EXPECT_FALSE(routes().contains("10.96.0.10/32"));
    const auto found = host->differences();
    ASSERT_EQ(found.size(), 1u);
    EXPECT_NE(found[0].find("pod shop/pod-7/eth0 tcp *:8080: host port tcp *:8080 is taken: a program of this node"),
              std::string::npos)
        << found[0];
  });
}

TEST_F(HostServicesTest, OtherAddressesTakeThePlaceOfThoseBefore) {
  with_node([&] {
    ASSERT_TRUE(host->hold({node_port_service(node, 0)}));
    host->lead();
    config.host_services.prefixes = {*parse_prefix("198.18.0.0/24")};
    auto other = small_node();
    other.host_services.clear();
    other.host_aliases.clear();
    add_host_services(config.host_services, other);
    host.emplace(config);
    host->set_node(other, NodeUnderlay{});
    host->start();
    EXPECT_EQ(routes(), std::set<std::string>{"198.18.0.0/24"});
    config.host_services.enabled = false;
    host.emplace(config);
    host->set_node(NodeObjects{}, NodeUnderlay{});
    host->start();
    EXPECT_EQ(table(), "");
    EXPECT_EQ(host->differences(), std::vector<std::string>{});
  });
}

}  // namespace
}  // namespace podwire::control
