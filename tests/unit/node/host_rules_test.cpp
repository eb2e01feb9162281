// What services are to the node's own kernel: the plan, and the table as nft reads it.
#include "control/node/host_rules.hpp"

#include "control/node/nft.hpp"
#include "tests/unit/netlink/private_netns.hpp"
#include "tests/unit/node/host_fixture.hpp"

namespace podwire::control {
namespace {

using host_testing::node_port_service;
using host_testing::published;
using host_testing::publishing_pod;
using host_testing::small_node;

HostKernel small_kernel(const NodeObjects& node) {
  HostKernel kernel;
  kernel.interface = "podwire0";
  kernel.prefixes = HostServicesConfig{}.prefixes;
  kernel.addresses = node.addresses;
  kernel.services = node.host_services;
  kernel.aliases = node.host_aliases;
  kernel.mtu = 1450;
  return kernel;
}

HostPortSet ports_of(const HostPlan& plan) {
  HostPortSet ports;
  for (const auto& [port, who] : plan.ports) ports.insert(port);
  return ports;
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(HostPlan, TellsPortsOfAllAddressesFromThoseOfOne) {
  const auto node = small_node();
  EXPECT_EQ(node.host_services,
            (std::vector<IpAddr>{*parse_ip("169.254.112.1"), *parse_ip("fd70:6f64:7769:7265::1")}));
  EXPECT_EQ(node.host_aliases.at(*parse_ip("192.168.100.2")), *parse_ip("169.254.112.3"));
  const auto pod =
      publishing_pod(7, {published(8080), published(53, "192.168.100.2", api::ServiceProtocol::kUdp),
                         published(81, "0.0.0.0")});
  const auto plan = host_plan(services_of(pod, node), node, "pod");
  std::vector<std::string> texts;
  for (const auto& [port, who] : plan.ports) texts.push_back(to_text(port) + (port.v4 ? " 4" : " 6"));
  EXPECT_EQ(texts, (std::vector<std::string>{"tcp *:8080 6", "tcp *:81 4", "tcp *:8080 4",
                                             "udp 192.168.100.2:53 4"}));
  EXPECT_EQ(plan.ports.begin()->second, "pod shop/pod-7/eth0 tcp *:8080");
  EXPECT_TRUE(plan.addresses.empty());
}

TEST(HostPlan, ClusterAddressesAreRoutedAndNodePortsHeld) {
  const auto node = small_node();
  const auto plan = host_plan({node_port_service(node, 30080)}, node, "service");
  EXPECT_EQ(plan.addresses, std::set<IpAddr>{*parse_ip("10.96.0.10")});
  ASSERT_EQ(plan.ports.size(), 2u);
  EXPECT_EQ(plan.ports.begin()->second, "service shop/web:http");
}

TEST(HostPlan, HasNothingWhereTheNodesProgramsAreNotLed) {
  auto node = small_node();
  node.host_services.clear();
  node.host_aliases.clear();
  const auto pod = publishing_pod(7, {published(8080), published(81, "192.168.100.2")});
  for (const auto& service : services_of(pod, node)) {
    for (const auto& frontend : service.frontends) EXPECT_FALSE(frontend.from_host);
  }
  EXPECT_TRUE(host_plan(services_of(pod, node), node, "pod").ports.empty());
}

TEST(HostPort, IsSharedByThoseThatCannotBothBe) {
  const HostPort all{true, api::ServiceProtocol::kTcp, 80};
  HostPort one = all, two = all;
  one.address = *parse_ip("192.168.100.1");
  two.address = *parse_ip("192.168.100.2");
  EXPECT_TRUE(is_shared(all, one));
  EXPECT_TRUE(is_shared(one, one));
  EXPECT_FALSE(is_shared(one, two));
  EXPECT_FALSE(is_shared(all, {false, api::ServiceProtocol::kTcp, 80}));
  EXPECT_FALSE(is_shared(all, {true, api::ServiceProtocol::kUdp, 80}));
  EXPECT_FALSE(is_shared(all, {true, api::ServiceProtocol::kTcp, 81}));
}

TEST(HostRules, AreOneTransactionForNft) {
  const auto node = small_node();
  const auto kernel = small_kernel(node);
  const auto pod = publishing_pod(7, {published(8080), published(81, "192.168.100.2")});
  const auto ports = ports_of(host_plan(services_of(pod, node), node, "pod"));
  const auto text = host_table(kernel, ports);
  EXPECT_TRUE(has(text, "ip daddr @node4 meta l4proto . th dport @ports4 dnat ip to 169.254.112.1\n"))
      << text;
  EXPECT_TRUE(has(text, "iifname \"podwire0\" ip daddr 127.0.0.0/8 drop")) << text;
  EXPECT_TRUE(has(text, "ip6 saddr ::1 ip6 daddr fd70:6f64:7769:7265::/64 snat ip6 to fd00:100::1")) << text;
  EXPECT_TRUE(has(text, "add element inet podwire_host ports6 { tcp . 8080 }")) << text;
  EXPECT_TRUE(has(text, "addresses4 { 192.168.100.2 . tcp . 81 : 169.254.112.3 }")) << text;
  run_in_netns(-1, [&] {
    for (int i = 0; i < 2; ++i) {
      const auto applied = apply_nft(text, "is tested");
      ASSERT_TRUE(applied) << applied.error().message;
    }
    const auto removed = apply_nft(no_host_table() + no_host_table(), "is tested");
    EXPECT_TRUE(removed) << removed.error().message;
    EXPECT_FALSE(run_nft({"list", "table", "inet", kHostTable}, "", "is tested"));
  });
}

TEST(HostRules, ChangeIncrementally) {
  const auto node = small_node();
  const auto kernel = small_kernel(node);
  HostPortSet before, after;
  for (std::uint16_t port = 1; port <= 1200; ++port) before.insert({true, api::ServiceProtocol::kUdp, port});
  after = before;
  after.erase({true, api::ServiceProtocol::kUdp, 7});
  after.insert({true, api::ServiceProtocol::kTcp, 7, *parse_ip("192.168.100.1")});
  const auto change = host_table_change(kernel, before, after);
  EXPECT_EQ(change,
            "delete element inet podwire_host ports4 { udp . 7 }\n"
            "add element inet podwire_host addresses4 { 192.168.100.1 . tcp . 7 : 169.254.112.2 }\n");
  EXPECT_EQ(host_table_change(kernel, after, after), "");
  run_in_netns(-1, [&] {
    ASSERT_TRUE(apply_nft(host_table(kernel, before), "is tested"));
    for (const auto& script : {change, host_table_change(kernel, after, before)}) {
      const auto applied = apply_nft(script, "is tested");
      EXPECT_TRUE(applied) << applied.error().message;
    }
    const auto lacking = apply_nft(host_table_change(kernel, after, before), "is tested");
    ASSERT_FALSE(lacking);
    EXPECT_TRUE(has(lacking.error().message, "nft, which is tested, failed: ")) << lacking.error().message;
  });
}

TEST(HostRules, HaveOnlyTheFamiliesOfTheNode) {
  auto node = small_node();
  std::erase_if(node.addresses, [](const IpAddr& a) { return a.is_v6(); });
  node.host_services.clear();
  node.host_aliases.clear();
  add_host_services(HostServicesConfig{}, node);
  const auto text = host_table(small_kernel(node), {});
  EXPECT_FALSE(has(text, "ip6")) << text;
  run_in_netns(-1, [&] { EXPECT_TRUE(apply_nft(text, "is tested")); });
}

}  // namespace
}  // namespace podwire::control
