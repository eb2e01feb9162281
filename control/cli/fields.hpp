// Readers for the daemon's replies. A reply is foreign input: a wrong type or a missing field is an error
// that names the field. Fields that only newer daemons have are ignored.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/cli/text.hpp"
#include "dataplane/base/json.hpp"

namespace podwire::control::cli {

// Something to show that may be a string, a whole number or absent (null, shown as "-").
struct Label {
  std::string text;
};
Result<void> read_value(const Json& value, const std::string& path, Label& out);

// A pod: "namespace/name", an object with pod_namespace and pod_name (or namespace and name), or null.
struct PodLabel {
  std::string text;
};
Result<void> read_value(const Json& value, const std::string& path, PodLabel& out);

// How many: a number, or an array whose elements are counted; null when it is not known.
struct Amount {
  std::string text;
};
Result<void> read_value(const Json& value, const std::string& path, Amount& out);

// Short, comma-separated list of what an array of strings or numbers holds, or of a single one.
struct Labels {
  std::string text;
};
Result<void> read_value(const Json& value, const std::string& path, Labels& out);

// The first twelve digits of a long hexadecimal id, as runtimes print them.
std::string short_id(const std::string& container_id);

// The array under `key` of the reply.
template <class Row>
Result<std::vector<Row>> read_list(const Json& reply, const char* key) {
  std::vector<Row> rows;
  ObjectReader reader(reply, "");
  reader.ignore_unknown();
  reader.required(key, rows);
  PODWIRE_CHECK(reader.finish());
  return rows;
}

}  // namespace podwire::control::cli
