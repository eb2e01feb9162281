// What services mean to the node's own kernel: which of its ports are theirs, and which addresses the node's
// own programs reach through the engine. Values and pure functions.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/state/desired.hpp"

namespace podwire::control {

// A port of the node, of one family.
struct HostPort {
  bool v4 = true;
  api::ServiceProtocol protocol = api::ServiceProtocol::kTcp;
  std::uint16_t port = 0;
  std::optional<IpAddr> address{};  // one of the node's; none: all of them and loopback's
  auto operator<=>(const HostPort&) const = default;
};
// Whether two cannot be different programs'.
bool is_shared(const HostPort& a, const HostPort& b);
std::string to_text(const HostPort& port);  // "tcp *:8080"

struct HostPlan {
  std::map<HostPort, std::string> ports;  // and whose each is: "service shop/web:http"
  std::set<IpAddr> addresses;             // of services: the kernel routes them to the engine
};

// Of the frontends for the node's own programs alone; others the kernel never sees. `kind`: what their names
// are, "service" or "pod".
HostPlan host_plan(const std::vector<api::Service>& services, const NodeObjects& node,
                   const std::string& kind);

}  // namespace podwire::control
