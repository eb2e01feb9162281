// The kernel's routes of the node that are moved to the host interface, and those to pods on it, in a network
// namespace of their own.
#include "control/node/host_interface.hpp"

#include "control/node/device.hpp"
#include "control/node/host_addresses.hpp"
#include "control/node/host_routes.hpp"
#include "control/routing/announce.hpp"
#include "tests/unit/netlink/private_netns.hpp"

namespace podwire::control {
namespace {

const std::vector<IpPrefix> kOwnAddress{*parse_prefix("192.0.2.1/24")};

// "a0", up and with the node's address.
netlink::Link interface_with_address(netlink::Netlink& kernel) {
  EXPECT_TRUE(kernel.apply(netlink::Batch().add_veth("a0", "a1")));
  for (const char* name : {"a1", "a0"}) {
    EXPECT_TRUE(kernel.apply(netlink::Batch().change_link(
        *kernel.link(name), {.up = true, .mtu = {}, .mac = {}, .new_name = {}})));
  }
  const auto link = *kernel.link("a0");
  netlink::Address address;
  address.prefix = kOwnAddress[0];
  EXPECT_TRUE(kernel.apply(netlink::Batch().add_address(link, address)));
  return link;
}

netlink::Route host_route(const netlink::Link& link, const char* destination, const char* gateway,
                          std::uint32_t metric = 0) {
  netlink::Route route;
  route.destination = *parse_prefix(destination);
  route.gateway = *parse_ip(gateway);
  route.link = link.index;
  route.metric = metric;
  route.onlink = true;
  return route;
}

std::set<std::string> own_routes(netlink::Netlink& kernel, const netlink::Link& link) {
  std::set<std::string> out;
  const auto routes = kernel.routes(link.index);
  EXPECT_TRUE(routes);
  for (const auto& route : *routes) {
    if (route.protocol == netlink::kRouteProtocol) out.insert(to_string(route.destination));
  }
  return out;
}

TEST(HostInterface, RoutesToPodsOfAFormerLeaseGo) {
  run_in_netns(-1, [] {
    auto kernel = netlink::Netlink::open();
    ASSERT_TRUE(kernel) << kernel.error().message;
    const auto link = interface_with_address(*kernel);
    Config config;
    DomainConfig domain;
    domain.name = "default";
    domain.host_access = true;
    domain.prefixes = {*parse_prefix("10.244.1.0/24")};
    domain.gateways = {*parse_ip("10.244.1.1")};
    config.domains = {domain};
    const auto add = [&] { return add_pod_routes(*kernel, "a0", config, kOwnAddress, 1450, {}); };
    ASSERT_TRUE(add());
    EXPECT_EQ(own_routes(*kernel, link), (std::set<std::string>{"10.244.1.0/24"}));
    // Routes of other kinds, and an administrator's to where a lease was.
    auto administrators = host_route(link, "10.99.0.0/16", "192.0.2.9");
    administrators.protocol = 4;
    ASSERT_TRUE(
        kernel->apply(netlink::Batch()
                          .set_neighbor(link, *parse_ip("169.254.112.1"), kHostServiceMac)
                          .add_route(host_route(link, "10.96.0.10/32", "169.254.112.1"))
                          .add_route(host_route(link, "10.50.0.0/16", "192.0.2.7", kAnnouncedMetric))
                          .add_route(host_route(link, "198.51.100.7/32", "192.0.2.7", kFloatingMetric))
                          .add_route(administrators)));
    const std::set<std::string> others{"10.96.0.10/32", "10.50.0.0/16", "198.51.100.7/32"};
    auto all = others;
    config.domains[0].prefixes = {*parse_prefix("10.244.7.0/24")};
    config.domains[0].gateways = {*parse_ip("10.244.7.1")};
    ASSERT_TRUE(add());
    all.insert("10.244.7.0/24");
    EXPECT_EQ(own_routes(*kernel, link), all) << "the former lease's has gone";
    config.domains[0].host_access = false;
    ASSERT_TRUE(add());
    EXPECT_EQ(own_routes(*kernel, link), others);
    const auto routes = kernel->routes(link.index);
    EXPECT_TRUE(
        std::any_of(routes->begin(), routes->end(), [](const netlink::Route& r) { return r.protocol == 4; }));
  });
}

TEST(HostInterface, RoutesOfRoutingDaemonsAreNotMoved) {
  run_in_netns(-1, [] {
    auto kernel = netlink::Netlink::open();
    ASSERT_TRUE(kernel) << kernel.error().message;
    const auto link = interface_with_address(*kernel);
    netlink::Batch batch;
    int number = 0;
    for (const int protocol : {3, 4, 11, 12, 16, 42, 186, 188, 200}) {
      auto route = host_route(link, "10.0.0.0/24", "192.0.2.9");
      route.destination = *parse_prefix("10.0." + std::to_string(number++) + ".0/24");
      route.protocol = static_cast<std::uint8_t>(protocol);
      batch.add_route(route);
    }
    ASSERT_TRUE(kernel->apply(batch));
    const auto moved = movable_routes(*kernel, link.index);
    ASSERT_TRUE(moved) << moved.error().message;
    std::set<int> protocols;
    for (const auto& route : *moved) protocols.insert(route.protocol);
    EXPECT_EQ(protocols, (std::set<int>{3, 4, 16, 200}));
  });
}

}  // namespace
}  // namespace podwire::control
