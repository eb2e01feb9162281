// VhostDriver: one port's registration with librte_vhost and the device behind it. The library serves a
// private socket that only the port's relay (vhost_relay.hpp) connects to; it calls back on its own thread
// ("vhost-events"). What workers need of the device is in atomics here. Created, asked and destroyed by the
// main thread; vid() and the queues' state: any worker.
//
// Who may wait for whom: the library holds the access locks of all rings while it handles most messages, and
// a worker may spin on such a lock, so waiting for quiescence is allowed in destroy_device only, which is
// called without them. It holds its global mutex while it unregisters, which its thread needs for messages;
// so a socket is unregistered only when its connection has ended.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/api/objects.hpp"
#include "dataplane/base/unique_fd.hpp"
#include "dataplane/ports/fault_guard.hpp"
#include "dataplane/ports/peer_signal.hpp"
#include "dataplane/ports/vhost_message.hpp"

namespace podwire::engine {

class VhostDriver {
 public:
  // `wait_quiescent` returns once every worker has left the burst that it was in; may be empty in tests
  // without workers.
  static Result<std::unique_ptr<VhostDriver>> create(const api::Port& config, std::uint16_t workers,
                                                     std::function<void()> wait_quiescent);
  // After end_connection.
  ~VhostDriver();
  VhostDriver(const VhostDriver&) = delete;
  VhostDriver& operator=(const VhostDriver&) = delete;

  // Workers, once a burst: the library's handle of a device that runs, or -1. It stays good until the worker
  // is quiescent.
  int vid() const noexcept {
    return condemned_.load(std::memory_order_relaxed) ? -1 : vid_.load(std::memory_order_acquire);
  }
  // With a vid: which run of a device it is, never 0; another one, also of the same guest, has another
  // number.
  std::uint64_t run() const noexcept { return run_.load(std::memory_order_relaxed); }
  // Bit q: the ring that queue q receives from (the guest sends on it), or sends on, is enabled.
  std::uint32_t receiving() const noexcept { return receiving_.load(std::memory_order_acquire); }
  std::uint32_t sending() const noexcept { return sending_.load(std::memory_order_acquire); }
  // Virtio feature bits that the running device has agreed to.
  std::uint64_t features() const noexcept { return features_.load(std::memory_order_acquire); }
  // An epoll descriptor that becomes readable when the guest kicks the queue's ring, whichever guest it is.
  int kick_fd(std::uint16_t queue) const noexcept { return kicks_[queue].epoll.get(); }
  // Takes back what made it readable.
  void take_kick(std::uint16_t queue) const noexcept;
  // After a call of the library for `ring`: passes the interrupts on that it wanted to send. The guest's
  // eventfd is as hostile as the guest (it can be made to block whoever writes it), so the library has one of
  // ours. `worker` is the caller.
  void interrupt(std::uint16_t ring, std::uint16_t worker) noexcept;

  // Main thread: the private socket; whether the guest's memory went away under us; a descriptor that becomes
  // readable when the library is done with a connection; how many it has begun with, and is done with.
  const std::string& path() const { return path_; }
  bool condemned() const { return condemned_.load(std::memory_order_relaxed); }
  int ended_fd() const { return ended_fd_.get(); }
  std::uint64_t connections_begun() const { return connections_begun_.load(std::memory_order_acquire); }
  std::uint64_t take_connections_ended();
  // The guest's eventfd for interrupts of `ring`, or none; returns the one that the library gets.
  Result<UniqueFd> set_interrupt(std::uint16_t ring, UniqueFd eventfd);
  // No connection is left: what follows is a new peer.
  void reset();
  Json describe() const;

 private:
  friend struct VhostCallbacks;
  struct Kick {
    UniqueFd epoll;
    UniqueFd guest;  // our duplicate of the ring's eventfd; vhost-events only
  };
  VhostDriver(const api::Port& config, std::uint16_t workers, std::function<void()> wait_quiescent);
  Result<void> register_socket();

  // On vhost-events.
  void device_runs(int vid);
  void device_stops();
  void ring_changed(int vid, std::uint16_t ring, bool enabled);
  void watch_kicks(int vid, std::uint16_t queue, bool enabled);
  bool guard_memory(int vid);
  void unguard_memory();
  void connection_ended();

  const std::uint16_t queues_;
  const bool iommu_;
  const std::function<void()> wait_quiescent_;
  std::string path_;
  bool registered_ = false;
  std::array<Kick, kVhostMaxQueues> kicks_;
  UniqueFd ended_fd_;
  const std::shared_ptr<PeerSignals> signals_;
  std::array<UniqueFd, 2 * kVhostMaxQueues> interrupts_;  // by ring; main thread
  std::array<std::atomic<int>, 2 * kVhostMaxQueues> interrupt_fds_;

  std::atomic<int> vid_{-1};
  std::atomic<std::uint64_t> run_{0};
  std::atomic<std::uint32_t> receiving_{0}, sending_{0};
  std::atomic<std::uint64_t> features_{0};
  std::atomic<bool> condemned_{false};
  std::vector<GuardedRegion> regions_;  // vhost-events only
  std::atomic<std::uint64_t> memory_bytes_{0}, memory_regions_{0};
  std::array<std::atomic<std::uint16_t>, 2 * kVhostMaxQueues> ring_sizes_{};
  std::atomic<std::uint64_t> connections_begun_{0}, connections_ended_{0};
};

}  // namespace podwire::engine
