// YAML documents → JSON values, with yaml-cpp's event parser: the only place that sees yaml-cpp and its
// exceptions. Anchors, aliases and merge keys (<<) are expanded, within the bounds of manifest.hpp. Pure.
#pragma once

#include <string>
#include <vector>

#include "dataplane/base/json.hpp"

namespace podwire::control {

struct YamlDocument {
  int line = 1;  // where it begins
  Json value;
};

// `text`: UTF-8 without control characters. kParse with the line. Keys become strings as JSON has them; the
// same key twice in one mapping is refused.
Result<std::vector<YamlDocument>> parse_yaml(const std::string& text);

}  // namespace podwire::control
