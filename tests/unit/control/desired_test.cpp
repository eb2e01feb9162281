#include "control/state/desired.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tests/unit/control/temporary_directory.hpp"

namespace podwire::control {
namespace {

class DesiredTest : public ::testing::Test {
 protected:
  DesiredTest() {
    auto opened = Store::open(directory_.path());
    EXPECT_TRUE(opened) << opened.error().message;
    store_ = std::move(*opened);
    auto config = parse_config(Json::parse(R"({
      "node": "node-a", "underlay": {"device": "eth0"},
      "domains": [
        {"name": "default", "vni": 1, "prefixes": ["10.244.1.0/24", "fd00:1::/64"], "host_access": true},
        {"name": "wire", "vni": 2, "mode": "l2", "learning": true, "trust_dscp": false, "prefixes": ["10.9.0.0/24"]}],
      "peers": [
        {"name": "node-b", "address": "192.168.100.2", "domains": {"default": {"prefixes": ["10.244.2.0/24", "fd00:2::/64"]}, "wire": {}}},
        {"name": "flannel", "address": "192.168.100.3", "udp_port": 8472, "mac": "02:aa:00:00:00:03",
         "domains": {"default": {"prefixes": ["10.244.3.0/24"]}}}]})"),
                               "test");
    EXPECT_TRUE(config) << config.error().message;
    config_ = *config;
    underlay_.devargs = "net_af_packet0,iface=eth0";
    underlay_.mac = *parse_mac("02:00:00:00:00:01");
    underlay_.mtu = 1500;
    underlay_.addresses = {*parse_prefix("192.168.100.1/24"), *parse_prefix("fd00:100::1/64")};
    underlay_.routes = {{*parse_prefix("0.0.0.0/0"), *parse_ip("192.168.100.254")}};
    underlay_.from_kernel = true;
  }
  NodeObjects build() {
    auto objects = node_objects(config_, underlay_, *store_);
    EXPECT_TRUE(objects) << objects.error().message;
    return objects ? *objects : NodeObjects{};
  }
  static const api::Route* find(const NodeObjects& node, DomainId domain, const char* prefix) {
    for (const auto& route : node.objects.routes) {
      if (route.domain == domain && to_string(route.prefix) == prefix) return &route;
    }
    return nullptr;
  }
  static const api::Vtep* find(const NodeObjects& node, const std::string& name) {
    for (const auto& vtep : node.objects.vteps) {
      if (vtep.name == name) return &vtep;
    }
    return nullptr;
  }

  TemporaryDirectory directory_;
  std::unique_ptr<Store> store_;
  Config config_;
  NodeUnderlay underlay_;
};

TEST_F(DesiredTest, HasUplinkAndHostPorts) {
  const auto node = build();
  ASSERT_EQ(node.objects.ports.size(), 2u);
  const auto& uplink = node.objects.ports[0];
  EXPECT_EQ(uplink.role, api::PortRole::kUplink);
  EXPECT_EQ(uplink.devargs, underlay_.devargs);
  EXPECT_EQ(uplink.mtu, 0);  // the device's own unless configured
  const auto& host = node.objects.ports[1];
  EXPECT_EQ(host.role, api::PortRole::kHost);
  EXPECT_EQ(host.kind, api::PortKind::kTap);
  EXPECT_EQ(host.mac, underlay_.mac);
  EXPECT_EQ(host.mtu, 1500);
  EXPECT_NE(uplink.id, host.id);
}

TEST_F(DesiredTest, SurvivesTheEnginesOwnReader) {
  const auto node = build();
  api::ObjectSet back;
  auto read = api::read_value(api::to_json(node.objects), "put", back);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(back.routes, node.objects.routes);
  EXPECT_EQ(back.vteps, node.objects.vteps);
  EXPECT_EQ(back.domains, node.objects.domains);
}

TEST_F(DesiredTest, LocalVtepsCoverEveryFamilyAndPortInUse) {
  const auto node = build();
  for (const auto& [name, address] : {std::pair{"local/v4/4789", "192.168.100.1"},
                                      {"local/v4/8472", "192.168.100.1"},
                                      {"local/v6/4789", "fd00:100::1"}}) {
    const auto* vtep = find(node, name);
    ASSERT_NE(vtep, nullptr) << name;
    EXPECT_TRUE(vtep->local);
    EXPECT_EQ(to_string(vtep->address), address);
    EXPECT_FALSE(vtep->mac.is_multicast());
  }
  EXPECT_EQ(find(node, "local/v6/8472"), nullptr);
  EXPECT_EQ(find(node, "local/v4/4789")->mac, find(build(), "local/v4/4789")->mac);  // stable
}

TEST_F(DesiredTest, PeersBecomeVteps) {
  const auto node = build();
  EXPECT_EQ(find(node, "node-b")->mac, kGatewayMac);
  EXPECT_EQ(find(node, "node-b")->udp_port, 4789);
  EXPECT_EQ(to_string(find(node, "flannel")->mac), "02:aa:00:00:00:03");
  EXPECT_EQ(find(node, "flannel")->udp_port, 8472);
}

TEST_F(DesiredTest, DomainsHaveGatewaysMtuAndFloodLists) {
  const auto node = build();
  ASSERT_EQ(node.objects.domains.size(), 2u);
  const auto& l3 = node.objects.domains[0];
  EXPECT_GE(l3.id.value(), 2);
  EXPECT_EQ(to_string(l3.gateways[0]), "10.244.1.1/24");
  EXPECT_EQ(to_string(l3.gateways[1]), "fd00:1::1/64");
  EXPECT_EQ(l3.mtu, 1450);
  EXPECT_TRUE(l3.flood.empty());
  EXPECT_TRUE(l3.host_access);
  const auto& l2 = node.objects.domains[1];
  EXPECT_EQ(l2.flood, std::vector<VtepId>{node.peers.at("node-b")});
  EXPECT_TRUE(l2.learning);
  EXPECT_TRUE(l3.trust_dscp);
  EXPECT_FALSE(l2.trust_dscp);
}

TEST_F(DesiredTest, MasqueradesWithTheNodesAddressesButNotBetweenPods) {
  config_.domains[0].stateful = true;
  config_.domains[0].masquerade.emplace();
  config_.domains[0].masquerade->except = {*parse_prefix("172.16.0.0/12")};
  const auto node = build();
  const auto& masquerade = node.objects.domains[0].masquerade;
  ASSERT_TRUE(masquerade);
  EXPECT_TRUE(node.objects.domains[0].stateful);
  EXPECT_FALSE(node.objects.domains[1].masquerade);
  EXPECT_EQ(masquerade->addresses,
            (std::vector<IpAddr>{*parse_ip("192.168.100.1"), *parse_ip("fd00:100::1")}));
  std::set<std::string> except;
  for (const auto& prefix : masquerade->except) except.insert(to_string(prefix));
  EXPECT_EQ(except, (std::set<std::string>{"10.244.1.0/24", "fd00:1::/64", "10.9.0.0/24", "10.244.2.0/23",
                                           "fd00:2::/64", "172.16.0.0/12"}));
  // With a store, all nodes' pods.
  config_.domains[1].cluster_prefixes = {*parse_prefix("10.128.0.0/9")};
  const auto with_store = build();
  EXPECT_EQ(with_store.objects.domains[0].masquerade->except.size(), 5u) << "what lies inside counts no more";
  config_.domains[0].masquerade->addresses = {*parse_ip("192.168.100.9")};
  const auto refused = node_objects(config_, underlay_, *store_);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("192.168.100.9 is none of this node's"), std::string::npos);
}

// What all of them leave alone is told to each.
TEST_F(DesiredTest, ThousandsOfDomainsThatMasqueradeStaySmall) {
  auto domains = *config_.domains.items();
  for (unsigned n = 0; n < 4096; ++n) {
    DomainConfig tenant;
    tenant.name = "tenant-" + std::to_string(n);
    tenant.vni = Vni(1000 + n);
    tenant.prefixes = {{IpAddr(Ipv4::from_u32(0x0b000000 + (n << 8))), 24}};
    tenant.gateways = {first_usable(tenant.prefixes[0])};
    tenant.stateful = true;
    tenant.masquerade.emplace();
    domains.push_back(tenant);
  }
  config_.domains = std::move(domains);
  const auto node = build();
  std::size_t members = 0;
  for (const auto& domain : node.objects.domains) {
    if (!domain.masquerade) continue;
    members += domain.masquerade->except.size();
    EXPECT_TRUE(std::any_of(domain.masquerade->except.begin(), domain.masquerade->except.end(),
                            [](const IpPrefix& p) { return to_string(p) == "11.0.0.0/12"; }));
  }
  EXPECT_LE(members, 4096u * 10);
}

TEST_F(DesiredTest, PublishedPortsBecomeServices) {
  config_.domains[0].stateful = true;
  underlay_.addresses.push_back(*parse_prefix("fe80::1/64"));
  auto node = build();
  Attachment pod;
  pod.key = {"podnet", "c1", "eth0"};
  pod.domain = "default";
  pod.addresses = {*parse_prefix("10.244.1.10/24")};
  pod.published_ports = {{ServiceId(7), {}, api::ServiceProtocol::kUdp, 8053, 53},
                         {ServiceId(8), *parse_ip("fd00:100::1"), api::ServiceProtocol::kTcp, 8080, 80}};
  std::string problem;
  auto services = services_of(pod, node, &problem);
  ASSERT_EQ(services.size(), 1u) << "the pod has no IPv6 address to lead to";
  EXPECT_NE(problem.find("tcp [fd00:100::1]:8080 leads nowhere"), std::string::npos) << problem;
  const auto domain = node.domains.at("default");
  EXPECT_EQ(services[0].id, ServiceId(7));
  EXPECT_EQ(services[0].frontends,
            (std::vector<api::ServiceFrontend>{
                {kUnderlayDomain, *parse_ip("192.168.100.1"), api::ServiceProtocol::kUdp, 8053},
                {domain, *parse_ip("192.168.100.1"), api::ServiceProtocol::kUdp, 8053},
                {kUnderlayDomain, *parse_ip("169.254.112.1"), api::ServiceProtocol::kUdp, 8053, true}}));
  EXPECT_EQ(services[0].backends, (std::vector<api::ServiceBackend>{{*parse_ip("10.244.1.10"), 53}}));
  api::Service read;
  EXPECT_TRUE(api::read_value(api::to_json(services[0]), "service", read));

  pod.addresses.push_back(*parse_prefix("fd00:1::10/64"));
  problem.clear();
  services = services_of(pod, node, &problem);
  ASSERT_EQ(services.size(), 2u);
  EXPECT_EQ(problem, "");
  EXPECT_EQ(services[0].frontends.size(), 6u) << "both families, the link-local address left out";
  EXPECT_EQ(services[1].backends.size(), 1u) << "of the frontend's family only";

  node.objects.domains[0].stateful = false;
  EXPECT_TRUE(services_of(pod, node, &problem).empty());
  EXPECT_NE(problem.find("domain \"default\" is not stateful any more"), std::string::npos) << problem;
}

TEST_F(DesiredTest, EveryAddressOfTheNodeIsItsOwnWithoutHostAccess) {
  underlay_.addresses.push_back(*parse_prefix("192.168.100.9/24"));
  EXPECT_EQ(find(build(), kUnderlayDomain, "192.168.100.9/32"), nullptr) << "the domain leads there";
  config_.domains[0].host_access = false;
  const auto node = build();
  const auto* own = find(node, kUnderlayDomain, "192.168.100.9/32");
  ASSERT_NE(own, nullptr);
  EXPECT_EQ(own->next_hops[0].port, node.host);
  EXPECT_EQ(find(node, kUnderlayDomain, "192.168.100.1/32"), nullptr) << "the VTEP's";
  config_.host_services.enabled = false;
  EXPECT_TRUE(build().host_services.empty());
}

TEST_F(DesiredTest, RoutesReachPeersUnderlayAndHosts) {
  const auto node = build();
  const auto domain = node.domains.at("default");
  const auto* peer = find(node, domain, "10.244.2.0/24");
  ASSERT_NE(peer, nullptr);
  EXPECT_EQ(peer->next_hops[0].vtep, node.peers.at("node-b"));
  EXPECT_EQ(node.route_sources.at(peer->id), RouteSource::kPeer);
  EXPECT_NE(find(node, domain, "fd00:2::/64"), nullptr);
  const auto* connected = find(node, kUnderlayDomain, "192.168.100.0/24");
  ASSERT_NE(connected, nullptr);
  EXPECT_EQ(connected->next_hops[0].port, node.uplink);
  EXPECT_TRUE(connected->next_hops[0].address.is_zero());
  EXPECT_EQ(node.route_sources.at(connected->id), RouteSource::kKernel);
  const auto* gateway = find(node, kUnderlayDomain, "0.0.0.0/0");
  ASSERT_NE(gateway, nullptr);
  EXPECT_EQ(to_string(gateway->next_hops[0].address), "192.168.100.254");
  const auto* own = find(node, domain, "192.168.100.1/32");
  ASSERT_NE(own, nullptr);
  EXPECT_EQ(own->next_hops[0].port, node.host);
  const auto* other = find(node, domain, "192.168.100.2/32");
  ASSERT_NE(other, nullptr);
  EXPECT_EQ(other->next_hops[0].vtep, node.peers.at("node-b"));
  EXPECT_NE(find(node, domain, "fd00:100::1/128"), nullptr);
  EXPECT_EQ(find(node, node.domains.at("wire"), "192.168.100.1/32"), nullptr);
}

TEST_F(DesiredTest, NoHostInterfaceNoHostRoutes) {
  underlay_.mac = {};  // not known yet
  const auto node = build();
  EXPECT_FALSE(node.host);
  EXPECT_EQ(node.objects.ports.size(), 1u);
  EXPECT_FALSE(node.objects.domains[0].host_access);
  EXPECT_EQ(find(node, node.domains.at("default"), "192.168.100.1/32"), nullptr);
}

TEST_F(DesiredTest, IdsStayWhenTheConfigurationShrinksAndAreFreed) {
  const auto before = build();
  config_.peers.erase(config_.peers.begin());
  const auto after = build();
  EXPECT_EQ(before.peers.at("flannel"), after.peers.at("flannel"));
  EXPECT_EQ(before.domains, after.domains);
  EXPECT_EQ(find(after, after.domains.at("default"), "10.244.2.0/24"), nullptr);
  std::set<VtepId> unique;
  for (const auto& vtep : after.objects.vteps) unique.insert(vtep.id);
  EXPECT_EQ(unique.size(), after.objects.vteps.size());
}

TEST_F(DesiredTest, MtuFollowsTheUnderlay) {
  auto& domain = config_.domains[0];
  EXPECT_EQ(domain_mtu(domain, config_, underlay_), 1450);
  underlay_.mtu = 9000;
  EXPECT_EQ(domain_mtu(domain, config_, underlay_), 8950);
  auto in_store = config_;
  in_store.cluster.has_v6_tunnels = true;
  EXPECT_EQ(domain_mtu(domain, in_store, underlay_), 8930);
  config_.peers[0].address = *parse_ip("fd00:100::2");
  EXPECT_EQ(domain_mtu(domain, config_, underlay_), 8930);
  domain.mtu = 1280;
  EXPECT_EQ(domain_mtu(domain, config_, underlay_), 1280);
  EXPECT_EQ(domain_pools(config_, underlay_)[0].mtu, 1280);
}

TEST_F(DesiredTest, RefusesAPeerThatCannotBeReached) {
  underlay_.addresses = {*parse_prefix("fd00:100::1/64")};
  auto objects = node_objects(config_, underlay_, *store_);
  ASSERT_FALSE(objects);
  EXPECT_NE(objects.error().message.find("peer \"node-b\" has the IPv4 address 192.168.100.2"),
            std::string::npos)
      << objects.error().message;
}

TEST_F(DesiredTest, RefusesPodsInTheNodesOwnPrefix) {
  underlay_.addresses.push_back(*parse_prefix("10.244.1.9/24"));
  auto objects = node_objects(config_, underlay_, *store_);
  ASSERT_FALSE(objects);
  EXPECT_NE(objects.error().message.find("contains this node's own address 10.244.1.9"), std::string::npos);
}

TEST_F(DesiredTest, AttachmentsBecomePortAndEndpoint) {
  Attachment a;
  a.key = {"net", "0123456789abcdef0123", "eth0"};
  a.port = PortId(7);
  a.endpoint = EndpointId(9);
  a.mac = *parse_mac("02:00:00:00:00:07");
  a.addresses = {*parse_prefix("10.244.1.5/24"), *parse_prefix("fd00:1::5/64")};
  a.mtu = 1450;
  a.queues = 2;
  const auto port = port_of(a, DomainId(2), 5000);
  EXPECT_EQ(port.flow_limit, 5000u);
  EXPECT_EQ(port.name, "0123456789ab.eth0.7");
  EXPECT_EQ(port.queues, 2);
  const auto endpoint = endpoint_of(a, DomainId(2));
  EXPECT_EQ(endpoint.port, PortId(7));
  EXPECT_EQ(endpoint.addresses.size(), 2u);
  EXPECT_EQ(endpoint.name, "0123456789abcdef0123/eth0");
  a.pod_namespace = "ns";
  a.pod_name = "web";
  EXPECT_EQ(endpoint_name(a), "ns/web/eth0");
  a.key.ifname = "\xc3\xa9th 0";
  EXPECT_EQ(port_name(a), "0123456789ab.__th_0.7");
}

TEST_F(DesiredTest, RoutedDomainsReachPeersWithoutTunnels) {
  const auto id = build().domains.at("default");
  config_.domains[0].transport = DomainTransport::kRouted;
  auto node = build();
  EXPECT_TRUE(node.objects.domains[0].routed);
  EXPECT_FALSE(node.objects.domains[1].routed);
  EXPECT_EQ(node.objects.domains[0].mtu, 1500);
  EXPECT_EQ(find(node, id, "10.244.2.0/24"), nullptr) << "the kernel's routes lead there";
  EXPECT_EQ(find(node, kUnderlayDomain, "10.244.2.0/24"), nullptr);

  config_.domains[0].transport = DomainTransport::kSubnet;
  config_.peers[1].address = *parse_ip("198.51.100.3");  // beyond a router
  node = build();
  EXPECT_TRUE(node.objects.domains[0].routed);
  EXPECT_EQ(node.objects.domains[0].mtu, 1450) << "what also fits a tunnel";
  const auto* plain = find(node, kUnderlayDomain, "10.244.2.0/24");
  ASSERT_NE(plain, nullptr);
  EXPECT_EQ(plain->next_hops[0].port, node.uplink);
  EXPECT_EQ(plain->next_hops[0].address, *parse_ip("192.168.100.2"));
  EXPECT_EQ(find(node, id, "10.244.2.0/24"), nullptr);
  const auto* tunnel = find(node, id, "10.244.3.0/24");
  ASSERT_NE(tunnel, nullptr);
  EXPECT_EQ(tunnel->next_hops[0].vtep, node.peers.at("flannel"));
}

TEST_F(DesiredTest, RefusesARoutedPrefixWithTheNodesOwnAddress) {
  config_.domains[0].transport = DomainTransport::kRouted;
  config_.domains[0].host_access = false;
  underlay_.addresses.push_back(*parse_prefix("10.244.1.77/32"));
  const auto refused = node_objects(config_, underlay_, *store_);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("10.244.1.77"), std::string::npos);
}

}  // namespace
}  // namespace podwire::control
