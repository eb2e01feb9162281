// The node's own interface: a persistent tap in the daemon's namespace with the NIC's MAC, the addresses and
// routes that the NIC had, and routes to the pods of the domain that the node may talk to. Functions work in
// the calling thread's network namespace; nothing is kept here.
#pragma once

#include <vector>

#include "control/config.hpp"
#include "control/netlink/netlink.hpp"
#include "control/node/saved_underlay.hpp"
#include "dataplane/base/unique_fd.hpp"

namespace podwire::control {

// Creates the tap, or adopts the one of that name and MAC; then sets MAC and MTU and brings it up. Returns
// its queue when it was created, nothing when it was there already.
Result<std::vector<UniqueFd>> ensure_host_interface(netlink::Netlink& netlink, const SavedUnderlay& saved,
                                                    std::uint16_t mtu);

// Puts addresses and routes on it. Idempotent.
Result<void> furnish_host_interface(netlink::Netlink& netlink, const std::string& name,
                                    const std::vector<netlink::Address>& addresses,
                                    const std::vector<netlink::Route>& routes);
// Routes to the prefixes, own and peers', of the domain with host_access, and to `elsewhere`, where it has
// pods too. Idempotent.
Result<void> add_pod_routes(netlink::Netlink& netlink, const std::string& name, const Config& config,
                            const std::vector<IpPrefix>& node_addresses, std::uint16_t pod_mtu,
                            const std::vector<IpPrefix>& elsewhere);

}  // namespace podwire::control
