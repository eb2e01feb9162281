#include "control/node/host_plan.hpp"

#include <algorithm>

#include "control/state/published_ports.hpp"

namespace podwire::control {

bool is_shared(const HostPort& a, const HostPort& b) {
  return a.v4 == b.v4 && a.protocol == b.protocol && a.port == b.port &&
         (!a.address || !b.address || *a.address == *b.address);
}

std::string to_text(const HostPort& port) {
  PublishedPort published;
  published.protocol = port.protocol;
  published.host_port = port.port;
  published.host_ip = port.address;
  return describe(published);
}

HostPlan host_plan(const std::vector<api::Service>& services, const NodeObjects& node,
                   const std::string& kind) {
  std::map<IpAddr, IpAddr> by_alias;
  for (const auto& [address, alias] : node.host_aliases) by_alias[alias] = address;
  HostPlan plan;
  for (const auto& service : services) {
    for (const auto& frontend : service.frontends) {
      if (!frontend.from_host) continue;
      const auto& address = *frontend.address;
      const auto alias = by_alias.find(address);
      const auto& all = node.host_services;
      const bool everywhere = std::find(all.begin(), all.end(), address) != all.end();
      if (alias == by_alias.end() && !everywhere) {
        plan.addresses.insert(address);
        continue;
      }
      HostPort port{address.is_v4(), frontend.protocol, frontend.port};
      if (!everywhere) port.address = alias->second;
      plan.ports[port] = kind + " " + service.name;
    }
  }
  return plan;
}

}  // namespace podwire::control
