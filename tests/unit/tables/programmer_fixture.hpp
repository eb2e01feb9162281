// A Programmer without EAL, devices or workers: ports are fakes, nothing can be injected, and the one worker
// is played by the publisher's waker, which says that it has seen every snapshot.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>

#include <set>

#include "dataplane/tables/intent.hpp"
#include "dataplane/tables/programmer.hpp"
#include "tests/unit/tables/objects.hpp"

namespace podwire::engine {

class FakePort : public Port {
 public:
  FakePort(const api::Port& config, std::vector<UniqueFd> fds, std::multiset<PortId>& open)
      : id_(config.id), queues_(config.queues), fds_(std::move(fds)), open_(open) {
    mac_ = config.mac.is_zero() ? MacAddr::from_u64(0x02aa00000000 + config.id.value()) : config.mac;
    mtu_ = config.mtu == 0 ? std::uint16_t{1500} : config.mtu;
    open_.insert(id_);
  }
  ~FakePort() override { open_.erase(open_.find(id_)); }
  std::uint16_t rx_burst(std::uint16_t, std::span<rte_mbuf*>) noexcept override { return 0; }
  std::uint16_t tx_burst(std::uint16_t, std::span<rte_mbuf*>) noexcept override { return 0; }
  int poll_fd(std::uint16_t queue) const noexcept override {
    return queue < fds_.size() ? fds_[queue].get() : -1;
  }
  std::uint16_t rx_queues() const noexcept override { return queues_; }
  std::uint16_t tx_queues() const noexcept override { return queues_; }
  bool link_up() const override { return true; }
  QueueCounters queue_counters(std::uint16_t) const override { return {}; }
  Json describe() const override { return Json::object(); }
  std::string last_error() const override { return {}; }

 private:
  PortId id_;
  std::uint16_t queues_;
  std::vector<UniqueFd> fds_;
  std::multiset<PortId>& open_;
};

class NoInjector : public Injector {
 public:
  bool inject(rte_mbuf*, const PacketMeta&) override { return false; }
};

class ProgrammerTest : public testing::Test {
 protected:
  // `custom` and `pool` for tests that look at packets.
  explicit ProgrammerTest(Injector* custom = nullptr, rte_mempool* pool = nullptr,
                          FlowTable* flows = nullptr) {
    publisher.set_waker([this] { publisher.report_ports_seen(0, tables().ports_generation); });
    ProgrammerEnvironment environment;
    environment.publisher = &publisher;
    environment.injector = custom == nullptr ? &no_injector : custom;
    environment.pool = pool;
    environment.flows = flows;
    environment.counters = &counters;
    environment.open_port = [this](const api::Port& config,
                                   std::vector<UniqueFd> fds) -> Result<std::unique_ptr<Port>> {
      if (config.name == fail_to_open) return unavailable("port " + config.name + ": no such device");
      ++opened;
      return std::unique_ptr<Port>(std::make_unique<FakePort>(config, std::move(fds), open_ports));
    };
    environment.port_added = [this](PortId id) { added_ports.push_back(id); };
    environment.domain_added = [this](DomainId id) { added_domains.push_back(id); };
    programmer = std::make_unique<Programmer>(std::move(environment), now);
  }

  static std::vector<UniqueFd> descriptors(std::size_t count) {
    std::vector<UniqueFd> fds;
    for (std::size_t i = 0; i < count; ++i) fds.emplace_back(::open("/dev/null", O_RDWR | O_CLOEXEC));
    return fds;
  }
  static std::size_t wanted(const api::ObjectSet& put) {
    std::size_t count = 0;
    for (const auto& port : put.ports) count += port.descriptors;
    return count;
  }
  Result<std::uint64_t> try_patch(const api::ObjectSet& put, const api::IdSet& remove = {}) {
    return programmer->patch(put, remove, descriptors(wanted(put)), now);
  }
  void patch(const api::ObjectSet& put, const api::IdSet& remove = {}) {
    const auto result = try_patch(put, remove);
    ASSERT_TRUE(result) << result.error().message;
  }
  void refused(const api::ObjectSet& put, const api::IdSet& remove, const std::string& text) {
    const auto before = programmer->generation();
    const auto result = try_patch(put, remove);
    ASSERT_FALSE(result);
    EXPECT_NE(result.error().message.find(text), std::string::npos) << result.error().message;
    EXPECT_EQ(programmer->generation(), before);
  }

  const Snapshot& tables() const { return *publisher.current_for_main(); }
  // What workers do with an address or MAC; null when it leads nowhere.
  const Adjacency* to(const std::string& address, std::uint16_t in = 2) const {
    const auto* entry = tables().domain(DomainId(in));
    if (entry == nullptr) return nullptr;
    const auto parsed = *parse_ip(address);
    const auto slot = parsed.is_v4() ? find_route(tables(), *entry, parsed.v4())
                                     : find_route(tables(), *entry, parsed.v6());
    return slot == 0 ? nullptr : &tables().adjacencies[slot];
  }
  const Adjacency* to(const MacAddr& address, std::uint16_t in = 2) const {
    const auto slot = tables().fdb->find(fdb_key(DomainId(in), address));
    return slot == 0 ? nullptr : &tables().adjacencies[slot];
  }

  std::uint64_t now = 1'000'000;
  std::multiset<PortId> open_ports;  // outlives what closes into it
  int opened = 0;
  std::string fail_to_open;
  std::vector<PortId> added_ports;
  std::vector<DomainId> added_domains;
  WorkerCounters counters;
  NoInjector no_injector;
  Publisher publisher{1};
  std::unique_ptr<Programmer> programmer;
};

}  // namespace podwire::engine
