// Whose connection a packet begins: its ingress port's, with that port's limit. Called by workers.
#pragma once

#include "dataplane/pipeline/context.hpp"
#include "dataplane/tables/flow_table.hpp"

namespace podwire::engine {

inline FlowOwner flow_owner(const Context& ctx, PortId ingress) noexcept {
  const auto* port = ctx.tables->port(ingress);
  if (port == nullptr) return {};
  FlowOwner owner{ingress};
  if (port->flow_limit != 0) {
    owner.limit = port->flow_limit;
  } else if (port->role == api::PortRole::kPod) {
    owner.limit = ctx.flows->default_limit();
  }
  return owner;
}

// Whether a packet from there that would begin a connection is to be dropped before anything is asked about
// it.
inline bool flow_limit_reached(const Context& ctx, PortId ingress) noexcept {
  return ctx.flows->begun_by(ingress) >= flow_owner(ctx, ingress).limit;
}

inline void drop_for_flow_limit(const Context& ctx, Burst& burst, std::uint16_t i) noexcept {
  ctx.counters->ports[burst.meta[i].ingress.value()].flows_limited.add(1);
  burst.drop(i, DropReason::flow_limit);
}

}  // namespace podwire::engine
