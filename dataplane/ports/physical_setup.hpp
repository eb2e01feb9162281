// How a physical port's device is configured before it runs. Main thread only; ports/physical.cpp polls the
// result.
#pragma once

#include <memory>
#include <vector>

#include "dataplane/ports/device_pool.hpp"
#include "dataplane/ports/ethdev.hpp"
#include "dataplane/ports/port.hpp"

namespace podwire::engine {

struct PhysicalDevice {
  std::unique_ptr<DevicePool> pool;  // null when it receives into the engine's
  std::unique_ptr<Ethdev> ethdev;    // destroyed before its pool
  std::uint16_t rx_queues = 0, tx_queues = 0;
  std::vector<int> poll_fds;  // by receive queue; -1: none
  PortCapabilities capabilities;
  MacAddr mac;  // the device's own
  std::uint16_t mtu = 0;
};

// Probes, configures and starts the device. On failure everything is given back.
Result<PhysicalDevice> set_up_device(const api::Port& config, const Pools& pools, std::uint16_t workers);

}  // namespace podwire::engine
