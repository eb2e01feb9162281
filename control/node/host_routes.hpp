// The kernel's routes by which the node's own programs reach services: through the host interface, by a
// neighbour that is the engine. They go with the interface. Functions work in the calling thread's network
// namespace; idempotent; nothing is kept here.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "control/netlink/netlink.hpp"
#include "control/node/host_rules.hpp"

namespace podwire::control {

// What the node's own programs send there is for services. Not a gateway's: it would lead into that domain.
inline constexpr MacAddr kHostServiceMac{{0x02, 0x70, 0x77, 0x00, 0x00, 0x02}};

// The neighbours, the prefixes of the services' addresses, and exactly `addresses` beside them; those of an
// earlier configuration go. With it the interface may carry connections that begin on loopback.
Result<void> set_host_routes(netlink::Netlink& netlink, const HostKernel& kernel,
                             const std::set<IpAddr>& addresses);
Result<void> change_host_routes(netlink::Netlink& netlink, const HostKernel& kernel,
                                const std::set<IpAddr>& before, const std::set<IpAddr>& after);
// What is missing, one sentence each.
Result<std::vector<std::string>> missing_host_routes(netlink::Netlink& netlink, const HostKernel& kernel,
                                                     const std::set<IpAddr>& addresses);

}  // namespace podwire::control
