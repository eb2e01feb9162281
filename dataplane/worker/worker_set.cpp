#include "dataplane/worker/worker_set.hpp"

#include <rte_launch.h>
#include <rte_lcore.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <string>

#include "dataplane/pipeline/accounting.hpp"

namespace podwire::engine {
namespace {

constexpr std::size_t kHandoverCapacity = 1024;

int run_worker(void* worker) {
  static_cast<Worker*>(worker)->run();
  return 0;
}

}  // namespace

WorkerSet::WorkerSet(const Config& config, Publisher& publisher, CounterSet& counters)
    : config_(config),
      publisher_(publisher),
      counters_(counters),
      handover_(static_cast<unsigned>(config.lcores.size()), kHandoverCapacity) {}

Result<std::unique_ptr<WorkerSet>> WorkerSet::create(const Config& config, Publisher& publisher,
                                                     CounterSet& counters) {
  const auto count = static_cast<unsigned>(config.lcores.size());
  if (count == 0 || count > kMaxWorkers) {
    return invalid("workers: " + std::to_string(count) + ", must be from 1 to " +
                   std::to_string(kMaxWorkers));
  }
  std::unique_ptr<WorkerSet> set(new WorkerSet(config, publisher, counters));
  set->events_fd_.reset(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!set->events_fd_) return errno_error("the workers' event descriptor");
  const Worker::Shared shared{publisher,    set->handover_,        config.pipeline,         config.idle,
                              config.pools, set->events_fd_.get(), &set->events_announced_, config.flows};
  std::vector<Waker*> wakers;
  for (unsigned index = 0; index < count; ++index) {
    PODWIRE_TRY(auto worker, Worker::create(index, count, shared, counters.worker(index)));
    wakers.push_back(&worker->waker());
    set->workers_.push_back(std::move(worker));
  }
  for (auto& worker : set->workers_) worker->connect(wakers);
  set->busy_.resize(count);
  publisher.set_waker([workers = set.get()] { workers->wake_all(); });
  return set;
}

WorkerSet::~WorkerSet() {
  stop();
  publisher_.set_waker({});
  // Parked packets that nobody took.
  drain_events([this](const Event& event) {
    if (event.kind != Event::Kind::kPark) return;
    const PacketMeta meta = load_meta(event.mbuf);
    book(counters_.main(), meta, &LedgerCounters::parked_out);
    book_drop(counters_.main(), meta, DropReason::neighbor_unresolved);
    rte_pktmbuf_free(event.mbuf);
  });
}

Result<void> WorkerSet::start() {
  running_ = true;
  for (unsigned index = 0; index < count(); ++index) {
    const unsigned lcore = config_.lcores[index];
    const int code = rte_eal_remote_launch(run_worker, workers_[index].get(), lcore);
    if (code == 0) continue;
    return Error{ErrorCode::kInternal, "worker " + std::to_string(index) + ": lcore " +
                                           std::to_string(lcore) +
                                           (code == -EBUSY ? " is busy" : " cannot be launched")};
  }
  return {};
}

void WorkerSet::stop() {
  if (!running_) return;
  running_ = false;
  for (auto& worker : workers_) worker->request_stop();
  for (const unsigned lcore : config_.lcores) rte_eal_wait_lcore(lcore);
  for (auto& worker : workers_) worker->drop_leftovers();
}

// To the worker that receives from the port the packet came from, so that a flow's packets keep their order.
bool WorkerSet::inject(rte_mbuf* mbuf, const PacketMeta& meta) {
  Worker& worker = *workers_[owner(meta.ingress, 0)];
  save_meta(mbuf, meta);
  if (!worker.inject_ring().push({mbuf})) return false;
  worker.waker().wake_if_asleep();
  return true;
}

void WorkerSet::sample(std::span<FlowSampler* const> samplers) {
  for (std::size_t index = 0; index < workers_.size(); ++index)
    workers_[index]->sample(index < samplers.size() ? samplers[index] : nullptr);
  publisher_.wait_quiescent();
}

void WorkerSet::wake_all() noexcept {
  for (auto& worker : workers_) worker->waker().wake();
}

void WorkerSet::reset_event_fd() noexcept {
  std::uint64_t count;
  [[maybe_unused]] const auto got =
      ::read(events_fd_.get(), &count, sizeof count);  // fails when nothing was announced
  events_announced_.exchange(false, std::memory_order_acq_rel);
}

void WorkerSet::announce_more_events() noexcept {
  if (events_announced_.exchange(true, std::memory_order_acq_rel)) return;
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(events_fd_.get(), &one, sizeof one);
}

double WorkerSet::busy_ratio(unsigned index) {
  auto& sample = busy_[index];
  const auto& counters = counters_.worker(index);
  const std::uint64_t total = counters.total_cycles.get();
  const std::uint64_t busy = counters.busy_cycles.get();
  if (total > sample.total) {
    sample.ratio = static_cast<double>(busy - sample.busy) / static_cast<double>(total - sample.total);
    sample.busy = busy;
    sample.total = total;
  }
  return sample.ratio;
}

}  // namespace podwire::engine
