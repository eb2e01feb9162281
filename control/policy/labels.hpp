// Kubernetes labels and label selectors (meta/v1 LabelSelector). Pure.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "dataplane/base/json.hpp"

namespace podwire::control {

using Labels = std::map<std::string, std::string>;

enum class SelectorOperator { kIn, kNotIn, kExists, kDoesNotExist };
extern const std::vector<std::string> kSelectorOperatorNames;

struct Requirement {
  std::string key;
  SelectorOperator op = SelectorOperator::kIn;
  std::vector<std::string> values;  // kIn, kNotIn: at least one
  bool operator==(const Requirement&) const = default;
};

// All requirements must hold; none: everything is selected. matchLabels is kIn with one value.
struct Selector {
  std::vector<Requirement> requirements;

  // NotIn and DoesNotExist hold for what has no such label at all.
  bool matches(const Labels& labels) const;
  bool operator==(const Selector&) const = default;
};

std::string to_text(
    const Selector& selector);  // as kubectl has it: "app=web,tier in (a,b)"; "all" when empty

// A label's value and the two parts of its key are checked as the API server does. `labels` may be null.
Result<void> read_labels(const Json& value, const std::string& path, Labels& out);
Result<void> read_selector(const Json& value, const std::string& path, Selector& out);

// A lower-case DNS name (RFC 1123): a namespace's of one label, others of several.
Result<void> check_dns_name(const std::string& path, const std::string& name, bool one_label);

}  // namespace podwire::control
