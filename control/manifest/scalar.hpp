// The type of an unquoted YAML scalar, as goyaml.v2 resolves it: the YAML 1.2 core schema, and of YAML 1.1
// the truth values (yes, on, y, ...), octal numbers that begin with 0, 0b and underscores. No base 60; dates
// stay strings. Pure.
#pragma once

#include <string>

#include "dataplane/base/json.hpp"

namespace podwire::control {

// Null, a truth value, a number or a string. Numbers without a fraction are integers where 64 bits hold
// them. kInvalid for infinity and not-a-number, which JSON does not have.
Result<Json> plain_scalar(const std::string& text);

}  // namespace podwire::control
