// BufferBudget: the engine's packet pool behind a bound on what one poll may take out of it. librte_vhost
// chains buffers for as long as a guest's descriptors go on, which may be the whole pool; out of pool() it
// gets as many as the calling thread has been allowed. They are the packet pool's own mbufs and go back there
// by themselves. Shared by the ports on a pool; made and dropped by the main thread, used by workers.
#pragma once

#include <rte_mempool.h>

#include <cstdint>
#include <memory>

#include "dataplane/base/result.hpp"

namespace podwire::engine {

// The longest frame that a port takes: an IPv6 packet of the largest length field, and two VLAN tags.
inline constexpr std::uint32_t kLongestFrameBytes = 65535 + 40 + 22;
// Mbufs of the packet pool (2 KiB each) that it takes.
inline constexpr unsigned kFrameBuffers = (kLongestFrameBytes + 2047) / 2048;

// Buffers that one poll of a port may take out of `pool` at the moment: an even share of a quarter of those
// that are free, so that what ports keep for a while (packets that wait for their turn) does not starve the
// others, at most `most` and at least `least`. Buffers in the lcores' caches count as taken.
unsigned poll_share(const rte_mempool* pool, std::size_t workers, unsigned least, unsigned most) noexcept;

class BufferBudget {
 public:
  // What a poll may take at most: 32 of the longest frames, or 64 that fit one buffer each.
  static constexpr unsigned kMostBuffers = 32 * (kFrameBuffers + 1);

  static Result<std::shared_ptr<BufferBudget>> shared(rte_mempool* packets);
  BufferBudget(const BufferBudget&) = delete;
  BufferBudget& operator=(const BufferBudget&) = delete;
  ~BufferBudget();

  // To allocate from; nothing is ever freed to it.
  rte_mempool* pool() const noexcept { return gate_; }
  // What a poll may take now, never less than one frame of the longest.
  unsigned share(std::size_t workers) const noexcept {
    return poll_share(packets_, workers, kFrameBuffers, kMostBuffers);
  }

  // The calling thread's allowance, for whatever pool() it takes from: a new one in place of the last; what
  // is left of it; whether more was asked for since; whether the packet pool had none since.
  static void allow(unsigned buffers) noexcept;
  static unsigned left() noexcept;
  static bool exceeded() noexcept;
  static bool found_none() noexcept;

 private:
  explicit BufferBudget(rte_mempool* packets) : packets_(packets) {}

  rte_mempool* const packets_;
  rte_mempool* gate_ = nullptr;  // has no mbufs of its own
};

}  // namespace podwire::engine
