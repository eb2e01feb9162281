// The routes that make pods known, in a network namespace of their own.
#include "control/routing/announced_pods.hpp"

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

// The interface a0, with an address and a route of Podwire's of another kind.
netlink::Link make_host_interface(Netlink& kernel, const IpPrefix& own) {
  EXPECT_TRUE(kernel.apply(Batch().add_veth("a0", "a1")));
  for (const char* name : {"a1", "a0"}) {
    EXPECT_TRUE(kernel.apply(
        Batch().change_link(*kernel.link(name), {.up = true, .mtu = {}, .mac = {}, .new_name = {}})));
  }
  const auto link = *kernel.link("a0");
  netlink::Address address;
  address.prefix = own;
  netlink::Route other;
  other.destination = *parse_prefix("10.99.0.0/16");
  other.link = link.index;
  EXPECT_TRUE(kernel.apply(Batch().add_address(link, address).add_route(other)));
  return link;
}

Attachment pod(unsigned port, const std::vector<const char*>& addresses, const char* domain = "default") {
  Attachment out;
  out.port = PortId(static_cast<std::uint16_t>(port));
  out.domain = domain;
  for (const char* address : addresses) out.addresses.push_back(*parse_prefix(address));
  return out;
}

TEST(Announce, PutsPrefixesWhereDaemonsAndProgramsFindThem) {
  run_in_netns(-1, [] {
    auto kernel = Netlink::open();
    ASSERT_TRUE(kernel) << kernel.error().message;
    const std::vector<IpPrefix> own{*parse_prefix("192.0.2.1/24")};
    const auto link = make_host_interface(*kernel, own[0]);

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

TEST(Announce, PutsSinglePodsAsTheyComeAndGo) {
  run_in_netns(-1, [] {
    auto kernel = Netlink::open();
    ASSERT_TRUE(kernel) << kernel.error().message;
    const std::vector<IpPrefix> own{*parse_prefix("192.0.2.1/24")};
    const auto link = make_host_interface(*kernel, own[0]);
    auto config = routed_config();
    config.domains[0].announce = DomainAnnounce::kBoth;
    config.routing.announce_table = 0;
    const std::string others = "10.99.0.0/16 table 254";
    const std::set<std::string> prefixes{"10.244.1.0/24 table 254", "fd00:10:244:1::/64 table 254", others};
    const auto with = [&](std::set<std::string> more) {
      more.insert(prefixes.begin(), prefixes.end());
      return more;
    };

    AnnouncedPods pods(config);
    ASSERT_TRUE(pods.change(pod(1, {"10.244.1.9/24"}), true)) << "before the start nothing is done";
    ASSERT_TRUE(pods.start(own, {pod(2, {"10.244.1.2/24"}), pod(3, {"10.245.1.3/24"}, "tunnels")}));
    EXPECT_EQ(announced(*kernel, link.index), with({"10.244.1.2/32 table 254"}));

    // An address of another IPAM's is nobody's to announce.
    auto both = pod(4, {"10.244.1.4/24", "fd00:10:244:1::4/64", "172.16.0.4/24"});
    ASSERT_TRUE(pods.change(both, true));
    ASSERT_TRUE(pods.change(both, true));
    EXPECT_EQ(announced(*kernel, link.index),
              with({"10.244.1.2/32 table 254", "10.244.1.4/32 table 254", "fd00:10:244:1::4/128 table 254"}));
    ExtraEndpoint extra;
    extra.addresses = {*parse_prefix("10.244.1.5/24")};
    auto more = both;
    more.addresses.pop_back();
    more.addresses.pop_back();
    more.extra_endpoints.push_back(extra);
    ASSERT_TRUE(pods.change(more, true));
    EXPECT_EQ(announced(*kernel, link.index),
              with({"10.244.1.2/32 table 254", "10.244.1.4/32 table 254", "10.244.1.5/32 table 254"}));
    ASSERT_TRUE(pods.change(more, false));
    ASSERT_TRUE(pods.change(more, false));
    EXPECT_EQ(announced(*kernel, link.index), with({"10.244.1.2/32 table 254"}));

    // What a pod left that went while nobody looked, and a daemon that starts anew: seen by nobody else.
    ASSERT_TRUE(pods.change(both, true));
    AnnouncedPods anew(config);
    auto monitor = netlink::Monitor::open();
    ASSERT_TRUE(monitor);
    ASSERT_TRUE(anew.start(own, {pod(2, {"10.244.1.2/24"})}));
    EXPECT_EQ(announced(*kernel, link.index), with({"10.244.1.2/32 table 254"}));
    const auto heard = monitor->read(100);
    ASSERT_TRUE(heard);
    EXPECT_EQ(heard->routes.size(), 2u) << "the two that went";

    config.domains[0].announce = DomainAnnounce::kPods;
    ASSERT_TRUE(AnnouncedPods(config).start(own, {pod(2, {"10.244.1.2/24"})}));
    EXPECT_EQ(announced(*kernel, link.index), (std::set<std::string>{"10.244.1.2/32 table 254", others}));
  });
}

TEST(Announce, FindsAndPutsBackWhatSomebodyRemoved) {
  run_in_netns(-1, [] {
    auto kernel = Netlink::open();
    ASSERT_TRUE(kernel) << kernel.error().message;
    const std::vector<IpPrefix> own{*parse_prefix("192.0.2.1/24")};
    const auto link = make_host_interface(*kernel, own[0]);
    auto config = routed_config();
    config.domains[0].announce = DomainAnnounce::kPods;
    AnnouncedPods pods(config);
    const auto one = pod(2, {"10.244.1.2/24"}), other = pod(3, {"10.244.1.3/24"});
    ASSERT_TRUE(pods.start(own, {one}));
    ASSERT_TRUE(pods.change(other, true));
    const auto whole = announced(*kernel, link.index);
    EXPECT_TRUE(pods.differences()->empty());
    const auto gone = routes_to_pods(config, config.domains[0], *parse_prefix("10.244.1.2/32"), link, own);
    ASSERT_EQ(gone.size(), 2u);
    ASSERT_TRUE(kernel->apply(Batch().remove_route(gone[0])));
    const auto told = pods.differences();
    ASSERT_TRUE(told) << told.error().message;
    ASSERT_EQ(told->size(), 1u);
    EXPECT_EQ(told->front(),
              "the route to pods at 10.244.1.2/32 through a0 is gone, so nobody announces them; type: "
              "podwirectl reconcile");
    ASSERT_TRUE(pods.restore());
    EXPECT_EQ(announced(*kernel, link.index), whole);

    // Who goes goes, whatever somebody did to its routes.
    ASSERT_TRUE(kernel->apply(Batch().remove_route(gone[0])));
    ASSERT_TRUE(pods.change(one, false));
    EXPECT_EQ(announced(*kernel, link.index),
              (std::set<std::string>{"10.244.1.3/32 table 254", "10.244.1.3/32 table 1080",
                                     "10.99.0.0/16 table 254"}));
    ASSERT_TRUE(kernel->apply(Batch().remove_link(link)));
    ASSERT_TRUE(pods.change(other, false));
    const auto refused = pods.change(one, true);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find("10.244.1.2/32"), std::string::npos) << refused.error().message;
    // Made anew, it has another index.
    const auto next = make_host_interface(*kernel, own[0]);
    ASSERT_TRUE(pods.change(one, true)) << "after the refusal nothing was left to take care of";
    EXPECT_EQ(announced(*kernel, next.index),
              (std::set<std::string>{"10.244.1.2/32 table 254", "10.244.1.2/32 table 1080",
                                     "10.99.0.0/16 table 254"}));
  });
}

}  // namespace
}  // namespace podwire::control
