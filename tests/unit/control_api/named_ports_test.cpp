// Ports and endpoints added by name, through the daemon's verbs to an engine that only remembers.
#include "control/api/named_ports.hpp"

#include <sys/stat.h>

#include "dataplane/base/framing.hpp"
#include "tests/unit/control_api/daemon_fixture.hpp"

namespace podwire::control {
namespace {

class NamedPortsTest : public DaemonTest {
 protected:
  void SetUp() override {
    engine.start();
    start();
  }
  std::string path(const std::string& name) const { return directory.path() + "/" + name + ".sock"; }
  Json vm(const std::string& name, const Json& more = Json::object()) const {
    Json params{{"name", name}, {"kind", "vhost"}, {"socket", path(name)}};
    params.update(more);
    return params;
  }
  Json object(const char* noun, const Json& id) {
    const auto page = reconciler->query("dump", {{"noun", noun}, {"limit", 100}});
    for (const auto& found : (*page)["objects"]) {
      if (found["id"] == id) return found;
    }
    return {};
  }
  static bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != text.npos;
  }
};

TEST_F(NamedPortsTest, AVmGetsAddressesMacAndDhcp) {
  const auto added = done("port_add", vm("vm1"));
  EXPECT_EQ(added["addresses"].size(), 2u) << "one of every prefix";
  EXPECT_EQ(added["socket_mode"], "client") << "QEMU makes the socket";
  const auto port = object("ports", added["id"]);
  EXPECT_EQ(port["name"], "vm1");
  EXPECT_EQ(port["kind"], "vhost");
  EXPECT_EQ(port["socket"], path("vm1"));
  EXPECT_EQ(port["mac"], added["mac"]);
  const auto endpoint = (*call("endpoints"))["endpoints"][0];
  EXPECT_EQ(endpoint["name"], "vm1");
  EXPECT_EQ(endpoint["where"], "port vm1");
  EXPECT_EQ(endpoint["hostname"], "vm1");
  EXPECT_TRUE(endpoint["dhcp"]);
  EXPECT_TRUE(endpoint["container_id"].is_null());
  EXPECT_TRUE(object("endpoints", endpoint["id"])["dhcp"]);
  expect_agreement();
  EXPECT_EQ(done("port_del", {{"name", "vm1"}}), (Json{{"deleted", true}}));
  EXPECT_EQ(done("port_del", {{"name", "vm1"}}), (Json{{"deleted", false}}));
  EXPECT_TRUE(engine.ports().empty());
  EXPECT_EQ(engine.endpoints(), 0u);
}

TEST_F(NamedPortsTest, WhatIsAskedForIsGivenAndNothingElse) {
  const auto added = done("port_add", {{"name", "vpp"},
                                       {"kind", "memif"},
                                       {"socket", path("vpp")},
                                       {"mac", "02:00:00:00:00:77"},
                                       {"mtu", 1400},
                                       {"queues", 4},
                                       {"ring_size", 512},
                                       {"memif_id", 7},
                                       {"secret", "sesame"},
                                       {"addresses", {"10.244.0.50", "10.244.0.51"}},
                                       {"allowed_pairs", {{{"address", "10.9.0.0/24"}}}}});
  EXPECT_EQ(added["addresses"], (Json{"10.244.0.50/16", "10.244.0.51/16"}));
  EXPECT_EQ(added["socket_mode"], "server");
  EXPECT_FALSE(added.contains("secret"));
  const auto port = object("ports", added["id"]);
  EXPECT_EQ(port["ring_size"], 512);
  EXPECT_EQ(port["memif_id"], 7);
  EXPECT_EQ(port["secret"], "sesame");
  EXPECT_EQ(port["queues"], 4);
  EXPECT_EQ(port["mtu"], 1400);
  const auto endpoint = object("endpoints", (*call("endpoints"))["endpoints"][0]["id"]);
  EXPECT_FALSE(endpoint.contains("dhcp"));
  EXPECT_EQ(endpoint["allowed_pairs"][0]["address"], "10.9.0.0/24");
  EXPECT_TRUE(
      contains(refused("port_add", vm("vm2", {{"addresses", {"10.244.0.51"}}})), "is taken by port vpp"));
  EXPECT_TRUE(
      contains(refused("port_add", vm("vm2", {{"mac", "02:00:00:00:00:77"}})), "is taken by port vpp"));
  EXPECT_TRUE(contains(refused("port_add", vm("vm2", {{"socket", path("vpp")}})), "is that of port vpp"));
  EXPECT_EQ(store->list()->size(), 1u);
}

// One that stands for a pod is selected by policies as that pod is.
TEST_F(NamedPortsTest, PoliciesKnowThePodThatItStandsFor) {
  config.domains[0].stateful = true;
  start();
  EXPECT_EQ(done("port_add", vm("vm1", {{"pod", "db-0"}, {"namespace", "shop"}}))["pod"], "shop/db-0");
  EXPECT_EQ(done("port_add", vm("vm2", {{"pod", "web"}}))["pod"], "default/web");
  done("port_add", vm("vm3"));
  done("policy_apply", {{"manifests", R"(
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: shop}
spec: {podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress]}
---
{apiVersion: v1, kind: Pod, metadata: {name: db-0, namespace: shop, labels: {app: db}}, spec: {containers: []}}
)"}});
  std::set<std::string> selected;
  for (const auto& [id, endpoint] : engine.endpoint_objects()) {
    if (endpoint.policy) selected.insert(endpoint.name);
  }
  EXPECT_EQ(selected, std::set<std::string>{"vm1"});
  start();
  expect_agreement();
  EXPECT_EQ((*call("endpoints"))["endpoints"][0]["pod"], "shop/db-0");
}

TEST_F(NamedPortsTest, MistakesAreNamedAndLeaveNothing) {
  struct Case {
    Json more;
    const char* named;
  };
  for (const auto& c : std::vector<Case>{
           {{{"name", "a.b"}}, "params.name is \"a.b\""},
           {{{"name", ""}}, "params.name"},
           {{{"name", "host"}}, "the node's own port"},
           {{{"kind", "tap"}}, "params.kind"},
           {{{"socket", "vm1.sock"}}, "absolute path"},
           {{{"socket", "/" + std::string(107, 'x')}}, "107"},
           {{{"socket", "/no/such/directory/x"}, {"socket_mode", "server"}}, "mkdir -p /no/such/directory"},
           {{{"socket_mode", "both"}}, "params.socket_mode"},
           {{{"domain", "defualt"}}, "did you mean \"default\""},
           {{{"queues", 17}}, "params.queues"},
           {{{"mac", "01:00:00:00:00:01"}}, "unicast"},
           {{{"addresses", {"192.168.1.1"}}}, "outside the prefixes of domain"},
           {{{"addresses", {"10.244.0.1"}}}, "10.244.0.1"},
           {{{"addresses", {"10.244.0.9", "10.244.0.9"}}}, "asked for twice"},
           {{{"hostname", "-x"}}, "no host name"},
           {{{"ring_size", 512}}, "for memif ports"},
           {{{"namespace", "shop"}}, "params.namespace goes with pod"},
           {{{"pod", "Web"}}, "params.pod"},
           {{{"pod", "web"}, {"namespace", "a.b"}}, "params.namespace"},
           {{{"kind", "memif"}, {"ring_size", 1000}}, "power of two"},
           {{{"kind", "memif"}, {"secret", std::string(25, 'x')}}, "room for 24"},
           {{{"kind", "memif"}, {"iommu", true}}, "iommu is for vhost"},
           {{{"sokcet", "x"}}, "did you mean"},
       }) {
    const auto message = refused("port_add", vm("vm1", c.more));
    EXPECT_TRUE(contains(message, c.named)) << message;
  }
  EXPECT_EQ(store->list()->size(), 0u);
  EXPECT_TRUE(engine.ports().empty());
}

TEST_F(NamedPortsTest, NamesAreUnique) {
  done("port_add", vm("vm1"));
  EXPECT_TRUE(contains(refused("port_add", vm("vm1")), "podwirectl port del vm1"));
  done("endpoint_add", {{"name", "vip"}, {"port", "vm1"}});
  EXPECT_TRUE(contains(refused("port_add", vm("vip")), "podwirectl endpoint del vip"));
  EXPECT_TRUE(
      contains(refused("endpoint_add", {{"name", "vip"}, {"port", "vm1"}}), "already an endpoint vip"));
  EXPECT_TRUE(contains(refused("endpoint_add", {{"name", "vm1"}, {"port", "vm1"}}), "already a port vm1"));
  EXPECT_TRUE(contains(refused("endpoint_add", {{"name", "x"}, {"port", "vm2"}}), "did you mean \"vm1\""));
  EXPECT_TRUE(contains(refused("endpoint_del", {{"name", "vm1"}}), "podwirectl port del vm1"));
}

TEST_F(NamedPortsTest, EndpointsComeAndGoWithoutTouchingThePort) {
  const auto port = done("port_add", vm("vm1"));
  const auto first = done("endpoint_add", {{"name", "vip"}, {"port", "vm1"}, {"addresses", {"10.244.0.60"}}});
  const auto second = done("endpoint_add", {{"name", "nested"},
                                            {"port", "vm1"},
                                            {"mac", "02:00:00:00:00:99"},
                                            {"dhcp", false},
                                            {"allowed_pairs", {{{"address", "fd00::/64"}}}}});
  EXPECT_EQ(first["addresses"], Json{"10.244.0.60/16"});
  EXPECT_TRUE(object("endpoints", first["id"])["dhcp"]) << "as the port has it";
  EXPECT_EQ(object("endpoints", second["id"])["mac"], "02:00:00:00:00:99");
  EXPECT_FALSE(object("endpoints", second["id"]).contains("dhcp"));
  EXPECT_EQ(engine.endpoints(), 3u);
  EXPECT_EQ((*call("endpoints"))["endpoints"].size(), 3u);
  expect_agreement();
  EXPECT_TRUE(
      contains(refused("port_add", vm("vm2", {{"addresses", {"10.244.0.60"}}})), "taken by port vm1"));
  EXPECT_TRUE(
      contains(refused("port_add", vm("vm2", {{"mac", "02:00:00:00:00:99"}})), "taken by endpoint nested"));
  EXPECT_EQ(done("endpoint_del", {{"name", "vip"}}), (Json{{"deleted", true}}));
  EXPECT_EQ(done("endpoint_del", {{"name", "vip"}}), (Json{{"deleted", false}}));
  EXPECT_EQ(engine.endpoints(), 2u);
  EXPECT_EQ(object("ports", port["id"])["name"], "vm1");
  expect_agreement();
  done("port_add", vm("vm2", {{"addresses", {"10.244.0.60"}}}));  // it is free again
  done("port_del", {{"name", "vm1"}});
  EXPECT_EQ(engine.endpoints(), 1u) << "those of the port went with it";
  expect_agreement();
}

TEST_F(NamedPortsTest, StayOverRestartsOfEverything) {
  const auto added = done("port_add", vm("vm1"));
  done("endpoint_add", {{"name", "vip"}, {"port", "vm1"}});
  const auto before = object("ports", added["id"]);
  start();
  EXPECT_EQ(object("ports", added["id"]), before);
  EXPECT_EQ(engine.endpoints(), 2u);
  engine.stop();
  engine.start();
  start();
  EXPECT_EQ(object("ports", added["id"]), before) << "a socket needs no descriptors";
  ASSERT_TRUE(store->set_fact("boot_id", "\"another\""));
  EXPECT_TRUE(cni->recover().empty());
  EXPECT_EQ(engine.ports().size(), 1u) << "a machine's restart does not end them";
  EXPECT_EQ(done("port_del", {{"name", "vm1"}}), (Json{{"deleted", true}}));
  EXPECT_EQ(store->list()->size(), 0u);
}

TEST_F(NamedPortsTest, AnAddThatTheEngineRefusesIsUndone) {
  engine.refuse(1);
  EXPECT_TRUE(contains(refused("port_add", vm("vm1")), "refused"));
  EXPECT_EQ(store->list()->size(), 0u);
  engine.stop();
  EXPECT_TRUE(contains(refused("port_add", vm("vm1")), "not connected"));
  EXPECT_EQ(store->list()->size(), 0u);
}

TEST_F(NamedPortsTest, DeletionsNeedNoEngine) {
  done("port_add", vm("vm1"));
  done("endpoint_add", {{"name", "vip"}, {"port", "vm1"}});
  engine.stop();
  EXPECT_TRUE(contains(refused("endpoint_add", {{"name", "more"}, {"port", "vm1"}}), "not connected"));
  EXPECT_EQ(done("endpoint_del", {{"name", "vip"}}), (Json{{"deleted", true}}));
  EXPECT_EQ(done("port_del", {{"name", "vm1"}}), (Json{{"deleted", true}}));
  EXPECT_EQ(store->list()->size(), 0u);
}

TEST_F(NamedPortsTest, AKilledAddIsUndoneAtTheNextStart) {
  AttachmentRequest request;
  request.key = {"", "vm1", ""};
  request.domain = "default";
  request.kind = api::PortKind::kVhost;
  request.socket.path = path("vm1");
  ASSERT_TRUE(store->begin_add(request));
  const auto left = listen_unix(path("vm1"), 0600);  // as a killed engine leaves it
  ASSERT_TRUE(left);
  start();
  EXPECT_TRUE(cni->recover().empty());
  EXPECT_EQ(store->list()->size(), 0u);
  struct stat status {};
  EXPECT_NE(::lstat(path("vm1").c_str(), &status), 0);
}

TEST_F(NamedPortsTest, PortsOfOthersAreTheirs) {
  AttachmentRequest request;
  request.key = {"podnet", "c1", "eth0"};
  request.domain = "default";
  const auto pod = store->begin_add(request);
  ASSERT_TRUE(pod);
  EXPECT_TRUE(contains(refused("port_del", {{"name", port_name(*pod)}}), "CNI DEL"));
  EXPECT_TRUE(contains(refused("port_del", {{"name", "uplink"}}), "the node's own"));
}

TEST_F(NamedPortsTest, APortThatTheEngineLostIsStillListed) {
  const auto added = done("port_add", vm("vm1"));
  engine.drop_port(added["id"].get<unsigned>());
  const auto listed = (*call("ports"))["ports"][0];
  EXPECT_EQ(listed["name"], "vm1");
  EXPECT_EQ(listed["link"], "down");
  EXPECT_EQ(listed["socket"], path("vm1"));
  EXPECT_TRUE(contains(listed["last_error"], "podwirectl status"));
}

}  // namespace
}  // namespace podwire::control
