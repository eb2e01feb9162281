// Choosing objects out of a reply by what a person calls them. Pure functions over foreign JSON.
#pragma once

#include <string>
#include <vector>

#include "control/cli/verbs.hpp"
#include "dataplane/base/json.hpp"
#include "dataplane/base/result.hpp"

namespace podwire::control::cli {

// The reply with only those elements of its list that `word` names (see the verb's help for what counts as a
// name); kNotFound with a suggestion when there are none.
Result<Json> select_named(const Verb& verb, const Json& reply, const std::string& word);

// The reply with only the routes of one domain; kNotFound with a suggestion when no route has it.
Result<Json> select_domain(const Verb& verb, const Json& reply, const std::string& domain);

// The names of all objects in the reply's list, in its order, without repetition.
Result<std::vector<std::string>> object_names(const Verb& verb, const Json& reply);

}  // namespace podwire::control::cli
