// From what was seen of a peer to what is wrong with it. Pure.
#pragma once

#include <map>

#include "control/doctor/report.hpp"

namespace podwire::control {

using DomainVnis = std::map<std::string, Vni>;  // of this node

// Most telling first; empty: all is well, or nothing could be probed. Faults: no_route, no_source,
// neighbor_unresolved, unreachable, port_closed, udp_prohibited, vni_mismatch, checksum, udp_filtered
// (nothing of all that, yet silence), domain_silent, mtu, loss.
std::vector<Finding> diagnose(const ExaminedPeer& peer, const DomainVnis& here);

}  // namespace podwire::control
