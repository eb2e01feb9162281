// What needs no store and no kernel: environment, configuration, versions, results.
#include <gtest/gtest.h>

#include "control/cni/environment.hpp"
#include "control/cni/network_config.hpp"
#include "control/cni/version.hpp"

namespace podwire::control {
namespace {

using Variables = std::map<std::string, std::string>;

Variables add_variables() {
  return {{"CNI_COMMAND", "ADD"},
          {"CNI_CONTAINERID", "c1"},
          {"CNI_NETNS", "/run/netns/c1"},
          {"CNI_IFNAME", "eth0"}};
}

CniEnvironment environment_of(const char* command, const char* args = "") {
  auto variables = add_variables();
  variables["CNI_COMMAND"] = command;
  variables["CNI_ARGS"] = args;
  auto environment = read_environment(variables);
  EXPECT_TRUE(environment) << environment.error().message;
  return *environment;
}

CniError error_of(const std::string& text, const char* command = "ADD", const char* args = "") {
  const auto config = read_network_config(text, environment_of(command, args));
  return config ? CniError(CniCode{0}, "no error") : config.error();
}

std::string with(const std::string& more) {
  return R"({"cniVersion":"1.1.0","name":"podnet","type":"podwire")" + (more.empty() ? "" : "," + more) + "}";
}

NetworkConfig config_of(const std::string& text, const char* command = "ADD", const char* args = "") {
  auto config = read_network_config(text, environment_of(command, args));
  EXPECT_TRUE(config) << config.error().message;
  return config ? *config : NetworkConfig{};
}

TEST(CniEnvironment, NamesEveryMissingVariable) {
  const auto nothing = read_environment({});
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().code, CniCode::kBadEnvironment);
  for (const char* name : {"CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"}) {
    EXPECT_NE(nothing.error().message.find(name), std::string::npos) << name;
  }
  const auto add = read_environment({{"CNI_COMMAND", "ADD"}, {"CNI_IFNAME", "eth0"}});
  ASSERT_FALSE(add);
  EXPECT_NE(add.error().message.find("CNI_CONTAINERID, CNI_NETNS"), std::string::npos) << add.error().message;
  const auto empty = read_environment(
      {{"CNI_COMMAND", "CHECK"}, {"CNI_CONTAINERID", ""}, {"CNI_NETNS", ""}, {"CNI_IFNAME", "eth0"}});
  ASSERT_FALSE(empty) << "an empty variable is a missing one";
}

TEST(CniEnvironment, WantsOnlyWhatTheCommandNeeds) {
  EXPECT_TRUE(read_environment({{"CNI_COMMAND", "VERSION"}}));
  EXPECT_TRUE(read_environment({{"CNI_COMMAND", "STATUS"}}));
  EXPECT_TRUE(read_environment({{"CNI_COMMAND", "GC"}}));
  EXPECT_TRUE(read_environment({{"CNI_COMMAND", "DEL"}, {"CNI_CONTAINERID", "c"}, {"CNI_IFNAME", "eth0"}}));
  const auto unknown = read_environment({{"CNI_COMMAND", "PURGE"}});
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, CniCode::kBadEnvironment);
  EXPECT_NE(unknown.error().message.find("PURGE"), std::string::npos);
}

TEST(CniEnvironment, ChecksInterfaceNames) {
  for (const char* good : {"eth0", "a", "net1.100", "exactly15bytes_", "..."})
    EXPECT_TRUE(check_ifname(good)) << good;
  for (const char* bad : {"", ".", "..", "a/b", "a:b", "a b", "a\tb", "a\nb", "sixteen_bytes_xx", "a\x01"}) {
    EXPECT_FALSE(check_ifname(bad)) << bad;
  }
  auto variables = add_variables();
  variables["CNI_IFNAME"] = "../../x";
  ASSERT_FALSE(read_environment(variables));
  EXPECT_NE(read_environment(variables).error().message.find("CNI_IFNAME"), std::string::npos);
}

TEST(CniEnvironment, ChecksContainerIds) {
  for (const char* good : {"a", "0b", "cri-o_1.2-x"}) EXPECT_TRUE(check_container_id(good)) << good;
  for (const std::string& bad :
       {std::string(), std::string("-a"), std::string("a/b"), std::string("a b"), std::string(256, 'a')}) {
    EXPECT_FALSE(check_container_id(bad)) << bad;
  }
}

TEST(CniArgs, RefusesUnknownKeysUnlessTold) {
  EXPECT_TRUE(read_cni_args(""));
  EXPECT_TRUE(
      read_cni_args("K8S_POD_NAME=a;K8S_POD_NAMESPACE=b;K8S_POD_UID=c;K8S_POD_INFRA_CONTAINER_ID=d;"));
  const auto unknown = read_cni_args("K8S_POD_NAM=a");
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, CniCode::kBadEnvironment);
  EXPECT_NE(unknown.error().message.find("did you mean \"K8S_POD_NAME\""), std::string::npos)
      << unknown.error().message;
  for (const char* ignore : {"IgnoreUnknown=1;X=2", "X=2;IgnoreUnknown=true", "IgnoreUnknown=TRUE;X="}) {
    const auto args = read_cni_args(ignore);
    ASSERT_TRUE(args) << ignore;
    EXPECT_FALSE(args->contains("X"));
  }
  EXPECT_FALSE(read_cni_args("IgnoreUnknown=0;X=2"));
  for (const char* malformed : {"X", "=1", "IgnoreUnknown=1;Y"})
    EXPECT_FALSE(read_cni_args(malformed)) << malformed;
  EXPECT_FALSE(read_cni_args(std::string(70000, 'a') + "=1"));
}

TEST(NetworkConfig, RefusesWhatEveryCommandNeeds) {
  EXPECT_EQ(error_of("").code, CniCode::kUndecodable);
  EXPECT_EQ(error_of("[]").code, CniCode::kUndecodable);
  EXPECT_EQ(error_of("{").code, CniCode::kUndecodable);
  EXPECT_EQ(error_of(R"({"name":"a","type":"podwire"})").code, CniCode::kIncompatibleVersion);
  EXPECT_EQ(error_of(R"({"cniVersion":"0.2.0","name":"a","type":"podwire"})").code,
            CniCode::kIncompatibleVersion);
  EXPECT_EQ(error_of(R"({"cniVersion":"1.2.0","name":"a","type":"podwire"})").code,
            CniCode::kIncompatibleVersion);
  EXPECT_EQ(error_of(R"({"cniVersion":"1.1.0","type":"podwire"})").code, CniCode::kInvalidConfig);
  EXPECT_EQ(error_of(R"({"cniVersion":"1.1.0","name":null,"type":"podwire"})").code, CniCode::kInvalidConfig);
  EXPECT_EQ(error_of(R"({"cniVersion":"1.1.0","name":"a/b","type":"podwire"})").code,
            CniCode::kInvalidConfig);
  EXPECT_EQ(error_of(R"({"cniVersion":"1.1.0","name":"a"})").code, CniCode::kInvalidConfig);
  EXPECT_EQ(error_of(R"({"cniVersion":1,"name":"a","type":"podwire"})").code, CniCode::kInvalidConfig);
  for (const auto& version : kSupportedVersions) {
    EXPECT_EQ(config_of(R"({"cniVersion":")" + version + R"(","name":"a","type":"podwire"})").version,
              version);
  }
}

TEST(NetworkConfig, RefusesUnknownKeysWithASuggestion) {
  const auto error = error_of(with(R"("domian":"x")"));
  EXPECT_EQ(error.code, CniCode::kInvalidConfig);
  EXPECT_NE(error.message.find("domian"), std::string::npos) << error.message;
  EXPECT_NE(error.message.find("did you mean \"domain\""), std::string::npos) << error.message;
  // Nothing stands in the way of a deletion.
  EXPECT_EQ(config_of(with(R"("domian":"x","mtu":"no")"), "DEL").name, "podnet");
  EXPECT_EQ(config_of(with(R"("domian":"x")"), "GC").name, "podnet");
}

TEST(NetworkConfig, TakesStandardAndRuntimeKeys) {
  const auto config = config_of(with(
      R"("args":{"cni":{"labels":[{"key":"a","value":"b"}]},"other":1},"capabilities":{"ips":true},"dns":{},"ipMasq":false,
         "cni.dev/valid-attachments":[],"io.kubernetes.cri.pod-annotations":{"a":"b"},"runtimeConfig":{},"socket":"/x","ipam":{})"));
  EXPECT_TRUE(config.dns.is_null());
  EXPECT_TRUE(config.ipam_type.empty());
}

TEST(NetworkConfig, ReadsItsOwnKeysWithLimits) {
  const auto config = config_of(
      with(R"("domain":"blue","mtu":1400,"queues":4,"dns":{"nameservers":["10.0.0.1"],"search":["a"]})"));
  EXPECT_EQ(config.domain, "blue");
  EXPECT_EQ(config.mtu, 1400);
  EXPECT_EQ(config.queues, 4);
  EXPECT_EQ(config.dns["search"][0], "a");
  for (const char* bad :
       {R"("mtu":575)", R"("mtu":65536)", R"("mtu":"1400")", R"("queues":0)", R"("queues":17)",
        R"("domain":1)", R"("dns":[1])", R"("dns":{"server":"x"})", R"("args":1)", R"("ipam":"x")",
        R"("ipam":{"type":"../x"})", R"("ipam":{"subnet":"10.0.0.0/8"})"}) {
    EXPECT_EQ(error_of(with(bad)).code, CniCode::kInvalidConfig) << bad;
  }
  const auto masquerade = error_of(with(R"("ipMasq":true)"));
  EXPECT_EQ(masquerade.code, CniCode::kUnsupportedField);
  EXPECT_NE(masquerade.message.find("ipMasq is true"), std::string::npos);
}

TEST(NetworkConfig, BandwidthOfTheNetworkAndOfThePod) {
  const auto limits = [&](const std::string& keys) { return config_of(with(keys)).limits; };
  EXPECT_EQ(limits(R"("mtu":1400)"), PortLimits{});
  EXPECT_EQ(limits(R"("runtimeConfig":{"bandwidth":{"ingressRate":0,"egressBurst":0}})"), PortLimits{});
  const PortLimits both{api::RateLimit{2'000'000, 1'000}, api::RateLimit{8'000'000, 0}};
  EXPECT_EQ(limits(R"("runtimeConfig":{"bandwidth":{"egressRate":2000000,"egressBurst":8000,
                      "ingressRate":8000000,"ingressBurst":2147483647}})"),
            both);
  const PortLimits from{api::RateLimit{1'000, 0}, {}};
  EXPECT_EQ(limits(R"("bandwidth":{"egressRate":1000})"), from);
  EXPECT_EQ(limits(R"("bandwidth":{"ingressRate":5000},"runtimeConfig":{"bandwidth":{"egressRate":1000}})"),
            from)
      << "the pod's own replaces the network's";
  EXPECT_EQ(error_of(with(R"("bandwidth":{"egressBurst":1})")).code, CniCode::kInvalidConfig);
}

TEST(NetworkConfig, RefusesUnsupportedRuntimeConfigByNameAndValue) {
  const char* const cases[][2] = {{"deviceID", R"("0000:01:00.0")"},
                                  {"dns", R"({"servers":["1.1.1.1"]})"},
                                  {"aliases", R"(["x"])"},
                                  {"infinibandGUID", R"("c2:11")"}};
  for (const auto& [name, value] : cases) {
    const auto error = error_of(with("\"runtimeConfig\":{\"" + std::string(name) + "\":" + value + "}"));
    EXPECT_EQ(error.code, CniCode::kUnsupportedField) << name;
    EXPECT_NE(error.message.find(name), std::string::npos) << error.message;
    EXPECT_NE(error.message.find(value), std::string::npos) << error.message;
    EXPECT_EQ(
        error_of(with("\"runtimeConfig\":{\"" + std::string(name) + "\":" + value + "}"), "DEL").message,
        "no error");
  }
  EXPECT_EQ(error_of(with(R"("runtimeConfig":{"portMappings":[],"aliases":null,"mac":""})")).message,
            "no error");
}

TEST(NetworkConfig, ReadsIpsAndMacFromAllThreePlaces) {
  const auto runtime = config_of(
      with(R"("runtimeConfig":{"ips":["10.244.1.5/24","fd00:10:244:1::5"],"mac":"02:00:00:00:00:05"})"));
  ASSERT_EQ(runtime.ips.size(), 2u);
  EXPECT_EQ(to_string(runtime.ips[0].address), "10.244.1.5");
  EXPECT_EQ(runtime.ips[0].length, 24);
  EXPECT_FALSE(runtime.ips[1].length);
  EXPECT_EQ(to_string(*runtime.mac), "02:00:00:00:00:05");
  const auto args =
      config_of(with(""), "ADD", "IP=10.244.1.6;MAC=02:00:00:00:00:06;K8S_POD_NAME=web;K8S_POD_NAMESPACE=ns");
  ASSERT_EQ(args.ips.size(), 1u);
  EXPECT_EQ(to_string(args.ips[0].address), "10.244.1.6");
  EXPECT_EQ(to_string(*args.mac), "02:00:00:00:00:06");
  EXPECT_EQ(args.pod_name, "web");
  const auto both = config_of(with(R"("args":{"cni":{"ips":["10.244.1.7"],"K8S_POD_NAME":"db"}})"), "ADD",
                              "IP=10.244.1.6;K8S_POD_NAME=web");
  ASSERT_EQ(both.ips.size(), 1u);
  EXPECT_EQ(to_string(both.ips[0].address), "10.244.1.7") << "args.cni wins over CNI_ARGS";
  EXPECT_EQ(both.pod_name, "db");
  for (const char* bad : {R"({"ips":["10.244.1.5/33"]})", R"({"ips":["x"]})", R"({"ips":"10.244.1.5"})",
                          R"({"ips":["10.244.1.5","10.244.1.5/24"]})", R"({"mac":"01:00:00:00:00:01"})",
                          R"({"mac":"00:00:00:00:00:00"})", R"({"mac":5})"}) {
    EXPECT_EQ(error_of(with("\"runtimeConfig\":" + std::string(bad))).code, CniCode::kInvalidConfig) << bad;
  }
}

TEST(NetworkConfig, TellsAnEmptyValidListFromAnAbsentOne) {
  EXPECT_FALSE(config_of(with(""), "GC").valid_attachments);
  EXPECT_FALSE(config_of(with(R"("cni.dev/valid-attachments":null)"), "GC").valid_attachments);
  const auto empty = config_of(with(R"("cni.dev/valid-attachments":[])"), "GC");
  ASSERT_TRUE(empty.valid_attachments);
  EXPECT_TRUE(empty.valid_attachments->empty());
  const auto two = config_of(
      with(
          R"("cni.dev/valid-attachments":[{"containerID":"a","ifname":"eth0"},{"containerID":"b","ifname":"net1","x":1}])"),
      "GC");
  ASSERT_EQ(two.valid_attachments->size(), 2u);
  EXPECT_EQ((*two.valid_attachments)[1], (ContainerInterface{"b", "net1"}));
  for (const char* bad : {"{}", "[1]", R"([{"containerID":"a"}])", R"([{"containerID":1,"ifname":"e"}])"}) {
    EXPECT_EQ(error_of(with("\"cni.dev/valid-attachments\":" + std::string(bad)), "GC").code,
              CniCode::kInvalidConfig)
        << bad;
  }
}

TEST(NetworkConfig, SurvivesTruncationAtEveryLength) {
  const auto text = with(
      R"("domain":"a","mtu":1400,"dns":{"nameservers":["1.1.1.1"]},"ipam":{"type":"host-local","routes":[{"dst":"0.0.0.0/0"}]},
         "args":{"cni":{"ips":["10.0.0.1"]}},"runtimeConfig":{"ips":["10.244.1.5/24"],"mac":"02:00:00:00:00:05"},
         "prevResult":{"cniVersion":"1.1.0","interfaces":[{"name":"x"}],"ips":[{"address":"10.0.0.1/8","interface":0}]})");
  EXPECT_EQ(error_of(text).message, "no error");
  for (std::size_t length = 0; length < text.size(); ++length) {
    EXPECT_EQ(error_of(text.substr(0, length)).code, CniCode::kUndecodable) << length;
  }
}

TEST(NetworkConfig, SurvivesEveryByteReplaced) {
  const auto text = with(
      R"("domain":"a","mtu":1400,"runtimeConfig":{"ips":["10.244.1.5/24"]},"ipam":{"routes":[{"dst":"::/0","gw":"fd00::1"}]})");
  for (std::size_t at = 0; at < text.size(); ++at) {
    for (const char byte : {'\0', '"', '{', '}', '[', '0', '-', '\xff'}) {
      auto changed = text;
      changed[at] = byte;
      const auto config = read_network_config(changed, environment_of("ADD"));
      EXPECT_TRUE(config || !config.error().message.empty());
    }
  }
}

TEST(CniVersion, PicksTheNewestThatBothKnow) {
  EXPECT_EQ(best_version("1.1.0", {"0.1.0", "0.4.0", "1.0.0"}), "1.0.0");
  EXPECT_EQ(best_version("0.4.0", {"0.3.1", "0.4.0", "1.0.0"}), "0.4.0");
  EXPECT_EQ(best_version("1.1.0", {"1.1.0", "9.9.9"}), "1.1.0");
  EXPECT_EQ(best_version("0.3.1", {"1.0.0"}), "");
  EXPECT_EQ(best_version("1.1.0", {}), "");
  EXPECT_EQ(version_reply()["supportedVersions"], (Json{"0.3.1", "0.4.0", "1.0.0", "1.1.0"}));
}

}  // namespace
}  // namespace podwire::control
