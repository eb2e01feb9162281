// The nftables table that leads the node's own programs to services: what they send to a port of the node
// that is a service's, by any address of the node or by loopback's, goes to the address that the engine knows
// the service by. Sets and maps, so that every packet costs one look-up a rule however many ports there are,
// and only a connection's first packet costs it. Texts for nft, each one transaction; pure.
//
// Loopback's own addresses cannot leave the machine, so such connections also get the node's address as their
// source. For IPv4 the kernel wants the sysctl route_localnet for that, which would also let the network
// reach what listens on loopback: the table's first chain keeps it from that.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "control/node/host_plan.hpp"

namespace podwire::control {

inline constexpr const char* kHostTable = "podwire_host";  // of the family inet

// What the table and the routes beside it are made of.
struct HostKernel {
  std::string interface;             // the node's interface behind the engine
  std::vector<IpPrefix> prefixes;    // of the services' addresses, at most one a family
  std::vector<IpAddr> addresses;     // the node's own
  std::vector<IpAddr> services;      // NodeObjects::host_services
  std::map<IpAddr, IpAddr> aliases;  // NodeObjects::host_aliases
  std::uint16_t mtu = 0;             // IP bytes that pods can be sent
};

using HostPortSet = std::set<HostPort>;

// The whole table, in place of one that may be there.
std::string host_table(const HostKernel& kernel, const HostPortSet& ports);
// What makes one with `before` one with `after`; empty: nothing.
std::string host_table_change(const HostKernel& kernel, const HostPortSet& before, const HostPortSet& after);
// Removes it, whether it is there or not.
std::string no_host_table();

}  // namespace podwire::control
