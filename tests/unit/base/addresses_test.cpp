#include "dataplane/base/addresses.hpp"

#include <gtest/gtest.h>

namespace podwire {
namespace {

TEST(MacAddress, RoundTripsThroughText) {
  const auto mac = parse_mac("02:70:77:0a:BC:ff");
  ASSERT_TRUE(mac);
  EXPECT_EQ(to_string(*mac), "02:70:77:0a:bc:ff");
  EXPECT_EQ(mac->to_u64(), 0x0270770abcffu);
  EXPECT_EQ(MacAddr::from_u64(mac->to_u64()), *mac);
}

TEST(MacAddress, RefusesWhatIsNoMac) {
  for (const char* text :
       {"", "02", "02:70:77:00:00", "02:70:77:00:00:0", "02:70:77:00:00:001", "02-70-77-00-00-01",
        "02:70:77:00:00:0g", " 2:70:77:00:00:01", "+2:70:77:00:00:01", "02:70:77:00:00:01 "}) {
    const auto mac = parse_mac(text);
    ASSERT_FALSE(mac) << text;
    EXPECT_EQ(mac.error().code, ErrorCode::kInvalid);
    EXPECT_NE(mac.error().message.find("02:00:00:00:00:01"), std::string::npos)
        << "an example is part of the message";
  }
}

TEST(MacAddress, TellsMulticastFromUnicast) {
  EXPECT_TRUE(parse_mac("ff:ff:ff:ff:ff:ff")->is_broadcast());
  EXPECT_TRUE(parse_mac("01:00:5e:00:00:01")->is_multicast());
  EXPECT_FALSE(parse_mac("02:00:00:00:00:01")->is_multicast());
  EXPECT_TRUE(MacAddr{}.is_zero());
}

TEST(Ipv4Address, RoundTripsThroughText) {
  const auto address = parse_ipv4("10.244.1.5");
  ASSERT_TRUE(address);
  EXPECT_EQ(address->to_u32(), 0x0af40105u);
  EXPECT_EQ(Ipv4::from_u32(0x0af40105u), *address);
  EXPECT_EQ(to_string(*address), "10.244.1.5");
}

TEST(Ipv4Address, RefusesWhatIsNoAddress) {
  for (const char* text :
       {"", "10.244.1", "10.244.1.256", "10.244.1.5.6", "0x0a.0.0.1", "fd00::1", "10.244.1.5/24"}) {
    EXPECT_FALSE(parse_ipv4(text)) << text;
  }
}

TEST(IpAddress, RefusesAnEmbeddedZeroByte) {
  EXPECT_FALSE(parse_ip(std::string_view("10.0.0.1\0", 9)));
}

TEST(IpAddress, QuotesAtMost64CharactersOfABadText) {
  const auto address = parse_ip(std::string(5000, 'x'));
  ASSERT_FALSE(address);
  EXPECT_LT(address.error().message.size(), 200u);
}

TEST(Ipv6Address, IsWrittenAsRfc5952Says) {
  EXPECT_EQ(to_string(*parse_ipv6("FD00:0010:0244:0:0:0:0:5")), "fd00:10:244::5");
  EXPECT_EQ(to_string(*parse_ipv6("::")), "::");
  EXPECT_FALSE(parse_ipv6("fe80::1%eth0"));
  EXPECT_FALSE(parse_ipv6("fd00:::1"));
}

TEST(Ipv6Address, DerivesLinkLocalFromMac) {
  EXPECT_EQ(to_string(Ipv6::link_local_of(*parse_mac("02:70:77:00:00:01"))), "fe80::70:77ff:fe00:1");
}

TEST(Ipv6Address, DerivesSolicitedNodeAddress) {
  EXPECT_EQ(to_string(parse_ipv6("fd00::1:2345:6789")->solicited_node()), "ff02::1:ff45:6789");
}

TEST(IpAddress, FamiliesNeverCompareEqual) {
  EXPECT_NE(*parse_ip("0.0.0.0"), *parse_ip("::"));
  EXPECT_TRUE(parse_ip("::")->is_zero());
  EXPECT_TRUE(parse_ip("ff02::1")->is_multicast());
  EXPECT_TRUE(parse_ip("224.0.0.1")->is_multicast());
}

TEST(Prefix, RefusesWhatIsNoPrefix) {
  for (const char* text : {"10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/ 8",
                           "10.0.0.0/8x", "/8", "fd00::/129", "10.0.0.0/99999999999"}) {
    EXPECT_FALSE(parse_prefix(text)) << text;
  }
}

TEST(Prefix, ClearsHostBits) {
  EXPECT_EQ(to_string(parse_prefix("10.244.1.77/26")->network()), "10.244.1.64/26");
  EXPECT_EQ(to_string(parse_prefix("10.244.1.77/0")->network()), "0.0.0.0/0");
  EXPECT_EQ(to_string(parse_prefix("10.244.1.77/32")->network()), "10.244.1.77/32");
  EXPECT_EQ(to_string(parse_prefix("fd00:1:2:3::9/57")->network()), "fd00:1:2::/57");
}

TEST(Prefix, ContainsOnlyItsOwnFamily) {
  const auto any4 = *parse_prefix("0.0.0.0/0");
  EXPECT_TRUE(any4.contains(*parse_ip("1.2.3.4")));
  EXPECT_FALSE(any4.contains(*parse_ip("fd00::1")));
  const auto net = *parse_prefix("10.244.1.64/26");
  EXPECT_TRUE(net.contains(*parse_ip("10.244.1.127")));
  EXPECT_FALSE(net.contains(*parse_ip("10.244.1.128")));
}

TEST(Prefix, OverlapsInEitherOrder) {
  const auto wide = *parse_prefix("10.0.0.0/8");
  const auto narrow = *parse_prefix("10.244.0.0/16");
  EXPECT_TRUE(wide.overlaps(narrow));
  EXPECT_TRUE(narrow.overlaps(wide));
  EXPECT_FALSE(narrow.overlaps(*parse_prefix("10.245.0.0/16")));
}

}  // namespace
}  // namespace podwire
