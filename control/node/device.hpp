// Reading a kernel network device: what there is to move, and how the engine is to open it. Functions work in
// the calling thread's network namespace and change nothing.
#pragma once

#include <string>

#include "control/config.hpp"
#include "control/netlink/netlink.hpp"
#include "control/node/saved_underlay.hpp"

namespace podwire::control {

// kNotFound names the devices there are.
Result<netlink::Link> find_device(netlink::Netlink& netlink, const std::string& name);
// Addresses other than link-local ones.
Result<std::vector<netlink::Address>> movable_addresses(netlink::Netlink& netlink, unsigned link);
// Unicast routes of the main table that come neither by themselves with an address nor from a routing daemon.
Result<std::vector<netlink::Route>> movable_routes(netlink::Netlink& netlink, unsigned link);
// How many receive queues the device spreads its frames over (ETHTOOL_GCHANNELS); 1 when it does not say.
std::uint16_t receive_queues(const std::string& device);
// "net_af_xdp0,iface=eth0,...".
std::string device_devargs(UnderlayDriver driver, const std::string& device, std::uint16_t mtu,
                           std::uint16_t queues);

}  // namespace podwire::control
