// Memif port: an interface shared with a pod's packet program (VPP, DPDK's net_memif, libmemif) over memory
// that one side owns, memif 2.0, in either role. Ours, not net_memif: the peer may die, lie, or take its
// memory away at any instant, and loses nothing but its own traffic. Files: memif_protocol (layouts),
// memif_region (memory), memif_ring (checked access to rings), memif_link (one peer's lot),
// memif_*_handshake, memif_socket, memif_control (the main thread's side), memif_bursts (the workers').
#pragma once

#include <memory>
#include <vector>

#include "dataplane/ports/port.hpp"

namespace podwire::engine {

// As server the socket listens when this returns; as client the port connects, again and again, from then on.
Result<std::unique_ptr<Port>> open_memif_port(const api::Port& config, std::vector<UniqueFd> descriptors,
                                              const PortEnvironment& environment);

}  // namespace podwire::engine
