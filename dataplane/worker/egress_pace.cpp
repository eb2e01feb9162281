// EgressQueues' part in ports with a limit.
#include <rte_cycles.h>

#include <algorithm>

#include "dataplane/pipeline/accounting.hpp"
#include "dataplane/worker/egress.hpp"

namespace podwire::engine {
namespace {

// What a packet that waits keeps from the others, in mbufs of the packet pool: one with few large buffers
// counts as if it had many small ones, of which there are as many bytes.
std::size_t buffers_of(const rte_mbuf* mbuf) noexcept {
  constexpr std::uint32_t kBufferBytes = 2048;
  return std::max<std::size_t>(mbuf->nb_segs, mbuf->pkt_len / kBufferBytes);
}

}  // namespace

// A pacer for every port with a limit, whether this worker will be the one that keeps its pace or not.
void EgressQueues::follow_limits(const Snapshot& tables) {
  for (auto at = paced_ports_.begin(); at != paced_ports_.end();) {
    auto& pacer = pacers_[at->value()];
    const auto* port = tables.port(*at);
    if (port != nullptr && port->to_pod != nullptr) {
      ++at;
      continue;
    }
    if (port != nullptr) {
      pacer->follow(nullptr);
      while (pacer->size() != 0) send_paced(*pacer, *at, 0);
    } else {
      drop_paced(*pacer, DropReason::port_gone);
    }
    pacer.reset();
    at = paced_ports_.erase(at);
  }
  if (pacers_.size() < tables.ports.size()) pacers_.resize(tables.ports.size());
  for (const auto* port : tables.ports) {
    if (port == nullptr || port->to_pod == nullptr) continue;
    auto& pacer = pacers_[port->id.value()];
    if (pacer == nullptr) {
      pacer = std::make_unique<Pacer>();
      paced_ports_.push_back(port->id);
    }
    pacer->follow(port->to_pod);
  }
}

void EgressQueues::park(EgressQueue& queue, std::uint64_t now) noexcept {
  constexpr std::size_t kAlways = 8;
  auto& pacer = *pacers_[queue.port.value()];
  for (std::uint16_t i = 0; i < queue.count; ++i) {
    // Whoever keeps to its limit needs a few places, however many the others have taken; for one large
    // packet, or some of a buffer each.
    const bool small = pacer.size() < kAlways && buffers_of(queue.mbufs[i]) == 1;
    const bool room = paced_ < max_paced_ || small || pacer.size() == 0;
    if (room && pacer.push(queue.mbufs[i], queue.accounts[i])) {
      paced_ += buffers_of(queue.mbufs[i]);
      book(counters_, meta_of(queue.accounts[i]), &LedgerCounters::parked_in);
    } else {
      drop(queue, i, 1, DropReason::rate_limited);
    }
  }
  send_paced(pacer, queue.port, now);
}

// One burst at most.
unsigned EgressQueues::send_paced(Pacer& pacer, PortId port, std::uint64_t now) noexcept {
  constexpr std::uint16_t kTurn = kBurstMax;
  turn_.port = port;
  turn_.count = 0;
  turn_.bytes = 0;
  Account account;
  while (turn_.count < kTurn) {
    rte_mbuf* mbuf = pacer.pop(now, account);
    if (mbuf == nullptr) break;
    paced_ -= buffers_of(mbuf);
    book(counters_, meta_of(account), &LedgerCounters::parked_out);
    turn_.append(mbuf, mbuf->pkt_len, account);
  }
  const unsigned count = turn_.count;
  if (count == 0) return 0;
  const auto* entry = tables_->port(port);
  if (entry == nullptr || entry->device == nullptr) {
    drop(turn_, 0, turn_.count, DropReason::port_gone);
  } else {
    const auto queues = std::max<std::uint16_t>(entry->device->tx_queues(), 1);
    send(turn_, *entry->device, static_cast<std::uint16_t>(worker_ % queues));
  }
  return count;
}

unsigned EgressQueues::pace(std::uint64_t now) noexcept {
  if (paced_ == 0) return 0;
  unsigned sent = 0;
  for (const auto id : paced_ports_) {
    auto& pacer = *pacers_[id.value()];
    if (pacer.due() <= now) sent += send_paced(pacer, id, now);
  }
  return sent;
}

std::uint64_t EgressQueues::next_pace() const noexcept {
  std::uint64_t next = UINT64_MAX;
  if (paced_ == 0) return next;
  for (const auto id : paced_ports_) next = std::min(next, pacers_[id.value()]->due());
  return next;
}

void EgressQueues::drop_paced(Pacer& pacer, DropReason reason) noexcept {
  Account account;
  while (rte_mbuf* mbuf = pacer.take(0, account)) {
    paced_ -= buffers_of(mbuf);
    const auto meta = meta_of(account);
    book(counters_, meta, &LedgerCounters::parked_out);
    book_drop(counters_, meta, reason);
    rte_pktmbuf_free(mbuf);
  }
}

}  // namespace podwire::engine
