// Other nodes as the engine's objects: what is programmed, what is refused, what outlives a restart.
#include "tests/unit/cluster/remote_nodes_fixture.hpp"

namespace podwire::control {
namespace {

TEST_F(RemoteNodesTest, OnlyWhatChangedIsSent) {
  everything({node(2, "10.244.1.0/24"), node(3, "10.244.2.0/24")});
  EXPECT_EQ(routes(),
            (RouteTexts{"10.244.1.0/24 via node2 192.168.100.2", "10.244.2.0/24 via node3 192.168.100.3"}));
  const int patches = engine_.patches, replaces = engine_.replaces;
  everything({node(2, "10.244.1.0/24"), node(3, "10.244.2.0/24")});
  EXPECT_EQ(engine_.patches, patches);
  put(node(4, "10.244.3.0/24"));
  gone("node2");
  EXPECT_EQ(engine_.patches, patches + 2);
  EXPECT_EQ(engine_.replaces, replaces);
  EXPECT_EQ(routes(),
            (RouteTexts{"10.244.2.0/24 via node3 192.168.100.3", "10.244.3.0/24 via node4 192.168.100.4"}));
  EXPECT_TRUE(differences().empty());
}

TEST_F(RemoteNodesTest, NodesThatAreNotInAListingAreGone) {
  everything({node(2, "10.244.1.0/24"), node(3, "10.244.2.0/24")});
  everything({node(3, "10.244.2.0/24")});
  EXPECT_EQ(routes(), RouteTexts{"10.244.2.0/24 via node3 192.168.100.3"});
}

TEST_F(RemoteNodesTest, APrefixMovesToAnotherNodeWithItsRoute) {
  everything({node(2, "10.244.1.0/24"), node(3)});
  const auto before = engine_.rest().routes.at(0).id;
  others_->change({false, {node(2), node(3, "10.244.1.0/24")}, {}});
  EXPECT_EQ(routes(), RouteTexts{"10.244.1.0/24 via node3 192.168.100.3"});
  EXPECT_EQ(engine_.rest().routes.at(0).id, before);
}

TEST_F(RemoteNodesTest, AddressesCanBeSwapped) {
  everything({node(2, "10.244.1.0/24"), node(3, "10.244.2.0/24")});
  auto two = node(2, "10.244.1.0/24"), three = node(3, "10.244.2.0/24");
  std::swap(two.record, three.record);
  others_->change({false, {two, three}, {}});
  EXPECT_EQ(routes(),
            (RouteTexts{"10.244.1.0/24 via node2 192.168.100.3", "10.244.2.0/24 via node3 192.168.100.2"}));
}

TEST_F(RemoteNodesTest, WhatWouldBreakThisNodeIsLeftOut) {
  everything({node(2, "10.244.1.0/24")});
  expect_left_out(node(1, "10.244.9.0/24"), "which is this node's");
  expect_left_out(node(99, "10.244.9.0/24"), "peers of podwired.json");
  auto twin = node(2, "10.244.9.0/24");
  twin.name = "twin";
  expect_left_out(twin, "as node \"node2\" does");
  auto elsewhere = node(9, "10.244.9.0/24");
  elsewhere.record.udp_port = 8472;
  expect_left_out(elsewhere, "the same vxlan.port");
  auto v6 = node(9, "10.244.9.0/24");
  v6.record.addresses = {*parse_ip("fd00::9")};
  expect_left_out(v6, "no underlay address of a family");
  for (const char* const prefix :
       {"10.244.0.0/24", "10.244.0.128/25", "0.0.0.0/0", "10.245.0.0/24", "10.244.9.9/32"})
    expect_left_out(node(9, prefix), std::string("its prefix ") + prefix);
  EXPECT_TRUE(others_->problems().empty());
}

TEST_F(RemoteNodesTest, ANodeIsTakenInWhenWhatWasInItsWayIsGone) {
  auto successor = node(2, "10.244.9.0/24");
  successor.name = "successor";
  everything({node(2, "10.244.1.0/24"), successor});
  EXPECT_EQ(routes(), RouteTexts{"10.244.1.0/24 via node2 192.168.100.2"});
  EXPECT_EQ(others_->problems().size(), 1u);
  gone("node2");
  EXPECT_EQ(routes(), RouteTexts{"10.244.9.0/24 via successor 192.168.100.2"});
  EXPECT_TRUE(others_->problems().empty());
}

TEST_F(RemoteNodesTest, NodesOfAnL2DomainAreFloodedTo) {
  auto two = node(2), three = node(3);
  two.prefixes["lan"] = three.prefixes["lan"] = {block("10.245.0.0/28")};
  const auto flooded = [this] {
    const auto rest = engine_.rest();
    for (const auto& domain : rest.domains) {
      if (domain.name == "lan") return domain.flood.size();
    }
    return std::size_t{99};
  };
  everything({two, three, node(4)});
  EXPECT_EQ(flooded(), 2u);
  gone("node3");
  EXPECT_EQ(flooded(), 1u);
  put(node(2));
  EXPECT_EQ(flooded(), 0u);
  EXPECT_TRUE(routes().empty());
  EXPECT_TRUE(differences().empty());
}

TEST_F(RemoteNodesTest, TheLastStateAndItsIdsOutliveARestart) {
  everything({node(2, "10.244.1.0/24"), node(3, "10.244.2.0/24"), node(4, "10.244.3.0/24")});
  gone("node2");
  auto before = engine_.rest();
  restart();
  auto after = engine_.rest();
  EXPECT_EQ(after.vteps, before.vteps);
  EXPECT_EQ(after.routes, before.routes);
  EXPECT_EQ(routes(),
            (RouteTexts{"10.244.2.0/24 via node3 192.168.100.3", "10.244.3.0/24 via node4 192.168.100.4"}));
}

TEST_F(RemoteNodesTest, ANodeThatTheEngineRefusesCostsNoOther) {
  engine_.refused_vtep = "node3";
  everything({node(2, "10.244.1.0/24"), node(3, "10.244.2.0/24"), node(4, "10.244.3.0/24")});
  EXPECT_EQ(routes(),
            (RouteTexts{"10.244.1.0/24 via node2 192.168.100.2", "10.244.3.0/24 via node4 192.168.100.4"}));
  EXPECT_NE(problem("node3").find("vtep node3 is refused"), std::string::npos);
  EXPECT_TRUE(differences().empty());
}

TEST_F(RemoteNodesTest, WithoutAnEngineTheLastStateIsKept) {
  everything({node(2, "10.244.1.0/24")});
  engine_.stop();
  put(node(3, "10.244.2.0/24"));
  engine_.start();
  ASSERT_TRUE(reconciler_->wait_programmed(std::chrono::milliseconds(5000)));
  EXPECT_EQ(routes(),
            (RouteTexts{"10.244.1.0/24 via node2 192.168.100.2", "10.244.2.0/24 via node3 192.168.100.3"}));
}

TEST_F(RemoteNodesTest, ThousandsGoInOneReplace) {
  std::vector<ClusterNode> all;
  for (int i = 0; i < 2000; ++i) {
    auto one = node(2);
    one.name = "n" + std::to_string(i);
    one.record.addresses = {IpAddr(Ipv4::from_u32(0xac100000u + static_cast<std::uint32_t>(i)))};
    one.prefixes["default"] = {
        {IpAddr(Ipv4::from_u32(0x0af40100u + static_cast<std::uint32_t>(i) * 16)), 28}};
    all.push_back(std::move(one));
  }
  const int replaces = engine_.replaces;
  everything(all);
  EXPECT_EQ(engine_.replaces, replaces + 1);
  EXPECT_EQ(engine_.rest().routes.size(), 2000u);
  EXPECT_EQ(others_->problems().size(), 0u);
}

}  // namespace
}  // namespace podwire::control
