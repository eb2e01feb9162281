// Readers for fields that several manifests have. Pure.
#pragma once

#include <string>

#include "dataplane/api/rules.hpp"
#include "dataplane/base/json.hpp"

namespace podwire::control {

// Null counts as left out, as it does for Kubernetes.
const Json* member(const Json& object, const char* key);

// TCP, UDP or SCTP.
Result<api::RuleProtocol> read_protocol(const Json& value, const std::string& path);
// The name of a port (IANA_SVC_NAME, RFC 6335 section 5.1).
Result<void> check_port_name(const std::string& path, const std::string& name);

}  // namespace podwire::control
