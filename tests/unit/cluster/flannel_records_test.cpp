// Flannel's configuration, keys and leases, field by field as its documentation has them.
#include "control/cluster/flannel_records.hpp"

#include <gtest/gtest.h>

namespace podwire::control {
namespace {

std::string network_refusal(const std::string& value) {
  const auto network = parse_flannel_network(value, "config");
  return network ? "accepted" : network.error().message;
}

std::string lease_refusal(const std::string& key, const std::string& value) {
  const auto lease = parse_flannel_lease(*parse_flannel_key(key), value);
  return lease ? "accepted" : lease.error().message;
}

TEST(FlannelNetworkTest, DefaultsAreFlannels) {
  const auto network =
      parse_flannel_network(R"({"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan"}})", "config");
  ASSERT_TRUE(network) << network.error().message;
  EXPECT_EQ(network->v4.length, 24);
  EXPECT_EQ(to_string(network->v4.first), "10.5.1.0/24");
  EXPECT_EQ(to_string(network->v4.last), "10.5.255.0/24");
  EXPECT_FALSE(network->v6);
  EXPECT_EQ(network->vni, Vni(1));
  EXPECT_EQ(network->port, 8472);
  EXPECT_FALSE(network->direct_routing);
}

TEST(FlannelNetworkTest, EveryFieldIsHonoured) {
  const auto network = parse_flannel_network(
      R"({"Network": "10.0.0.0/8", "SubnetLen": 20, "SubnetMin": "10.10.0.0", "SubnetMax": "10.99.0.0",
          "EnableIPv6": true, "IPv6Network": "fc00::/48", "IPv6SubnetLen": 64, "IPv6SubnetMin": "fc00:0:0:10::",
          "Backend": {"Type": "vxlan", "VNI": 0, "Port": 4789, "DirectRouting": true, "MTU": 1400}})",
      "config");
  ASSERT_TRUE(network) << network.error().message;
  EXPECT_EQ(to_string(network->v4.first), "10.10.0.0/20");
  EXPECT_EQ(to_string(network->v4.last), "10.99.0.0/20");
  ASSERT_TRUE(network->v6);
  EXPECT_EQ(to_string(network->v6->first), "fc00:0:0:10::/64");
  EXPECT_EQ(to_string(network->v6->last), "fc00:0:0:ffff::/64");
  EXPECT_EQ(network->vni, Vni(0));
  EXPECT_EQ(network->port, 4789);
  EXPECT_TRUE(network->direct_routing);
}

TEST(FlannelNetworkTest, SmallNetworksAreCutInFour) {
  const auto network =
      parse_flannel_network(R"({"Network": "10.5.0.0/24", "Backend": {"Type": "vxlan"}})", "config");
  ASSERT_TRUE(network) << network.error().message;
  EXPECT_EQ(network->v4.length, 26);
  EXPECT_EQ(to_string(network->v4.first), "10.5.0.64/26");
  EXPECT_EQ(to_string(network->v4.last), "10.5.0.192/26");
}

TEST(FlannelNetworkTest, WhatItCannotBeIsRefused) {
  const struct {
    const char* value;
    const char* text;
  } kCases[] = {
      {"nonsense", "config"},
      {"[]", "config must be an object"},
      {R"({"Backend": {"Type": "vxlan"}})", "config.Network is missing"},
      {R"({"Network": "10.5.0.0/16"})", "Backend.Type is \"udp\""},
      {R"({"Network": "10.5.0.0/16", "Backend": {"Type": "host-gw"}})", "\"host-gw\""},
      {R"({"Network": "10.5.0.1/16", "Backend": {"Type": "vxlan"}})", "start of an IPv4 network"},
      {R"({"Network": "0.0.0.0/0", "Backend": {"Type": "vxlan"}})", "start of an IPv4 network"},
      {R"({"Network": "fc00::/48", "Backend": {"Type": "vxlan"}})", "start of an IPv4 network"},
      {R"({"Network": "10.5.0.0/29", "Backend": {"Type": "vxlan"}})", "at least four subnets"},
      {R"({"Network": "10.5.0.0/24", "SubnetLen": 25, "Backend": {"Type": "vxlan"}})",
       "at least four subnets"},
      {R"({"Network": "10.5.0.0/16", "SubnetLen": 31, "Backend": {"Type": "vxlan"}})", "SubnetLen"},
      {R"({"Network": "10.5.0.0/16", "SubnetMin": "10.6.0.0", "Backend": {"Type": "vxlan"}})",
       "SubnetMin is 10.6"},
      {R"({"Network": "10.5.0.0/16", "SubnetMin": "10.5.0.8", "Backend": {"Type": "vxlan"}})",
       "SubnetMin is 10.5.0.8"},
      {R"({"Network": "10.5.0.0/16", "SubnetMin": "10.5.9.0", "SubnetMax": "10.5.8.0", "Backend": {"Type": "vxlan"}})",
       "SubnetMin is behind"},
      {R"({"Network": "10.5.0.0/16", "EnableIPv4": false, "Backend": {"Type": "vxlan"}})",
       "EnableIPv4 is false"},
      {R"({"Network": "10.5.0.0/16", "EnableIPv6": true, "Backend": {"Type": "vxlan"}})",
       "IPv6Network is missing"},
      {R"({"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan", "VNI": 16777216}})", "VNI"},
      {R"({"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan", "GBP": true}})", "GBP is true"},
  };
  for (const auto& one : kCases)
    EXPECT_NE(network_refusal(one.value).find(one.text), std::string::npos) << one.value << "\n"
                                                                            << network_refusal(one.value);
}

TEST(FlannelKeyTest, BothForms) {
  const auto single = parse_flannel_key("10.5.34.0-24");
  ASSERT_TRUE(single);
  EXPECT_EQ(to_string(single->v4), "10.5.34.0/24");
  EXPECT_FALSE(single->v6);
  EXPECT_EQ(to_key(*single), "10.5.34.0-24");
  const auto dual = parse_flannel_key("10.5.34.0-24&fc00:0:0:22::-64");
  ASSERT_TRUE(dual);
  EXPECT_EQ(to_string(*dual->v6), "fc00:0:0:22::/64");
  EXPECT_EQ(to_key(*dual), "10.5.34.0-24&fc00:0:0:22::-64");
  for (const char* bad :
       {"", "10.5.34.0", "10.5.34.0/24", "10.5.34.1-24", "10.5.34.0-33", "fc00::-64", "10.5.34.0-24&",
        "10.5.34.0-24&10.6.0.0-24", "10.5.34.0-24&fc00::1-64", "10.5.34.0-", "a-b"})
    EXPECT_FALSE(parse_flannel_key(bad)) << bad;
}

TEST(FlannelLeaseTest, AsFlannelWritesIt) {
  // From Flannel's Documentation/reservations.md.
  const auto lease = parse_flannel_lease(
      *parse_flannel_key("10.5.52.0-24"),
      R"({"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}})");
  ASSERT_TRUE(lease) << lease.error().message;
  EXPECT_EQ(to_string(lease->public_v4), "192.168.64.3");
  EXPECT_EQ(lease->vni, Vni(1));
  EXPECT_EQ(to_string(lease->mac_v4), "c6:d2:32:6f:8f:44");
  EXPECT_EQ(
      Json::parse(to_value(*lease)),
      Json::parse(
          R"({"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}})"));
}

TEST(FlannelLeaseTest, OfBothFamiliesThereAndBack) {
  FlannelLease lease{*parse_flannel_key("10.5.34.0-24&fc00:0:0:22::-64"),
                     *parse_ip("192.168.100.1"),
                     *parse_ip("fd00:100::1"),
                     Vni(7),
                     MacAddr{{2, 0, 0, 0, 0, 1}},
                     MacAddr{{2, 0, 0, 0, 0, 2}}};
  const auto read = parse_flannel_lease(lease.subnet, to_value(lease));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, lease);
}

TEST(FlannelLeaseTest, OthersAreRefused) {
  const std::string data = R"("BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"})";
  const struct {
    const char* key;
    std::string value;
    const char* text;
  } kCases[] = {
      {"10.5.34.0-24", "{", "lease 10.5.34.0-24"},
      {"10.5.34.0-24", R"({"PublicIP":"192.168.64.3"})", "BackendType is \"\""},
      {"10.5.34.0-24", R"({"PublicIP":"192.168.64.3","BackendType":"host-gw"})", "\"host-gw\""},
      {"10.5.34.0-24", R"({"BackendType":"vxlan",)" + data + "}", "PublicIP"},
      {"10.5.34.0-24", R"({"PublicIP":"0.0.0.0","BackendType":"vxlan",)" + data + "}", "PublicIP"},
      {"10.5.34.0-24", R"({"PublicIP":"fd00::1","BackendType":"vxlan",)" + data + "}", "PublicIP"},
      {"10.5.34.0-24", R"({"PublicIP":"192.168.64.3","BackendType":"vxlan","BackendData":{"VNI":1}})",
       "VtepMAC"},
      {"10.5.34.0-24",
       R"({"PublicIP":"192.168.64.3","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"01:00:00:00:00:01"}})",
       "unicast"},
      {"10.5.34.0-24",
       R"({"PublicIP":"192.168.64.3","BackendType":"vxlan","BackendData":{"VtepMAC":"c6:d2:32:6f:8f:44"}})",
       "VNI"},
      {"10.5.34.0-24&fc00::-64", R"({"PublicIP":"192.168.64.3","BackendType":"vxlan",)" + data + "}",
       "PublicIPv6"},
      {"10.5.34.0-24&fc00::-64",
       R"({"PublicIP":"192.168.64.3","PublicIPv6":"fd00::1","BackendType":"vxlan",)" + data +
           R"(,"BackendV6Data":{"VNI":2,"VtepMAC":"c6:d2:32:6f:8f:44"}})",
       "different VNIs"},
  };
  for (const auto& one : kCases)
    EXPECT_NE(lease_refusal(one.key, one.value).find(one.text), std::string::npos)
        << one.value << "\n"
        << lease_refusal(one.key, one.value);
}

TEST(FlannelSubnetTest, TheLowestFreeOneIsTaken) {
  const auto network = parse_flannel_network(
      R"({"Network": "10.5.0.0/16", "SubnetMin": "10.5.8.0", "SubnetMax": "10.5.10.0", "Backend": {"Type": "vxlan"}})",
      "config");
  ASSERT_TRUE(network);
  const auto free = [&](std::vector<const char*> taken) {
    std::vector<IpPrefix> prefixes;
    for (const auto* text : taken) prefixes.push_back(*parse_prefix(text));
    const auto found = free_subnet(network->v4, prefixes);
    return found ? to_string(*found) : "none";
  };
  EXPECT_EQ(free({}), "10.5.8.0/24");
  EXPECT_EQ(free({"10.5.1.0/24", "10.5.9.0/24"}), "10.5.8.0/24");
  EXPECT_EQ(free({"10.5.8.0/24", "fc00::/64"}), "10.5.9.0/24");
  EXPECT_EQ(free({"10.5.8.0/23"}), "10.5.10.0/24");
  EXPECT_EQ(free({"10.5.8.64/26", "10.5.9.0/25"}), "10.5.10.0/24");
  EXPECT_EQ(free({"10.5.8.0/24", "10.5.10.0/24", "10.5.9.0/24"}), "none");
  EXPECT_EQ(free({"0.0.0.0/0"}), "none");
  EXPECT_TRUE(is_of(network->v4, *parse_prefix("10.5.10.0/24")));
  EXPECT_FALSE(is_of(network->v4, *parse_prefix("10.5.11.0/24")));
  EXPECT_FALSE(is_of(network->v4, *parse_prefix("10.5.9.0/25")));
}

TEST(FlannelLeaseTest, MakesANodeAFamily) {
  auto network =
      parse_flannel_network(R"({"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan"}})", "config");
  ASSERT_TRUE(network);
  const FlannelLease lease{*parse_flannel_key("10.5.34.0-24&fc00:0:0:22::-64"),
                           *parse_ip("192.168.100.1"),
                           *parse_ip("fd00::1"),
                           Vni(1),
                           *parse_mac("02:00:00:00:00:04"),
                           *parse_mac("02:00:00:00:00:06")};
  auto nodes = flannel_nodes("default", *network, lease);
  ASSERT_EQ(nodes.size(), 2u);
  EXPECT_EQ(nodes[1].name, "fc00:0:0:22::-64");
  EXPECT_EQ(to_string(nodes[1].record.addresses.at(0)), "fd00::1");
  EXPECT_TRUE(nodes[0].record.transports.empty());
  network->direct_routing = true;
  nodes = flannel_nodes("default", *network, lease);
  for (const auto& node : nodes) EXPECT_EQ(node.record.transports.at("default"), DomainTransport::kSubnet);
}

TEST(FlannelSubnetTest, TheFileIsFlannels) {
  auto network = parse_flannel_network(
      R"({"Network": "10.5.0.0/16", "EnableIPv6": true, "IPv6Network": "fc00::/48", "Backend": {"Type": "vxlan"}})",
      "config");
  ASSERT_TRUE(network);
  EXPECT_EQ(subnet_env(*network, *parse_flannel_key("10.5.34.0-24&fc00:0:0:22::-64"), 1450, true),
            "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.34.1/24\nFLANNEL_IPV6_NETWORK=fc00::/48\n"
            "FLANNEL_IPV6_SUBNET=fc00:0:0:22::1/64\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n");
}

}  // namespace
}  // namespace podwire::control
