// A node of a cluster, "a" at 192.168.100.1 with 10.244.0.0/24 of the domain default, told of others. The
// engine only remembers.
#pragma once

#include "control/cluster/remote_nodes.hpp"
#include "tests/unit/control/reconciler_fixture.hpp"

namespace podwire::control {

using RouteTexts = std::set<std::string>;

class RemoteNodesTest : public ReconcilerFixture {
 protected:
  static IpPrefix block(const std::string& text) { return *parse_prefix(text); }

  RemoteNodesTest() {
    DomainConfig domain;
    domain.name = "default";
    domain.vni = Vni(1);
    domain.prefixes = {block("10.244.0.0/24")};
    DomainConfig lan = domain;
    lan.name = "lan";
    lan.mode = api::DomainMode::kL2;
    config_.node = "a";
    config_.domains = {domain, lan};
    config_.peers = {{"static", *parse_ip("192.168.100.99"), {}, {}, {}}};
    underlay_.addresses = {block("192.168.100.1/24")};
    cluster_ = config_;
    cluster_.domains[0].prefixes = {block("10.244.0.0/16")};
    store_ = std::move(*Store::open(directory_.path() + "/state"));
  }
  void SetUp() override {
    engine_.start();
    restart();
  }
  void TearDown() override {
    others_.reset();
    ReconcilerFixture::TearDown();
  }

  // As podwired does, over what the store holds.
  void restart() {
    others_.reset();
    reconciler_.reset();
    reconciler_ = std::make_unique<EngineReconciler>(EngineReconciler::Options{socket_, 1, {}, {}, {}},
                                                     std::vector<Attachment>());
    others_ = std::make_unique<RemoteNodes>(config_, cluster_, *store_, *reconciler_);
    auto node = one_domain(false);
    node.addresses = underlay_.own_addresses();
    api::Domain lan = node.objects.domains[0];
    lan.id = DomainId(3);
    lan.name = "lan";
    lan.vni = Vni(2);
    lan.mode = api::DomainMode::kL2;
    node.objects.domains.push_back(lan);
    node.domains["lan"] = lan.id;
    node.uplink = PortId(1);
    node.objects.domains[0].mtu = node.objects.domains[1].mtu = 1430;
    const auto loaded = others_->load(node, underlay_);
    ASSERT_TRUE(loaded) << loaded.error().message;
    reconciler_->set_node(node, {});
    const auto programmed = reconciler_->wait_programmed(std::chrono::milliseconds(5000));
    ASSERT_TRUE(programmed) << programmed.error().message;
  }

  static ClusterNode node(int number, const std::string& prefix = "") {
    ClusterNode out;
    out.name = "node" + std::to_string(number);
    out.record = {{*parse_ip("192.168.100." + std::to_string(number))}, 4789, kGatewayMac};
    if (!prefix.empty()) out.prefixes["default"] = {block(prefix)};
    return out;
  }
  void everything(std::vector<ClusterNode> nodes) { others_->change({true, std::move(nodes), {}}); }
  void put(ClusterNode one) { others_->change({false, {std::move(one)}, {}}); }
  void gone(const std::string& name) { others_->change({false, {}, {name}}); }

  // "prefix via node", or "prefix plainly by address", of the engine.
  RouteTexts routes() const {
    const auto rest = engine_.rest();
    RouteTexts out;
    for (const auto& route : rest.routes) {
      const auto& hop = route.next_hops.front();
      std::string via = "via nobody";
      for (const auto& vtep : rest.vteps) {
        if (vtep.id == hop.vtep) via = "via " + vtep.name + " " + to_string(vtep.address);
      }
      if (hop.port && route.domain == kUnderlayDomain) via = "plainly by " + to_string(hop.address);
      out.insert(to_string(route.prefix) + " " + via);
    }
    return out;
  }
  std::string problem(const std::string& name) const {
    for (const auto& view : others_->nodes()) {
      if (view.node.name == name) return view.problem;
    }
    return "unknown";
  }
  void expect_left_out(ClusterNode one, const std::string& why) {
    const auto before = routes();
    const auto name = one.name;
    put(std::move(one));
    EXPECT_NE(problem(name).find(why), std::string::npos) << problem(name);
    EXPECT_EQ(routes(), before) << why;
    gone(name);
  }

  // An empty change, as a cluster makes one every few seconds.
  void try_again() { others_->change({}); }

  Config config_, cluster_;
  NodeUnderlay underlay_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<RemoteNodes> others_;
};

}  // namespace podwire::control
