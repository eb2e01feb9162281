// Addresses and prefixes as JSON.
#pragma once

#include "dataplane/base/addresses.hpp"
#include "dataplane/base/json.hpp"

namespace podwire::control {

// An array with every value as its to_string.
Json texts(const auto& values) {
  Json array = Json::array();
  for (const auto& value : values) array.push_back(to_string(value));
  return array;
}

}  // namespace podwire::control
