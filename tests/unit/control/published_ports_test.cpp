// Published ports in the store: who has them, what is refused, and that they go with their pod.
#include "control/state/published_ports.hpp"

#include "tests/unit/control/store_fixture.hpp"

namespace podwire::control {
namespace {

class PublishedPorts : public StoreTest {
 protected:
  PublishedPorts() { set_domains(); }
  void set_domains() {
    auto domains = pools();
    domains[0].stateful = true;
    for (auto& domain : domains)
      domain.node_addresses = {ip_of("192.168.100.1"), ip_of("192.168.100.2"), ip_of("fd00:100::1")};
    store_->set_domains(std::move(domains));
  }
  static PublishedPort port(std::uint16_t host_port, const char* host_ip = "",
                            std::uint16_t container_port = 80,
                            api::ServiceProtocol protocol = api::ServiceProtocol::kTcp) {
    PublishedPort made;
    if (*host_ip != 0) made.host_ip = ip_of(host_ip);
    made.protocol = protocol;
    made.host_port = host_port;
    made.container_port = container_port;
    return made;
  }
  static AttachmentRequest publishing(const std::string& container, std::vector<PublishedPort> ports) {
    auto r = request(container);
    r.pod_namespace = "ns";
    r.pod_name = "pod-" + container;
    r.published_ports = std::move(ports);
    return r;
  }
};

TEST_F(PublishedPorts, AreKeptWithTheirServices) {
  const auto added = add(publishing(
      "c1", {port(8080), port(8443, "192.168.100.1", 443), port(53, "", 53, api::ServiceProtocol::kUdp)}));
  open();
  set_domains();
  const auto found = *store_->find(request("c1").key);
  ASSERT_TRUE(found);
  ASSERT_EQ(found->published_ports.size(), 3u);
  std::set<ServiceId> ids;
  for (const auto& one : found->published_ports) ids.insert(one.service);
  EXPECT_EQ(ids, (std::set<ServiceId>{ServiceId(1), ServiceId(2), ServiceId(3)}));
  EXPECT_EQ(found->published_ports, added.published_ports);
}

TEST_F(PublishedPorts, OneOnAllAddressesExcludesEveryOther) {
  add(publishing("c1", {port(8080)}));
  expect_refused(
      publishing("c2", {port(8080)}), ErrorCode::kConflict,
      "host port tcp *:8080 is taken: pod ns/pod-c1, interface eth0 of container c1 (network podwire) "
      "has tcp *:8080");
  expect_refused(publishing("c2", {port(8080, "192.168.100.1")}), ErrorCode::kConflict,
                 "host port tcp 192.168.100.1:8080 is taken");
  expect_refused(publishing("c2", {port(8080, "0.0.0.0")}), ErrorCode::kConflict, "is taken");
  add(publishing("c2", {port(8080, "", 80, api::ServiceProtocol::kUdp), port(8081)}));
}

TEST_F(PublishedPorts, AddressesOfTheirOwnAndFamiliesKeepApart) {
  add(publishing("c1", {port(8080, "192.168.100.1")}));
  add(publishing("c2", {port(8080, "192.168.100.2")}));
  add(publishing("c3", {port(8080, "::")}));
  expect_refused(publishing("c4", {port(8080, "0.0.0.0")}), ErrorCode::kConflict, "pod ns/pod-c1");
  expect_refused(publishing("c4", {port(8080)}), ErrorCode::kConflict, "is taken");
  expect_refused(publishing("c4", {port(8080, "fd00:100::1")}), ErrorCode::kConflict,
                 "host port tcp [fd00:100::1]:8080 is taken: pod ns/pod-c3");
}

TEST_F(PublishedPorts, ARefusedPodLeavesNothing) {
  add(publishing("c1", {port(8080)}));
  expect_refused(publishing("c2", {port(9000), port(8080)}), ErrorCode::kConflict, "tcp *:8080 is taken");
  expect_refused(publishing("c2", {port(9000), port(9000, "192.168.100.1", 81)}), ErrorCode::kInvalid,
                 "is asked for twice");
  expect_refused(publishing("c2", {port(9000, "192.168.100.9")}), ErrorCode::kInvalid,
                 "this node does not have that address; leave hostIP out, or use one of 192.168.100.1, "
                 "192.168.100.2, fd00:100::1");
  EXPECT_FALSE(*store_->find(request("c2").key));
  EXPECT_EQ(store_->usage()->front().used, 1u);
  EXPECT_EQ(add(publishing("c3", {port(9000)})).published_ports[0].service, ServiceId(2));
}

TEST_F(PublishedPorts, GoWithTheirPod) {
  add(publishing("c1", {port(8080)}));
  remove("c1");
  EXPECT_EQ(add(publishing("c2", {port(8080)})).published_ports[0].service, ServiceId(1));
}

TEST_F(PublishedPorts, NeedAStatefulDomain) {
  auto r = publishing("c1", {port(8080)});
  r.domain = "small";
  expect_refused(r, ErrorCode::kInvalid,
                 "domain \"small\" is not stateful, so ports cannot be published; set \"stateful\": true");
  r.published_ports.clear();
  add(r);
}

TEST_F(PublishedPorts, LeaveTheNodesVxlanAlone) {
  auto domains = pools();
  domains[0].stateful = true;
  domains[0].vxlan_ports = {4789, 8472};
  store_->set_domains(std::move(domains));
  expect_refused(publishing("c1", {port(8472, "", 53, api::ServiceProtocol::kUdp)}), ErrorCode::kConflict,
                 "host port udp *:8472 carries this node's VXLAN; publish another host port");
  add(publishing("c1", {port(8472)}));
}

TEST_F(PublishedPorts, ReachABoundedNumberOfAddresses) {
  auto domains = pools();
  domains[0].stateful = true;
  for (std::uint32_t i = 0; i < 33; ++i)
    domains[0].node_addresses.push_back(IpAddr(Ipv4::from_u32(0xc0a86401 + i)));
  store_->set_domains(std::move(domains));
  expect_refused(publishing("c1", {port(8080)}), ErrorCode::kExhausted, "this node has 33 addresses");
  add(publishing("c1", {port(8080, "192.168.100.1")}));
}

}  // namespace
}  // namespace podwire::control
