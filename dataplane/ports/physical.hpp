// Physical port: a NIC or any other DPDK Ethernet device, by devargs. Opened and closed by the main thread;
// closing gives the device back, so that it can be opened again. Descriptors are never taken.
#pragma once

#include <memory>
#include <vector>

#include "dataplane/ports/port.hpp"

namespace podwire::engine {

// Receive queues: config.queues, at most what the device has and one a worker; a net_af_xdp port takes all
// channels of its interface, because what arrives on the others would never be seen. Transmit queues: one a
// worker if the device has as many.
Result<std::unique_ptr<Port>> open_physical_port(const api::Port& config, std::vector<UniqueFd> descriptors,
                                                 const PortEnvironment& environment);

}  // namespace podwire::engine
