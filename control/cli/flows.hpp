// `podwirectl flows`: what is typed as the daemon's parameters, and the reply as a page.
#pragma once

#include <map>
#include <string>

#include "control/cli/text.hpp"
#include "dataplane/base/json.hpp"

namespace podwire::control::cli {

inline constexpr std::size_t kDefaultFlows = 1000, kDefaultTopFlows = 10;
inline constexpr int kDefaultTopSeconds = 2;

// `typed`: values of the options by name, empty where not given. A usage error when `sub` does not take one,
// when one is malformed, or when flush says nothing about what.
Result<Json> flow_parameters(const std::string& sub, const std::map<std::string, std::string>& typed,
                             bool all);

// `more`: there are others that fit too.
Result<std::string> flows_view(const Json& reply, bool more, const Style& style);
// What the daemon's flows_top replies.
Result<std::string> top_flows_view(const Json& reply, const Style& style);
Result<std::string> flushed_view(const Json& reply);

}  // namespace podwire::control::cli
