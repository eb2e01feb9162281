// Keeping a port of the node from its programs: a socket that is bound and never listens, so that nobody else
// can take the port, and nobody who asks the kernel for it is answered. Functions work in the calling
// thread's network namespace; nothing is kept here.
#pragma once

#include "control/node/host_plan.hpp"
#include "dataplane/base/unique_fd.hpp"

namespace podwire::control {

// The port is held as long as the descriptor is open; none where the kernel lacks the protocol or the family,
// so that nobody could take it. kConflict names the program that has the port, as far as /proc tells.
Result<UniqueFd> hold_port(const HostPort& port);

// "program nginx (pid 4711)", or empty.
std::string find_port_owner(api::ServiceProtocol protocol, std::uint16_t port);

}  // namespace podwire::control
