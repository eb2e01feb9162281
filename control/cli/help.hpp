// Help pages, made from the verb list.
#pragma once

#include <string>

#include "control/cli/text.hpp"
#include "control/cli/verbs.hpp"

namespace podwire::control::cli {

std::string general_help(const Style& style);
std::string verb_help(const Verb& verb, const Style& style);

}  // namespace podwire::control::cli
