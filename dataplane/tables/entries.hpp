// What workers read of one port or domain, made from the objects. Pure functions; called by the main thread.
#pragma once

#include <functional>

#include "dataplane/tables/intent.hpp"
#include "dataplane/tables/snapshot.hpp"

namespace podwire::engine {

PortEntry make_port_entry(const Intent& intent, const api::Port& port, Port* device);

// Without prefix lengths (Forwarding::fill_lengths).
DomainEntry make_domain_entry(const Intent& intent, const api::Domain& domain,
                              const std::function<std::uint32_t(VtepId)>& slot_of);

// The built-in domain of uplinks and host port.
DomainEntry make_underlay_entry();

}  // namespace podwire::engine
