// The verbs service_apply, service_del and services: all or nothing, and kept.
#include "tests/unit/control_api/daemon_fixture.hpp"

namespace podwire::control {
namespace {

constexpr const char* kWeb = R"(
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIP: 10.96.0.10
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- addresses: [10.244.0.10]
  conditions: {ready: true, serving: null}
- addresses: [10.244.0.11]
  conditions: {ready: false}
)";

class ServicesTest : public DaemonTest {
 protected:
  using Names = std::set<std::string>;
  ServicesTest() {
    config.domains[0].stateful = true;
    engine.start();
    start();
  }
  Json apply(const std::string& text) {
    auto applied = call("service_apply", {{"manifests", text}, {"what", "web.yaml"}});
    EXPECT_TRUE(applied) << applied.error().message;
    return applied ? (*applied)["applied"] : Json();
  }
  void refused(const std::string& text, const std::string& expected) {
    const auto before = engine.services();
    const auto applied = call("service_apply", {{"manifests", text}, {"what", "web.yaml"}});
    ASSERT_FALSE(applied);
    EXPECT_NE(applied.error().message.find(expected), std::string::npos) << applied.error().message;
    EXPECT_EQ(engine.services(), before);
  }
  Json listed() { return (*call("services"))["services"]; }
  static std::string named(const std::string& name, const std::string& address = "10.96.0.20") {
    return "{apiVersion: v1, kind: Service, metadata: {name: " + name + "}, spec: {clusterIP: " + address +
           ", ports: [{port: 80}]}}\n";
  }
};

TEST_F(ServicesTest, AppliedOnesAreInTheEngineAndListed) {
  EXPECT_EQ(apply(kWeb), Json::parse(R"([{"kind":"Service","name":"shop/web","change":"created"},
                                         {"kind":"EndpointSlice","name":"shop/web-1","change":"created"}])"));
  EXPECT_EQ(engine.services(), Names{"shop/web:http"});
  const auto all = listed();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0]["name"], "shop/web");
  EXPECT_EQ(all[0]["ports"], Json{"http 80/tcp"});
  EXPECT_EQ(all[0]["endpoints"][0], (Json{{"address", "10.244.0.10"}, {"state", "ready"}}));
  EXPECT_EQ(all[0]["endpoints"][1]["state"], "not ready");
  EXPECT_FALSE(all[0].contains("problem"));
  EXPECT_EQ(apply(kWeb)[0]["change"], "unchanged");
}

TEST_F(ServicesTest, AreKeptOverARestart) {
  apply(kWeb);
  start();
  EXPECT_EQ(engine.services(), Names{"shop/web:http"});
  EXPECT_EQ(listed().size(), 1u);
  EXPECT_TRUE(reconciler->differences()->empty());
}

TEST_F(ServicesTest, OneAfterAnotherTheyAreAllThere) {
  constexpr int kCount = 60;
  const auto slice_of = [](const std::string& name, int host) {
    return "---\n{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: " + name +
           "-1, labels: {kubernetes.io/service-name: " + name +
           "}}, addressType: IPv4, ports: [{port: 80}], " + "endpoints: [{addresses: [10.244.1." +
           std::to_string(host) + "]}]}\n";
  };
  for (int i = 0; i < kCount; ++i) {
    const auto name = "s" + std::to_string(i);
    const auto patches = engine.patches.load();
    apply(named(name, "10.96.1." + std::to_string(i)) + slice_of(name, i + 1));
    EXPECT_EQ(engine.patches, patches + 1);
  }
  EXPECT_EQ(listed().size(), std::size_t{kCount});
  expect_agreement();
  // The first two swap their addresses, the third goes.
  apply(named("s0", "10.96.1.1") + "---\n" + named("s1", "10.96.1.0"));
  done("service_del", {{"name", "s2"}});
  EXPECT_EQ(engine.services().size(), std::size_t{kCount - 1});
  expect_agreement();
  start();
  EXPECT_EQ(engine.services().size(), std::size_t{kCount - 1});
  expect_agreement();
}

TEST_F(ServicesTest, DeletedByNameWithTheirSlicesOrByFile) {
  apply(kWeb);
  apply(named("other"));
  const auto deleted = call("service_del", {{"name", "shop/web"}});
  ASSERT_TRUE(deleted) << deleted.error().message;
  EXPECT_EQ((*deleted)["deleted"], (Json{"EndpointSlice shop/web-1", "Service shop/web"}));
  EXPECT_EQ(engine.services(), Names{"default/other:80"});
  EXPECT_TRUE((*call("service_del", {{"name", "shop/web"}}))["deleted"].empty());
  EXPECT_EQ((*call("service_del", {{"manifests", named("other")}}))["deleted"],
            Json{"Service default/other"});
  EXPECT_TRUE(engine.services().empty());
  start();
  EXPECT_TRUE(listed().empty());
}

TEST_F(ServicesTest, WhatIsRefusedChangesNothing) {
  apply(kWeb);
  refused("kind: Service", "web.yaml");
  refused(named("a") + "---\n" + named("a"), "web.yaml: Service default/a stands in it twice");
  refused(named("a") + "---\n{apiVersion: v1, kind: Service, metadata: {name: b}, spec: {port: 80}}",
          "web.yaml: unknown key \"port\" in Service default/b: spec");
  refused(
      "{apiVersion: v1, kind: Service, metadata: {name: b, annotations: {podwire.io/domain: blue}}, "
      "spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}}",
      "Service default/b: there is no domain \"blue\"");
  // A frontend has one owner, whichever name comes first.
  for (const char* name : {"a", "z"})
    refused(named(name, "10.96.0.10"), "10.96.0.10 port 80 is that of service ");
  refused(
      "{apiVersion: v1, kind: Service, metadata: {name: b}, spec: {clusterIP: 10.96.0.30, "
      "ports: [{port: 80}, {name: \"80\", port: 81}]}}",
      "port 80 has no name; with several ports each must have one");
  refused(
      "{apiVersion: v1, kind: Service, metadata: {name: b}, spec: {clusterIP: 10.96.0.30, "
      "ports: [{name: \"a local\", port: 81}]}}",
      "a local");
  engine.refused_service = "default/bad:80";
  refused(named("good") + "---\n" + named("bad", "10.96.0.21"), "service default/bad:80 is refused");
  EXPECT_EQ(listed().size(), 1u);
  start();
  EXPECT_EQ(listed().size(), 1u);
}

TEST_F(ServicesTest, WhatTheEngineDidNotTakeForANewNodeItGetsWithTheNextChange) {
  apply(
      "{apiVersion: v1, kind: Service, metadata: {name: np}, spec: {type: NodePort, clusterIP: 10.96.0.5, "
      "ports: [{port: 80, nodePort: 30080}]}}");
  auto node = reconciler->node();
  node.addresses = {*parse_ip("192.168.100.9")};
  reconciler->set_node(std::move(node), {});
  engine.refused_service = "default/np:80";
  const auto applied = call("service_apply", {{"manifests", named("a")}, {"what", "a.yaml"}});
  ASSERT_FALSE(applied);
  EXPECT_NE(applied.error().message.find("service default/np:80 is refused"), std::string::npos);
  EXPECT_EQ(listed().size(), 1u);
  engine.refused_service.clear();
  apply(named("b", "10.96.0.21"));
  bool has_address = false;
  for (const auto& [id, service] : reconciler->services()) {
    for (const auto& frontend : service.frontends)
      has_address = has_address || frontend.address == *parse_ip("192.168.100.9");
  }
  EXPECT_TRUE(has_address);
  expect_agreement();
}

TEST_F(ServicesTest, ADomainThatIsStatefulNoMoreLeavesThemOut) {
  apply(kWeb);
  config.domains[0].stateful = false;
  start();
  EXPECT_TRUE(engine.services().empty());
  const auto all = listed();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_NE(all[0]["problem"].get<std::string>().find("is not stateful"), std::string::npos);
}

}  // namespace
}  // namespace podwire::control
