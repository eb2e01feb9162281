#include "dataplane/worker/egress.hpp"

#include <rte_cycles.h>

#include <algorithm>

#include "dataplane/pipeline/accounting.hpp"
#include "dataplane/worker/poll_list.hpp"

namespace podwire::engine {
namespace {

// A queue is sent before the loop's end once it holds this much, while its packets are still in the cache.
constexpr std::uint16_t kSendPackets = 64;
constexpr std::uint32_t kSendBytes = 64 * 1024;

bool is_full(const EgressQueue& queue) noexcept {
  return queue.count >= kSendPackets || queue.bytes >= kSendBytes;
}

// The worker that keeps the pace of a port with so many transmit queues, of the workers that own one.
unsigned pace_owner(PortId port, unsigned queues) noexcept {
  return queue_owner(port, 0, queues);
}

}  // namespace

HandoverRings::HandoverRings(unsigned workers, std::size_t capacity) : workers_(workers) {
  rings_.reserve(std::size_t{workers} * workers);
  for (unsigned i = 0; i < workers * workers; ++i) {
    // A worker hands nothing to itself.
    const bool own = i / workers == i % workers;
    rings_.push_back(std::make_unique<SpscRing<HandedPacket>>(own ? 1 : capacity));
  }
}

bool HandoverRings::any_for(unsigned to) const noexcept {
  for (unsigned from = 0; from < workers_; ++from) {
    if (!rings_[from * workers_ + to]->empty()) return true;
  }
  return false;
}

EgressQueues::EgressQueues(unsigned worker, HandoverRings& rings, std::vector<Waker*> wakers,
                           WorkerCounters& counters, std::size_t transmit_stage, std::size_t max_paced)
    : worker_(worker),
      rings_(rings),
      wakers_(std::move(wakers)),
      counters_(counters),
      stage_(counters.stages[transmit_stage]),
      max_paced_(max_paced) {}

void EgressQueues::rebuild(const Snapshot& tables) {
  if (queues_.size() < tables.ports.size()) queues_.resize(tables.ports.size());
  std::size_t count = 0;
  for (std::size_t id = 0; id < queues_.size(); ++id) {
    if (tables.port(PortId(static_cast<std::uint16_t>(id))) == nullptr) {
      queues_[id].reset();  // empty: every loop ends with a flush
      continue;
    }
    ++count;
    if (queues_[id] != nullptr) continue;
    queues_[id] = std::make_unique<EgressQueue>();
    queues_[id]->port = PortId(static_cast<std::uint16_t>(id));
  }
  active_.reserve(count);
  follow_limits(tables);
}

EgressQueue* EgressQueues::queue(PortId port) noexcept {
  EgressQueue* queue = port.value() < queues_.size() ? queues_[port.value()].get() : nullptr;
  if (queue != nullptr && !queue->active) {
    queue->active = true;
    active_.push_back(queue);
  }
  return queue;
}

void EgressQueues::append(rte_mbuf* mbuf, PortId egress, Account account) noexcept {
  EgressQueue* to = queue(egress);
  if (to == nullptr) {
    book_drop(counters_, meta_of(account), DropReason::port_gone);
    rte_pktmbuf_free(mbuf);
    return;
  }
  to->append(mbuf, mbuf->pkt_len, account);
}

void EgressQueues::take(Burst& burst) noexcept {
  const std::uint64_t begin = rte_rdtsc();
  for (std::uint16_t i = 0; i < burst.count; ++i) {
    const auto& meta = burst.meta[i];
    append(burst.mbufs[i], meta.egress, Account::of(meta.ingress, meta.domain));
  }
  burst.count = 0;
  flush_full();
  stage_.cycles.add(rte_rdtsc() - begin);
}

void EgressQueues::settle() noexcept {
  if (std::none_of(active_.begin(), active_.end(), [](const EgressQueue* queue) { return is_full(*queue); }))
    return;
  const std::uint64_t begin = rte_rdtsc();
  flush_full();
  stage_.cycles.add(rte_rdtsc() - begin);
}

void EgressQueues::flush_full() noexcept {
  for (std::size_t i = 0; i < active_.size();) {
    EgressQueue& queue = *active_[i];
    if (!is_full(queue)) {
      ++i;
      continue;
    }
    flush_queue(queue);
    active_[i] = active_.back();
    active_.pop_back();
  }
}

void EgressQueues::flush() noexcept {
  if (active_.empty()) return;
  const std::uint64_t begin = rte_rdtsc();
  for (EgressQueue* queue : active_) flush_queue(*queue);
  active_.clear();
  stage_.cycles.add(rte_rdtsc() - begin);
}

void EgressQueues::flush_queue(EgressQueue& queue) noexcept {
  queue.active = false;
  if (queue.count == 0) return;
  stage_.packets.add(queue.count);
  stage_.bursts.add(1);
  const PortEntry* port = tables_->port(queue.port);
  if (port == nullptr || port->device == nullptr) {
    drop(queue, 0, queue.count, DropReason::port_gone);
  } else if (const std::uint16_t device_queues = port->device->tx_queues(); port->to_pod != nullptr)
      [[unlikely]] {
    const unsigned owner = pace_owner(queue.port, std::min<unsigned>(device_queues, rings_.workers()));
    if (owner == worker_) {
      park(queue, rte_rdtsc());
    } else {
      hand_over(queue, owner);
    }
  } else if (worker_ < device_queues) {
    send(queue, *port->device, static_cast<std::uint16_t>(worker_));
  } else {
    hand_over(queue, worker_ % device_queues);
  }
  queue.count = 0;
  queue.bytes = 0;
}

void EgressQueues::hand_over(EgressQueue& queue, unsigned to) noexcept {
  auto& ring = rings_.ring(worker_, to);
  std::uint16_t handed = 0;
  while (handed < queue.count && ring.push({queue.mbufs[handed], queue.port, queue.accounts[handed]})) {
    ++handed;
  }
  wakers_[to]->wake_if_asleep();
  if (handed < queue.count)
    drop(queue, handed, static_cast<std::uint16_t>(queue.count - handed), DropReason::handover_full);
}

void EgressQueues::send(EgressQueue& queue, Port& device, std::uint16_t device_queue) noexcept {
  std::uint16_t done = 0;
  while (done < queue.count) {
    const std::uint16_t taken = device.tx_burst(
        device_queue, {queue.mbufs.data() + done, static_cast<std::size_t>(queue.count - done)});
    book_sent(queue, done, taken);
    done = static_cast<std::uint16_t>(done + taken);
    if (done == queue.count) break;
    const auto rest = static_cast<std::uint16_t>(queue.count - done);
    const TxStop stop = device.tx_stop(device_queue);
    if (stop == TxStop::kRejected) {
      drop(queue, done, 1, DropReason::bad_offload);
      ++done;
    } else {
      drop(queue, done, rest, stop == TxStop::kDown ? DropReason::port_down : DropReason::egress_queue_full);
      break;
    }
  }
  counters_.ports[queue.port.value()].egress_bytes.add(queue.bytes);
}

void EgressQueues::book_sent(const EgressQueue& queue, std::uint16_t first, std::uint16_t count) noexcept {
  if (count == 0) return;
  const auto end = static_cast<std::uint16_t>(first + count);
  for (std::uint16_t i = first; i < end;) {
    std::uint16_t run = i;  // packets of one account are booked together
    while (run < end && queue.accounts[run] == queue.accounts[i]) ++run;
    book(counters_, meta_of(queue.accounts[i]), &LedgerCounters::sent, run - std::uint64_t{i});
    i = run;
  }
  counters_.ports[queue.port.value()].egress_packets.add(count);
}

void EgressQueues::drop(EgressQueue& queue, std::uint16_t first, std::uint16_t count,
                        DropReason reason) noexcept {
  for (std::uint16_t i = first; i < first + count; ++i) {
    book_drop(counters_, meta_of(queue.accounts[i]), reason);
    queue.bytes -= queue.mbufs[i]->pkt_len;
  }
  stage_.dropped.add(count);
  rte_pktmbuf_free_bulk(queue.mbufs.data() + first, count);
}

unsigned EgressQueues::accept_handed(unsigned limit) noexcept {
  unsigned accepted = 0;
  for (unsigned from = 0; from < rings_.workers(); ++from) {
    if (from == worker_) continue;
    auto& ring = rings_.ring(from, worker_);
    HandedPacket packet;
    for (unsigned n = 0; n < limit && ring.pop(packet); ++n, ++accepted) {
      append(packet.mbuf, packet.egress, packet.account);
      if (n % kSendPackets == kSendPackets - 1) flush();
    }
    flush();
  }
  return accepted;
}

void EgressQueues::drop_leftovers(DropReason reason) noexcept {
  for (const auto id : paced_ports_) drop_paced(*pacers_[id.value()], reason);
  for (unsigned from = 0; from < rings_.workers(); ++from) {
    HandedPacket packet;
    while (rings_.ring(from, worker_).pop(packet)) {
      book_drop(counters_, meta_of(packet.account), reason);
      rte_pktmbuf_free(packet.mbuf);
    }
  }
}

}  // namespace podwire::engine
