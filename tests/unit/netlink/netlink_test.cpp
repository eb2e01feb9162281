#include "control/netlink/netlink.hpp"

#include <linux/rtnetlink.h>

#include <algorithm>

#include "tests/unit/netlink/private_netns.hpp"

namespace podwire::control::netlink {
namespace {

IpPrefix prefix(const char* text) {
  return *parse_prefix(text);
}
IpAddr ip(const char* text) {
  return *parse_ip(text);
}

// Every test has a veth pair a0 – a1, both up, in a namespace of its own.
class NetlinkTest : public ::testing::Test {
 protected:
  void in_namespace(const std::function<void(Netlink&, const Link&)>& body) {
    run_in_netns(-1, [&] {
      auto kernel = Netlink::open();
      ASSERT_TRUE(kernel) << kernel.error().message;
      ASSERT_TRUE(kernel->apply(Batch().add_veth("a0", "a1")));
      auto link = kernel->link("a0");
      auto peer = kernel->link("a1");
      ASSERT_TRUE(link && peer);
      ASSERT_TRUE(write_ipv6_sysctl("a0", "accept_dad", 0));
      const auto up =
          kernel->apply(Batch()
                            .change_link(*link, {.up = true, .mtu = {}, .mac = {}, .new_name = {}})
                            .change_link(*peer, {.up = true, .mtu = {}, .mac = {}, .new_name = {}}));
      ASSERT_TRUE(up) << up.error().message;
      body(*kernel, *link);
    });
  }
};

TEST_F(NetlinkTest, ReportsAndChangesLinks) {
  in_namespace([](Netlink& kernel, const Link& link) {
    const auto mac = *parse_mac("02:00:00:00:00:77");
    const auto changed =
        kernel.apply(Batch().change_link(link, {.up = {}, .mtu = 1400, .mac = mac, .new_name = {}}));
    ASSERT_TRUE(changed) << changed.error().message;
    const auto now = kernel.link("a0");
    ASSERT_TRUE(now);
    EXPECT_EQ(now->mtu, 1400u);
    EXPECT_EQ(now->mac, mac);
    EXPECT_TRUE(now->up);
    EXPECT_TRUE(now->carrier);
    EXPECT_EQ(now->kind, "veth");
    const auto all = kernel.links();
    ASSERT_TRUE(all);
    EXPECT_EQ(all->size(), 3u) << "lo, a0, a1";
  });
}

TEST_F(NetlinkTest, TellsAMissingLinkFromAnError) {
  in_namespace([](Netlink& kernel, const Link&) {
    const auto none = kernel.find_link("nosuch");
    ASSERT_TRUE(none) << none.error().message;
    EXPECT_FALSE(*none);
    const auto too_long = kernel.find_link("a-name-of-more-than-15");
    ASSERT_TRUE(too_long);
    EXPECT_FALSE(*too_long);
    const auto error = kernel.link("nosuch");
    ASSERT_FALSE(error);
    EXPECT_EQ(error.error().code, ErrorCode::kNotFound);
    EXPECT_NE(error.error().message.find("nosuch"), std::string::npos);
  });
}

TEST_F(NetlinkTest, RenamesMovesAndRemovesLinks) {
  const UniqueFd other = make_netns();
  in_namespace([&](Netlink& kernel, const Link& link) {
    ASSERT_TRUE(
        kernel.apply(Batch().change_link(link, {.up = false, .mtu = {}, .mac = {}, .new_name = "b0"})));
    const auto renamed = kernel.link("b0");
    ASSERT_TRUE(renamed);
    const auto moved = kernel.apply(Batch().move_link(*renamed, other.get()));
    ASSERT_TRUE(moved) << moved.error().message;
    EXPECT_FALSE(*kernel.find_link("b0"));
    const auto peer = kernel.link("a1");
    ASSERT_TRUE(peer);
    ASSERT_TRUE(kernel.apply(Batch().remove_link(*peer)));
    const auto again = kernel.apply(Batch().remove_link(*peer));
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code, ErrorCode::kNotFound);
    EXPECT_EQ(again.error().message.rfind("remove interface a1", 0), 0u) << again.error().message;
  });
}

TEST_F(NetlinkTest, AddsAddressesOfBothFamilies) {
  in_namespace([](Netlink& kernel, const Link& link) {
    const auto added = kernel.apply(
        Batch()
            .add_address(link, {.link = link.index, .prefix = prefix("10.1.2.3/24")})
            .add_address(link, {.link = link.index, .prefix = prefix("fd00::5/64"), .nodad = true})
            .add_address(link, {.link = link.index, .prefix = prefix("10.9.0.1/16"), .noprefixroute = true})
            .add_address(link, {.link = link.index, .prefix = prefix("fd00::6/128"), .deprecated = true}));
    ASSERT_TRUE(added) << added.error().message;
    const auto all = kernel.addresses(link.index);
    ASSERT_TRUE(all);
    const auto find = [&](const char* text) {
      return std::find_if(all->begin(), all->end(),
                          [&](const Address& a) { return a.prefix == prefix(text); });
    };
    ASSERT_NE(find("10.1.2.3/24"), all->end());
    ASSERT_NE(find("fd00::5/64"), all->end());
    EXPECT_TRUE(find("fd00::5/64")->nodad);
    EXPECT_FALSE(find("fd00::5/64")->tentative);
    EXPECT_FALSE(find("fd00::5/64")->deprecated);
    ASSERT_NE(find("fd00::6/128"), all->end());
    EXPECT_TRUE(find("fd00::6/128")->deprecated);
    EXPECT_FALSE(find("fd00::6/128")->dynamic);
    EXPECT_FALSE(find("10.1.2.3/24")->dynamic);
    ASSERT_NE(find("10.9.0.1/16"), all->end());
    EXPECT_TRUE(find("10.9.0.1/16")->noprefixroute);
    const auto routes = kernel.routes(link.index);
    ASSERT_TRUE(routes);
    const auto has = [&](const char* text) {
      return std::any_of(routes->begin(), routes->end(),
                         [&](const Route& r) { return r.destination == prefix(text); });
    };
    EXPECT_TRUE(has("10.1.2.0/24"));
    EXPECT_TRUE(has("fd00::/64"));
    EXPECT_FALSE(has("10.9.0.0/16"));

    const auto twice =
        kernel.apply(Batch().add_address(link, {.link = link.index, .prefix = prefix("10.1.2.3/24")}));
    ASSERT_FALSE(twice);
    EXPECT_EQ(twice.error().code, ErrorCode::kConflict);
    EXPECT_NE(twice.error().message.find("10.1.2.3/24 to a0"), std::string::npos) << twice.error().message;
    EXPECT_TRUE(
        kernel.apply(Batch().add_address(link, {.link = link.index, .prefix = prefix("10.1.2.3/24")}, true)));
    ASSERT_TRUE(kernel.apply(
        Batch().remove_address(link, prefix("10.1.2.3/24")).remove_address(link, prefix("fd00::5/64"))));
    const auto gone = kernel.apply(Batch().remove_address(link, prefix("10.1.2.3/24")));
    ASSERT_FALSE(gone);
    EXPECT_EQ(gone.error().code, ErrorCode::kNotFound);
  });
}

TEST_F(NetlinkTest, AddsReplacesAndRemovesRoutes) {
  in_namespace([](Netlink& kernel, const Link& link) {
    Route v4, v6;
    v4.destination = prefix("0.0.0.0/0");
    v4.gateway = ip("10.1.2.1");
    v4.link = link.index;
    v4.source = ip("10.1.2.3");
    v4.metric = 50;
    v6.destination = prefix("::/0");
    v6.gateway = ip("fd00::1");
    v6.link = link.index;
    const auto added = kernel.apply(
        Batch()
            .add_address(link, {.link = link.index, .prefix = prefix("10.1.2.3/24")})
            .add_address(link, {.link = link.index, .prefix = prefix("fd00::5/64"), .nodad = true})
            .add_route(v4)
            .add_route(v6));
    ASSERT_TRUE(added) << added.error().message;
    const auto find = [&](const char* text) -> std::optional<Route> {
      const auto all = kernel.routes();
      const auto it = std::find_if(all->begin(), all->end(),
                                   [&](const Route& r) { return r.destination == prefix(text); });
      return it == all->end() ? std::nullopt : std::optional(*it);
    };
    ASSERT_TRUE(find("0.0.0.0/0"));
    EXPECT_EQ(find("0.0.0.0/0")->gateway, ip("10.1.2.1"));
    EXPECT_EQ(find("0.0.0.0/0")->source, ip("10.1.2.3"));
    EXPECT_EQ(find("0.0.0.0/0")->metric, 50u);
    EXPECT_EQ(find("0.0.0.0/0")->protocol, kRouteProtocol);
    ASSERT_TRUE(find("::/0"));
    EXPECT_EQ(find("::/0")->gateway, ip("fd00::1"));

    EXPECT_EQ(kernel.apply(Batch().add_route(v4)).error().code, ErrorCode::kConflict);
    v4.gateway = ip("10.1.2.9");
    v4.mtu = 1300;
    ASSERT_TRUE(kernel.apply(Batch().replace_route(v4)));
    EXPECT_EQ(find("0.0.0.0/0")->gateway, ip("10.1.2.9"));
    EXPECT_EQ(find("0.0.0.0/0")->mtu, 1300u);
    ASSERT_TRUE(kernel.apply(Batch().remove_route(v4).remove_route(v6)));
    EXPECT_FALSE(find("0.0.0.0/0"));
    const auto again = kernel.apply(Batch().remove_route(v4));
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code, ErrorCode::kNotFound);
  });
}

TEST_F(NetlinkTest, AddsRoutesOfEveryShape) {
  in_namespace([](Netlink& kernel, const Link& link) {
    Route onlink, direct, blackhole, multi, other_table;
    onlink.destination = prefix("10.20.0.0/16");
    onlink.gateway = ip("172.30.0.1");  // on no prefix of the link
    onlink.link = link.index;
    onlink.onlink = true;
    direct.destination = prefix("10.21.0.0/16");
    direct.link = link.index;
    blackhole.destination = prefix("10.22.0.0/16");
    blackhole.type = RTN_BLACKHOLE;
    multi.destination = prefix("10.23.0.0/16");
    multi.next_hops = {{.gateway = ip("10.1.2.1"), .link = link.index, .weight = 2},
                       {.gateway = ip("10.1.2.2"), .link = link.index}};
    other_table.destination = prefix("10.24.0.0/16");
    other_table.link = link.index;
    other_table.table = 1000;
    const auto added =
        kernel.apply(Batch()
                         .add_address(link, {.link = link.index, .prefix = prefix("10.1.2.3/24")})
                         .add_route(onlink)
                         .add_route(direct)
                         .add_route(blackhole)
                         .add_route(multi)
                         .add_route(other_table));
    ASSERT_TRUE(added) << added.error().message;
    const auto main = kernel.routes();
    const auto all = kernel.routes(0, 0);
    ASSERT_TRUE(main && all);
    const auto find = [](const std::vector<Route>& routes, const char* text) {
      const auto it = std::find_if(routes.begin(), routes.end(),
                                   [&](const Route& r) { return r.destination == prefix(text); });
      return it == routes.end() ? std::nullopt : std::optional(*it);
    };
    ASSERT_TRUE(find(*main, "10.20.0.0/16"));
    EXPECT_TRUE(find(*main, "10.20.0.0/16")->onlink);
    ASSERT_TRUE(find(*main, "10.21.0.0/16"));
    EXPECT_EQ(find(*main, "10.21.0.0/16")->scope, RT_SCOPE_LINK);
    ASSERT_TRUE(find(*main, "10.22.0.0/16"));
    EXPECT_EQ(find(*main, "10.22.0.0/16")->type, RTN_BLACKHOLE);
    ASSERT_TRUE(find(*main, "10.23.0.0/16"));
    ASSERT_EQ(find(*main, "10.23.0.0/16")->next_hops.size(), 2u);
    EXPECT_EQ(find(*main, "10.23.0.0/16")->next_hops[0].weight, 2u);
    EXPECT_EQ(find(*main, "10.23.0.0/16")->next_hops[1].gateway, ip("10.1.2.2"));
    EXPECT_FALSE(find(*main, "10.24.0.0/16"));
    ASSERT_TRUE(find(*all, "10.24.0.0/16"));
    EXPECT_EQ(find(*all, "10.24.0.0/16")->table, 1000u);
    for (const auto& route : {onlink, direct, blackhole, multi, other_table}) {
      const auto removed = kernel.apply(Batch().remove_route(route));
      EXPECT_TRUE(removed) << removed.error().message;
    }
  });
}

TEST_F(NetlinkTest, SetsAndRemovesPermanentNeighbours) {
  in_namespace([](Netlink& kernel, const Link& link) {
    const auto mac = *parse_mac("02:00:00:00:00:99");
    const auto set =
        kernel.apply(Batch().set_neighbor(link, ip("10.1.2.9"), mac).set_neighbor(link, ip("fd00::9"), mac));
    ASSERT_TRUE(set) << set.error().message;
    const auto all = kernel.neighbors(link.index);
    ASSERT_TRUE(all);
    for (const char* text : {"10.1.2.9", "fd00::9"}) {
      const auto it =
          std::find_if(all->begin(), all->end(), [&](const Neighbor& n) { return n.address == ip(text); });
      ASSERT_NE(it, all->end()) << text;
      EXPECT_EQ(it->mac, mac);
      EXPECT_TRUE(it->permanent());
    }
    ASSERT_TRUE(
        kernel.apply(Batch().remove_neighbor(link, ip("10.1.2.9")).remove_neighbor(link, ip("fd00::9"))));
    const auto again = kernel.apply(Batch().remove_neighbor(link, ip("10.1.2.9")));
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code, ErrorCode::kNotFound);
  });
}

TEST_F(NetlinkTest, ABatchTriesEverythingAndReportsTheFirstFailure) {
  in_namespace([](Netlink& kernel, const Link& link) {
    Batch batch;
    // More than fit one datagram, so that pieces and their answers are matched too.
    for (unsigned i = 0; i < 600; ++i) {
      batch.add_address(link, {.link = link.index, .prefix = {IpAddr(Ipv4::from_u32(0x0a640000u + i)), 32}});
      if (i == 299) batch.add_address(link, {.link = link.index, .prefix = prefix("10.100.0.7/32")});
      if (i == 450) batch.add_address(link, {.link = link.index, .prefix = prefix("10.100.0.8/32")});
    }
    const auto applied = kernel.apply(batch);
    ASSERT_FALSE(applied);
    EXPECT_NE(applied.error().message.find("10.100.0.7/32"), std::string::npos) << applied.error().message;
    const auto all = kernel.addresses(link.index);
    ASSERT_TRUE(all);
    EXPECT_GE(all->size(), 600u);
    EXPECT_TRUE(kernel.apply(Batch()));
  });
}

TEST_F(NetlinkTest, ReadsAndWritesIpv6Sysctls) {
  in_namespace([](Netlink&, const Link&) {
    ASSERT_TRUE(write_ipv6_sysctl("a0", "disable_ipv6", 1));
    const auto value = read_ipv6_sysctl("a0", "disable_ipv6");
    ASSERT_TRUE(value);
    EXPECT_EQ(*value, 1);
    EXPECT_EQ(read_ipv6_sysctl("nosuch", "disable_ipv6").error().code, ErrorCode::kNotFound);
    EXPECT_EQ(write_ipv6_sysctl("../../ipv4", "ip_forward", 1).error().code, ErrorCode::kInvalid);
    EXPECT_EQ(write_ipv6_sysctl("", "disable_ipv6", 1).error().code, ErrorCode::kInvalid);
  });
}

TEST_F(NetlinkTest, ErrorsCarryTheKernelsOwnWords) {
  in_namespace([](Netlink& kernel, const Link& link) {
    Route route;
    route.destination = prefix("10.50.0.0/16");
    route.gateway = ip("172.31.0.1");
    route.link = link.index;
    const auto added = kernel.apply(Batch().add_route(route));
    ASSERT_FALSE(added);
    EXPECT_NE(added.error().message.find("add route 10.50.0.0/16 via 172.31.0.1: "), std::string::npos)
        << added.error().message;
    EXPECT_NE(added.error().message.find("gateway"), std::string::npos) << added.error().message;
  });
}

}  // namespace
}  // namespace podwire::control::netlink
