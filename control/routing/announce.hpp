// What a routing daemon on the node can announce of pods that are reached without tunnels, and by which the
// node's own programs reach them: routes of the kernel to the node's prefixes, to single pods, or to both, as
// the domain says (DomainConfig::announce). In the calling thread's network namespace; nothing is kept here
// (announced_pods.hpp does that).
#pragma once

#include <map>
#include <set>
#include <vector>

#include "control/config.hpp"
#include "control/netlink/netlink.hpp"
#include "control/state/store.hpp"

namespace podwire::control {

// The metric by which these are told from Podwire's other routes.
inline constexpr std::uint32_t kAnnouncedMetric = 80;

// The addresses of one attachment that are announced by themselves.
struct AnnouncedPod {
  std::string domain;
  std::set<IpAddr> addresses;
};

// Those inside of the prefixes of a domain that announces pods; without addresses where there are none.
AnnouncedPod announced_pod(const Config& config, const Attachment& attachment);

// One for each table, over `link`: by the pods' gateway, which the engine is. None when `destination` lies in
// none of the domain's prefixes.
std::vector<netlink::Route> routes_to_pods(const Config& config, const DomainConfig& domain,
                                           const IpPrefix& destination, const netlink::Link& link,
                                           const std::vector<IpPrefix>& node_addresses);

// All that there should be.
std::vector<netlink::Route> announced_routes(const Config& config, const netlink::Link& link,
                                             const std::vector<IpPrefix>& node_addresses,
                                             const std::map<PortId, AnnouncedPod>& pods = {});

// Adds those that are missing and removes those of pods that are gone and of an earlier configuration;
// touches no others, so that a routing daemon sees nothing of a restart. `interface`: the host interface.
Result<void> announce_pods(netlink::Netlink& netlink, const std::string& interface, const Config& config,
                           const std::vector<IpPrefix>& node_addresses,
                           const std::map<PortId, AnnouncedPod>& pods = {});

// Destinations that lack a route, each once.
Result<std::set<IpPrefix>> unannounced(netlink::Netlink& netlink, const std::string& interface,
                                       const Config& config, const std::vector<IpPrefix>& node_addresses,
                                       const std::map<PortId, AnnouncedPod>& pods);

}  // namespace podwire::control
