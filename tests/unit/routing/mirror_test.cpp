#include "control/routing/mirror.hpp"

#include <gtest/gtest.h>
#include <linux/rtnetlink.h>

namespace podwire::control {
namespace {

using netlink::Route;
using netlink::RouteChange;

constexpr unsigned kHostLink = 7, kOtherLink = 8;
constexpr PortId kMirrorUplink{1};

Route via(const char* prefix, const char* gateway, std::uint32_t metric = 0, unsigned link = kHostLink) {
  Route route;
  route.destination = *parse_prefix(prefix);
  if (gateway != nullptr) route.gateway = *parse_ip(gateway);
  route.link = link;
  route.protocol = 186;  // BGP
  route.metric = metric;
  return route;
}

Route over(const char* prefix, std::vector<std::pair<const char*, std::uint16_t>> gateways) {
  Route route;
  route.destination = *parse_prefix(prefix);
  route.protocol = 186;
  for (const auto& [gateway, weight] : gateways) {
    netlink::RouteNextHop hop;
    hop.gateway = *parse_ip(gateway);
    hop.link = kHostLink;
    hop.weight = weight;
    route.next_hops.push_back(hop);
  }
  return route;
}

// What the engine has after all patches so far, in words.
class Mirrored : public ::testing::Test {
 protected:
  void added(Route route, bool replaces = false, bool appends = false) {
    mirror_.apply({.removed = false, .replaces = replaces, .appends = appends, .route = std::move(route)});
  }
  void removed(Route route) {
    mirror_.apply({.removed = true, .replaces = false, .appends = false, .route = std::move(route)});
  }
  std::string take() {
    const auto patch = mirror_.take();
    changes_ = patch.put.size() + patch.remove.size();
    for (const auto id : patch.remove) EXPECT_EQ(engine_.erase(id), 1u);
    for (const auto& route : patch.put) {
      EXPECT_GE(route.id.value(), kFirstMirrored);
      EXPECT_EQ(route.domain, kUnderlayDomain);
      engine_[route.id] = route;
    }
    EXPECT_EQ(mirror_.size(), engine_.size());
    std::map<std::string, std::string> lines;
    for (const auto& [id, route] : engine_) {
      std::string line;
      for (const auto& hop : route.next_hops) {
        EXPECT_EQ(hop.port, kMirrorUplink);
        line += " " + (hop.address.is_zero() ? std::string("link") : to_string(hop.address));
        if (hop.weight != 1) line += "*" + std::to_string(hop.weight);
      }
      lines[to_string(route.prefix)] = line;
    }
    std::string text;
    for (const auto& [prefix, line] : lines) text += (text.empty() ? "" : ", ") + prefix + line;
    return text;
  }

  RouteMirror mirror_{{netlink::kMainTable, 100}, kMirrorUplink};
  std::map<RouteId, api::Route> engine_;
  std::size_t changes_ = 0;
};

TEST_F(Mirrored, TakesRoutesOverTheHostInterface) {
  mirror_.reset(kHostLink, {via("10.1.0.0/16", "192.0.2.1"), via("10.2.0.0/16", nullptr),
                            via("10.3.0.0/16", "192.0.2.1", 0, kOtherLink),
                            over("10.4.0.0/16", {{"192.0.2.1", 1}, {"192.0.2.2", 3}}),
                            via("2001:db8::/32", "fe80::1", 1024)});
  EXPECT_EQ(
      take(),
      "10.1.0.0/16 192.0.2.1, 10.2.0.0/16 link, 10.4.0.0/16 192.0.2.1 192.0.2.2*3, 2001:db8::/32 fe80::1");
  EXPECT_EQ(take(), take());
  EXPECT_EQ(changes_, 0u);
}

TEST_F(Mirrored, LeavesOutItsOwnAndWhatIsNoRouteToOthers) {
  auto own = via("10.1.0.0/16", "192.0.2.1");
  own.protocol = netlink::kRouteProtocol;
  auto elsewhere = via("10.2.0.0/16", "192.0.2.1");
  elsewhere.table = 99;
  auto unreachable = via("10.3.0.0/16", nullptr, 0, 0);
  unreachable.type = RTN_UNREACHABLE;
  mirror_.reset(kHostLink, {own, elsewhere, unreachable, via("fe80::/64", nullptr), via("ff00::/8", nullptr),
                            via("224.0.0.0/4", nullptr)});
  EXPECT_EQ(take(), "");
  added(own);
  removed(own);
  EXPECT_EQ(take(), "");
}

TEST_F(Mirrored, TheKernelsChoiceCounts) {
  mirror_.reset(kHostLink, {via("10.1.0.0/16", "192.0.2.1", 20), via("10.1.0.0/16", "192.0.2.2", 10)});
  EXPECT_EQ(take(), "10.1.0.0/16 192.0.2.2");
  added(via("10.1.0.0/16", "198.51.100.1", 5, kOtherLink));  // better, and not over the host interface
  EXPECT_EQ(take(), "");
  removed(via("10.1.0.0/16", "198.51.100.1", 5, kOtherLink));
  EXPECT_EQ(take(), "10.1.0.0/16 192.0.2.2");
  removed(via("10.1.0.0/16", "192.0.2.2", 10));
  EXPECT_EQ(take(), "10.1.0.0/16 192.0.2.1");
  auto later = via("10.1.0.0/16", "192.0.2.9", 1);  // of a table that comes second
  later.table = 100;
  added(later);
  EXPECT_EQ(take(), "10.1.0.0/16 192.0.2.1");
  removed(via("10.1.0.0/16", "192.0.2.1", 20));
  EXPECT_EQ(take(), "10.1.0.0/16 192.0.2.9");
}

TEST_F(Mirrored, FollowsIpv4Changes) {
  mirror_.reset(kHostLink, {});
  added(via("10.1.0.0/16", "192.0.2.1"));
  EXPECT_EQ(take(), "10.1.0.0/16 192.0.2.1");
  added(via("10.1.0.0/16", "192.0.2.2"), true);
  EXPECT_EQ(take(), "10.1.0.0/16 192.0.2.2");
  added(via("10.1.0.0/16", "192.0.2.3"), false, true);  // behind the first
  EXPECT_EQ(take(), "10.1.0.0/16 192.0.2.2");
  EXPECT_EQ(changes_, 0u);
  removed(via("10.1.0.0/16", "192.0.2.2"));
  EXPECT_EQ(take(), "10.1.0.0/16 192.0.2.3");
  added(over("10.1.0.0/16", {{"192.0.2.3", 1}, {"192.0.2.4", 1}}), true);
  EXPECT_EQ(take(), "10.1.0.0/16 192.0.2.3 192.0.2.4");
  removed(over("10.1.0.0/16", {{"192.0.2.3", 1}, {"192.0.2.4", 1}}));
  EXPECT_EQ(take(), "");
}

TEST_F(Mirrored, FollowsIpv6ChangesOfSingleNextHops) {
  mirror_.reset(kHostLink, {});
  added(via("2001:db8::/32", "fe80::1", 1024));
  auto both =
      over("2001:db8::/32", {{"fe80::1", 1}, {"fe80::2", 1}});  // as the kernel tells of an appended one
  both.metric = 1024;
  added(both);
  EXPECT_EQ(take(), "2001:db8::/32 fe80::1 fe80::2");
  removed(via("2001:db8::/32", "fe80::1", 1024));
  EXPECT_EQ(take(), "2001:db8::/32 fe80::2");
  removed(via("2001:db8::/32", "fe80::2", 1024));
  EXPECT_EQ(take(), "");
}

TEST_F(Mirrored, ChangesThatAListHadAlreadyChangeNothing) {
  mirror_.reset(kHostLink, {via("10.1.0.0/16", "192.0.2.2"), over("10.2.0.0/16", {{"192.0.2.1", 1}})});
  const auto before = take();
  // 10.1/16 was added, then replaced, and 10.3/16 came and went, all before the list.
  added(via("10.1.0.0/16", "192.0.2.1"));
  added(via("10.1.0.0/16", "192.0.2.2"), true);
  added(via("10.3.0.0/16", "192.0.2.1"));
  removed(via("10.3.0.0/16", "192.0.2.1"));
  added(over("10.2.0.0/16", {{"192.0.2.1", 1}}));
  EXPECT_EQ(take(), before);
  EXPECT_EQ(changes_, 0u);
}

TEST_F(Mirrored, ANewListIsADifference) {
  std::vector<Route> all;
  for (std::uint32_t i = 0; i < 1000; ++i) {
    auto route = via("10.0.0.0/24", "192.0.2.1");
    route.destination = {IpAddr(Ipv4::from_u32(0x0a000000 + (i << 8))), 24};
    all.push_back(route);
  }
  mirror_.reset(kHostLink, all);
  take();
  EXPECT_EQ(changes_, 1000u);
  all[5].gateway = *parse_ip("192.0.2.9");
  all.pop_back();
  mirror_.reset(kHostLink, all);
  take();
  EXPECT_EQ(changes_, 2u);
  mirror_.reset(0, all);  // the interface has gone
  EXPECT_EQ(take(), "");
  mirror_.reset(kHostLink, all);
  take();
  EXPECT_EQ(mirror_.size(), 999u);
}

TEST_F(Mirrored, IdsAreTheSameAfterARestart) {
  std::vector<Route> all;
  for (std::uint32_t i = 0; i < 1000; ++i) {
    auto route = via("10.0.0.0/24", "192.0.2.1");
    route.destination = {IpAddr(Ipv4::from_u32(0x0a000000 + (i << 8))), 24};
    all.push_back(route);
  }
  mirror_.reset(kHostLink, all);
  take();
  RouteMirror second({netlink::kMainTable}, kMirrorUplink);
  second.reset(kHostLink, {all.rbegin(), all.rend()});
  for (const auto& route : second.take().put) {
    ASSERT_TRUE(engine_.contains(route.id));
    EXPECT_EQ(engine_.at(route.id), route);
  }
}

}  // namespace
}  // namespace podwire::control
