// The parameters of a verb that wants a name and nothing else.
#pragma once

#include <string>

#include "dataplane/base/json.hpp"

namespace podwire::control {

// {name}.
inline Result<std::string> read_name(const Json& params) {
  std::string name;
  ObjectReader r(params, "params");
  r.required("name", name);
  PODWIRE_CHECK(r.finish());
  return name;
}

}  // namespace podwire::control
