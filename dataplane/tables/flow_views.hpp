// The connection table for people: lists and flushes, by filters, in pages. A page looks at 65,536 entries at
// most, so that the main thread is not held up for more than a few milliseconds however large the table is;
// it may be empty and not be the last. Main thread only; workers go on meanwhile, so a connection that comes
// or goes during a list may be in it or not.
#pragma once

#include "dataplane/base/json.hpp"
#include "dataplane/tables/flow_table.hpp"

namespace podwire::engine {

// {domain, addresses: [prefix], protocol: "tcp" or a number, port, state, after_id, limit}: the connections
// of which one direction's key has all that is asked for, an address or port as source or destination.
// Replies {flows: [...], next_after_id}; null: that was the last page. `now_s` is the workers' clock.
Result<Json> list_flows(const FlowTable& table, const Json& params, std::uint32_t now_s);

// {all: true}, or one of the filters at least, and after_id. What is flushed is a new connection with its
// next packet, and asked about as one. Replies {flushed, next_after_id}.
Result<Json> flush_flows(FlowTable& table, const Json& params);

}  // namespace podwire::engine
