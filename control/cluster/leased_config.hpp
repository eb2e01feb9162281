// What a node is to itself and to the others: the configuration with the prefixes that it leased in place of
// the cluster's, and the record that the others read. Pure.
#pragma once

#include "control/cluster/cluster.hpp"
#include "control/config.hpp"
#include "control/state/desired.hpp"

namespace podwire::control {

// `leased` has a prefix out of each of a domain's. An l3 domain's pods get all of theirs, with its first
// usable address as gateway; an l2 domain spans the nodes, and the leased prefix is the range of addresses
// that this node gives out. An l3 domain's cluster_prefixes are what it was configured with.
Config leased_config(const Config& configured, const DomainPrefixes& leased);

// Where the domain with host_access has pods, on whatever node.
std::vector<IpPrefix> pods_of_host_domain(const Config& configured);

// What the other nodes are told of this one.
NodeRecord node_record(const Config& config, const NodeObjects& node);

}  // namespace podwire::control
