// Vhost port: a virtio network device that this process serves over shared memory, for VMs (QEMU) and
// virtio-user applications. librte_vhost moves the packets; VhostDriver holds its registration and the
// device's state, VhostRelay the socket that peers see. Opened, asked and closed by the main thread. Any
// worker may send (a ring has a lock), so there are as many transmit queues as workers.
//
// A guest can take nothing but its own traffic: its control messages are checked before the library acts on
// them, its descriptors are checked by the library, its virtio headers by ports/vnet_header.hpp, and its
// memory is under the fault guard. No live migration, no packed rings.
#pragma once

#include <memory>
#include <vector>

#include "dataplane/ports/port.hpp"

namespace podwire::engine {

Result<std::unique_ptr<Port>> open_vhost_port(const api::Port& config, std::vector<UniqueFd> descriptors,
                                              const PortEnvironment& environment);

}  // namespace podwire::engine
