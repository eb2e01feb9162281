// A name that nobody else has, of the kernel's random source: a UUID as text.
#pragma once

#include <string>

#include "dataplane/base/result.hpp"

namespace podwire::control {

Result<std::string> random_id();

}  // namespace podwire::control
