// Verbs that take manifests: reading the file, and what applying and deleting did as text.
#pragma once

#include <string>

#include "control/cli/text.hpp"
#include "dataplane/base/json.hpp"
#include "dataplane/base/result.hpp"

namespace podwire::control::cli {

// The whole file, or standard input for "-". kInvalid when it exceeds what a message to podwired holds.
Result<std::string> read_manifest_file(const std::string& path);

// What `apply` did: one line an object, then what is not enforced and why.
std::string applied_view(const Json& reply, const Style& style);
std::string deleted_view(const Json& reply);
// The answer to `policy explain`.
std::string policy_answer_view(const Json& reply, const Style& style);

}  // namespace podwire::control::cli
