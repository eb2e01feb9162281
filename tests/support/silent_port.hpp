// A port that receives nothing and takes nothing, for what only needs one to be there. Tests derive from it
// what they want to see happen.
#pragma once

#include "dataplane/ports/port.hpp"

namespace podwire::engine::tests {

class SilentPort : public Port {
 public:
  std::uint16_t rx_burst(std::uint16_t, std::span<rte_mbuf*>) noexcept override { return 0; }
  std::uint16_t tx_burst(std::uint16_t, std::span<rte_mbuf*>) noexcept override { return 0; }
  int poll_fd(std::uint16_t) const noexcept override { return -1; }
  std::uint16_t rx_queues() const noexcept override { return 1; }
  std::uint16_t tx_queues() const noexcept override { return 1; }
  bool link_up() const override { return true; }
  QueueCounters queue_counters(std::uint16_t) const override { return {}; }
  Json describe() const override { return Json::object(); }
  std::string last_error() const override { return {}; }
};

}  // namespace podwire::engine::tests
