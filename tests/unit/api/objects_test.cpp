#include "dataplane/api/objects.hpp"

#include <gtest/gtest.h>

#include "tests/unit/api/object_checks.hpp"

namespace podwire::api {
namespace {

constexpr const char* kTap =
    R"({"id":4,"name":"pod1","kind":"tap","role":"pod","domain":2,"mac":"02:00:00:00:00:04",
    "mtu":1450,"queues":2,"descriptors":2})";
constexpr const char* kPhysical =
    R"({"id":1,"name":"uplink","kind":"physical","role":"uplink","devargs":"net_null0",
    "vlan":7})";

constexpr const char* kMemif =
    R"({"id":5,"name":"cnf1","kind":"memif","role":"pod","domain":2,"mac":"02:00:00:00:00:05",
    "mtu":1450,"queues":2,"socket":"/run/podwire/pods/a/net1.sock","socket_mode":"client",
    "memif_id":7,"secret":"s3cret","ring_size":512,"buffer_size":4096})";
constexpr const char* kVhost =
    R"({"id":6,"name":"vm1","kind":"vhost","role":"pod","domain":2,"mac":"02:00:00:00:00:06",
    "mtu":1450,"queues":2,"socket":"/run/podwire/vm1.sock","socket_mode":"server","socket_group":107,
    "socket_permissions":432,"iommu":true})";

TEST(PortObject, RoundTrips) {
  expect_round_trip<Port>(kTap);
  expect_round_trip<Port>(kMemif);
  expect_round_trip<Port>(kVhost);
  expect_round_trip<Port>(kPhysical);
}

TEST(PortObject, PutsUplinksIntoTheUnderlay) {
  Port port;
  ASSERT_TRUE(read_value(*parse_json(kPhysical, "test"), "port", port));
  EXPECT_EQ(port.domain, kUnderlayDomain);
}

TEST(PortObject, NamesWhatIsWrongWithATap) {
  expect_refusals<Port>(
      kTap, "put.ports[3]",
      {{R"({"id":null})", "put.ports[3].id is missing"},
       {R"({"id":0})", "put.ports[3].id is 0"},
       {R"({"name":""})", "put.ports[3].name is \"\""},
       {R"({"name":"two words"})", "put.ports[3].name is \"two words\""},
       {R"({"name":"ä"})", "put.ports[3].name is"},
       {R"({"kind":"veth"})", "put.ports[3].kind is \"veth\", must be one of \"physical\", \"tap\""},
       {R"({"role":"router"})", "put.ports[3].role is \"router\""},
       {R"({"mac":null})", "put.ports[3].mac is 00:00:00:00:00:00"},
       {R"({"mac":"01:00:00:00:00:04"})", "put.ports[3].mac is 01:00:00:00:00:04"},
       {R"({"mtu":null})", "put.ports[3].mtu is missing"},
       {R"({"mtu":67})", "put.ports[3].mtu is 67, must be from 68 to 65535"},
       {R"({"mtu":65536})", "put.ports[3].mtu is 65536"},
       {R"({"queues":0})", "put.ports[3].queues is 0, must be from 1 to 16"},
       {R"({"queues":17})", "put.ports[3].queues is 17"},
       {R"({"descriptors":1})", "put.ports[3].descriptors is 1, must be 0 or equal queues (2)"},
       {R"({"devargs":"net_null0"})", "put.ports[3].devargs is for physical ports"},
       {R"({"vlan":5})", "put.ports[3].vlan is for uplinks"},
       {R"({"domain":null})", "put.ports[3].domain is missing"},
       {R"({"domain":1})", "put.ports[3].domain is 1, the underlay"},
       {R"({"domian":2})", "unknown key \"domian\" in put.ports[3]; did you mean \"domain\"?"}});
}

TEST(PortObject, NamesWhatIsWrongWithAPortOnASocket) {
  const std::string long_path = R"({"socket":"/)" + std::string(107, 'x') + R"("})";
  expect_refusals<Port>(kMemif, "port",
                        {{R"({"socket":null})", "port.socket is \"\", must be an absolute path"},
                         {R"({"socket":"relative.sock"})", "port.socket is \"relative.sock\""},
                         {long_path.c_str(), "port.socket is \"/xxx"},
                         {R"({"socket_mode":"listen"})", "port.socket_mode is \"listen\""},
                         {R"({"secret":"1234567890123456789012345"})", "port.secret has 25 characters"},
                         {R"({"ring_size":1000})", "port.ring_size is 1000, must be a power of two"},
                         {R"({"ring_size":32768})", "port.ring_size is 32768"},
                         {R"({"buffer_size":64})", "port.buffer_size is 64"},
                         {R"({"iommu":true})", "port.iommu is for vhost ports"},
                         {R"({"descriptors":2})", "port.descriptors is for tap ports"},
                         {R"({"role":"host","domain":1})", "port.role must be pod"},
                         {R"({"mtu":null})", "port.mtu is missing"}});
  expect_refusals<Port>(
      kVhost, "port",
      {{R"({"ring_size":512})", "port: memif_id, secret, ring_size and buffer_size are for memif ports"},
       {R"({"socket_permissions":512})", "port.socket_permissions is 512"}});
  expect_refusals<Port>(kTap, "port", {{R"({"socket":"/a"})", "port.socket is for memif and vhost ports"}});
}

TEST(PortObject, NamesWhatIsWrongWithAPhysicalPort) {
  expect_refusals<Port>(
      kPhysical, "port",
      {{R"({"devargs":null})", "port.devargs is missing"},
       {R"({"vlan":4095})", "port.vlan is 4095, must be from 0 to 4094"},
       {R"({"descriptors":1})", "port.descriptors is for tap ports"},
       {R"({"flow_limit":16777217})", "port.flow_limit is 16777217, must be from 0 to 16777216"},
       {R"({"domain":2})", "port.domain must be 1, the underlay"}});
}

constexpr const char* kVtep =
    R"({"id":1,"name":"node-b","local":false,"address":"192.168.100.2","udp_port":8472,
    "mac":"02:00:00:00:01:02"})";

TEST(VtepObject, RoundTripsAndNamesWhatIsWrong) {
  expect_round_trip<Vtep>(kVtep);
  expect_refusals<Vtep>(
      kVtep, "vtep",
      {{R"({"address":"0.0.0.0"})", "vtep.address is 0.0.0.0"},
       {R"({"address":"ff02::1"})", "vtep.address is ff02::1"},
       {R"({"address":"192.168.100"})", "vtep.address: \"192.168.100\" is not an IP address"},
       {R"({"udp_port":0})", "vtep.udp_port is 0, must be from 1 to 65535"},
       {R"({"udp_port":65536})", "vtep.udp_port is 65536"},
       {R"({"mac":"00:00:00:00:00:00"})", "vtep.mac is 00:00:00:00:00:00"},
       {R"({"mac":null})", "vtep.mac is missing"},
       {R"({"local":"yes"})", "vtep.local must be true or false"},
       {R"({"port":4789})", "unknown key \"port\" in vtep"}});
}

constexpr const char* kDomain =
    R"({"id":2,"name":"default","vni":1,"mode":"l2","gateway_mac":"02:70:77:00:00:01",
    "gateways":["10.244.1.1/24","fd00:10:244:1::1/64"],"mtu":1450,"learning":true,"flood":[1,2],
    "dns_servers":["10.96.0.10","fd00::a"],"search_domains":["cluster.local","a-b.example"]})";

TEST(DomainObject, RoundTripsAndNamesWhatIsWrong) {
  expect_round_trip<Domain>(kDomain);
  expect_refusals<Domain>(
      kDomain, "domain",
      {{R"({"id":1})", "domain.id is 1, which is the built-in underlay domain"},
       {R"({"vni":16777216})", "domain.vni is 16777216, must be from 0 to 16777215"},
       {R"({"vni":null})", "domain.vni is missing"},
       {R"({"mode":"l3"})", "domain.learning is for mode l2"},
       {R"({"mode":"l3","learning":false})", "domain.flood is for mode l2"},
       {R"({"mtu":575})", "domain.mtu is 575, must be from 576 to 65535"},
       {R"({"gateways":["10.244.1.1"]})", "domain.gateways[0]: \"10.244.1.1\" is not an address"},
       {R"({"gateway_mac":"ff:ff:ff:ff:ff:ff"})", "domain.gateway_mac is ff:ff:ff:ff:ff:ff"},
       {R"({"flood":[0]})", "domain.flood[0] is 0"},
       {R"({"fdb_limit":-1})", "domain.fdb_limit is -1"},
       {R"({"fdb_ageing_s":0})", "domain.fdb_ageing_s is 0"},
       {R"({"dns_servers":["0.0.0.0"]})", "domain.dns_servers: 0.0.0.0 is no unicast address"},
       {R"({"dns_servers":["::1","::1","::1","::1","::1","::1","::1","::1","::1"]})",
        "domain.dns_servers has more than 8"},
       {R"({"search_domains":["a..b"]})", "domain.search_domains: \"a..b\" is no domain name"},
       {R"({"search_domains":["-a"]})", "domain.search_domains: \"-a\" is no domain name"},
       {R"({"search_domains":[""]})", "domain.search_domains: \"\" is no domain name"}});
}

constexpr const char* kEndpoint = R"({"id":9,"name":"pod/eth0","domain":2,"port":4,"mac":"02:00:00:00:00:04",
    "addresses":["10.244.1.5","fd00::5"],"allowed_pairs":[{"address":"10.9.0.0/16","mac":"02:00:00:00:00:05"}],
    "dhcp":true,"hostname":"vm-1"})";

TEST(DomainRules, RoundTripAndNameWhatIsWrong) {
  constexpr const char* kRuled = R"({"id": 5, "name": "d", "vni": 1, "gateway_mac": "02:00:00:00:00:01",
      "stateful": true, "strict_tcp": true,
      "rules": [{"action": "allow"},
                {"action": "deny", "protocol": "tcp", "source": "10.0.0.0/8", "destination": "10.1.0.0/16",
                 "source_ports": [1, 2], "destination_ports": [80, 80]},
                {"action": "deny", "protocol": "icmpv6", "destination": "fd00::/8"}]})";
  expect_round_trip<Domain>(kRuled);
  expect_refusals<Domain>(
      kRuled, "domains[0]",
      {{R"({"stateful": false})", "domains[0]: strict_tcp, rules and masquerade are for stateful domains"},
       {R"({"rules": [{}]})", "domains[0].rules[0].action is missing"},
       {R"({"rules": [{"action": "reject"}]})", "domains[0].rules[0].action"},
       {R"({"rules": [{"action": "deny", "protocol": "gre"}]})", "domains[0].rules[0].protocol"},
       {R"({"rules": [{"action": "deny", "source": "10.0.0.1/8"}]})",
        "domains[0].rules[0].source is 10.0.0.1/8"},
       {R"({"rules": [{"action": "deny", "source": "10.0.0.0/8", "destination": "fd00::/8"}]})",
        "domains[0].rules[0]: source and destination are of different families"},
       {R"({"rules": [{"action": "deny", "destination_ports": [80, 80]}]})",
        "domains[0].rules[0]: source_ports and destination_ports are for protocol tcp, udp or sctp"},
       {R"({"rules": [{"action": "deny", "protocol": "tcp", "source_ports": [2, 1]}]})",
        "domains[0].rules[0].source_ports must be two ports"},
       {R"({"rules": [{"action": "deny", "protocol": "tcp", "source_ports": [1]}]})",
        "domains[0].rules[0].source_ports must be two ports"}});
  Json many = *parse_json(kRuled, "test");
  many["rules"] = Json::array();
  for (std::size_t i = 0; i <= kMaxRules; ++i) many["rules"].push_back({{"action", "allow"}});
  Domain out;
  const auto refused = read_value(many, "domains[0]", out);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("4097 entries, at most 4096"), std::string::npos);
}

TEST(EndpointObject, RoundTripsAndNamesWhatIsWrong) {
  expect_round_trip<Endpoint>(kEndpoint);
  std::string many = R"({"addresses":[)";
  for (int i = 1; i <= 65; ++i) many += (i > 1 ? ",\"10.0.0." : "\"10.0.0.") + std::to_string(i) + "\"";
  many += "]}";
  const std::string long_name = "{\"name\":\"" + std::string(256, 'n') + "\"}";
  expect_refusals<Endpoint>(
      kEndpoint, "endpoint",
      {{R"({"port":null})", "endpoint must have exactly one of port and vtep"},
       {R"({"vtep":1})", "endpoint must have exactly one of port and vtep"},
       {R"({"port":null,"vtep":1})", "endpoint.allowed_pairs is for endpoints on a port"},
       {R"({"addresses":["10.0.0.1","224.0.0.1"]})", "endpoint.addresses: 224.0.0.1 is no unicast address"},
       {R"({"addresses":["::"]})", "endpoint.addresses: :: is no unicast address"},
       {R"({"allowed_pairs":[{"address":"10.0.0.0/8","mac":"01:00:00:00:00:00"}]})",
        "endpoint.allowed_pairs[0].mac"},
       {R"({"allowed_pairs":[{}]})", "endpoint.allowed_pairs[0].address is missing"},
       {R"({"name":""})", "endpoint.name must have 1 to 255 characters"},
       {long_name.c_str(), "endpoint.name must have 1 to 255 characters"},
       {R"({"port":null,"vtep":1,"allowed_pairs":[]})",
        "endpoint: dhcp and hostname are for endpoints on a port"},
       {R"({"hostname":"vm 1"})", "endpoint.hostname is \"vm 1\""},
       {many.c_str(), "endpoint.addresses has more than 64 entries"}});
}

constexpr const char* kRoute = R"({"id":3,"domain":2,"prefix":"10.244.2.0/24",
    "next_hops":[{"vtep":1,"mac":"02:70:77:00:00:01","weight":2},{"port":4,"address":"10.244.1.9"}]})";

TEST(RouteObject, RoundTripsAndNamesWhatIsWrong) {
  expect_round_trip<Route>(kRoute);
  expect_round_trip<Route>(R"({"id":3,"domain":2,"prefix":"10.244.2.0/24","blackhole":true})");
  std::string many = R"({"next_hops":[)";
  for (int i = 0; i < 65; ++i) many += std::string(i ? "," : "") + R"({"vtep":1})";
  many += "]}";
  expect_refusals<Route>(
      kRoute, "route",
      {{R"({"prefix":"10.244.2.1/24"})",
        "route.prefix is 10.244.2.1/24, has host bits set; did you mean 10.244.2.0/24?"},
       {R"({"blackhole":true})", "route: a blackhole has no next_hops"},
       {R"({"next_hops":[]})", "route.next_hops is empty"},
       {R"({"next_hops":[{}]})", "route.next_hops[0] must have exactly one of vtep, port and into"},
       {R"({"next_hops":[{"vtep":1,"port":2}]})",
        "route.next_hops[0] must have exactly one of vtep, port and into"},
       {R"({"next_hops":[{"vtep":1,"address":"10.0.0.1"}]})",
        "route.next_hops[0].address is for a next hop on a port"},
       {R"({"next_hops":[{"port":1,"mac":"02:00:00:00:00:01"}]})",
        "route.next_hops[0].mac is for a next hop on a vtep"},
       {R"({"next_hops":[{"vtep":1,"weight":0}]})", "route.next_hops[0].weight is 0, must be from 1 to 256"},
       {R"({"next_hops":[{"vtep":1,"mac":"01:00:00:00:00:01"}]})",
        "route.next_hops[0].mac is 01:00:00:00:00:01"},
       {many.c_str(), "route.next_hops has more than 64 entries"}});
}

TEST(ObjectSets, NameTheElementThatIsWrong) {
  ObjectSet set;
  const auto read = read_value(*parse_json(R"({"ports":[{"id":1}],"vteps":[]})", "test"), "put", set);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().message.rfind("put.ports[0]", 0), 0u) << read.error().message;
  const auto unknown = read_value(*parse_json(R"({"pods":[]})", "test"), "put", set);
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().message, "unknown key \"pods\" in put; did you mean \"ports\"?");
}

TEST(ObjectSets, RoundTripWithoutEmptyNouns) {
  ObjectSet set;
  ASSERT_TRUE(read_value(Json{{"vteps", Json::array({*parse_json(kVtep, "test")})}}, "put", set));
  EXPECT_FALSE(set.empty());
  const auto json = to_json(set);
  EXPECT_EQ(json.size(), 1u);
  EXPECT_EQ(json.at("vteps").size(), 1u);
  EXPECT_TRUE(ObjectSet{}.empty());
}

TEST(IdSets, RoundTripAndRefuseZero) {
  IdSet ids;
  ASSERT_TRUE(read_value(*parse_json(R"({"ports":[1,2],"routes":[7]})", "test"), "delete", ids));
  EXPECT_EQ(to_json(ids).dump(), R"({"ports":[1,2],"routes":[7]})");
  const auto read = read_value(*parse_json(R"({"ports":[1,0]})", "test"), "delete", ids);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().message, "delete.ports[1] is 0, must be from 1 to 65535");
}

}  // namespace
}  // namespace podwire::api
