#include "control/state/ipam.hpp"

#include <gtest/gtest.h>

#include <set>

namespace podwire::control {
namespace {

IpAddr ip(const char* text) {
  return *parse_ip(text);
}

AddressPool pool(const char* prefix, const char* gateway, std::vector<std::pair<IpAddr, IpAddr>> ranges = {},
                 std::vector<IpPrefix> exclude = {}) {
  return AddressPool({*parse_prefix(prefix), ip(gateway), std::move(ranges), std::move(exclude)});
}

// Everything the pool gives, in order, until it is empty or `limit` is reached.
std::vector<std::string> drain(const AddressPool& pool, std::optional<IpAddr> after = {},
                               std::size_t limit = 1000) {
  std::set<IpAddr> taken;
  std::vector<std::string> out;
  while (out.size() < limit) {
    const auto next = pool.next_free(after, [&](const IpAddr& a) { return taken.contains(a); });
    if (!next) break;
    taken.insert(*next);
    out.push_back(to_string(*next));
    after = next;
  }
  return out;
}

TEST(AddressPool, NeverGivesNetworkGatewayAndBroadcast) {
  EXPECT_EQ(drain(pool("10.0.0.0/29", "10.0.0.1")),
            (std::vector<std::string>{"10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"}));
  EXPECT_EQ(pool("10.0.0.0/29", "10.0.0.1").capacity(), 5u);
}

TEST(AddressPool, Ipv6HasNoBroadcast) {
  EXPECT_EQ(drain(pool("fd00::/126", "fd00::1")), (std::vector<std::string>{"fd00::2", "fd00::3"}));
}

TEST(AddressPool, GoesRoundBehindTheCursor) {
  EXPECT_EQ(drain(pool("10.0.0.0/29", "10.0.0.1"), ip("10.0.0.4")),
            (std::vector<std::string>{"10.0.0.5", "10.0.0.6", "10.0.0.2", "10.0.0.3", "10.0.0.4"}));
}

TEST(AddressPool, StaysInRangesAndOutOfExclusions) {
  const auto p = pool("10.0.0.0/24", "10.0.0.1",
                      {{ip("10.0.0.10"), ip("10.0.0.14")}, {ip("10.0.0.13"), ip("10.0.0.18")}},
                      {*parse_prefix("10.0.0.11/32"), *parse_prefix("10.0.0.16/30")});
  EXPECT_EQ(drain(p),
            (std::vector<std::string>{"10.0.0.10", "10.0.0.12", "10.0.0.13", "10.0.0.14", "10.0.0.15"}));
  EXPECT_EQ(p.capacity(), 5u);
  EXPECT_TRUE(p.offers(ip("10.0.0.12")));
  EXPECT_FALSE(p.offers(ip("10.0.0.16")));
}

TEST(AddressPool, RangesOfTheOtherFamilyDoNotLimit) {
  EXPECT_EQ(drain(pool("10.0.0.0/30", "10.0.0.1", {{ip("fd00::10"), ip("fd00::20")}})),
            (std::vector<std::string>{"10.0.0.2"}));
}

TEST(AddressPool, CostDoesNotGrowWithThePrefix) {
  const auto p = pool("fd00::/64", "fd00::1", {}, {*parse_prefix("fd00::/80")});
  std::size_t looked = 0;
  const auto next = p.next_free({}, [&](const IpAddr&) { return ++looked <= 3; });
  EXPECT_EQ(to_string(*next), "fd00::1:0:0:3");
  EXPECT_EQ(looked, 4u);
  EXPECT_EQ(p.capacity(), static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()));
}

TEST(AddressPool, WholeIpv6SpaceDoesNotOverflow) {
  const auto p = pool("::/1", "::1");
  EXPECT_EQ(to_string(*p.next_free(ip("7fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
                                   [](const IpAddr&) { return false; })),
            "::2");
  const auto top = pool("ffff::/16", "ffff::1");
  EXPECT_EQ(to_string(*top.next_free(ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
                                     [](const IpAddr&) { return false; })),
            "ffff::2");
}

TEST(AddressPool, LastIpv4AddressDoesNotOverflow) {
  const auto p =
      pool("255.255.255.248/29", "255.255.255.249", {{ip("255.255.255.254"), ip("255.255.255.255")}});
  EXPECT_EQ(drain(p), (std::vector<std::string>{"255.255.255.254"}));
}

TEST(AddressPool, RequestsAreHeldAgainstThePrefixNotTheRanges) {
  const auto p =
      pool("10.0.0.0/24", "10.0.0.1", {{ip("10.0.0.10"), ip("10.0.0.14")}}, {*parse_prefix("10.0.0.11/32")});
  EXPECT_TRUE(p.check_requested(ip("10.0.0.200")));
  for (const auto& [address, why] : {std::pair{"10.0.1.1", "outside 10.0.0.0/24"},
                                     {"10.0.0.0", "network address"},
                                     {"10.0.0.255", "broadcast"},
                                     {"10.0.0.1", "gateway"},
                                     {"10.0.0.11", "excluded"},
                                     {"fd00::1", "outside"}}) {
    auto checked = p.check_requested(ip(address));
    ASSERT_FALSE(checked) << address;
    EXPECT_NE(checked.error().message.find(why), std::string::npos) << checked.error().message;
  }
}

TEST(AddressNumber, RoundTrips) {
  for (const char* text : {"0.0.0.0", "10.244.1.5", "255.255.255.255", "::", "fd00::1",
                           "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}) {
    const auto address = ip(text);
    EXPECT_EQ(from_number(to_number(address), address.is_v4()), address);
  }
}

}  // namespace
}  // namespace podwire::control
