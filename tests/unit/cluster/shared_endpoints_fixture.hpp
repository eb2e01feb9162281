// Node "a" of a cluster, with the domains default (l3) and lan (l2), that knows nodes "b" and "c" and is told
// of their endpoints. The engine only remembers.
#pragma once

#include "control/cluster/remote_endpoints.hpp"
#include "tests/unit/cluster/fake_shared_store.hpp"
#include "tests/unit/control/reconciler_fixture.hpp"

namespace podwire::control {

class SharedEndpointsTest : public ReconcilerFixture {
 protected:
  SharedEndpointsTest() {
    DomainConfig domain;
    domain.name = "default";
    domain.vni = Vni(1);
    domain.prefixes = {*parse_prefix("10.244.0.0/24")};
    domain.gateways = {*parse_ip("10.244.0.1")};
    DomainConfig lan = domain;
    lan.name = "lan";
    lan.mode = api::DomainMode::kL2;
    lan.prefixes = {*parse_prefix("10.245.0.0/24")};
    lan.gateways = {*parse_ip("10.245.0.254")};
    lan.ranges = {{*parse_ip("10.245.0.0"), *parse_ip("10.245.0.15")}};
    config_.node = "a";
    config_.domains = {domain, lan};
    configured_ = config_;
    configured_.domains[0].prefixes = {*parse_prefix("10.244.0.0/16")};
    store_ = std::move(*Store::open(directory_.path() + "/state"));
    underlay_.addresses = {*parse_prefix("192.168.100.1/24")};
    store_->set_domains(domain_pools(config_, underlay_));
  }
  void SetUp() override {
    engine_.start();
    restart();
    others_->change({true, {node("b", 2, "10.245.0.16/28"), node("c", 3, "10.245.0.32/28")}, {}});
    ASSERT_TRUE(cluster_.list());
  }
  void TearDown() override {
    endpoints_.reset();
    others_.reset();
    ReconcilerFixture::TearDown();
  }
  void restart() {
    endpoints_.reset();
    others_.reset();
    reconciler_.reset();
    reconciler_ = std::make_unique<EngineReconciler>(EngineReconciler::Options{socket_, 1, {}, {}, {}},
                                                     std::vector<Attachment>());
    others_ = std::make_unique<RemoteNodes>(config_, configured_, *store_, *reconciler_);
    endpoints_ = std::make_unique<RemoteEndpoints>(
        config_, *store_, cluster_, *reconciler_,
        [this](const PodPlaces& changed) {
          for (const auto& [pod, addresses] : changed) {
            if (addresses.empty())
              pods_.erase(pod.second);
            else
              pods_[pod.second] = to_string(addresses.front().second);
          }
          return std::exchange(unlocated_, {});
        },
        std::chrono::hours(1));
    others_->tell([this](const auto& nodes) { endpoints_->nodes_changed(nodes); });
    auto objects = one_domain(false);
    objects.addresses = {*parse_ip("192.168.100.1")};
    api::Domain lan = objects.objects.domains[0];
    lan.id = objects.domains["lan"] = DomainId(3);
    lan.name = "lan";
    lan.vni = Vni(2);
    lan.mode = api::DomainMode::kL2;
    objects.objects.domains.push_back(lan);
    ASSERT_TRUE(endpoints_->load(objects));
    ASSERT_TRUE(others_->load(objects, underlay_));
    reconciler_->set_node(objects, {});
    ASSERT_TRUE(reconciler_->wait_programmed(std::chrono::milliseconds(5000)));
  }

  static ClusterNode node(const std::string& name, int number, const std::string& lan) {
    ClusterNode out;
    out.name = name;
    out.record = {{*parse_ip("192.168.100." + std::to_string(number))}, 4789, kGatewayMac};
    out.prefixes["default"] = {*parse_prefix("10.244." + std::to_string(number) + ".0/24")};
    out.prefixes["lan"] = {*parse_prefix(lan)};
    return out;
  }
  static std::string record(const std::string& mac, const std::string& address, const std::string& pod = "",
                            const std::string& domain = "lan") {
    return to_value({domain, *parse_mac(mac), {*parse_ip(address)}, pod.empty() ? "" : "shop", pod});
  }
  void come(const std::string& place, const std::string& value) {
    cluster_.put(kEndpointSection + place, value);
    cluster_.tell();
  }
  void go(const std::string& place) {
    cluster_.erase(kEndpointSection + place);
    cluster_.tell();
  }
  // "MAC address at NODE", of the engine.
  std::set<std::string> known() const {
    std::map<VtepId, std::string> names;
    for (const auto& vtep : engine_.rest().vteps) names[vtep.id] = vtep.name;
    std::set<std::string> out;
    for (const auto& [id, endpoint] : engine_.endpoint_objects())
      out.insert(to_string(endpoint.mac) + " " + to_string(endpoint.addresses.front()) + " at " +
                 names[endpoint.vtep]);
    return out;
  }
  std::string problems() const {
    std::string all;
    for (const auto& text : endpoints_->problems()) all += text + "\n";
    return all;
  }

  using Texts = std::set<std::string>;
  NodeUnderlay underlay_;
  Config config_, configured_;
  FakeSharedStore cluster_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<RemoteNodes> others_;
  std::unique_ptr<RemoteEndpoints> endpoints_;
  std::map<std::string, std::string> pods_;  // the first address, by name
  PodNames unlocated_;                       // of the next who are told of
};

}  // namespace podwire::control
