// Flannel's own keys and values in etcd (flannel: Documentation/configuration.md, reservations.md). Below
// cluster.prefix, /coreos.com/network unless configured otherwise:
//   config              {"Network": "10.5.0.0/16", "SubnetLen": 24, "Backend": {"Type": "vxlan", "VNI": 1}}
//   subnets/10.5.34.0-24               one node's lease; of both families: subnets/10.5.34.0-24&fc00::-64
// Who has no lease of etcd's on its key has reserved it for good. What is read was written by anybody: what
// is no such record is refused with a message. Pure.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "control/cluster/cluster.hpp"
#include "dataplane/base/addresses.hpp"
#include "dataplane/base/ids.hpp"
#include "dataplane/base/json.hpp"

namespace podwire::control {

// What one family's subnets are taken from. `first` and `last` are the lowest and the highest of them.
struct FlannelRange {
  IpPrefix network;
  int length = 0;  // of a subnet
  IpPrefix first, last;
};

struct FlannelNetwork {
  FlannelRange v4;  // keys begin with an IPv4 subnet, so there is always one
  std::optional<FlannelRange> v6;
  Vni vni{1};
  std::uint16_t port = 8472;    // the Linux kernel's default, not IANA's
  bool direct_routing = false;  // nodes of one subnet reach each other without the tunnel
};

struct FlannelSubnet {
  IpPrefix v4;
  std::optional<IpPrefix> v6;
  bool operator==(const FlannelSubnet&) const = default;
};

struct FlannelLease {
  FlannelSubnet subnet;
  IpAddr public_v4;                 // where its node's VXLAN device is; of an IPv6 one:
  std::optional<IpAddr> public_v6;  // present with subnet.v6
  Vni vni;
  MacAddr mac_v4;                 // of those devices: the inner destination of what is routed to the node
  std::optional<MacAddr> mac_v6;  // present with subnet.v6
  bool operator==(const FlannelLease&) const = default;
};

// `what` is the key, for messages.
Result<FlannelNetwork> parse_flannel_network(const std::string& value, const std::string& what);

std::string to_key(const FlannelSubnet& subnet);  // the last part, such as "10.5.34.0-24"
// None: it is no subnet's.
std::optional<FlannelSubnet> parse_flannel_key(const std::string& key);

std::string to_value(const FlannelLease& lease);
// kInvalid also for other backends than vxlan.
Result<FlannelLease> parse_flannel_lease(const FlannelSubnet& subnet, const std::string& value);

// The lowest subnet of `range` that overlaps none of `taken`.
std::optional<IpPrefix> free_subnet(const FlannelRange& range, const std::vector<IpPrefix>& taken);
// Whether it is one of those that the range may be cut into.
bool is_of(const FlannelRange& range, const IpPrefix& subnet);

// A lease as nodes of `network`, one a family, as each has a tunnel of its own. They are called as their
// subnets are in the key.
std::vector<std::string> flannel_node_names(const FlannelSubnet& subnet);
std::vector<ClusterNode> flannel_nodes(const std::string& domain, const FlannelNetwork& network,
                                       const FlannelLease& lease);

// Lines of /run/flannel/subnet.env, which Flannel's CNI plugin and others read. `masquerade`: whether this
// node does it, so that they need not.
std::string subnet_env(const FlannelNetwork& network, const FlannelSubnet& subnet, std::uint16_t mtu,
                       bool masquerade);

}  // namespace podwire::control
