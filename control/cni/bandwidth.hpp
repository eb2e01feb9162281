// The limits of a pod's bandwidth as CNI words them (CONVENTIONS.md, capability `bandwidth`; the reference
// plugin of that name): rates in bits a second, bursts in bits, ingress being towards the pod.
#pragma once

#include <string>

#include "control/state/store.hpp"
#include "dataplane/base/json.hpp"

namespace podwire::control {

// {"ingressRate", "ingressBurst", "egressRate", "egressBurst"}, each may be absent or 0: no limit. A burst
// without a rate is an error. `path` is where it was found.
Result<PortLimits> read_bandwidth(const Json& value, const std::string& path);

}  // namespace podwire::control
