#include "control/manifest/yaml_json.hpp"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <map>
#include <set>
#include <sstream>
#include <type_traits>

#include "control/manifest/manifest.hpp"
#include "control/manifest/scalar.hpp"

namespace podwire::control {
namespace {

constexpr std::string_view kTagPrefix = "tag:yaml.org,2002:";

// Leaves the parser from inside of an event; caught in parse_yaml.
struct Refusal {
  int line;  // from 1
  std::string message;
};

[[noreturn]] void refuse(const YAML::Mark& mark, std::string message) {
  throw Refusal{mark.line + 1, std::move(message)};
}

// Json's own insertion looks through all keys first; `key` is known to be new.
void append(Json& object, const std::string& key, Json value) {
  using Members = std::vector<std::pair<const std::string, Json>>;
  static_assert(std::is_base_of_v<Members, Json::object_t>);
  object.get_ref<Json::object_t&>().Members::emplace_back(key, std::move(value));
}

// Builds one document. Values are finished from the inside out, so each is copied once for its anchor at
// most, and its cost is known before an alias repeats it.
class Builder final : public YAML::EventHandler {
 public:
  explicit Builder(std::size_t& values) : values_(values) {}

  YamlDocument take() { return {line_, std::move(root_)}; }

  void OnDocumentStart(const YAML::Mark& mark) override { line_ = mark.line + 1; }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    count(mark, 1);
    add(mark, {Json(), 1, 0}, anchor);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override;
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override;
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, Json::array());
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, Json::object());
  }
  void OnSequenceEnd() override { close(); }
  void OnMapEnd() override;

 private:
  struct Value {
    Json json;
    std::size_t size = 1;   // values in it, itself included
    std::size_t depth = 0;  // levels of sequences and mappings
    bool merge = false;     // the key <<, unquoted
  };
  struct Level {
    YAML::Mark mark;
    YAML::anchor_t anchor;
    Value value;
    std::optional<std::string> key;  // of a mapping: read, its value is not yet
    std::set<std::string> keys;
    bool merge = false;  // the next value is <<'s
    std::vector<Json> merged;
  };

  void count(const YAML::Mark& mark, std::size_t more);
  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, Json empty);
  void close();
  void add(const YAML::Mark& mark, Value value, YAML::anchor_t anchor);
  void add_key(Level& level, const YAML::Mark& mark, const Value& value);
  void add_merge(Level& level, const YAML::Mark& mark, Json value);

  std::size_t& values_;  // of all documents so far
  int line_ = 1;
  Json root_;
  std::vector<Level> levels_;
  std::map<YAML::anchor_t, Value> anchors_;
};

void Builder::count(const YAML::Mark& mark, std::size_t more) {
  values_ += more;
  if (values_ <= kMaxManifestValues) return;
  refuse(mark, "more than " + std::to_string(kMaxManifestValues) +
                   " values, aliases counted as often as they are used; split the file or write fewer");
}

void Builder::OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) {
  const auto found = anchors_.find(anchor);
  if (found == anchors_.end()) refuse(mark, "an alias inside of what it stands for");
  const Value& value = found->second;
  if (levels_.size() + value.depth > kMaxManifestDepth)
    refuse(mark, "nested deeper than " + std::to_string(kMaxManifestDepth) + " levels through an alias");
  count(mark, value.size);
  add(mark, value, 0);
}

void Builder::OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       const std::string& value) {
  count(mark, 1);
  if (tag == "!" || tag == std::string(kTagPrefix) + "str") return add(mark, {Json(value), 1, 0}, anchor);
  auto typed = plain_scalar(value);
  if (!typed) refuse(mark, typed.error().message);
  if (tag != "?" && !tag.empty()) {
    const auto name = tag.starts_with(kTagPrefix) ? tag.substr(kTagPrefix.size()) : "";
    const bool fits = (name == "int" && typed->is_number_integer()) ||
                      (name == "float" && typed->is_number()) || (name == "bool" && typed->is_boolean()) ||
                      (name == "null" && typed->is_null());
    if (!fits) {
      refuse(mark, "\"" + value.substr(0, 64) + "\" under the tag " + tag.substr(0, 64) +
                       ": a manifest has the tags str, int, float, bool and null, with values of their type");
    }
  }
  Value scalar{std::move(*typed), 1, 0};
  scalar.merge = tag == "?" && value == "<<";
  add(mark, std::move(scalar), anchor);
}

void Builder::open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, Json empty) {
  count(mark, 1);
  if (levels_.size() >= kMaxManifestDepth)
    refuse(mark, "nested deeper than " + std::to_string(kMaxManifestDepth) + " levels");
  const std::string own = std::string(kTagPrefix) + (empty.is_array() ? "seq" : "map");
  if (!tag.empty() && tag != "?" && tag != "!" && tag != own)
    refuse(mark, "the tag " + tag.substr(0, 64) + " is none of a manifest's");
  levels_.push_back({mark, anchor, {std::move(empty), 1, 1}, {}, {}, false, {}});
}

void Builder::OnMapEnd() {
  auto& level = levels_.back();
  // What the mapping says itself stands before what it merges, and of that the first.
  for (const auto& merged : level.merged) {
    for (const auto& [key, value] : merged.items()) {
      if (level.keys.insert(key).second) append(level.value.json, key, value);
    }
  }
  close();
}

void Builder::close() {
  Level level = std::move(levels_.back());
  levels_.pop_back();
  add(level.mark, std::move(level.value), level.anchor);
}

void Builder::add(const YAML::Mark& mark, Value value, YAML::anchor_t anchor) {
  if (anchor != 0) {
    count(mark, value.size);  // its copy
    anchors_[anchor] = value;
  }
  if (levels_.empty()) {
    root_ = std::move(value.json);
    return;
  }
  auto& level = levels_.back();
  const bool is_key = level.value.json.is_object() && !level.key && !level.merge;
  level.value.size += value.size;
  level.value.depth = std::max(level.value.depth, value.depth + 1);
  if (is_key) {
    add_key(level, mark, value);
  } else if (level.merge) {
    add_merge(level, mark, std::move(value.json));
  } else if (level.key) {
    append(level.value.json, *level.key, std::move(value.json));
    level.key.reset();
  } else {
    level.value.json.push_back(std::move(value.json));
  }
}

void Builder::add_key(Level& level, const YAML::Mark& mark, const Value& value) {
  level.merge = value.merge;
  if (value.merge) return;
  const Json& json = value.json;
  if (json.is_structured() || json.is_null())
    refuse(mark, "a key must be a string, not " + json_type_name(json));
  level.key = json.is_string() ? json.get<std::string>() : json.dump();
  if (!level.keys.insert(*level.key).second)
    refuse(mark, "the key \"" + level.key->substr(0, 64) + "\" stands twice in one mapping");
}

void Builder::add_merge(Level& level, const YAML::Mark& mark, Json value) {
  level.merge = false;
  const auto is_map = [](const Json& json) { return json.is_object(); };
  if (value.is_object()) {
    level.merged.push_back(std::move(value));
  } else if (value.is_array() && std::all_of(value.begin(), value.end(), is_map)) {
    for (auto& map : value) level.merged.push_back(std::move(map));
  } else {
    refuse(mark, "<< merges a mapping or a sequence of mappings, not " + json_type_name(value));
  }
}

Error at_line(int line, const std::string& message) {
  return {ErrorCode::kParse, "line " + std::to_string(line) + ": " + message};
}

}  // namespace

Result<std::vector<YamlDocument>> parse_yaml(const std::string& text) {
  std::vector<YamlDocument> documents;
  std::size_t values = 0;
  try {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    for (;;) {
      Builder builder(values);
      if (!parser.HandleNextDocument(builder)) return documents;
      documents.push_back(builder.take());
    }
  } catch (const Refusal& refusal) {
    return at_line(refusal.line, refusal.message);
  } catch (const YAML::Exception& e) {
    return at_line(std::max(e.mark.line + 1, 1), e.msg);
  }
}

}  // namespace podwire::control
