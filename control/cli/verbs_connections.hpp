// The verbs about what pods may connect to and what they are connected with: policies, services, connections,
// addresses outside, domains.
// Private to control/cli/verbs*.
#pragma once

#include "control/cli/verbs.hpp"

namespace podwire::control::cli {

Verb policy_verb();
Verb service_verb();
Verb flows_verb();
Verb address_verb();  // verbs_addresses.cpp
Verb domain_verb();   // verbs_domains.cpp

// --names, which every verb with a list has.
OptionSpec names_option();

}  // namespace podwire::control::cli
