// A CniService on the real store (in a temporary directory) and on a reconciler that only remembers, with
// pods in namespaces of their own.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <optional>

#include "control/cni/cni.hpp"
#include "control/cni/netns.hpp"
#include "control/cni/tap.hpp"
#include "control/config.hpp"
#include "control/netlink/netlink.hpp"
#include "control/state/desired.hpp"
#include "tests/unit/netlink/private_netns.hpp"

namespace podwire::control {

inline std::optional<netlink::Link> link_in(int netns, const std::string& name) {
  std::optional<netlink::Link> link;
  run_in_netns(netns, [&] {
    auto kernel = netlink::Netlink::open();
    link = *kernel->find_link(name);
  });
  return link;
}

inline void change(int netns, const std::function<void(netlink::Netlink&)>& body) {
  run_in_netns(netns, [&] {
    auto kernel = netlink::Netlink::open();
    body(*kernel);
  });
}

class FakeReconciler : public Reconciler {
 public:
  Result<void> attach(const Attachment& attachment, std::vector<UniqueFd> queues) override {
    if (on_attach) on_attach();
    const std::lock_guard lock(mutex_);
    if (fail_attach) return *fail_attach;
    EXPECT_EQ(queues.size(), attachment.kind == api::PortKind::kTap ? attachment.queues : 0);
    attached_[attachment.port.value()] = attachment;
    ports_[attachment.port.value()] = std::move(queues);
    return {};
  }
  Result<void> update(const Attachment& attachment) override {
    const std::lock_guard lock(mutex_);
    if (fail_attach) return *fail_attach;
    attached_[attachment.port.value()] = attachment;
    return {};
  }
  Result<void> detach(const Attachment& attachment) override {
    const std::lock_guard lock(mutex_);
    if (fail_detach) return *fail_detach;
    ports_.erase(attachment.port.value());
    attached_.erase(attachment.port.value());
    return {};
  }
  Result<void> verify(const Attachment& attachment) override {
    const std::lock_guard lock(mutex_);
    if (ports_.contains(attachment.port.value())) return {};
    return not_found("the engine has no port " + std::to_string(attachment.port.value()));
  }
  EngineState state() const override {
    EngineState state;
    state.connected = connected;
    state.last_error = connected ? "" : "no such file or directory";
    return state;
  }
  Result<Json> query(const std::string&, const Json&) override {
    if (!connected) return unavailable("the engine is not connected");
    return Json{{"ports", {{{"role", "host"}, {"link", "up"}}, {{"role", "uplink"}, {"link", uplink}}}}};
  }
  Result<std::size_t> reconcile() override { return std::size_t{0}; }
  Result<std::vector<std::string>> differences() override { return std::vector<std::string>{}; }

  std::size_t ports() {
    const std::lock_guard lock(mutex_);
    return ports_.size();
  }
  // As it was attached or updated last.
  Attachment attached(const AttachmentKey& key) {
    const std::lock_guard lock(mutex_);
    for (const auto& [port, attachment] : attached_) {
      if (attachment.key == key) return attachment;
    }
    ADD_FAILURE() << "not attached: " << key.container_id << " " << key.ifname;
    return {};
  }
  void forget_ports() {
    const std::lock_guard lock(mutex_);
    ports_.clear();
  }

  std::optional<Error> fail_attach, fail_detach;
  std::function<void()> on_attach;
  bool connected = true;
  std::string uplink = "up";

 private:
  std::mutex mutex_;
  std::map<unsigned, std::vector<UniqueFd>> ports_;
  std::map<unsigned, Attachment> attached_;
};

struct Answer {
  int exit = 0;
  std::string output;
  Json json;  // null when nothing was printed
  unsigned code() const {
    return json.is_object() && json.contains("code") ? json["code"].get<unsigned>() : 0;
  }
  std::string message() const { return json.is_object() ? json.value("msg", "") : ""; }
};

class CniTest : public ::testing::Test {
 protected:
  CniTest() {
    char name[] = "/tmp/podwire-cni-XXXXXX";
    directory = ::mkdtemp(name);
    config.node = "test";
    DomainConfig domain;
    domain.name = "default";
    domain.vni = Vni(1);
    domain.prefixes = {*parse_prefix("10.244.1.0/24"), *parse_prefix("fd00:10:244:1::/64")};
    domain.gateways = {*parse_ip("10.244.1.1"), *parse_ip("fd00:10:244:1::1")};
    config.domains = {domain};
    config.pod_sockets.directory = directory + "/pods";
    open();
  }
  ~CniTest() override {
    service.reset();
    store.reset();
    std::filesystem::remove_all(directory);
  }

  // As a daemon does at its start; calling it again is a restart.
  void open() {
    service.reset();
    store.reset();
    auto opened = Store::open(directory + "/state");
    ASSERT_TRUE(opened) << opened.error().message;
    store = std::move(*opened);
    NodeUnderlay underlay;
    underlay.addresses = {*parse_prefix("192.168.100.1/24")};
    store->set_domains(domain_pools(config, underlay));
    service = std::make_unique<CniService>(CniContext{config, *store, reconciler});
  }

  Answer call(const std::string& command, const Json& network, const std::string& container = "c1",
              int netns = -1, const std::string& ifname = "eth0",
              std::map<std::string, std::string> more = {}) {
    CniRequest request;
    request.env = {{"CNI_COMMAND", command}, {"CNI_CONTAINERID", container}, {"CNI_NETNS", path_of(netns)},
                   {"CNI_IFNAME", ifname},   {"CNI_PATH", "/usr/lib/cni"},   {"PATH", "/usr/bin:/bin"}};
    for (auto& [key, value] : more) request.env[key] = value;
    request.input = network.is_string() ? network.get<std::string>() : network.dump();
    if (netns >= 0) request.netns = UniqueFd(::fcntl(netns, F_DUPFD_CLOEXEC, 3));
    const auto reply = service->handle(std::move(request));
    Answer answer{reply.exit, reply.output, Json()};
    if (!reply.output.empty()) answer.json = *parse_json(reply.output, "reply");
    EXPECT_EQ(reply.exit != 0, answer.code() != 0) << reply.output;
    return answer;
  }

  // A path that leads to a namespace as long as its descriptor is open.
  static std::string path_of(int netns) {
    return netns < 0 ? "/run/netns/gone"
                     : "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(netns);
  }
  static Json network(const std::string& version = "1.1.0") {
    return {{"cniVersion", version}, {"name", "podnet"}, {"type", "podwire"}};
  }
  std::size_t attachments() { return store->list()->size(); }

  std::string directory;
  Config config;
  FakeReconciler reconciler;
  std::unique_ptr<Store> store;
  std::unique_ptr<CniService> service;
};

}  // namespace podwire::control
