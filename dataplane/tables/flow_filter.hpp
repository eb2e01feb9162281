// What may be asked about connections, and what one looks like in a reply: shared by the verbs that list,
// flush (tables/flow_views.hpp) and measure them (telemetry/flow_top.hpp). Main thread only.
#pragma once

#include <optional>
#include <vector>

#include "dataplane/base/json.hpp"
#include "dataplane/tables/flow_table.hpp"

namespace podwire::engine {

// Of the connections of which one direction's key has all that is asked for, an address or port as source or
// destination.
struct FlowFilter {
  std::optional<DomainId> domain;
  std::vector<IpPrefix> addresses;
  std::optional<std::uint8_t> protocol;
  std::optional<std::uint16_t> port;
  std::optional<FlowState> state;

  bool empty() const { return !domain && addresses.empty() && !protocol && !port && !state; }
  bool matches(const FlowKey& key) const;
  bool matches(const FlowView& original, const FlowView& reply) const;
};

// {domain, addresses: [prefix], protocol: "tcp" or a number, port, state}; finishes `r`, so everything else
// has been read before.
Result<FlowFilter> read_flow_filter(ObjectReader& r);

// {protocol, domain, source, destination, source_port, destination_port or icmp_id}.
Json flow_key_json(const FlowKey& key);

// A connection: that of its first packet, id, state, idle_s, expires_s, port (who began it), and reply where
// the answers' ends are others. `now_s` is the workers' clock.
Json flow_json(std::uint32_t id, PortId owner, const FlowView& original, const FlowView& reply,
               std::uint32_t now_s);

}  // namespace podwire::engine
