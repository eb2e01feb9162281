// The prefixes of pods that are reached without tunnels, as routes of the kernel that a routing daemon on the
// node can announce, and by which the node's own programs reach those pods. In the calling thread's network
// namespace; nothing is kept here.
#pragma once

#include <vector>

#include "control/config.hpp"
#include "control/netlink/netlink.hpp"

namespace podwire::control {

// The metric by which these are told from Podwire's other routes.
inline constexpr std::uint32_t kAnnouncedMetric = 80;

// The routes that there should be, over `link`: by the pods' gateway, which the engine is.
std::vector<netlink::Route> announced_routes(const Config& config, const netlink::Link& link,
                                             const std::vector<IpPrefix>& node_addresses);

// Adds those that are missing and removes those of an earlier configuration; touches no others, so that a
// routing daemon sees nothing of a restart. `interface`: the host interface.
Result<void> announce_pods(netlink::Netlink& netlink, const std::string& interface, const Config& config,
                           const std::vector<IpPrefix>& node_addresses);

}  // namespace podwire::control
