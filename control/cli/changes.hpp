// Parameters of the verbs that change something, from what was typed. No I/O. Part of the parser.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "control/cli/verbs.hpp"
#include "dataplane/base/json.hpp"
#include "dataplane/base/result.hpp"

namespace podwire::control::cli {

// `given`: the values of each option that was typed, by its name; a flag has none. `argument` is the name of
// what is added or deleted. Every error is a usage error (kInvalid) that says what to type.
Result<Json> change_parameters(const Verb& verb, const SubVerb& sub, const std::string& argument,
                               const std::map<std::string, std::vector<std::string>>& given);

}  // namespace podwire::control::cli
