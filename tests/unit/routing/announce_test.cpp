// The routes that make pods known, in a network namespace of their own.
#include "control/routing/announce.hpp"

#include "control/netlink/monitor.hpp"
#include "tests/unit/netlink/private_netns.hpp"

namespace podwire::control {
namespace {

using netlink::Batch;
using netlink::Netlink;

Config routed_config() {
  auto config = parse_config(Json::parse(R"({
    "node": "node-a", "underlay": {"device": "eth0", "host_interface": "a0"},
    "routing": {"announce_table": 1080},
    "domains": [
      {"name": "default", "vni": 1, "prefixes": ["10.244.1.0/24", "fd00:10:244:1::/64"], "transport": "routed"},
      {"name": "tunnels", "vni": 2, "prefixes": ["10.245.1.0/24"]}]})"),
                             "test");
  EXPECT_TRUE(config) << config.error().message;
  return config ? *config : Config{};
}

// "PREFIX table TABLE" of those that a0 has.
std::set<std::string> announced(Netlink& kernel, unsigned link) {
  std::set<std::string> out;
  const auto routes = kernel.routes(link, 0);
  EXPECT_TRUE(routes);
  for (const auto& route : *routes) {
    if (route.protocol == netlink::kRouteProtocol)
      out.insert(to_string(route.destination) + " table " + std::to_string(route.table));
  }
  return out;
}

TEST(Announce, PutsPrefixesWhereDaemonsAndProgramsFindThem) {
  run_in_netns(-1, [] {
    auto kernel = Netlink::open();
    ASSERT_TRUE(kernel) << kernel.error().message;
    ASSERT_TRUE(kernel->apply(Batch().add_veth("a0", "a1")));
    for (const char* name : {"a1", "a0"}) {
      ASSERT_TRUE(kernel->apply(
          Batch().change_link(*kernel->link(name), {.up = true, .mtu = {}, .mac = {}, .new_name = {}})));
    }
    const auto link = *kernel->link("a0");
    const std::vector<IpPrefix> own{*parse_prefix("192.0.2.1/24")};
    netlink::Address address;
    address.prefix = own[0];
    // A route of Podwire's of another kind, and an administrator's.
    netlink::Route other;
    other.destination = *parse_prefix("10.99.0.0/16");
    other.link = link.index;
    ASSERT_TRUE(kernel->apply(Batch().add_address(link, address).add_route(other)));

    auto config = routed_config();
    auto done = announce_pods(*kernel, "a0", config, own);
    ASSERT_TRUE(done) << done.error().message;
    const std::set<std::string> all{"10.244.1.0/24 table 254", "10.244.1.0/24 table 1080",
                                    "fd00:10:244:1::/64 table 254", "fd00:10:244:1::/64 table 1080",
                                    "10.99.0.0/16 table 254"};
    EXPECT_EQ(announced(*kernel, link.index), all);

    // Once more: a routing daemon must see nothing of it.
    auto monitor = netlink::Monitor::open();
    ASSERT_TRUE(monitor);
    ASSERT_TRUE(announce_pods(*kernel, "a0", config, own));
    const auto heard = monitor->read(100);
    ASSERT_TRUE(heard);
    EXPECT_TRUE(heard->routes.empty());

    config.routing.announce_table = 0;
    config.domains[0].prefixes.resize(1);
    ASSERT_TRUE(announce_pods(*kernel, "a0", config, own));
    EXPECT_EQ(announced(*kernel, link.index),
              (std::set<std::string>{"10.244.1.0/24 table 254", "10.99.0.0/16 table 254"}));
  });
}

}  // namespace
}  // namespace podwire::control
