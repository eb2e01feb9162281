// Where a server of the cluster's store is: "http://HOST:PORT" or "https://HOST:PORT", taken apart. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "dataplane/base/result.hpp"

namespace podwire::control {

struct StoreEndpoint {
  bool tls = false;
  std::string host;  // a name or an address; IPv6 without its brackets
  std::uint16_t port = 2379;
  std::string text;  // as it was given, for messages
};

// The port may be left out (2379, etcd's for clients), an IPv6 address stands in brackets, and nothing
// follows but a slash.
Result<StoreEndpoint> parse_endpoint(std::string_view text);

}  // namespace podwire::control
