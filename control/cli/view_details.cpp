// `show`: whatever the daemon says about an object, field by field, so that new fields appear without a
// change here.
#include "control/cli/table.hpp"
#include "control/cli/views.hpp"

namespace podwire::control::cli {
namespace {

std::string label_of(const std::string& key) {
  std::string label = key;
  for (auto& c : label) {
    if (c == '_') c = ' ';
  }
  return label;
}

std::string scalar_text(const std::string& key, const Json& value) {
  if (value.is_string()) return value.get_ref<const std::string&>();
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_null()) return "";
  if (value.is_number()) {
    if (key.ends_with("_s")) return duration_text(value.get<double>());
    if (key.ends_with("bytes")) return bytes_text(value.get<double>());
    if (key.ends_with("_ratio")) return percent_text(value.get<double>());
  }
  return value.dump();  // a number: no text in it that dump could refuse
}

// "age_s" is shown as "age", since its value carries the unit.
std::string shown_key(const std::string& key, const Json& value) {
  const bool has_unit = value.is_number() && (key.ends_with("_s") || key.ends_with("_ratio"));
  return has_unit ? key.substr(0, key.rfind('_')) : key;
}

void add_fields(const std::string& prefix, const Json& object, FactList& facts);

void add_field(const std::string& label, const std::string& key, const Json& value, FactList& facts) {
  if (value.is_object() && !value.empty()) {
    add_fields(label + " ", value, facts);
    return;
  }
  if (!value.is_array()) {
    facts.add(label, value.is_object() ? "" : scalar_text(key, value));
    return;
  }
  std::vector<std::string> simple;
  for (std::size_t i = 0; i < value.size(); ++i) {
    if (value[i].is_structured()) {
      add_field(label + " " + std::to_string(i + 1), key, value[i], facts);
    } else {
      simple.push_back(scalar_text(key, value[i]));
    }
  }
  if (!simple.empty() || value.empty()) facts.add(label, join(simple, ", "));
}

void add_fields(const std::string& prefix, const Json& object, FactList& facts) {
  for (const auto& [key, value] : object.items()) {
    add_field(prefix + label_of(shown_key(key, value)), key, value, facts);
  }
}

}  // namespace

Result<std::string> details_view(const Json& reply, const char* key, const Style& style) {
  std::vector<Json> objects;
  ObjectReader reader(reply, "");
  reader.ignore_unknown();
  reader.required(key, objects);
  PODWIRE_CHECK(reader.finish());
  std::string out;
  for (const auto& object : objects) {
    if (!object.is_object())
      return invalid(std::string(key) + " must hold objects, not " + json_type_name(object));
    FactList facts;
    add_fields("", object, facts);
    out += (out.empty() ? "" : "\n") + facts.text(style);
  }
  return out;
}

}  // namespace podwire::control::cli
