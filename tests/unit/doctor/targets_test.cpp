// Whom the doctor examines, out of the engine's objects.
#include "control/doctor/targets.hpp"

#include <gtest/gtest.h>

namespace podwire::control::doctor_tests {
namespace {

IpAddr address(const char* text) {
  return *parse_ip(text);
}
IpPrefix prefix(const char* text) {
  return *parse_prefix(text);
}

api::Vtep vtep(std::uint32_t id, const char* name, const char* at, bool local = false) {
  api::Vtep out;
  out.id = VtepId(id);
  out.name = name;
  out.local = local;
  out.address = address(at);
  out.udp_port = 8472;
  return out;
}

api::Route route(std::uint32_t id, std::uint16_t domain, const char* to, std::uint32_t via) {
  api::Route out;
  out.id = RouteId(id);
  out.domain = DomainId(domain);
  out.prefix = prefix(to);
  out.next_hops.emplace_back().vtep = VtepId(via);
  return out;
}

NodeObjects own_node() {
  NodeObjects node;
  node.objects.vteps = {vtep(1, "local/v4/8472", "192.168.100.1", true),
                        vtep(2, "peer two", "192.168.100.2")};
  node.peers["two"] = VtepId(2);
  auto& l3 = node.objects.domains.emplace_back();
  l3.id = DomainId(2);
  l3.name = "default";
  l3.vni = Vni(1);
  l3.gateways = {prefix("10.244.1.1/24")};
  auto& l2 = node.objects.domains.emplace_back();
  l2.id = DomainId(3);
  l2.name = "lan";
  l2.mode = api::DomainMode::kL2;
  l2.flood = {VtepId(2)};
  node.objects.routes = {route(1, 2, "10.244.2.0/24", 2), route(2, 2, "fd00:2::/64", 2),
                         route(3, 2, "192.168.100.2/32", 2)};
  return node;
}

TEST(DoctorTargets, AreStaticPeersAndNodesOfTheStoreAlike) {
  RemoteChange change;
  change.vteps = {vtep(9, "node9", "192.168.100.9")};
  change.routes = {route(9, 2, "10.244.9.0/24", 9)};
  RemoteObjects remote;
  remote.apply(change);
  const auto peers = find_peers(own_node(), remote);
  ASSERT_EQ(peers.size(), 2u);
  EXPECT_EQ(peers[0].name, "node9");
  EXPECT_EQ(peers[1].name, "two");
  EXPECT_EQ(peers[1].udp_port, 8472);
  ASSERT_EQ(peers[0].paths.size(), 1u);
  EXPECT_EQ(peers[0].paths[0].domain, "default");
}

TEST(DoctorTargets, AskTheFirstAddressOfAPrefixAndThePrefixItself) {
  const auto peers = find_peers(own_node(), {});
  ASSERT_EQ(peers.size(), 1u);
  const auto& paths = peers[0].paths;
  ASSERT_EQ(paths.size(), 3u) << "not where the node itself is reached";
  EXPECT_EQ(paths[0].gateways, (std::vector{address("10.244.2.1"), address("10.244.2.0")}));
  EXPECT_EQ(paths[0].not_probed, "");
  EXPECT_EQ(paths[1].gateways, (std::vector{address("fd00:2::1"), address("fd00:2::")}));
  EXPECT_NE(paths[1].not_probed.find("no gateway address"), std::string::npos);
  EXPECT_NE(paths[2].not_probed.find("l2 domain"), std::string::npos);
}

TEST(DoctorTargets, AreNamedWithoutTheirPaths) {
  RemoteChange change;
  change.vteps = {vtep(9, "node9", "192.168.100.9")};
  RemoteObjects remote;
  remote.apply(change);
  EXPECT_EQ(peer_names(own_node(), remote), (std::set<std::string>{"node9", "two"}));
}

TEST(DoctorTargets, LeaveTheNextPathsOfManyAndTheOneThatAnswers) {
  ExaminedPeer whole;
  for (std::uint16_t i = 1; i <= 5; ++i) {
    auto& path = whole.paths.emplace_back();
    path.id = DomainId(i);
    path.gateways = {address("10.244.2.1")};
  }
  whole.paths.emplace_back().not_probed = "an l2 domain";
  const auto left = [&](std::size_t most, std::size_t& from, std::optional<PathKey> kept = {}) {
    auto peer = whole;
    from = leave_paths(peer, most, from, kept);
    EXPECT_EQ(peer.paths.size() + peer.left_out, whole.paths.size());
    std::vector<unsigned> ids;
    for (const auto& path : peer.paths) ids.push_back(path.id.value());
    return ids;
  };
  std::size_t from = 0;
  EXPECT_EQ(left(2, from), (std::vector{1u, 2u}));
  EXPECT_EQ(left(2, from), (std::vector{3u, 4u}));
  EXPECT_EQ(left(2, from), (std::vector{5u, 1u}));
  EXPECT_EQ(left(2, from, PathKey{DomainId(5), true}), (std::vector{5u, 2u, 3u}));
  EXPECT_EQ(left(2, from, PathKey{DomainId(5), true}), (std::vector{5u, 4u}));
  EXPECT_EQ(left(5, from), (std::vector{1u, 2u, 3u, 4u, 5u}));
  EXPECT_EQ(left(6, from).size(), 6u);
}

}  // namespace
}  // namespace podwire::control::doctor_tests
