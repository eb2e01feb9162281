#include "dataplane/server/engine.hpp"

#include <rte_cycles.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <filesystem>

#include "dataplane/pipeline/pipeline.hpp"
#include "dataplane/tables/flow_views.hpp"
#include "dataplane/telemetry/explain.hpp"
#include "dataplane/telemetry/stats.hpp"
#include "dataplane/telemetry/status.hpp"

namespace podwire::engine {
namespace {

constexpr int kTickMs = 100;
// How long replies may take to leave once the engine has been told to.
constexpr int kGoodbyeMs = 500;

// Every connection is looked at once in this time, to be forgotten if it is over.
constexpr std::uint32_t kAgeingRoundMs = 10'000;

std::uint64_t random_number() {
  std::uint64_t number = 0;
  if (::getrandom(&number, sizeof number, 0) != sizeof number) number = rte_rdtsc();
  return number;
}

std::string random_instance() {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(random_number()));
  return text;
}

}  // namespace

Engine::Engine(Start start, PacketPools pools)
    : start_(std::move(start)),
      instance_(random_instance()),
      pools_(std::move(pools)),
      counters_(static_cast<unsigned>(start_.lcores.size())),
      publisher_(static_cast<unsigned>(start_.lcores.size())),
      flows_(start_.options.max_flows, random_number()) {}

Result<std::unique_ptr<Engine>> Engine::create(Start start) {
  const auto& options = start.options;
  PODWIRE_TRY(auto pools, PacketPools::create(options.mbufs, options.jumbo_mbufs, options.workers + 1));
  std::unique_ptr<Engine> engine(new Engine(std::move(start), std::move(pools)));
  PODWIRE_TRY(engine->reactor_, Reactor::create());
  PODWIRE_CHECK(engine->start_workers());
  PODWIRE_CHECK(engine->listen());
  return engine;
}

Result<void> Engine::start_workers() {
  WorkerSet::Config config;
  config.lcores = start_.lcores;
  config.idle = {start_.options.idle == IdleMode::kBusy, start_.options.spin_us,
                 static_cast<std::uint16_t>(start_.options.burst)};
  config.pipeline = hooks_for<Pipeline, kResumeStage>();
  config.pools = pools_.get();
  config.flows = &flows_;
  PODWIRE_TRY(workers_, WorkerSet::create(config, publisher_, counters_));

  ProgrammerEnvironment environment;
  environment.publisher = &publisher_;
  environment.injector = workers_.get();
  environment.counters = &counters_.main();
  environment.pool = pools_.get().packets;
  const PortEnvironment port_environment{pools_.get(), static_cast<std::uint16_t>(workers_->count()),
                                         reactor_.get(), [this] { publisher_.wait_quiescent(); }};
  environment.open_port = [port_environment](const api::Port& port, std::vector<UniqueFd> fds) {
    return open_port(port, std::move(fds), port_environment);
  };
  environment.port_added = [this](PortId id) { ledgers_.port_added(id); };
  environment.domain_added = [this](DomainId id) { ledgers_.domain_added(id); };
  environment.policy_added = [this](std::uint32_t slot) { ledgers_.policy_added(slot); };
  environment.flows = &flows_;
  programmer_ = std::make_unique<Programmer>(std::move(environment), now_ms());
  return workers_->start();
}

Result<void> Engine::listen() {
  const auto directory = std::filesystem::path(start_.options.socket).parent_path();
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error)
    return io_error("cannot make the directory " + directory.string() +
                    " for the socket: " + error.message());
  RpcServerOptions options;
  options.path = start_.options.socket;
  PODWIRE_TRY(server_, RpcServer::listen(
                           std::move(options),
                           [this](RpcRequest request, Responder responder) {
                             verbs_.handle(std::move(request), std::move(responder));
                           },
                           [this](std::uint64_t connection) { verbs_.connection_closed(connection); }));
  timer_.reset(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!timer_) return errno_error("the main loop's timer");
  constexpr timespec kTick{0, kTickMs * 1000000};
  const itimerspec every{kTick, kTick};
  if (::timerfd_settime(timer_.get(), 0, &every, nullptr) != 0) return errno_error("timerfd_settime");
  PODWIRE_CHECK(watch(server_->fd(), [this] { server_->poll(0); }));
  PODWIRE_CHECK(watch(workers_->event_fd(), [this] { serve_events(); }));
  PODWIRE_CHECK(watch(timer_.get(), [this] {
    std::uint64_t ticks = 0;
    if (::read(timer_.get(), &ticks, sizeof ticks) <= 0) return;
    programmer_->tick(now_ms());
    age_flows();
    flow_top_.tick(*workers_, Clock::now());
  }));
  return watch(start_.signal_fd, [this] {
    if (!leaving_) spdlog::info("leaving on a signal");
    leaving_ = true;
  });
}

Result<void> Engine::watch(int fd, std::function<void()> serve) {
  PODWIRE_TRY(auto watch,
              reactor_->watch(fd, EPOLLIN, [serve = std::move(serve)](std::uint32_t) { serve(); }));
  watches_.push_back(std::move(watch));
  return {};
}

Engine::~Engine() {
  watches_.clear();
  server_.reset();
  if (workers_) workers_->stop();
  if (programmer_ && workers_) serve_events();
  programmer_.reset();  // closes the ports
  workers_.reset();
}

// The workers' clock: see Context::now_s.
std::uint32_t Engine::worker_seconds() {
  return static_cast<std::uint32_t>(rte_rdtsc() / rte_get_tsc_hz());
}

std::uint64_t Engine::now_ms() {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now().time_since_epoch()).count());
}

Result<void> Engine::run() {
  while (!leaving_) PODWIRE_CHECK(reactor_->run_once(-1));
  say_goodbye();
  return {};
}

// Nobody new; who asked last gets the answer.
void Engine::say_goodbye() {
  server_->stop_listening();
  const auto deadline = now_ms() + kGoodbyeMs;
  do {
    server_->poll(10);
  } while (!server_->idle() && now_ms() < deadline);
}

void Engine::serve_events() {
  const auto now = now_ms();
  workers_->drain_events([&](const Event& event) { programmer_->on_event(event, now); });
  programmer_->flush(now);
}

void Engine::age_flows() {
  const auto& tables = *publisher_.current_for_main();
  const auto a_tick = flows_.capacity() / (kAgeingRoundMs / kTickMs) + 1;
  const auto forgotten = flows_.age(worker_seconds(), a_tick, [&](const FlowKey& key, PortId owner) {
    const auto* domain = tables.domain(key.domain());
    const bool from_outside = key.domain() == kUnderlayDomain && tables.translates;
    // Of a port that has gone: another of the same id is not to answer for them.
    return domain == nullptr || !(domain->stateful || from_outside) ||
           (owner && tables.port(owner) == nullptr);
  });
  if (forgotten != 0) counters_.main().flows.expired.add(forgotten);
}

Result<std::uint64_t> Engine::patch(api::ObjectSet put, const api::IdSet& remove, std::vector<UniqueFd> fds) {
  return programmer_->patch(std::move(put), remove, std::move(fds), now_ms());
}

Result<void> Engine::replace_chunk(api::ObjectSet put, std::vector<UniqueFd> fds) {
  return programmer_->replace_chunk(std::move(put), std::move(fds));
}

Result<std::uint64_t> Engine::replace_commit() {
  return programmer_->replace_commit(now_ms());
}

Json Engine::status() {
  const auto uptime = std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - started_).count();
  return make_status({*programmer_, *workers_, pools_, flows_, counters_, instance_, start_.memory_mode,
                      start_.options.idle == IdleMode::kBusy, static_cast<std::uint64_t>(uptime)});
}

Json Engine::stats(bool all_drops) {
  return make_stats({*programmer_, counters_, ledgers_, flows_, rte_get_tsc_hz()}, all_drops);
}

Result<Json> Engine::fdb(const Json& params) {
  return programmer_->fdb(params, now_ms());
}
Result<Json> Engine::neighbors(const Json& params) {
  return programmer_->neighbors(params, now_ms());
}

Result<Json> Engine::flows(const Json& params) {
  return list_flows(flows_, params, worker_seconds());
}

Result<Json> Engine::flows_flush(const Json& params) {
  PODWIRE_TRY(Json reply, flush_flows(flows_, params));
  counters_.main().flows.removed.add(reply.at("flushed").get<std::uint64_t>());
  return reply;
}

Result<Json> Engine::flows_sample(const Json& params) {
  return flow_top_.start(*workers_, params, Clock::now());
}

Result<Json> Engine::flows_top(const Json& params) {
  flow_top_.tick(*workers_, Clock::now());
  return flow_top_.top(params, worker_seconds());
}

Result<Json> Engine::explain(const Json& params) {
  const auto* tables = publisher_.current_for_main();
  if (tables == nullptr) return unavailable("nothing has been programmed yet; see status");
  return engine::explain(params, {programmer_->intent(), *tables, pools_.get().packets});
}

}  // namespace podwire::engine
