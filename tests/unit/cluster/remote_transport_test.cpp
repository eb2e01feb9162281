// How other nodes' pods are reached: by tunnel, plainly by neighbours, by the kernel's routes; over IPv6.
#include "tests/unit/cluster/remote_nodes_fixture.hpp"

namespace podwire::control {
namespace {

class RemoteTransportTest : public RemoteNodesTest {
 protected:
  using enum DomainTransport;

  void own(DomainTransport transport) {
    config_.domains[0].transport = transport;
    restart();
  }
  static ClusterNode by(DomainTransport transport, ClusterNode one) {
    if (transport != DomainTransport::kTunnel) one.record.transports["default"] = transport;
    return one;
  }
  static ClusterNode at(const std::string& address, ClusterNode one) {
    one.record.addresses = {*parse_ip(address)};
    return one;
  }
};

TEST_F(RemoteTransportTest, NeighboursAreReachedPlainlyWhereBothSaySo) {
  own(kSubnet);
  everything({by(kSubnet, node(2, "10.244.1.0/24")), node(3, "10.244.2.0/24"),
              by(kSubnet, at("192.168.200.4", node(4, "10.244.3.0/24")))});
  EXPECT_EQ(routes(),
            (RouteTexts{"10.244.1.0/24 plainly by 192.168.100.2", "10.244.2.0/24 via node3 192.168.100.3",
                        "10.244.3.0/24 via node4 192.168.200.4"}));
  EXPECT_TRUE(others_->problems().empty());
  // As it is told of it, and back.
  put(by(kSubnet, node(3, "10.244.2.0/24")));
  put(node(2, "10.244.1.0/24"));
  EXPECT_EQ(routes(),
            (RouteTexts{"10.244.1.0/24 via node2 192.168.100.2", "10.244.2.0/24 plainly by 192.168.100.3",
                        "10.244.3.0/24 via node4 192.168.200.4"}));
  EXPECT_TRUE(differences().empty());
  const auto before = engine_.rest().routes;
  restart();
  EXPECT_EQ(engine_.rest().routes, before) << "with the same ids";
  own(kTunnel);
  EXPECT_EQ(routes().count("10.244.2.0/24 via node3 192.168.100.3"), 1u);
}

TEST_F(RemoteTransportTest, AFamilyIsReachedPlainlyOverItselfOnly) {
  config_.domains[0].prefixes.push_back(block("fd00:10::/64"));
  cluster_.domains[0].prefixes.push_back(block("fd00:10::/48"));
  own(kSubnet);
  auto two = by(kSubnet, node(2, "10.244.1.0/24"));
  two.prefixes["default"].push_back(block("fd00:10:0:1::/64"));
  everything({two});
  EXPECT_EQ(routes(), (RouteTexts{"10.244.1.0/24 plainly by 192.168.100.2",
                                  "fd00:10:0:1::/64 via node2 192.168.100.2"}));
  underlay_.addresses.push_back(block("fd00:100::1/64"));
  two.record.addresses.push_back(*parse_ip("fd00:100::2"));
  own(kSubnet);
  put(two);
  EXPECT_EQ(routes(), (RouteTexts{"10.244.1.0/24 plainly by 192.168.100.2",
                                  "fd00:10:0:1::/64 plainly by fd00:100::2"}));
}

TEST_F(RemoteTransportTest, TheHostItselfIsReachedByTunnelWhereItsPodsAre) {
  config_.domains[0].host_access = true;
  own(kSubnet);
  everything({by(kSubnet, node(2, "10.244.1.0/24")), node(3, "10.244.2.0/24")});
  EXPECT_EQ(routes(),
            (RouteTexts{"10.244.1.0/24 plainly by 192.168.100.2", "10.244.2.0/24 via node3 192.168.100.3",
                        "192.168.100.3/32 via node3 192.168.100.3"}));
}

TEST_F(RemoteTransportTest, RoutedDomainsAreTheKernels) {
  own(kRouted);
  everything({by(kRouted, node(2, "10.244.1.0/24"))});
  EXPECT_TRUE(routes().empty());
  EXPECT_TRUE(others_->problems().empty());
}

TEST_F(RemoteTransportTest, WhatCannotMeetIsTold) {
  own(kRouted);
  put(by(kSubnet, node(2, "10.244.1.0/24")));
  EXPECT_EQ(problem("node2"),
            "the transport of its domain \"default\" is \"subnet\", here it is \"routed\"; set the same in "
            "podwired.json of both");
  own(kTunnel);
  put(by(kRouted, node(2, "10.244.1.0/24")));
  EXPECT_NE(problem("node2").find("is \"routed\", here it is \"tunnel\""), std::string::npos);
  EXPECT_TRUE(routes().empty());
}

TEST_F(RemoteTransportTest, APlainRouteComesBeforeTheKernels) {
  own(kSubnet);
  api::Route kernel;
  kernel.id = RouteId(0x80000001);
  kernel.domain = kUnderlayDomain;
  kernel.prefix = block("10.244.1.0/24");
  kernel.next_hops = {
      {.vtep = {}, .port = PortId(1), .into = {}, .mac = {}, .address = *parse_ip("192.168.100.254")}};
  auto other = kernel;
  other.id = RouteId(0x80000002);
  other.prefix = block("203.0.113.0/24");
  const RouteTexts both{"10.244.1.0/24 plainly by 192.168.100.254",
                        "203.0.113.0/24 plainly by 192.168.100.254"};
  const RouteTexts mine{"10.244.1.0/24 plainly by 192.168.100.2",
                        "203.0.113.0/24 plainly by 192.168.100.254"};
  ASSERT_TRUE(reconciler_->change_routes({kernel, other}, {}));
  EXPECT_EQ(routes(), both);
  put(by(kSubnet, node(2, "10.244.1.0/24")));
  EXPECT_EQ(routes(), mine);
  EXPECT_TRUE(differences().empty());
  ASSERT_TRUE(reconciler_->change_routes({kernel}, {}));
  EXPECT_EQ(routes(), mine) << "as long as the node is there";
  gone("node2");
  EXPECT_EQ(routes(), both);
  EXPECT_TRUE(differences().empty());
}

TEST_F(RemoteTransportTest, TunnelsOverIpv6CarryLessAndThatIsTold) {
  underlay_.addresses.push_back(block("fd00:100::1/64"));
  own(kTunnel);
  everything({at("fd00:100::2", node(2, "10.244.1.0/24")), node(3, "10.244.2.0/24")});
  EXPECT_TRUE(others_->problems().empty()) << "pods' packets are of 1430 bytes at most";
  underlay_.mtu = 1492;
  own(kTunnel);
  ASSERT_EQ(others_->problems().size(), 1u);
  EXPECT_EQ(
      others_->problems()[0],
      "node \"node2\" of the cluster is reached over IPv6, whose tunnels carry packets of 1422 bytes, and "
      "pods of domain \"default\" may send 1430; leave \"mtu\" of the domain out, or set it to 1422, and "
      "restart podwired");
  put(at("fd00:100::2", node(2, "10.244.1.0/24")));
  gone("node2");
  EXPECT_TRUE(others_->problems().empty());
}

}  // namespace
}  // namespace podwire::control
