// Port: one device that the generator sends into and receives from, with its queues set up and started. Main
// thread only.
#pragma once

#include <rte_mempool.h>

#include <memory>
#include <string>

#include "bench/trafficgen/device_spec.hpp"
#include "dataplane/ports/ethdev.hpp"

namespace podwire::trafficgen {

struct PortConfig {
  std::string name;  // "A", "B"
  DeviceSpec device;
  unsigned queues = 1;
  unsigned descriptors = 1024;
  unsigned largest_frame = 1514;  // bytes without FCS
  double wait_seconds = 10;       // for the switch's socket
};

class Port {
 public:
  // Waits for the socket, opens the device, starts it. `pool` is what it receives into.
  static Result<std::unique_ptr<Port>> open(const PortConfig& config, rte_mempool* pool);

  std::uint16_t id() const { return device_->id(); }
  std::uint16_t queues() const { return static_cast<std::uint16_t>(config_.queues); }
  std::string driver() const { return device_->driver(); }
  bool is_up() const;
  // Until the link is up; the error says what may be missing.
  Result<void> wait_up(double seconds) const;
  // For a link that was up.
  Error link_lost() const;

 private:
  Port(PortConfig config, std::unique_ptr<engine::Ethdev> device)
      : config_(std::move(config)), device_(std::move(device)) {}
  Result<void> set_up(rte_mempool* pool);
  Error refused(const std::string& why) const;

  PortConfig config_;
  std::unique_ptr<engine::Ethdev> device_;
};

}  // namespace podwire::trafficgen
