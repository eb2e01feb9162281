#include "control/policy/labels.hpp"

#include <algorithm>

namespace podwire::control {

const std::vector<std::string> kSelectorOperatorNames{"In", "NotIn", "Exists", "DoesNotExist"};

Result<void> read_value(const Json& value, const std::string& path, Requirement& out);

namespace {

bool is_lower(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool is_alphanumeric(char c) {
  return is_lower(c) || (c >= 'A' && c <= 'Z');
}

// 1 to 63 characters of a label's name or value.
bool is_label_text(std::string_view text) {
  const auto inner = [](char c) { return is_alphanumeric(c) || c == '-' || c == '_' || c == '.'; };
  return !text.empty() && text.size() <= 63 && is_alphanumeric(text.front()) &&
         is_alphanumeric(text.back()) && std::all_of(text.begin(), text.end(), inner);
}

bool is_dns_label(std::string_view text) {
  const auto inner = [](char c) { return is_lower(c) || c == '-'; };
  return !text.empty() && text.size() <= 63 && is_lower(text.front()) && is_lower(text.back()) &&
         std::all_of(text.begin(), text.end(), inner);
}

bool is_dns_name(std::string_view text) {
  if (text.size() > 253) return false;
  for (;;) {
    const auto dot = text.find('.');
    if (!is_dns_label(text.substr(0, dot))) return false;
    if (dot == text.npos) return true;
    text.remove_prefix(dot + 1);
  }
}

Result<void> check_key(const std::string& path, std::string_view key) {
  const auto slash = key.find('/');
  const bool prefixed = slash != key.npos;
  const bool good = prefixed ? is_dns_name(key.substr(0, slash)) && is_label_text(key.substr(slash + 1))
                             : is_label_text(key);
  if (good) return {};
  return invalid(
      path + ": \"" + std::string(key.substr(0, 80)) +
      "\" is no label key; it is NAME or DOMAIN/NAME, with a name of 1 to 63 letters, digits, -, _ and "
      ". that begins and ends with a letter or digit");
}

Result<void> check_label_value(const std::string& path, std::string_view value) {
  if (value.empty() || is_label_text(value)) return {};
  return invalid(
      path + ": \"" + std::string(value.substr(0, 80)) +
      "\" is no label value; it has at most 63 letters, digits, -, _ and . and begins and ends with a "
      "letter or digit");
}

Result<void> read_label_value(const Json& value, const std::string& path, std::string& out) {
  if (!value.is_string()) {
    return invalid(path + " must be a string, not " + json_type_name(value) + " (" +
                   value.dump().substr(0, 64) + "); quote it");
  }
  out = value.get<std::string>();
  return check_label_value(path, out);
}

}  // namespace

bool Selector::matches(const Labels& labels) const {
  return std::all_of(requirements.begin(), requirements.end(), [&](const Requirement& r) {
    const auto at = labels.find(r.key);
    const bool has = at != labels.end();
    if (r.op == SelectorOperator::kExists) return has;
    if (r.op == SelectorOperator::kDoesNotExist) return !has;
    const bool in = has && std::find(r.values.begin(), r.values.end(), at->second) != r.values.end();
    return in == (r.op == SelectorOperator::kIn);
  });
}

std::string to_text(const Selector& selector) {
  std::string out;
  for (const auto& r : selector.requirements) {
    out += out.empty() ? "" : ",";
    std::string values;
    for (const auto& value : r.values) values += (values.empty() ? "" : ",") + value;
    if (r.op == SelectorOperator::kExists) {
      out += r.key;
    } else if (r.op == SelectorOperator::kDoesNotExist) {
      out += "!" + r.key;
    } else if (r.op == SelectorOperator::kIn && r.values.size() == 1) {
      out += r.key + "=" + values;
    } else {
      out += r.key + (r.op == SelectorOperator::kIn ? " in (" : " notin (") + values + ")";
    }
  }
  return out.empty() ? "all" : out;
}

Result<void> read_labels(const Json& value, const std::string& path, Labels& out) {
  if (value.is_null()) return {};
  if (!value.is_object()) return invalid(path + " must be a mapping, not " + json_type_name(value));
  for (const auto& [key, text] : value.items()) {
    PODWIRE_CHECK(check_key(path, key));
    PODWIRE_CHECK(read_label_value(text, path + "." + key, out[key]));
  }
  return {};
}

Result<void> read_value(const Json& value, const std::string& path, Requirement& out) {
  ObjectReader r(value, path);
  r.required("key", out.key);
  if (!r.choice("operator", out.op, kSelectorOperatorNames)) r.keep(invalid(path + ".operator is missing"));
  const Json* values = r.find("values");
  PODWIRE_CHECK(r.finish());
  PODWIRE_CHECK(check_key(path + ".key", out.key));
  const auto at = path + ".values";
  if (values != nullptr && !values->is_null()) {
    if (!values->is_array()) return invalid(at + " must be an array, not " + json_type_name(*values));
    for (const auto& entry : *values)
      PODWIRE_CHECK(read_label_value(entry, at + "[" + std::to_string(out.values.size()) + "]",
                                     out.values.emplace_back()));
  }
  const bool wants_values = out.op == SelectorOperator::kIn || out.op == SelectorOperator::kNotIn;
  if (wants_values == out.values.empty()) {
    return invalid(at + (wants_values ? " is empty; the operators In and NotIn need at least one"
                                      : " must be left out with the operators Exists and DoesNotExist"));
  }
  return {};
}

Result<void> read_selector(const Json& value, const std::string& path, Selector& out) {
  if (value.is_null()) return {};
  ObjectReader r(value, path);
  const Json* labels = r.find("matchLabels");
  const Json* expressions = r.find("matchExpressions");
  PODWIRE_CHECK(r.finish());
  Labels matched;
  if (labels != nullptr) PODWIRE_CHECK(read_labels(*labels, path + ".matchLabels", matched));
  for (auto& [key, text] : matched) out.requirements.push_back({key, SelectorOperator::kIn, {text}});
  if (expressions == nullptr || expressions->is_null()) return {};
  std::vector<Requirement> more;
  PODWIRE_CHECK(podwire::read_value(*expressions, path + ".matchExpressions", more));
  out.requirements.insert(out.requirements.end(), more.begin(), more.end());
  return {};
}

Result<void> check_dns_name(const std::string& path, const std::string& name, bool one_label) {
  if (one_label ? is_dns_label(name) : is_dns_name(name)) return {};
  return invalid(path + " is \"" + name.substr(0, 80) + "\", must be " +
                 (one_label ? "1 to 63 lower-case letters, digits and -"
                            : "1 to 253 lower-case letters, digits, - and .") +
                 ", beginning and ending with a letter or digit");
}

}  // namespace podwire::control
