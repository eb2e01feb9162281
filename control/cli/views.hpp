// Replies of podwired as pages for people. Pure functions: a reply in, text out; an error names the field of
// the reply that is missing or of the wrong type.
#pragma once

#include <string>

#include "control/cli/text.hpp"
#include "dataplane/base/json.hpp"
#include "dataplane/base/result.hpp"

namespace podwire::control::cli {

// Nothing differs and the engine answers.
Result<bool> is_healthy(const Json& status);
Result<std::string> status_view(const Json& reply, const Style& style);

Result<std::string> ports_view(const Json& reply, const Style& style);
Result<std::string> domains_view(const Json& reply, const Style& style);
Result<std::string> endpoints_view(const Json& reply, const Style& style);
Result<std::string> routes_view(const Json& reply, const Style& style);
Result<std::string> peers_view(const Json& reply, const Style& style);
Result<std::string> nodes_view(const Json& reply, const Style& style);  // view_nodes.cpp
std::string forgotten_view(const std::string& name);
// view_doctor.cpp: a line a peer, a paragraph a fault; and whether there is none.
Result<std::string> doctor_view(const Json& reply, const Style& style);
Result<bool> all_well(const Json& reply);
Result<std::string> policies_view(const Json& reply, const Style& style);
Result<std::string> services_view(const Json& reply, const Style& style);  // view_services.cpp
// view_addresses.cpp: the list, and what giving one did.
Result<std::string> addresses_view(const Json& reply, const Style& style);
Result<std::string> address_change_view(const Json& reply, const Style& style);

// Every field of each object in the array `key`, one a line, objects apart by an empty line.
Result<std::string> details_view(const Json& reply, const char* key, const Style& style);

// One port in full, as `port show` has it: facts, and tables of what it has several of.
Result<std::string> port_view(const Json& reply, const Style& style);
// The reply to `ports` with each port's counters out of the reply to `stats`.
Json with_counters(Json reply, const Json& stats);

// What `add` or `del` of `name` did.
std::string change_view(const std::string& verb, const std::string& sub, const std::string& name,
                        const Json& reply);

// What `domain join`, `isolate` or `global` did (view_objects.cpp).
std::string joined_view(const Json& reply);
// What any of `domain`'s changes did (view_objects.cpp).
std::string domain_change_view(const std::string& sub, const std::string& name, const Json& reply);

// `question` is what was asked (from, to, protocol, ...).
Result<std::string> explain_view(const Json& reply, const Json& question, const Style& style);

Result<std::string> reconcile_view(const Json& reply);

}  // namespace podwire::control::cli
