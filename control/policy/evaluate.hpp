// What the engine's policies say of a connection between two pods: for `policy explain`. Pure.
#pragma once

#include <vector>

#include "control/policy/snapshot.hpp"

namespace podwire::control {

// One end of a connection.
struct PolicyEnd {
  IdentityId identity;  // 0: none
  std::vector<IpAddr> addresses;
};

// Whether one side of a policy lets connections with `peer` pass, to the port `port` (of protocols that have
// ports) of the connection's destination. An absent side allows everything.
bool allows(const std::optional<api::PolicySide>& side, const PolicyEnd& peer, api::RuleProtocol protocol,
            std::uint16_t port);

}  // namespace podwire::control
