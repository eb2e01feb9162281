// Addresses outside on the host interface. Egress addresses are the node's: the kernel answers ARP and
// neighbour discovery for them and refuses what belongs to no connection. They are marked so that the kernel
// takes none as the source of a connection of its own (IPv4: link scope; IPv6: deprecated), by which we know
// them again. Floating addresses are not the node's, for then its programs would reach themselves there: the
// engine answers for them, and the kernel has a route to each through the host interface. Functions work in
// the calling thread's network namespace; nothing is kept here.
#pragma once

#include <string>
#include <vector>

#include "control/netlink/netlink.hpp"

namespace podwire::control {

// Of the routes to floating addresses, by which they are known among those of our protocol.
inline constexpr std::uint32_t kFloatingMetric = 800;

struct HostAddresses {
  std::vector<IpAddr> egress, floating;
};

// Whether an address of the host interface is one that set_host_addresses() put there.
bool is_outside_address(const netlink::Address& address);

// Makes the host interface `name` have `wanted` and no others of the kind. `node`: the node's own addresses,
// from which its programs talk to floating ones. No error when there is no such interface. Idempotent.
Result<void> set_host_addresses(const std::string& name, const HostAddresses& wanted,
                                const std::vector<IpPrefix>& node);
// What of `wanted` is missing, one sentence each with what to type.
Result<std::vector<std::string>> missing_host_addresses(const std::string& name, const HostAddresses& wanted);
// The name of the interface that has `address`, unless it is there as one of ours; empty: none has.
Result<std::string> interface_with(const IpAddr& address);

}  // namespace podwire::control
