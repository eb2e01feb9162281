// Tap port: an interface in a pod's (or the host's) network namespace, made by podwired, whose queue
// descriptors the engine was given. One system call a packet each way, offloads carried through
// (ports/vnet_header.hpp). Opened, asked and closed by the main thread; closing it closes our descriptors,
// the interface itself is podwired's.
#pragma once

#include <memory>
#include <vector>

#include "dataplane/ports/port.hpp"

namespace podwire::engine {

// `descriptors` must be config.queues queues of one multi- or single-queue tap with IFF_VNET_HDR and without
// packet information. Any worker may send on any queue (the kernel serialises), so there are as
// many transmit queues as workers.
Result<std::unique_ptr<Port>> open_tap_port(const api::Port& config, std::vector<UniqueFd> descriptors,
                                            const PortEnvironment& environment);

}  // namespace podwire::engine
