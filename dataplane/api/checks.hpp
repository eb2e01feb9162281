// Checks that several objects share. Private to api/.
#pragma once

#include <string>

#include "dataplane/base/addresses.hpp"
#include "dataplane/base/result.hpp"

namespace podwire::api {

Result<void> check_name(const std::string& path, const std::string& name);
Result<void> check_host_mac(const std::string& path, const char* field, const MacAddr& mac,
                            bool zero_allowed);

}  // namespace podwire::api
