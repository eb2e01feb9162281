#include "control/cni/result.hpp"

#include <gtest/gtest.h>

namespace podwire::control {
namespace {

Json object(std::string_view text) {
  return *parse_json(text, "test");
}

AddedInterface added() {
  AddedInterface a;
  a.port_name = "c1.eth0.7";
  a.ifname = "eth0";
  a.netns = "/run/netns/c1";
  a.mac = *parse_mac("02:00:00:00:00:01");
  a.mtu = 1450;
  ResultIp v4, v6;
  v4.address = *parse_prefix("10.244.1.5/24");
  v4.gateway = *parse_ip("10.244.1.1");
  v6.address = *parse_prefix("fd00:10:244:1::5/64");
  v6.gateway = *parse_ip("fd00:10:244:1::1");
  a.ips = {v4, v6};
  ResultRoute route;
  route.destination = *parse_prefix("0.0.0.0/0");
  route.gateway = *parse_ip("10.244.1.1");
  route.mtu = 1400;
  a.routes = {route};
  return a;
}

TEST(CniResultText, HasTheShapeOfItsVersion) {
  for (const char* version : {"0.3.1", "0.4.0"}) {
    EXPECT_EQ(make_add_result(version, Json(), added()),
              object(R"({"cniVersion":")" + std::string(version) + R"(",
      "interfaces":[{"name":"c1.eth0.7"},{"name":"eth0","mac":"02:00:00:00:00:01","sandbox":"/run/netns/c1"}],
      "ips":[{"version":"4","interface":1,"address":"10.244.1.5/24","gateway":"10.244.1.1"},
             {"version":"6","interface":1,"address":"fd00:10:244:1::5/64","gateway":"fd00:10:244:1::1"}],
      "routes":[{"dst":"0.0.0.0/0","gw":"10.244.1.1"}]})"));
  }
  EXPECT_EQ(make_add_result("1.0.0", Json(), added()), object(R"({"cniVersion":"1.0.0",
      "interfaces":[{"name":"c1.eth0.7"},{"name":"eth0","mac":"02:00:00:00:00:01","sandbox":"/run/netns/c1"}],
      "ips":[{"interface":1,"address":"10.244.1.5/24","gateway":"10.244.1.1"},
             {"interface":1,"address":"fd00:10:244:1::5/64","gateway":"fd00:10:244:1::1"}],
      "routes":[{"dst":"0.0.0.0/0","gw":"10.244.1.1"}]})"));
  auto with_dns = added();
  with_dns.dns = object(R"({"nameservers":["10.96.0.10"]})");
  EXPECT_EQ(make_add_result("1.1.0", Json(), with_dns), object(R"({"cniVersion":"1.1.0",
      "interfaces":[{"name":"c1.eth0.7"},{"name":"eth0","mac":"02:00:00:00:00:01","mtu":1450,"sandbox":"/run/netns/c1"}],
      "ips":[{"interface":1,"address":"10.244.1.5/24","gateway":"10.244.1.1"},
             {"interface":1,"address":"fd00:10:244:1::5/64","gateway":"fd00:10:244:1::1"}],
      "routes":[{"dst":"0.0.0.0/0","gw":"10.244.1.1","mtu":1400}],"dns":{"nameservers":["10.96.0.10"]}})"));
}

TEST(CniResultText, AddsToPrevResult) {
  const auto previous = object(R"({"cniVersion":"0.4.0","custom":true,"dns":{},
      "interfaces":[{"name":"br0","mac":"x"},{"name":"net0","sandbox":"/run/netns/c1","more":1}],
      "ips":[{"version":"4","address":"192.168.0.2/24","interface":1}],"routes":[{"dst":"192.168.0.0/16"}]})");
  ASSERT_TRUE(read_result(previous, "prevResult"));
  const auto result = make_add_result("1.0.0", previous, added());
  EXPECT_EQ(result["cniVersion"], "1.0.0");
  EXPECT_EQ(result["custom"], true);
  EXPECT_FALSE(result.contains("dns"));
  ASSERT_EQ(result["interfaces"].size(), 4u);
  EXPECT_EQ(result["interfaces"][1]["more"], 1);
  ASSERT_EQ(result["ips"].size(), 3u);
  EXPECT_FALSE(result["ips"][0].contains("version"));
  EXPECT_EQ(result["ips"][0]["interface"], 1);
  EXPECT_EQ(result["ips"][1]["interface"], 3);
  EXPECT_EQ(result["routes"].size(), 2u);
  const auto old = make_add_result("0.3.1", object(R"({"ips":[{"address":"fd00::1/64"}]})"), added());
  EXPECT_EQ(old["ips"][0]["version"], "6");
}

TEST(CniResultText, RefusesMalformedResults) {
  for (const char* bad :
       {"[]", R"({"cniVersion":"7"})", R"({"interfaces":{}})", R"({"interfaces":[1]})",
        R"({"interfaces":[{}]})", R"({"ips":[{"address":"10.0.0.1"}]})",
        R"({"ips":[{"address":"10.0.0.1/8","interface":0}]})",
        R"({"ips":[{"address":"10.0.0.1/8","gateway":"fd00::1"}]})", R"({"routes":[{"dst":"x"}]})",
        R"({"routes":[{"dst":"10.0.0.0/8","gw":"fd00::1"}]})", R"({"dns":[1]})"}) {
    EXPECT_FALSE(read_result(object(bad), "prevResult")) << bad;
  }
  Json many = Json::array();
  for (int i = 0; i < 300; ++i) many.push_back({{"name", "x"}});
  EXPECT_FALSE(read_result({{"interfaces", many}}, "prevResult"));
  const auto unsupported =
      read_result(object(R"({"routes":[{"dst":"10.0.0.0/8","advmss":1400}]})"), "prevResult");
  ASSERT_FALSE(unsupported);
  EXPECT_EQ(unsupported.error().code, CniCode::kUnsupportedField);
}

TEST(CniResultText, ReadsWhatHostLocalPrints) {
  const auto result =
      read_result(object(R"({"cniVersion":"1.0.0","ips":[{"address":"10.22.0.2/16","gateway":"10.22.0.1"}],
      "routes":[{"dst":"0.0.0.0/0"}],"dns":{}})"),
                  "result of host-local");
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(to_string(result->ips[0].address), "10.22.0.2/16");
  EXPECT_FALSE(result->ips[0].interface);
  EXPECT_FALSE(result->routes[0].gateway);
  EXPECT_TRUE(result->dns.is_null());
}

}  // namespace
}  // namespace podwire::control
