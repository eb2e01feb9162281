// Whether the address that a connection asked for still leads to the end that answers, as workers and the
// main thread ask before it goes on: a service has that backend, or a floating address that endpoint. Asked
// of few connections only (those that were cut, and by changes). Knows no packets.
#pragma once

#include "dataplane/headers/headers.hpp"
#include "dataplane/tables/outside_table.hpp"
#include "dataplane/tables/service_table.hpp"

namespace podwire::engine {

// Whether a service, by whichever port the connection began, has the end that answers.
inline bool is_served(const ServiceTable* services, const FlowKey& original, const FlowKey& reply) noexcept {
  if (services == nullptr) return false;
  for (const bool from_host : {false, true}) {
    const auto* service = services->find_for(original, from_host);
    if (service != nullptr && service->serves(reply.source(), reply.source_port())) return true;
  }
  return false;
}

// True where the end that answers is the one that was asked for, without service or floating address.
inline bool is_led_to_backend(const Snapshot& tables, const FlowKey& original,
                              const FlowKey& reply) noexcept {
  const auto protocol = original.protocol();
  const bool has_ports =
      protocol == ip_proto::kTcp || protocol == ip_proto::kUdp || protocol == ip_proto::kSctp;
  const auto backend = reply.source();
  if (original.destination() == backend && (!has_ports || original.destination_port() == reply.source_port()))
    return true;
  const auto* inside = tables.outside != nullptr ? tables.outside->behind(original.destination()) : nullptr;
  if (inside != nullptr && inside->domain == reply.domain() && inside->address == backend) return true;
  return is_served(tables.services, original, reply);
}

}  // namespace podwire::engine
