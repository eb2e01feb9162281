// Pacer: the packets that wait for their turn towards one port with a limit, in order, bounded in bytes and
// number. Kept by the worker that owns the port's pace, which books its packets as parked. Owns the mbufs it
// keeps; books nothing itself.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>
#include <deque>
#include <memory>

#include "dataplane/packet/offload.hpp"
#include "dataplane/pipeline/egress_sink.hpp"
#include "dataplane/tables/rate_limiter.hpp"

namespace podwire::engine {

class Pacer {
 public:
  // What waits is sent within this time at the rate, beside the burst: longer queues help nobody (CNI's
  // bandwidth plugin has the same figure).
  static constexpr std::uint64_t kQueueMs = 25;
  static constexpr std::uint64_t kLeastQueueBytes = 128 * 1024;
  static constexpr std::size_t kMaxPackets = 2048;

  // Without a limiter everything may go at once.
  void follow(std::shared_ptr<RateLimiter> limiter) {
    limiter_ = std::move(limiter);
    if (limiter_ == nullptr) return;
    max_bytes_ =
        std::max(kLeastQueueBytes, limiter_->burst_bytes() + limiter_->bytes_per_s() * kQueueMs / 1000);
  }
  bool limited() const noexcept { return limiter_ != nullptr; }

  // False: full; the packet stays the caller's.
  bool push(rte_mbuf* mbuf, Account account) {
    const auto bytes = bytes_on_wire(mbuf);
    if (waiting_.size() >= kMaxPackets || (bytes_ + bytes > max_bytes_ && !waiting_.empty())) return false;
    waiting_.push_back({mbuf, account, bytes});
    bytes_ += bytes;
    return true;
  }
  // The next packet if it may go at `now`; it is paid for then. Null: none.
  rte_mbuf* pop(std::uint64_t now, Account& account) {
    if (waiting_.empty() || (limiter_ != nullptr && !limiter_->may_pass(now))) return nullptr;
    return take(now, account);
  }
  // The next packet, whenever it may go.
  rte_mbuf* take(std::uint64_t now, Account& account) {
    if (waiting_.empty()) return nullptr;
    const auto front = waiting_.front();
    waiting_.pop_front();
    bytes_ -= front.bytes;
    if (limiter_ != nullptr) limiter_->charge(now, front.bytes);
    account = front.account;
    return front.mbuf;
  }

  std::size_t size() const noexcept { return waiting_.size(); }
  // When the next packet may go; never without one.
  std::uint64_t due() const noexcept {
    if (waiting_.empty()) return UINT64_MAX;
    return limiter_ == nullptr ? 0 : limiter_->due();
  }

 private:
  struct Waiting {
    rte_mbuf* mbuf;
    Account account;
    std::uint32_t bytes;
  };
  std::shared_ptr<RateLimiter> limiter_;
  std::deque<Waiting> waiting_;
  std::uint64_t bytes_ = 0, max_bytes_ = kLeastQueueBytes;
};

}  // namespace podwire::engine
