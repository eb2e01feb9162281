// Single domains as they stand among "domains" of podwired.json, and its "namespaces": which domain the pods
// of a namespace join. Functions only.
#pragma once

#include "control/config.hpp"

namespace podwire::control {

// Nothing of other domains is looked at.
Result<void> read_domain_config(const Json& value, const std::string& path, DomainConfig& out);
Result<void> read_namespaces(const Json& value, const std::string& path,
                             std::map<std::string, std::string>& out);
// Each must lead to a domain that there is.
Result<void> check_namespaces(const Config& config);

}  // namespace podwire::control
