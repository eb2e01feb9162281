// What a service of the cluster is to this node's engine: which addresses and ports stand for which
// endpoints. Follows kube-proxy: ready endpoints get connections; where a service has none, those that are
// terminating and still serve do; terminating ones beside ready ones keep what they have. Pure.
#pragma once

#include <string>
#include <vector>

#include "control/config.hpp"
#include "control/service/objects.hpp"
#include "control/state/desired.hpp"

namespace podwire::control {

// A port of a service becomes one service of the engine, or two where some of its addresses use endpoints of
// this node only ("shop/web:http" and "shop/web:http local"). Without ids; the names are unique. An error
// tells why the service cannot be here.
Result<std::vector<api::Service>> plan_service(const ClusterService& service,
                                               const std::vector<const ClusterSlice*>& slices,
                                               const Config& config, const NodeObjects& node);

}  // namespace podwire::control
