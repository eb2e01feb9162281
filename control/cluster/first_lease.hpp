// What a daemon does before it has prefixes: it waits for the store, and sees to it that the store can be
// reached. Main thread, at start.
#pragma once

#include <chrono>
#include <functional>
#include <optional>

#include "control/cluster/cluster.hpp"
#include "control/config.hpp"
#include "control/state/store.hpp"

namespace podwire::control {

// Until this node has its prefixes, or `stopped` (which waits so long for it) is true: then none. When an
// earlier run had moved the node's addresses to the host interface, and no engine serves that, they are put
// back first: the way to the store may be through the device.
Result<std::optional<DomainPrefixes>> wait_for_prefixes(
    Cluster& cluster, const Config& config, Store& store,
    const std::function<bool(std::chrono::milliseconds)>& stopped);

}  // namespace podwire::control
