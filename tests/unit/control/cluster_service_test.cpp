// Services and EndpointSlices: what is read of them, and what they become for the engine.
#include <gtest/gtest.h>

#include <algorithm>

#include "control/service/model.hpp"

namespace podwire::control {
namespace {

Json service(const Json& spec = Json::object(), const std::string& name = "web") {
  Json whole{{"clusterIP", "10.96.0.10"},
             {"ports", {{{"name", "http"}, {"port", 80}, {"targetPort", "web"}, {"protocol", "TCP"}}}}};
  whole.update(spec);
  return {{"apiVersion", "v1"},
          {"kind", "Service"},
          {"metadata", {{"name", name}, {"namespace", "shop"}, {"uid", "7"}}},
          {"spec", whole}};
}

Json endpoint(const std::string& address, const Json& conditions = {{"ready", true}},
              const std::string& node = "") {
  Json out{{"addresses", {address}}, {"conditions", conditions}, {"targetRef", {{"kind", "Pod"}}}};
  if (!node.empty()) out["nodeName"] = node;
  return out;
}

Json slice(const std::vector<Json>& endpoints, const std::string& name = "web-1",
           const std::string& type = "IPv4") {
  return {{"apiVersion", "discovery.k8s.io/v1"},
          {"kind", "EndpointSlice"},
          {"metadata",
           {{"name", name}, {"namespace", "shop"}, {"labels", {{"kubernetes.io/service-name", "web"}}}}},
          {"addressType", type},
          {"ports", {{{"name", "http"}, {"port", 8080}, {"protocol", "TCP"}, {"appProtocol", nullptr}}}},
          {"endpoints", endpoints}};
}

std::string manifest_refusal(const Json& manifest) {
  const auto read = read_service_manifest(manifest);
  if (!read) return read.error().message;
  if (read->kind == "Service") {
    const auto service = read_cluster_service(*read);
    return service ? "accepted" : service.error().message;
  }
  const auto slice = read_cluster_slice(*read);
  return slice ? "accepted" : slice.error().message;
}

void expect_refused(const Json& manifest, const std::string& text) {
  const auto message = manifest_refusal(manifest);
  EXPECT_NE(message.find(text), std::string::npos) << "got: " << message << "\nwanted: " << text;
}

class ClusterServiceTest : public ::testing::Test {
 protected:
  ClusterServiceTest() {
    config.node = "node-a";
    DomainConfig domain;
    domain.name = "default";
    domain.vni = Vni(1);
    domain.stateful = true;
    domain.prefixes = {*parse_prefix("10.244.1.0/24"), *parse_prefix("fd00:1::/64")};
    config.domains = {domain};
    domain.name = "plain";
    domain.stateful = false;
    config.domains.push_back(domain);
    node.domains = {{"default", DomainId(2)}, {"plain", DomainId(3)}};
    node.addresses = {*parse_ip("192.168.100.1"), *parse_ip("fd00:100::1")};
  }
  struct ServicePlan {
    std::vector<api::Service> services;
    std::vector<std::pair<ObjectKey, std::string>> problems;
  };
  ServiceEdit edit_of(const std::vector<Json>& manifests) {
    ServiceEdit edit;
    for (const auto& manifest : manifests) {
      const auto read = read_service_manifest(manifest);
      EXPECT_TRUE(read) << read.error().message;
      if (read->kind == "Service") {
        const auto one = read_cluster_service(*read);
        EXPECT_TRUE(one) << one.error().message;
        edit.services[one->key] = *one;
      } else {
        const auto one = read_cluster_slice(*read);
        EXPECT_TRUE(one) << one.error().message;
        edit.slices[one->key] = *one;
      }
    }
    return edit;
  }
  ServicePlan plan(const std::vector<Json>& manifests) {
    ServiceModel model(config);
    model.set_node(node);
    auto outcome = model.change(edit_of(manifests));
    ServicePlan plan{std::move(outcome.put), std::move(outcome.spoilt)};
    for (auto& one : plan.services) {
      one.id = ServiceId(1);
      api::Service read;
      const auto sound = api::read_value(api::to_json(one), "service", read);
      EXPECT_TRUE(sound) << sound.error().message;
    }
    return plan;
  }
  static std::vector<std::string> backends(const api::Service& service) {
    std::vector<std::string> out;
    for (const auto& b : service.backends) {
      out.push_back(to_string(b.address) + ":" + std::to_string(b.port) + (b.draining ? " draining" : ""));
    }
    return out;
  }
  static std::vector<std::string> frontends(const api::Service& service) {
    std::vector<std::string> out;
    for (const auto& f : service.frontends) {
      out.push_back(std::to_string(f.domain.value()) + " " + (f.address ? to_string(*f.address) : "*") + " " +
                    std::to_string(f.port));
    }
    return out;
  }

  Config config;
  NodeObjects node;
};

using Texts = std::vector<std::string>;

TEST_F(ClusterServiceTest, TheNodesOwnProgramsHaveFrontendsOfTheirOwn) {
  add_host_services(HostServicesConfig{}, node);
  const auto made = plan({service({{"type", "NodePort"},
                                   {"externalTrafficPolicy", "Local"},
                                   {"ports", {{{"name", "http"}, {"port", 80}, {"nodePort", 30080}}}}}),
                          slice({endpoint("10.244.2.10")})});
  ASSERT_TRUE(made.problems.empty()) << made.problems.front().second;
  ASSERT_EQ(made.services.size(), 2u);
  Texts own;
  for (const auto& one : made.services) {
    for (const auto& f : one.frontends) {
      if (f.from_host) own.push_back(one.name + " " + to_string(*f.address) + " " + std::to_string(f.port));
    }
  }
  EXPECT_EQ(own, (Texts{"shop/web:http 10.96.0.10 80", "shop/web:http 169.254.112.1 30080",
                        "shop/web:http fd70:6f64:7769:7265::1 30080"}))
      << "those of this node only are for the world outside";
  EXPECT_TRUE(made.services[0].hide_clients) << "an endpoint elsewhere would answer past this node";
}

TEST_F(ClusterServiceTest, TheVxlanPortIsNoNodePort) {
  const auto made = plan(
      {service({{"type", "NodePort"},
                {"ports", {{{"name", "dns"}, {"port", 53}, {"protocol", "UDP"}, {"nodePort", 4789}}}}})});
  ASSERT_EQ(made.problems.size(), 1u);
  EXPECT_NE(made.problems[0].second.find("node port 4789/udp carries this node's VXLAN"), std::string::npos)
      << made.problems[0].second;
}

TEST_F(ClusterServiceTest, AClusterIpLeadsToReadyEndpoints) {
  const auto made = plan({service(), slice({endpoint("10.244.1.10"), endpoint("10.244.2.10", Json::object()),
                                            endpoint("10.244.1.11", {{"ready", false}})})});
  ASSERT_EQ(made.services.size(), 1u);
  const auto& web = made.services[0];
  EXPECT_EQ(web.name, "shop/web:http");
  EXPECT_EQ(web.domain, DomainId(2));
  EXPECT_EQ(frontends(web), Texts{"2 10.96.0.10 80"});
  EXPECT_EQ(backends(web), (Texts{"10.244.1.10:8080", "10.244.2.10:8080"})) << "unknown readiness is ready";
  EXPECT_EQ(web.affinity_s, 0u);
  EXPECT_FALSE(web.hide_clients);
}

TEST_F(ClusterServiceTest, WithoutEndpointsItIsThereAndRejects) {
  const auto made = plan({service()});
  ASSERT_EQ(made.services.size(), 1u);
  EXPECT_TRUE(made.services[0].backends.empty());
}

TEST_F(ClusterServiceTest, TerminatingEndpointsDrainOrAreTheLastResort) {
  const Json leaving{{"ready", false}, {"serving", true}, {"terminating", true}};
  const Json gone{{"ready", false}, {"serving", false}, {"terminating", true}};
  auto made = plan({service(), slice({endpoint("10.244.1.10"), endpoint("10.244.1.11", leaving),
                                      endpoint("10.244.1.12", gone)})});
  EXPECT_EQ(backends(made.services[0]), (Texts{"10.244.1.10:8080", "10.244.1.11:8080 draining"}));
  made = plan({service(), slice({endpoint("10.244.1.11", leaving), endpoint("10.244.1.12", gone)})});
  EXPECT_EQ(backends(made.services[0]), Texts{"10.244.1.11:8080"});
}

TEST_F(ClusterServiceTest, ANodePortIsOnEveryAddressOfTheNode) {
  const Json spec{{"type", "NodePort"}, {"ports", {{{"name", "http"}, {"port", 80}, {"nodePort", 30080}}}}};
  const auto made = plan({service(spec), slice({endpoint("10.244.1.10")})});
  ASSERT_EQ(made.services.size(), 1u);
  EXPECT_EQ(frontends(made.services[0]),
            (Texts{"2 10.96.0.10 80", "1 * 30080", "2 192.168.100.1 30080", "2 fd00:100::1 30080"}));
  EXPECT_TRUE(made.services[0].hide_clients);
}

TEST_F(ClusterServiceTest, LocalTrafficStaysOnTheNodeAndShowsItsClients) {
  const Json spec{{"type", "NodePort"},
                  {"externalTrafficPolicy", "Local"},
                  {"ports", {{{"name", "http"}, {"port", 80}, {"nodePort", 30080}}}}};
  const auto made = plan({service(spec), slice({endpoint("10.244.1.10"), endpoint("10.244.2.10"),
                                                endpoint("10.9.0.1", {{"ready", true}}, "node-a"),
                                                endpoint("10.244.1.20", {{"ready", true}}, "node-b")})});
  ASSERT_EQ(made.services.size(), 2u);
  EXPECT_EQ(made.services[0].name, "shop/web:http");
  EXPECT_EQ(frontends(made.services[0]),
            (Texts{"2 10.96.0.10 80", "2 192.168.100.1 30080", "2 fd00:100::1 30080"}));
  EXPECT_EQ(made.services[0].backends.size(), 4u);
  EXPECT_EQ(made.services[1].name, "shop/web:http local");
  EXPECT_EQ(frontends(made.services[1]), Texts{"1 * 30080"});
  EXPECT_EQ(backends(made.services[1]), (Texts{"10.9.0.1:8080", "10.244.1.10:8080"}));
  EXPECT_FALSE(made.services[1].hide_clients);
}

TEST_F(ClusterServiceTest, AffinityWeightsAndOutsideAddresses) {
  auto weighted = slice({endpoint("10.244.1.10")});
  weighted["metadata"]["annotations"][kWeightAnnotation] = "7";
  auto balanced = service({{"type", "LoadBalancer"},
                           {"sessionAffinity", "ClientIP"},
                           {"sessionAffinityConfig", {{"clientIP", {{"timeoutSeconds", 60}}}}},
                           {"externalIPs", {"192.168.100.50"}}});
  balanced["status"] = {{"loadBalancer", {{"ingress", {{{"ip", "192.168.100.51"}}}}}}};
  const auto made = plan({balanced, weighted});
  ASSERT_EQ(made.services.size(), 1u);
  EXPECT_EQ(frontends(made.services[0]),
            (Texts{"2 10.96.0.10 80", "1 192.168.100.50 80", "2 192.168.100.50 80", "1 192.168.100.51 80",
                   "2 192.168.100.51 80"}));
  EXPECT_EQ(made.services[0].affinity_s, 60u);
  EXPECT_EQ(made.services[0].backends[0].weight, 7);
}

// As kube-proxy has it.
TEST_F(ClusterServiceTest, SourceRangesAreForTheBalancersAddressesOnly) {
  auto balanced =
      service({{"type", "LoadBalancer"},
               {"externalIPs", {"192.168.100.50"}},
               {"loadBalancerSourceRanges", {" 198.51.100.7/24 ", "203.0.113.0/24", "203.0.113.0/24"}}});
  balanced["spec"]["ports"][0]["nodePort"] = 30080;
  balanced["status"] = {
      {"loadBalancer", {{"ingress", {{{"ip", "192.168.100.51"}}, {{"ip", "fd00:100::51"}}}}}}};
  const auto made = plan({balanced, slice({endpoint("10.244.1.10")})});
  ASSERT_EQ(made.services.size(), 1u);
  const std::vector<IpPrefix> ranges{*parse_prefix("198.51.100.0/24"), *parse_prefix("203.0.113.0/24")};
  std::size_t guarded = 0;
  for (const auto& frontend : made.services[0].frontends) {
    const bool balancers = frontend.address == *parse_ip("192.168.100.51");
    EXPECT_EQ(frontend.sources, balancers ? ranges : std::vector<IpPrefix>());
    guarded += balancers ? 1 : 0;
  }
  EXPECT_EQ(guarded, 2u) << "for pods and for the world";
}

TEST_F(ClusterServiceTest, FamiliesAndSlicesComeTogether) {
  const auto made =
      plan({service({{"clusterIPs", {"10.96.0.10", "fd00:96::10"}}}), slice({endpoint("10.244.1.10")}),
            slice({endpoint("10.244.1.10"), endpoint("10.244.1.11")}, "web-2"),
            slice({endpoint("fd00:1::10")}, "web-6", "IPv6")});
  ASSERT_EQ(made.services.size(), 1u);
  EXPECT_EQ(frontends(made.services[0]), (Texts{"2 10.96.0.10 80", "2 fd00:96::10 80"}));
  EXPECT_EQ(made.services[0].backends.size(), 3u) << "an endpoint in two slices is one";
  const auto v4_only = plan({service(), slice({endpoint("fd00:1::10")}, "web-6", "IPv6")});
  EXPECT_TRUE(v4_only.services[0].backends.empty());
}

TEST_F(ClusterServiceTest, HeadlessAndExternalNamesLeadNowhere) {
  EXPECT_TRUE(plan({service({{"clusterIP", "None"}}), slice({endpoint("10.244.1.10")})}).services.empty());
  EXPECT_TRUE(plan({service({{"type", "ExternalName"}, {"externalName", "example.org"}})}).services.empty());
}

TEST_F(ClusterServiceTest, AStatelessOrUnknownDomainIsAProblem) {
  auto elsewhere = service();
  elsewhere["metadata"]["annotations"][kDomainAnnotation] = "plain";
  auto made = plan({elsewhere, service({{"clusterIP", "10.96.0.11"}}, "other")});
  EXPECT_EQ(made.services.size(), 1u);
  ASSERT_EQ(made.problems.size(), 1u);
  EXPECT_EQ(made.problems[0].first, (ObjectKey{"shop", "web"}));
  EXPECT_NE(made.problems[0].second.find("domain \"plain\" is not stateful"), std::string::npos);
  elsewhere["metadata"]["annotations"][kDomainAnnotation] = "nowhere";
  EXPECT_NE(plan({elsewhere}).problems.at(0).second.find("there is no domain \"nowhere\""),
            std::string::npos);
}

TEST(ClusterServiceManifest, RefusesWhatItDoesNotKnow) {
  EXPECT_EQ(manifest_refusal(service()), "accepted");
  EXPECT_EQ(manifest_refusal(slice({})), "accepted");
  auto wrong = service();
  wrong["kind"] = "Ingress";
  expect_refused(wrong, "kind is \"Ingress\", must be Service or EndpointSlice");
  wrong = service();
  wrong["apiVersion"] = "v2";
  expect_refused(wrong, "Service: apiVersion is \"v2\", must be \"v1\"");
  wrong = service();
  wrong["specs"] = 1;
  expect_refused(wrong, "Service shop/web: there is no field \"specs\"");
  expect_refused(service({{"clusterIp", "10.96.0.1"}}),
                 "unknown key \"clusterIp\" in Service shop/web: spec");
  expect_refused(service({{"clusterIP", "10.96.0.256"}}), "clusterIPs");
  expect_refused(service({{"clusterIP", nullptr}}), "spec.clusterIP is missing; give an address");
  expect_refused(service({{"type", "NodePort"}}), "port 80 has no nodePort; give one");
  expect_refused(service({{"ports", {{{"port", 80}}, {{"port", 81}}}}}),
                 "port 80 has no name; with several ports each must have one");
  expect_refused(service({{"ports", {{{"port", 80}, {"protocol", "ICMP"}}}}}), "protocol");
  expect_refused(service({{"loadBalancerSourceRanges", {"10.0.0.0/8"}}}),
                 "loadBalancerSourceRanges goes with type LoadBalancer, this one is ClusterIP");
  expect_refused(service({{"type", "LoadBalancer"}, {"loadBalancerSourceRanges", {"10.0.0.0"}}}),
                 "Service shop/web: spec.loadBalancerSourceRanges: ");
  expect_refused(service({{"type", "LoadBalancer"},
                          {"loadBalancerSourceRanges", std::vector<std::string>(257, "10.0.0.0/8")}}),
                 "has 257 entries, at most 256");
  expect_refused(service({{"externalTrafficPolicy", "Near"}}), "externalTrafficPolicy");
  expect_refused(slice({endpoint("fd00::1")}), "fd00::1 is not of the addressType");
  expect_refused(slice({}, "web-1", "FQDN"), "addressType");
  wrong = slice({});
  wrong["metadata"].erase("labels");
  expect_refused(wrong, "the label kubernetes.io/service-name is missing");
  wrong = slice({});
  wrong["metadata"]["annotations"][kWeightAnnotation] = "257";
  expect_refused(wrong, "must be a number from 1 to 256");
}

}  // namespace
}  // namespace podwire::control
