// A port in memory: the test puts packets in for a worker to receive and looks at what it sent. Safe to use
// while a worker runs.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <deque>
#include <mutex>
#include <vector>

#include "dataplane/ports/port.hpp"

namespace podwire::test {

class MemoryPort final : public engine::Port {
 public:
  struct Options {
    std::uint16_t tx_queues = 1;
    bool descriptor = true;  // readable while there is something to receive
    bool when_ready = true;  // like a tap
  };
  explicit MemoryPort(const Options& options) : options_(options) {
    if (options.descriptor) fd_.reset(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    mtu_ = 1500;
  }
  ~MemoryPort() override {
    for (rte_mbuf* packet : waiting_) rte_pktmbuf_free(packet);
  }

  void put(std::vector<rte_mbuf*> packets) {
    const std::lock_guard lock(mutex_);
    waiting_.insert(waiting_.end(), packets.begin(), packets.end());
    const std::uint64_t one = 1;
    if (fd_ && ::write(fd_.get(), &one, sizeof one) != sizeof one) throw std::runtime_error("eventfd");
  }
  std::size_t sent() const { return sent_; }
  std::size_t waiting() const {
    const std::lock_guard lock(mutex_);
    return waiting_.size();
  }
  // Takes at most this many packets a burst, then says why.
  void limit(std::uint16_t most, engine::TxStop why) {
    limit_ = most;
    stop_ = why;
  }

  // From now on its peer is so many packets behind, and takes one whenever it is asked to.
  void fall_behind(unsigned packets) { behind_ = packets; }
  unsigned behind() const { return behind_; }

  bool go_on(std::uint16_t) noexcept override {
    if (behind_ != 0) --behind_;
    return behind_ == 0;
  }
  std::uint16_t rx_burst(std::uint16_t, std::span<rte_mbuf*> out) noexcept override {
    const std::lock_guard lock(mutex_);
    std::uint16_t count = 0;
    for (; count < out.size() && !waiting_.empty(); ++count) {
      out[count] = waiting_.front();
      waiting_.pop_front();
    }
    std::uint64_t value;
    if (waiting_.empty() && fd_) [[maybe_unused]]
      const auto got = ::read(fd_.get(), &value, sizeof value);
    return count;
  }
  std::uint16_t tx_burst(std::uint16_t, std::span<rte_mbuf*> in) noexcept override {
    const auto count = static_cast<std::uint16_t>(std::min<std::size_t>(in.size(), limit_));
    if (stop_ == engine::TxStop::kRejected) limit_ = 1000;  // only that packet
    rte_pktmbuf_free_bulk(in.data(), count);
    sent_ += count;
    return count;
  }
  engine::TxStop tx_stop(std::uint16_t) const noexcept override { return stop_; }
  int poll_fd(std::uint16_t) const noexcept override { return fd_.get(); }
  bool receive_when_ready() const noexcept override { return options_.when_ready; }
  std::uint16_t rx_queues() const noexcept override { return 1; }
  std::uint16_t tx_queues() const noexcept override { return options_.tx_queues; }
  bool link_up() const override { return true; }
  engine::QueueCounters queue_counters(std::uint16_t) const override { return {}; }
  Json describe() const override { return Json::object(); }
  std::string last_error() const override { return {}; }

 private:
  const Options options_;
  UniqueFd fd_;
  mutable std::mutex mutex_;
  std::deque<rte_mbuf*> waiting_;
  std::atomic<std::size_t> sent_{0};
  std::atomic<unsigned> behind_{0};
  std::atomic<std::uint16_t> limit_{1000};
  std::atomic<engine::TxStop> stop_{engine::TxStop::kFull};
};

}  // namespace podwire::test
