// podwired.json: the cluster's store and the lengths of leased prefixes.
#include "control/config_cluster.hpp"

#include <gtest/gtest.h>

#include <functional>

namespace podwire::control {
namespace {

// With a cluster in etcd, changed by `change`.
Json in_etcd(const std::function<void(Json&)>& change = {}) {
  auto document = Json::parse(R"({
    "node": "node-a",
    "underlay": {"device": "eth0"},
    "domains": [{"name": "default", "vni": 1, "prefixes": ["10.244.0.0/16", "fd00:10:244::/48"]}],
    "cluster": {"mode": "etcd", "endpoints": ["http://192.168.100.9:2379"]}
  })");
  if (change) change(document);
  return document;
}

TEST(ClusterConfig, ReadsAClusterInEtcd) {
  const auto read = parse_config(
      in_etcd([](Json& j) {
        j["cluster"].update({{"endpoints", {"https://etcd-1:2379", "https://[fd00::9]"}},
                             {"tls", {{"ca", "/ca.pem"}, {"certificate", "/c.pem"}, {"key", "/k.pem"}}},
                             {"user", "podwire"},
                             {"password_file", "/password"}});
        j["domains"][0]["lease_v4"] = 26;
      }),
      "podwired.json");
  ASSERT_TRUE(read) << read.error().message;
  const auto& config = *read;
  EXPECT_EQ(config.cluster.mode, ClusterMode::kEtcd);
  EXPECT_EQ(config.cluster.prefix, "/podwire");
  EXPECT_EQ(config.cluster.endpoints.size(), 2u);
  EXPECT_EQ(config.cluster.tls.certificate, "/c.pem");
  EXPECT_EQ(config.domains[0].lease_v4, 26);
  EXPECT_EQ(config.domains[0].lease_v6, std::nullopt);
}

TEST(ClusterConfig, EveryTransportGoesWithEtcd) {
  for (const auto& transport : transport_names()) {
    const auto read =
        parse_config(in_etcd([&](Json& j) { j["domains"][0]["transport"] = transport; }), "podwired.json");
    ASSERT_TRUE(read) << read.error().message;
  }
}

TEST(ClusterConfig, LeasesHaveSensibleLengths) {
  DomainConfig domain;
  EXPECT_EQ(lease_length(domain, *parse_prefix("10.244.0.0/16")), 24);
  EXPECT_EQ(lease_length(domain, *parse_prefix("10.244.0.0/24")), 28);
  EXPECT_EQ(lease_length(domain, *parse_prefix("fd00::/48")), 64);
  EXPECT_EQ(lease_length(domain, *parse_prefix("fd00::/64")), 68);
  domain.lease_v4 = 20;
  EXPECT_EQ(lease_length(domain, *parse_prefix("10.244.0.0/16")), 20);
}

TEST(ClusterConfig, RefusesAClusterThatCannotWork) {
  const std::pair<std::function<void(Json&)>, const char*> cases[] = {
      {[](Json& j) { j["cluster"]["mode"] = "kubernetes"; }, "cluster.mode is \"kubernetes\""},
      {[](Json& j) { j["cluster"] = 7; }, "cluster"},
      {[](Json& j) { j["cluster"]["mode"] = "local"; }, "which has no other keys"},
      {[](Json& j) { j["cluster"].erase("endpoints"); }, "cluster.endpoints has 0 entries"},
      {[](Json& j) { j["cluster"]["endpoints"] = {"etcd:2379"}; }, "cluster.endpoints[0]"},
      {[](Json& j) { j["cluster"]["prefix"] = "podwire"; }, "must begin with a slash"},
      {[](Json& j) { j["cluster"]["prefix"] = "/podwire/"; }, "not end with one"},
      {[](Json& j) { j["cluster"]["user"] = "podwire"; }, "cluster.password_file is missing"},
      {[](Json& j) {
         j["cluster"].update({{"user", "p"}, {"password_file", "secret"}});
       },
       "must be an absolute path"},
      {[](Json& j) {
         j["cluster"]["tls"] = {{"ca", "/ca.pem"}};
       },
       "none of endpoints is one"},
      {[](Json& j) {
         j["cluster"]["tls"] = {{"certificate", "/c.pem"}};
       },
       "cluster.tls.key is missing"},
      {[](Json& j) {
         j["cluster"]["tls"] = {{"ca", "ca.pem"}};
       },
       "must be an absolute path"},
      {[](Json& j) { j["domains"][0]["lease_v4"] = 15; }, "lease_v4 is 15, must be 16 to 30"},
      {[](Json& j) { j["domains"][0]["lease_v4"] = 31; }, "lease_v4 is 31, must be 16 to 30"},
      {[](Json& j) { j["domains"][0]["lease_v6"] = 112; }, "must be at most 80"},
      {[](Json& j) {
         j["domains"][0]["prefixes"] = {"10.244.0.0/16"};
         j["domains"][0]["lease_v6"] = 64;
       },
       "prefixes has none of IPv6"},
      {[](Json& j) {
         j["domains"][0]["gateways"] = {"10.244.0.9", "fd00:10:244::1"};
       },
       "gateways goes without"},
      {[](Json& j) {
         j["domains"][0]["ranges"] = {{{"start", "10.244.1.10"}, {"end", "10.244.1.20"}}};
       },
       "ranges goes without"},
      {[](Json& j) {
         j["cluster"] = "local";
         j["domains"][0]["lease_v4"] = 24;
       },
       "lease_v4 goes with cluster mode"},
  };
  for (const auto& [change, expected] : cases) {
    const auto read = parse_config(in_etcd(change), "podwired.json");
    ASSERT_FALSE(read) << expected;
    const auto& message = read.error().message;
    EXPECT_NE(message.find(expected), std::string::npos) << "got: " << message << "\nwanted: " << expected;
  }
}

// With a Flannel cluster.
Json in_flannel(const std::function<void(Json&)>& change = {}) {
  return in_etcd([&](Json& j) {
    j["cluster"]["mode"] = "flannel";
    if (change) change(j);
  });
}

TEST(ClusterConfig, ReadsAFlannelCluster) {
  const auto read = parse_config(in_flannel(), "podwired.json");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->cluster.mode, ClusterMode::kFlannel);
  EXPECT_EQ(read->cluster.prefix, "/coreos.com/network");
  EXPECT_EQ(read->cluster.subnet_file, "/run/flannel/subnet.env");
}

TEST(ClusterConfig, RefusesWhatFlannelDoesNotHave) {
  const std::pair<std::function<void(Json&)>, const char*> cases[] = {
      {[](Json& j) {
         auto second = j["domains"][0];
         second.update({{"name", "other"}, {"vni", 2}, {"prefixes", {"10.9.0.0/16"}}});
         j["domains"].push_back(second);
       },
       "domains has 2 entries"},
      {[](Json& j) { j["domains"][0]["mode"] = "l2"; }, "one domain, of mode l3"},
      {[](Json& j) {
         j["domains"][0]["gateways"] = {"10.244.0.9", "fd00:10:244::1"};
       },
       "gateways goes without"},
      {[](Json& j) {
         j["domains"][0]["ranges"] = {{{"start", "10.244.1.10"}, {"end", "10.244.1.20"}}};
       },
       "ranges goes without"},
      {[](Json& j) { j["domains"][0]["lease_v4"] = 24; }, "lease_v4 goes with cluster mode"},
      {[](Json& j) { j["domains"][0]["transport"] = "subnet"; }, "DirectRouting in Flannel's configuration"},
      {[](Json& j) { j["cluster"]["subnet_file"] = "subnet.env"; }, "must be an absolute path"},
      {[](Json& j) {
         j["cluster"].update({{"mode", "etcd"}, {"subnet_file", "/run/subnet.env"}});
       },
       "subnet_file goes with mode"},
  };
  for (const auto& [change, expected] : cases) {
    const auto read = parse_config(in_flannel(change), "podwired.json");
    ASSERT_FALSE(read) << expected;
    EXPECT_NE(read.error().message.find(expected), std::string::npos) << read.error().message;
  }
}

}  // namespace
}  // namespace podwire::control
