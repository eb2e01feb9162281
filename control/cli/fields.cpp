#include "control/cli/fields.hpp"

#include <algorithm>

namespace podwire::control::cli {
namespace {

Error wrong_type(const std::string& path, const char* expected, const Json& value) {
  return invalid(path + " must be " + expected + ", not " + json_type_name(value));
}

}  // namespace

Result<void> read_value(const Json& value, const std::string& path, Label& out) {
  if (value.is_null()) {
    out.text.clear();
  } else if (value.is_string()) {
    out.text = value.get_ref<const std::string&>();
  } else if (value.is_number_integer()) {
    out.text = value.dump();
  } else {
    return wrong_type(path, "a string or an integer", value);
  }
  return {};
}

Result<void> read_value(const Json& value, const std::string& path, PodLabel& out) {
  if (!value.is_object()) {
    Label label;
    PODWIRE_CHECK(read_value(value, path, label));
    out.text = label.text;
    return {};
  }
  Label space, name;
  ObjectReader reader(value, path);
  reader.ignore_unknown();
  if (!reader.optional("pod_namespace", space)) reader.optional("namespace", space);
  if (!reader.optional("pod_name", name)) reader.optional("name", name);
  PODWIRE_CHECK(reader.finish());
  out.text = space.text.empty() || name.text.empty() ? name.text : space.text + "/" + name.text;
  return {};
}

Result<void> read_value(const Json& value, const std::string& path, Amount& out) {
  // An IPv6 prefix has more addresses than anybody counts.
  constexpr double kUncountable = 1e9;
  if (value.is_null()) {
    out.text.clear();
  } else if (value.is_array()) {
    out.text = count_text(static_cast<std::int64_t>(value.size()));
  } else if (value.is_number()) {
    const auto n = value.get<double>();
    out.text = n > kUncountable            ? ">10^9"
               : value.is_number_integer() ? count_text(value.get<std::int64_t>())
                                           : decimal_text(n, 0);
  } else {
    return wrong_type(path, "a number", value);
  }
  return {};
}

Result<void> read_value(const Json& value, const std::string& path, Labels& out) {
  if (!value.is_array()) {
    Label label;
    PODWIRE_CHECK(read_value(value, path, label));
    out.text = label.text;
    return {};
  }
  std::vector<std::string> parts;
  for (std::size_t i = 0; i < value.size(); ++i) {
    Label label;
    PODWIRE_CHECK(read_value(value[i], path + "[" + std::to_string(i) + "]", label));
    parts.push_back(label.text);
  }
  out.text = join(parts, ", ");
  return {};
}

std::string short_id(const std::string& container_id) {
  const bool digits = std::all_of(container_id.begin(), container_id.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
  });
  return digits && container_id.size() > 12 ? container_id.substr(0, 12) : container_id;
}

}  // namespace podwire::control::cli
