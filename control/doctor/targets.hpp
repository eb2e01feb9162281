// Whom to examine: every remote VTEP that the engine has, whoever told of it (podwired.json, etcd, Flannel),
// with the domains that it has prefixes of. Pure.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control/doctor/report.hpp"
#include "control/state/desired.hpp"
#include "control/state/remote_objects.hpp"

namespace podwire::control {

// By name; everything that only an examination can tell is still unset.
std::vector<ExaminedPeer> find_peers(const NodeObjects& node, const RemoteObjects& remote);
// Their names alone, which cost nothing a path.
std::set<std::string> peer_names(const NodeObjects& node, const RemoteObjects& remote);

using PathKey = std::pair<DomainId, bool>;  // the domain, and whether over IPv4
// Leaves of a peer with more than `most` paths only so many that can be probed: those from position `from` on
// and over again at the first, and always `kept`. Returns where to go on; 0: all are left. `most`: 1 or more.
std::size_t leave_paths(ExaminedPeer& peer, std::size_t most, std::size_t from,
                        const std::optional<PathKey>& kept);

}  // namespace podwire::control
