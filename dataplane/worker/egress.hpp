// EgressQueues: what a worker is about to send, one queue a port, and the rings over which it hands packets
// to the worker that owns a port's transmit queue when the port has fewer of them than there are workers.
// Filled by the pipeline's last step, empty after every flush; a worker flushes before it reports quiescence.
// Ports with a limit are paced by one worker, to which the others hand over; what waits there is parked.
// Called by its worker only, except drop_all.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/pipeline/context.hpp"
#include "dataplane/worker/pacer.hpp"
#include "dataplane/worker/spsc_ring.hpp"
#include "dataplane/worker/waker.hpp"

namespace podwire::engine {

// A finished packet on its way to the worker that sends it.
struct HandedPacket {
  rte_mbuf* mbuf = nullptr;
  PortId egress;
  Account account;
};

// One ring for every ordered pair of workers. Owned by WorkerSet.
class HandoverRings {
 public:
  HandoverRings(unsigned workers, std::size_t capacity);
  SpscRing<HandedPacket>& ring(unsigned from, unsigned to) { return *rings_[from * workers_ + to]; }
  bool any_for(unsigned to) const noexcept;
  unsigned workers() const { return workers_; }

 private:
  unsigned workers_;
  std::vector<std::unique_ptr<SpscRing<HandedPacket>>> rings_;
};

class EgressQueues final : public EgressSink {
 public:
  // `wakers` has one element a worker; `transmit_stage` is the index in WorkerCounters::stages. Of all ports
  // together, about `max_paced` packets at most wait for their pace here.
  EgressQueues(unsigned worker, HandoverRings& rings, std::vector<Waker*> wakers, WorkerCounters& counters,
               std::size_t transmit_stage, std::size_t max_paced = 4096);

  // Makes a queue for every port of `tables` and removes the others. Allocates: only when ports changed.
  void rebuild(const Snapshot& tables);
  // The snapshot that the packets of this loop refer to; valid until the worker's next quiescence.
  void begin(const Snapshot* tables) noexcept { tables_ = tables; }

  void take(Burst& burst) noexcept override;
  EgressQueue* queue(PortId port) noexcept override;
  void settle() noexcept override;
  // Sends, hands over or drops everything that is queued.
  void flush() noexcept;
  // Sends what may go at `now` (TSC) towards ports with a limit; returns how many packets.
  unsigned pace(std::uint64_t now) noexcept;
  // When pace() has something to do again; UINT64_MAX: not before packets come.
  std::uint64_t next_pace() const noexcept;
  // Queues what other workers handed to this one; returns how many. At most `limit` from each.
  unsigned accept_handed(unsigned limit) noexcept;
  // Frees and books as lost what other workers handed to this one and what waits here. After all workers have
  // stopped.
  void drop_leftovers(DropReason reason) noexcept;

 private:
  void append(rte_mbuf* mbuf, PortId egress, Account account) noexcept;
  void flush_queue(EgressQueue& queue) noexcept;
  void flush_full() noexcept;
  void hand_over(EgressQueue& queue, unsigned to) noexcept;
  void park(EgressQueue& queue, std::uint64_t now) noexcept;
  unsigned send_paced(Pacer& pacer, PortId port, std::uint64_t now) noexcept;
  void drop_paced(Pacer& pacer, DropReason reason) noexcept;
  void follow_limits(const Snapshot& tables);
  void send(EgressQueue& queue, Port& device, std::uint16_t device_queue) noexcept;
  void book_sent(const EgressQueue& queue, std::uint16_t first, std::uint16_t count) noexcept;
  void drop(EgressQueue& queue, std::uint16_t first, std::uint16_t count, DropReason reason) noexcept;

  const unsigned worker_;
  HandoverRings& rings_;
  const std::vector<Waker*> wakers_;
  WorkerCounters& counters_;
  StageCounters& stage_;
  const Snapshot* tables_ = nullptr;
  std::vector<std::unique_ptr<EgressQueue>> queues_;  // by PortId
  std::vector<EgressQueue*> active_;            // those with packets; its capacity is reserved by rebuild
  std::vector<std::unique_ptr<Pacer>> pacers_;  // by PortId; those that this worker serves
  std::vector<PortId> paced_ports_;             // that have one
  EgressQueue turn_;                            // what pace() is about to send
  const std::size_t max_paced_;
  std::size_t paced_ = 0;  // packets in all pacers
};

}  // namespace podwire::engine
