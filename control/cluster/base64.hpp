// Base64 (RFC 4648 section 4), as etcd's JSON gateway writes keys and values. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace podwire::control {

std::string to_base64(std::string_view bytes);
// None when `text` is not base64 with its padding.
std::optional<std::string> from_base64(std::string_view text);

}  // namespace podwire::control
