// runtimeConfig.portMappings, the CNI convention for published ports: the runtime asks for ports of the node
// that lead to ports of the container. Read strictly; whether the node can give them is the store's to say.
#pragma once

#include <string>
#include <vector>

#include "control/state/store.hpp"

namespace podwire::control {

inline constexpr std::size_t kMaxPortMappings = 1024;  // of one container

// [{hostPort, containerPort, protocol: tcp (default), udp or sctp in any case, hostIP: optional}].
Result<std::vector<PublishedPort>> read_port_mappings(const Json& value, const std::string& path);

}  // namespace podwire::control
