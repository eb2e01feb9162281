// Engine: everything that runs between EAL's start and its end, in the order in which it must come and go:
// pools, publisher, workers, programmer, socket. Implements the verbs' backend and the main loop. Main thread
// only.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/base/reactor.hpp"
#include "dataplane/options.hpp"
#include "dataplane/server/verb_server.hpp"
#include "dataplane/tables/flow_table.hpp"
#include "dataplane/tables/programmer.hpp"
#include "dataplane/telemetry/flow_top.hpp"
#include "dataplane/telemetry/ledger.hpp"
#include "dataplane/worker/pools.hpp"
#include "dataplane/worker/worker_set.hpp"

namespace podwire::engine {

class Engine final : public Backend {
 public:
  struct Start {
    Options options;
    std::vector<unsigned> lcores;  // of the workers
    std::string memory_mode;       // as `status` says it
    int signal_fd = -1;            // signalfd; readable means: leave
  };
  // EAL runs. Opens the socket last, so that whoever connects finds a working engine.
  static Result<std::unique_ptr<Engine>> create(Start start);
  ~Engine() override;

  // Serves until a signal or the verb `shutdown`.
  Result<void> run();

  std::uint64_t generation() const override { return programmer_->generation(); }
  const std::string& instance() const override { return instance_; }
  Result<std::uint64_t> patch(api::ObjectSet put, const api::IdSet& remove,
                              std::vector<UniqueFd> fds) override;
  void replace_begin() override { programmer_->replace_begin(); }
  Result<void> replace_chunk(api::ObjectSet put, std::vector<UniqueFd> fds) override;
  Result<std::uint64_t> replace_commit() override;
  void replace_abort() override { programmer_->replace_abort(); }
  Result<std::vector<UniqueFd>> port_descriptors(PortId id) override {
    return programmer_->port_descriptors(id);
  }
  void shut_down() override { leaving_ = true; }
  Json status() override;
  Json stats(bool all_drops) override;
  Result<Json> dump(const Json& params) override { return programmer_->dump(params); }
  Result<Json> fdb(const Json& params) override;
  Result<Json> neighbors(const Json& params) override;
  Result<Json> explain(const Json& params) override;
  Result<Json> flows(const Json& params) override;
  Result<Json> flows_flush(const Json& params) override;
  Result<Json> flows_sample(const Json& params) override;
  Result<Json> flows_top(const Json& params) override;

 private:
  using Clock = std::chrono::steady_clock;
  Engine(Start start, PacketPools pools);
  Result<void> start_workers();
  Result<void> listen();
  Result<void> watch(int fd, std::function<void()> serve);
  void serve_events();
  void age_flows();
  void say_goodbye();
  static std::uint64_t now_ms();
  static std::uint32_t worker_seconds();

  const Start start_;
  const std::string instance_;
  const Clock::time_point started_ = Clock::now();
  std::unique_ptr<Reactor> reactor_;  // ports and watches_ are registered with it
  PacketPools pools_;
  CounterSet counters_;
  LedgerBook ledgers_{counters_};
  Publisher publisher_;
  FlowTable flows_;
  FlowTop flow_top_{flows_};
  std::unique_ptr<WorkerSet> workers_;
  std::unique_ptr<Programmer> programmer_;
  VerbServer verbs_{*this};
  std::unique_ptr<RpcServer> server_;
  UniqueFd timer_;
  std::vector<Reactor::Watch> watches_;
  bool leaving_ = false;
};

}  // namespace podwire::engine
