// PeerSignals: how a worker wakes a peer. The peer holds the eventfd as well: it can make it blocking and
// fill it at any moment, and a write(2) would then hold the worker for as long as the peer likes. So the
// kernel writes it as the completion of an asynchronous operation (io_submit(2) with IOCB_FLAG_RESFD), which
// never waits. No DPDK in here.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/base/unique_fd.hpp"

namespace podwire::engine {

class PeerSignals {
 public:
  // One context a worker, shared by all ports, because the machine has a limited number of them
  // (fs.aio-max-nr). Main thread; so is the last release.
  static std::shared_ptr<PeerSignals> shared(std::uint16_t workers);
  PeerSignals(const PeerSignals&) = delete;
  PeerSignals& operator=(const PeerSignals&) = delete;
  ~PeerSignals();

  // By `worker` only.
  void signal(std::uint16_t worker, int eventfd) noexcept;

 private:
  explicit PeerSignals(std::uint16_t workers);
  std::vector<unsigned long> contexts_;  // by worker; 0: this kernel has no asynchronous I/O
  UniqueFd null_;
};

}  // namespace podwire::engine
