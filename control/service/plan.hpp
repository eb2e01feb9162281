// What the cluster's services are to this node's engine: which addresses and ports stand for which endpoints.
// Follows kube-proxy: ready endpoints get connections; where a service has none, those that are terminating
// and still serve do; terminating ones beside ready ones keep what they have. Pure.
#pragma once

#include <string>
#include <vector>

#include "control/config.hpp"
#include "control/service/objects.hpp"
#include "control/state/desired.hpp"

namespace podwire::control {

struct ServicePlan {
  std::vector<api::Service> services;  // without ids; their names are unique
  // Services that cannot be, and why. Nothing of them is in `services`.
  std::vector<std::pair<ObjectKey, std::string>> problems;
};

// A port of a service becomes one service of the engine, or two where some of its addresses use endpoints of
// this node only ("shop/web:http" and "shop/web:http local").
ServicePlan plan_services(const std::vector<ClusterService>& services,
                          const std::vector<ClusterSlice>& slices, const Config& config,
                          const NodeObjects& node);

}  // namespace podwire::control
