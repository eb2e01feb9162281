// The state database's schema and its versions. Used by Store::open only.
#pragma once

#include "control/state/sqlite.hpp"

namespace podwire::control {

// Opens or creates the file, checks that it is ours and sound, and brings it to the current version.
Result<Database> open_state_database(const std::string& path);

}  // namespace podwire::control
