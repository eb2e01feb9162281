// The small pure parts of control/cluster: base64, endpoints, free prefixes, records and keys, leased
// configuration.
#include <gtest/gtest.h>

#include "control/cluster/base64.hpp"
#include "control/cluster/endpoint.hpp"
#include "control/cluster/etcd_records.hpp"
#include "control/cluster/free_prefix.hpp"
#include "control/cluster/leased_config.hpp"

namespace podwire::control {
namespace {

IpPrefix net(const char* text) {
  return *parse_prefix(text);
}

TEST(Base64, EncodesAndDecodesEveryLength) {
  // RFC 4648 section 10.
  const std::pair<const char*, const char*> vectors[] = {{"", ""},
                                                         {"f", "Zg=="},
                                                         {"fo", "Zm8="},
                                                         {"foo", "Zm9v"},
                                                         {"foob", "Zm9vYg=="},
                                                         {"fooba", "Zm9vYmE="},
                                                         {"foobar", "Zm9vYmFy"}};
  for (const auto& [plain, encoded] : vectors) {
    EXPECT_EQ(to_base64(plain), encoded);
    EXPECT_EQ(from_base64(encoded), plain);
  }
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
  EXPECT_EQ(from_base64(to_base64(bytes)), bytes);
}

TEST(Base64, RefusesWhatIsNone) {
  for (const char* const text : {"Z", "Zg", "Zg=", "Z===", "Zm9v=", "Zm 9", "Zm9-", "====", "Zg==Zg=="})
    EXPECT_FALSE(from_base64(text)) << text;
}

TEST(StoreEndpoint, IsTakenApart) {
  const auto secure = parse_endpoint("https://[fd00::9]:2380/");
  ASSERT_TRUE(secure);
  EXPECT_TRUE(secure->tls);
  EXPECT_EQ(secure->host, "fd00::9");
  EXPECT_EQ(secure->port, 2380);
  const auto plain = parse_endpoint("http://etcd-1.example");
  ASSERT_TRUE(plain);
  EXPECT_FALSE(plain->tls);
  EXPECT_EQ(plain->host, "etcd-1.example");
  EXPECT_EQ(plain->port, 2379);
}

TEST(StoreEndpoint, RefusesWhatIsNone) {
  for (const char* const text : {"", "etcd:2379", "ftp://h:1", "http://", "http://:2379", "http://h:0",
                                 "http://h:65536", "http://h:2379x", "http://h/path", "http://u@h",
                                 "http://[::1", "http://[x]:1", "https://[::1]2379", "http://h h"})
    EXPECT_FALSE(parse_endpoint(text)) << text;
}

TEST(FreePrefix, IsTheLowestThatOverlapsNone) {
  const auto range = net("10.244.0.0/16");
  EXPECT_EQ(lowest_free_prefix(range, 24, {}), net("10.244.0.0/24"));
  EXPECT_EQ(lowest_free_prefix(range, 24, {net("10.244.1.0/24"), net("10.244.0.0/24"), net("10.244.3.0/24")}),
            net("10.244.2.0/24"));
  // Of other lengths, families and ranges.
  EXPECT_EQ(lowest_free_prefix(range, 24, {net("10.244.0.0/22"), net("fd00::/64"), net("10.0.0.0/16")}),
            net("10.244.4.0/24"));
  EXPECT_EQ(lowest_free_prefix(range, 24, {net("10.244.0.77/32")}), net("10.244.1.0/24"));
  EXPECT_EQ(lowest_free_prefix(range, 17, {net("10.244.0.0/24")}), net("10.244.128.0/17"));
  EXPECT_EQ(lowest_free_prefix(net("fd00:10::/48"), 64, {net("fd00:10::/64")}), net("fd00:10:0:1::/64"));
}

TEST(FreePrefix, IsNoneWhenTheRangeIsFull) {
  EXPECT_FALSE(lowest_free_prefix(net("10.99.0.0/24"), 24, {net("10.99.0.0/24")}));
  EXPECT_FALSE(lowest_free_prefix(net("10.99.0.0/24"), 25, {net("10.99.0.0/25"), net("10.99.0.128/25")}));
  EXPECT_FALSE(lowest_free_prefix(net("10.99.0.0/24"), 25, {net("10.99.0.3/32"), net("10.99.0.200/32")}));
  EXPECT_FALSE(lowest_free_prefix(net("10.99.0.0/24"), 24, {net("0.0.0.0/0")}));
  EXPECT_FALSE(
      lowest_free_prefix(net("255.255.255.0/24"), 25, {net("255.255.255.0/25"), net("255.255.255.128/25")}));
  EXPECT_FALSE(lowest_free_prefix(net("0.0.0.0/0"), 1, {net("0.0.0.0/1"), net("128.0.0.0/1")}));
}

TEST(EtcdKeys, AreReadAsTheyAreWritten) {
  const EtcdKeys keys("/podwire");
  const auto prefix = keys.parse(keys.prefix("blue", net("fd00:10:244::/64")));
  ASSERT_TRUE(prefix);
  EXPECT_EQ(prefix->kind, EtcdKeys::Kind::kPrefix);
  EXPECT_EQ(prefix->name, "blue");
  EXPECT_EQ(prefix->prefix, net("fd00:10:244::/64"));
  const auto alive = keys.parse(keys.alive("node-a"));
  ASSERT_TRUE(alive);
  EXPECT_EQ(alive->kind, EtcdKeys::Kind::kAlive);
  EXPECT_EQ(alive->name, "node-a");
  for (const char* const key :
       {"/podwire/nodes/", "/podwire/nodes/a/b", "/podwire/nodes/a b", "/other/nodes/a", "/podwire/what/a",
        "/podwire/x", "/podwire/prefixes/d/10.0.0.0-33", "/podwire/prefixes/d/10.0.0.1-24",
        "/podwire/prefixes/d/10.0.0.0", "/podwire/prefixes/10.0.0.0-24", "/podwire/prefixes//10.0.0.0-24",
        "/podwire/prefixes/d/FD00::-64"})
    EXPECT_FALSE(keys.parse(key)) << key;
}

TEST(NodeRecord, IsReadAsItIsWritten) {
  const NodeRecord record{
      {*parse_ip("192.168.100.1"), *parse_ip("fd00::1")}, 4789, *parse_mac("02:00:00:00:00:01")};
  const auto read = parse_node_record(to_value(record));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, record);
  auto plain = record;
  plain.transports = {{"default", DomainTransport::kSubnet}, {"other", DomainTransport::kRouted}};
  const auto again = parse_node_record(to_value(plain));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(*again, plain);
}

TEST(NodeRecord, RefusesWhatCannotBeProgrammed) {
  for (const char* const value :
       {"", "null", "[]", "{}", R"({"addresses":[],"udp_port":1,"mac":"02:00:00:00:00:01"})",
        R"({"addresses":["10.0.0.1"],"udp_port":0,"mac":"02:00:00:00:00:01"})",
        R"({"addresses":["10.0.0.1"],"udp_port":65536,"mac":"02:00:00:00:00:01"})",
        R"({"addresses":["10.0.0.1"],"udp_port":1,"mac":"01:00:00:00:00:01"})",
        R"({"addresses":["10.0.0.1"],"udp_port":1,"mac":"00:00:00:00:00:00"})",
        R"({"addresses":["10.0.0.1","10.0.0.2"],"udp_port":1,"mac":"02:00:00:00:00:01"})",
        R"({"addresses":["224.0.0.1"],"udp_port":1,"mac":"02:00:00:00:00:01"})",
        R"({"addresses":["0.0.0.0"],"udp_port":1,"mac":"02:00:00:00:00:01"})",
        R"({"addresses":["fe80::1"],"udp_port":1,"mac":"02:00:00:00:00:01"})",
        R"({"addresses":"10.0.0.1","udp_port":1,"mac":"02:00:00:00:00:01"})",
        R"({"addresses":["10.0.0.1"],"udp_port":1,"mac":"02:00:00:00:00:01","transports":["subnet"]})",
        R"({"addresses":["10.0.0.1"],"udp_port":1,"mac":"02:00:00:00:00:01","transports":{"d":"pigeon"}})",
        R"({"addresses":["10.0.0.1"],"udp_port":1,"mac":"02:00:00:00:00:01","transports":{"d":1}})"})
    EXPECT_FALSE(parse_node_record(value)) << value;
}

TEST(LeasedConfig, GivesTheNodeItsPrefixes) {
  Config config;
  DomainConfig l3;
  l3.name = "default";
  l3.prefixes = {net("10.244.0.0/16"), net("fd00:10:244::/48")};
  l3.gateways = {first_usable(l3.prefixes[0]), first_usable(l3.prefixes[1])};
  l3.masquerade.emplace();
  DomainConfig l2 = l3;
  l2.name = "lan";
  l2.mode = api::DomainMode::kL2;
  l2.prefixes = {net("10.245.0.0/24")};
  l2.gateways = {*parse_ip("10.245.0.254")};
  config.domains = {l3, l2};
  const auto own = leased_config(config, {{"default", {net("10.244.7.0/24"), net("fd00:10:244:7::/64")}},
                                          {"lan", {net("10.245.0.32/28")}}});
  EXPECT_EQ(own.domains[0].prefixes, (std::vector{net("10.244.7.0/24"), net("fd00:10:244:7::/64")}));
  EXPECT_EQ(to_string(own.domains[0].gateways[0]), "10.244.7.1");
  EXPECT_EQ(to_string(own.domains[0].gateways[1]), "fd00:10:244:7::1");
  EXPECT_EQ(own.domains[0].cluster_prefixes, l3.prefixes);
  EXPECT_EQ(all_pods(own),
            (std::vector{net("10.244.0.0/16"), net("10.245.0.0/24"), net("fd00:10:244::/48")}));
  // One segment over all nodes: only what is given out differs.
  EXPECT_EQ(own.domains[1].prefixes, l2.prefixes);
  EXPECT_EQ(own.domains[1].gateways, l2.gateways);
  ASSERT_EQ(own.domains[1].ranges.size(), 1u);
  EXPECT_EQ(to_string(own.domains[1].ranges[0].start), "10.245.0.32");
  EXPECT_EQ(to_string(own.domains[1].ranges[0].end), "10.245.0.47");
}

}  // namespace
}  // namespace podwire::control
