// Whom to examine: every remote VTEP that the engine has, whoever told of it (podwired.json, etcd, Flannel),
// with the domains that it has prefixes of. Pure.
#pragma once

#include "control/doctor/report.hpp"
#include "control/state/desired.hpp"
#include "control/state/remote_objects.hpp"

namespace podwire::control {

// By name; everything that only an examination can tell is still unset.
std::vector<ExaminedPeer> find_peers(const NodeObjects& node, const RemoteObjects& remote);

}  // namespace podwire::control
