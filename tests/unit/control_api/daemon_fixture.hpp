// The daemon's verbs on the real store and reconciler and on an engine that only remembers.
#pragma once

#include <fcntl.h>

#include "control/api/daemon.hpp"
#include "tests/unit/control/fake_engine.hpp"
#include "tests/unit/control/temporary_directory.hpp"

namespace podwire::control {

class DaemonTest : public ::testing::Test {
 protected:
  DaemonTest() {
    config.node = "test";
    DomainConfig domain;
    domain.name = "default";
    domain.vni = Vni(1);
    domain.prefixes = {*parse_prefix("10.244.0.0/16"), *parse_prefix("fd00:10:244::/64")};
    domain.gateways = {*parse_ip("10.244.0.1"), *parse_ip("fd00:10:244::1")};
    config.domains = {domain};
    config.pod_sockets.directory = directory.path() + "/pods";
    open_store();
  }
  void open_store() {
    store.reset();
    auto opened = Store::open(directory.path() + "/state");
    ASSERT_TRUE(opened) << opened.error().message;
    store = std::move(*opened);
    NodeUnderlay own;
    own.addresses = {*parse_prefix("192.168.100.1/24")};
    store->set_domains(domain_pools(config, own));
  }
  // As podwired does at its start; calling it again is a restart.
  void start() {
    daemon.reset();
    reconciler.reset();
    open_store();
    auto all = store->list();
    ASSERT_TRUE(all) << all.error().message;
    std::erase_if(*all, [](const Attachment& a) { return a.state != AttachmentState::kReady; });
    EngineReconciler::Options options;
    options.socket = directory.path() + "/engine.sock";
    options.epoch = store->epoch();
    options.open_pod = [](const Attachment&) {
      std::vector<UniqueFd> fds;
      fds.emplace_back(::open("/dev/null", O_RDWR | O_CLOEXEC));
      return fds;
    };
    reconciler = std::make_unique<EngineReconciler>(std::move(options), std::move(*all));
    policies = std::make_unique<Policies>(config, *store, *reconciler);
    const auto loaded = policies->load();
    ASSERT_TRUE(loaded) << loaded.error().message;
    const auto addresses_loaded = Addresses::load(*store, *reconciler);
    ASSERT_TRUE(addresses_loaded) << addresses_loaded.error().message;
    NodeObjects node;
    api::Domain domain;
    domain.id = node.domains["default"] = DomainId(2);
    domain.stateful = config.domains[0].stateful;
    domain.name = "default";
    domain.gateway_mac = kGatewayMac;
    domain.stateful = config.domains[0].stateful;
    if (config.domains[0].masquerade)
      domain.masquerade = api::Masquerade{{*parse_ip("192.168.100.1")}, api::Masquerade{}.ports, {}};
    node.objects.domains.push_back(domain);
    services = std::make_unique<Services>(config, *store, *reconciler);
    const auto services_loaded = services->load(node);
    ASSERT_TRUE(services_loaded) << services_loaded.error().message;
    reconciler->set_node(std::move(node), {});
    ASSERT_TRUE(reconciler->wait_programmed(std::chrono::seconds(30)));
    underlay = std::make_unique<Underlay>(config, *store);
    cni = std::make_unique<CniService>(CniContext{config, *store, *reconciler});
    daemon.reset(
        new Daemon{config, *store, *reconciler, *underlay, nullptr, *cni, *policies, *services, [] {}});
  }
  Result<Json> call(const std::string& method, Json params = Json::object()) {
    RpcRequest request;
    request.method = method;
    request.params = std::move(params);
    return answer(*daemon, std::move(request));
  }
  // The reply of a call that succeeds, and the message of one that does not.
  Json done(const std::string& method, const Json& params) {
    auto reply = call(method, params);
    EXPECT_TRUE(reply) << reply.error().message;
    return reply ? *reply : Json();
  }
  std::string refused(const std::string& method, const Json& params) {
    const auto reply = call(method, params);
    EXPECT_FALSE(reply) << reply->dump();
    return reply ? "" : reply.error().message;
  }
  // The engine holds what the daemon wants it to.
  void expect_agreement() {
    const auto differences = reconciler->differences();
    ASSERT_TRUE(differences) << differences.error().message;
    EXPECT_TRUE(differences->empty()) << differences->front();
  }
  // Every page's objects, and how many pages there were.
  Json whole(const std::string& method, const char* key, int& pages, Json params = Json::object()) {
    Json all = Json::array();
    for (pages = 1;; ++pages) {
      const auto page = call(method, params);
      if (!page) {
        ADD_FAILURE() << page.error().message;
        return all;
      }
      EXPECT_LT(page->dump().size(), kMaxLineBytes);
      for (const auto& object : (*page)[key]) all.push_back(object);
      if (!page->contains("next_after")) return all;
      params["after"] = (*page)["next_after"];
    }
  }

  TemporaryDirectory directory;
  Config config;
  FakeEngine engine{directory.path() + "/engine.sock"};
  std::unique_ptr<Store> store;
  std::unique_ptr<EngineReconciler> reconciler;
  std::unique_ptr<Underlay> underlay;
  std::unique_ptr<Policies> policies;
  std::unique_ptr<CniService> cni;
  std::unique_ptr<Services> services;
  std::unique_ptr<Daemon> daemon;
};

}  // namespace podwire::control
