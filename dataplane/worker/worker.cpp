#include "dataplane/worker/worker.hpp"

#include <rte_cycles.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "dataplane/packet/offload.hpp"
#include "dataplane/pipeline/accounting.hpp"
#include "dataplane/tables/rate_limiter.hpp"

namespace podwire::engine {
namespace {

// While queues without a system call are busy, the others' descriptors are asked this often.
constexpr std::uint64_t kAskIntervalUs = 10;

// The kernel's struct sched_attr (its header clashes with the C library's).
struct SchedulingAttributes {
  std::uint32_t size, policy;
  std::uint64_t flags;
  std::int32_t nice;
  std::uint32_t priority;
  std::uint64_t runtime_ns, deadline_ns, period_ns;
};

// Asks the scheduler for short slices: on a shared core the worker then runs soon after it is woken instead
// of after another thread's slice of milliseconds, without a larger share of the core. Linux 6.12 and later;
// others ignore it.
void ask_for_short_slices() noexcept {
  SchedulingAttributes attributes{};
  if (::syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) != 0 ||
      attributes.policy != SCHED_OTHER)
    return;
  attributes.size = sizeof attributes;
  attributes.runtime_ns = 100'000;  // the least there is
  ::syscall(SYS_sched_setattr, 0, &attributes, 0);
}

std::uint64_t cycles_of_us(std::uint64_t us) {
  return us * rte_get_tsc_hz() / 1'000'000;
}

}  // namespace

Worker::Worker(unsigned index, unsigned workers, const Shared& shared, WorkerCounters& counters)
    : index_(index),
      workers_(workers),
      shared_(shared),
      counters_(counters),
      governor_(rte_get_tsc_hz(), shared.idle.spin_us),
      ask_cycles_(cycles_of_us(kAskIntervalUs)) {
  ctx_.counters = &counters_;
  ctx_.pool = shared.pools.packets;
  ctx_.events = this;
  ctx_.flows = shared.flows;
  ctx_.tsc_hz = rte_get_tsc_hz();
}

Result<std::unique_ptr<Worker>> Worker::create(unsigned index, unsigned workers, const Shared& shared,
                                               WorkerCounters& counters) {
  std::unique_ptr<Worker> worker(new Worker(index, workers, shared, counters));
  PODWIRE_CHECK(worker->waker_.open());
  PODWIRE_TRY(worker->polled_, PollList::create(index, workers, worker->waker_.fd()));
  return worker;
}

void Worker::connect(std::vector<Waker*> wakers) {
  // What waits for its pace must not use up the buffers that everybody else needs.
  const std::size_t max_paced = shared_.pools.packets->size / (8 * workers_);
  egress_ = std::make_unique<EgressQueues>(index_, shared_.handover, std::move(wakers), counters_,
                                           shared_.pipeline.transmit_stage, max_paced);
  ctx_.egress = egress_.get();
}

void Worker::run() noexcept {
  ask_for_short_slices();
  Publisher& publisher = shared_.publisher;
  publisher.online(index_);
  bool slept = false, busy = false;
  std::uint64_t before = rte_rdtsc();
  while (!stop_.load(std::memory_order_acquire)) {
    const std::uint64_t now = rte_rdtsc();
    counters_.total_cycles.add(now - before);
    if (busy) {
      counters_.busy_cycles.add(now - before);
      if (polled_found_packets_) governor_.packet_polled(now);
      governor_.stop_watching();
    }
    before = now;
    ctx_.now_tsc = now;
    ctx_.now_s = static_cast<std::uint32_t>(now / ctx_.tsc_hz);
    follow_snapshot();
    polled_->release_held(now);
    if (!slept) ask_descriptors(now);
    const unsigned packets = serve_all();
    publisher.quiescent(index_);
    announce_events();
    counters_.polls.add(1);
    slept = false;
    busy = packets != 0;
    if (busy) continue;
    counters_.empty_polls.add(1);
    if (!may_sleep(now)) continue;
    sleep();
    slept = true;
  }
  serve_all();  // what was handed over or injected meanwhile
  announce_events();
  publisher.offline(index_);
}

void Worker::follow_snapshot() {
  const Snapshot* tables = shared_.publisher.load();
  ctx_.tables = tables;
  egress_->begin(tables);
  if (tables == nullptr || (ports_known_ && tables->ports_generation == ports_generation_)) return;
  polled_->rebuild(*tables);
  egress_->rebuild(*tables);
  ports_known_ = true;
  ports_generation_ = tables->ports_generation;
  shared_.publisher.report_ports_seen(index_, ports_generation_);
}

void Worker::ask_descriptors(std::uint64_t now) noexcept {
  if (!polled_->asks_descriptors() ||
      (polled_found_packets_ && polled_->ready().empty() && now - last_ask_tsc_ < ask_cycles_)) {
    polled_->forget_ready();
    return;
  }
  last_ask_tsc_ = now;
  polled_->wait(0);
  if (polled_->woken()) waker_.consume();
}

unsigned Worker::serve_all() noexcept {
  if (ctx_.tables == nullptr) return 0;
  unsigned packets = egress_->accept_handed(kHandedPerLoop);
  packets += egress_->pace(ctx_.now_tsc);
  packets += accept_injected();
  for (PolledQueue* queue : polled_->ready()) packets += receive(*queue);
  unsigned polled = 0;
  for (PolledQueue* queue : polled_->always()) polled += receive(*queue);
  polled_found_packets_ = polled != 0;
  egress_->flush();
  return packets + polled;
}

unsigned Worker::receive(PolledQueue& queue) noexcept {
  if (queue.held) [[unlikely]] {
    queue.device->go_on(queue.queue);
    return 0;
  }
  const std::uint64_t begin = rte_rdtsc();
  const auto room = std::span(burst_.mbufs).first(room_for(queue, begin));
  if (room.empty()) return 0;
  const std::uint16_t count = queue.device->rx_burst(queue.queue, room);
  if (count == 0) return 0;
  std::uint64_t bytes = 0;
  for (std::uint16_t i = 0; i < count; ++i) {
    const rte_mbuf* mbuf = burst_.mbufs[i];
    rte_prefetch0(rte_pktmbuf_mtod(mbuf, const void*));
    bytes += mbuf->pkt_len;
  }
  burst_.count = count;
  if (queue.limiter != nullptr) charge(queue, begin);
  book_received(queue, count, bytes);
  if (auto* sampler = sampler_.load(std::memory_order_acquire); sampler != nullptr) [[unlikely]]
    sampler->see(*ctx_.tables, std::span(burst_.mbufs).first(count), queue.meta, begin);
  ctx_.booked_tsc = rte_rdtsc();
  counters_.stages[0].cycles.add(ctx_.booked_tsc - begin);
  shared_.pipeline.receive(ctx_, burst_, queue.meta);
  return count;
}

// How many packets may be taken from the queue at once; none: its pod has to wait.
std::uint16_t Worker::room_for(PolledQueue& queue, std::uint64_t now) noexcept {
  if (queue.limiter == nullptr) [[likely]]
    return shared_.idle.burst;
  if (!queue.limiter->may_pass(now)) {
    polled_->hold(queue);
    return 0;
  }
  // A packet may have 64 KiB, and what is received is sent: the fewer, the smaller the debt.
  const auto packets = queue.limiter->credit_bytes(now) >> 16;
  return static_cast<std::uint16_t>(std::clamp<std::uint64_t>(packets, 1, shared_.idle.burst));
}

void Worker::charge(const PolledQueue& queue, std::uint64_t now) noexcept {
  std::uint64_t bytes = 0;
  for (std::uint16_t i = 0; i < burst_.count; ++i) bytes += bytes_on_wire(burst_.mbufs[i]);
  queue.limiter->charge(now, bytes);
}

void Worker::book_received(const PolledQueue& queue, std::uint16_t count, std::uint64_t bytes) noexcept {
  counters_.engine.received.add(count);
  counters_.domains[queue.meta.domain.value()].received.add(count);
  auto& port = counters_.ports[queue.port.value()];
  port.ledger.received.add(count);
  port.ingress_bytes.add(bytes);
  counters_.stages[0].packets.add(count);
  counters_.stages[0].bursts.add(1);
}

unsigned Worker::accept_injected() noexcept {
  burst_.count = 0;
  burst_.leaving = 0;
  InjectedPacket packet;
  while (!burst_.full() && inject_.pop(packet)) burst_.push(packet.mbuf, load_meta(packet.mbuf));
  const unsigned count = burst_.count;
  if (count != 0) shared_.pipeline.resume(ctx_, burst_);
  return count;
}

bool Worker::may_sleep(std::uint64_t now) noexcept {
  return !shared_.idle.busy && !governor_.may_spin(now);
}

bool Worker::work_waits() const noexcept {
  return !inject_.empty() || shared_.handover.any_for(index_) || stop_.load(std::memory_order_acquire);
}

// Until a port with a limit has its turn at the latest.
std::uint64_t Worker::sleep_us() const noexcept {
  const auto due = std::min(polled_->next_release(), egress_->next_pace());
  if (due == UINT64_MAX) [[likely]]
    return polled_->sleep_us();
  const auto now = rte_rdtsc();
  if (due <= now) return 0;
  const auto wait_us = static_cast<unsigned __int128>(due - now) * 1'000'000 / ctx_.tsc_hz + 1;
  return static_cast<std::uint64_t>(std::min<unsigned __int128>(wait_us, polled_->sleep_us()));
}

void Worker::sleep() noexcept {
  ctx_.tables = nullptr;
  egress_->begin(nullptr);
  waker_.announce_sleep();
  // A port may look at what it shares with its peer only while this worker is online.
  const bool idle = polled_->arm() && !work_waits();
  const std::uint64_t timeout_us = idle ? sleep_us() : 0;
  shared_.publisher.offline(index_);
  polled_->wait(timeout_us);
  waker_.announce_awake();
  if (polled_->woken()) waker_.consume();
  shared_.publisher.online(index_);
  polled_->disarm();
  counters_.sleeps.add(1);
}

bool Worker::push(const Event& event) noexcept {
  pushed_events_ = true;
  if (events_.push(event)) return true;
  counters_.events_lost.add(1);
  return false;
}

void Worker::announce_events() noexcept {
  if (!pushed_events_) return;
  pushed_events_ = false;
  if (shared_.events_announced->exchange(true, std::memory_order_acq_rel)) return;
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written =
      ::write(shared_.events_fd, &one, sizeof one);  // fails only when readable
}

void Worker::request_stop() noexcept {
  stop_.store(true, std::memory_order_release);
  waker_.wake();
}

void Worker::drop_leftovers() noexcept {
  egress_->drop_leftovers(DropReason::port_gone);
  InjectedPacket packet;
  while (inject_.pop(packet)) {
    book_drop(counters_, load_meta(packet.mbuf), DropReason::port_gone);
    rte_pktmbuf_free(packet.mbuf);
  }
}

}  // namespace podwire::engine
