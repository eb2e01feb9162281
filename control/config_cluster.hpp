// The part of podwired.json that is about the other nodes: the cluster's store, and how much of a domain's
// prefixes a node leases from it. Private to control/config*.cpp and control/cluster/.
#pragma once

#include "control/config.hpp"

namespace podwire::control {

// "local", or an object with a mode.
Result<void> read_cluster(const Json& value, const std::string& path, ClusterConfig& out);
// lease_v4 and lease_v6 of a domain.
void read_lease_lengths(ObjectReader& r, DomainConfig& out);
// Cross-checks of these with the domains.
Result<void> check_cluster(const Config& config);

// How long the prefix is that a node leases out of `range`, one of the domain's prefixes: what the domain
// says, else 24 or 64 by family, else (in a range that is no shorter than that) 4 bits more than the range
// has.
int lease_length(const DomainConfig& domain, const IpPrefix& range);

}  // namespace podwire::control
