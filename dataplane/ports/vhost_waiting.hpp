// WaitingPackets: what a worker has for a guest behind an IOMMU while it is not known yet where the guest's
// buffers are. librte_vhost asks for the address of a buffer when it needs it, and has it a moment later.
// What waits was taken by tx_burst and counts as sent. It was finished for one run of the device: the next
// one may be another guest, or one that takes other offloads, so that nothing is kept for it. Owns the mbufs;
// its worker's only.
#pragma once

#include <rte_cycles.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "dataplane/packet/plain_mbufs.hpp"

namespace podwire::engine {

class WaitingPackets {
 public:
  static constexpr std::size_t kMost = 64;
  static constexpr std::uint64_t kPatienceMs = 50;  // without one that goes

  WaitingPackets() = default;
  WaitingPackets(const WaitingPackets&) = delete;
  WaitingPackets& operator=(const WaitingPackets&) = delete;
  ~WaitingPackets() { give_up(packets_.size()); }

  // Makes room; without, nothing can wait.
  void reserve() { packets_.reserve(kMost); }
  bool empty() const noexcept { return packets_.empty(); }

  // Takes those for which there is room, for the device's run `run`; how many. What waits is of no other run.
  std::uint16_t add(std::uint64_t run, std::span<rte_mbuf*> packets) noexcept {
    const auto count = std::min(packets_.capacity() - packets_.size(), packets.size());
    if (packets_.empty()) since_tsc_ = rte_rdtsc();
    run_ = run;
    packets_.insert(packets_.end(), packets.begin(), packets.begin() + static_cast<std::ptrdiff_t>(count));
    return static_cast<std::uint16_t>(count);
  }

  // Offers them, oldest first, to `enqueue`, which takes a span and returns how many of the first went; those
  // are freed. The device is in its run `run` now, 0: in none. Returns how many were given up.
  template <class Enqueue>
  std::size_t send(std::uint64_t run, Enqueue&& enqueue) noexcept {
    if (packets_.empty()) return 0;
    if (run != run_) return give_up(packets_.size());
    const std::size_t sent = enqueue(std::span(packets_));
    const auto now = rte_rdtsc();
    give_up(sent);
    if (sent != 0) since_tsc_ = now;
    return now - since_tsc_ > kPatienceMs * rte_get_tsc_hz() / 1000 ? give_up(packets_.size()) : 0;
  }

 private:
  std::size_t give_up(std::size_t count) noexcept {
    if (count == 0) return 0;
    free_packets(std::span(packets_).first(count));
    packets_.erase(packets_.begin(), packets_.begin() + static_cast<std::ptrdiff_t>(count));
    return count;
  }

  std::vector<rte_mbuf*> packets_;
  std::uint64_t since_tsc_ = 0;
  std::uint64_t run_ = 0;
};

}  // namespace podwire::engine
