#include "control/manifest/manifest.hpp"

#include <algorithm>

#include "control/manifest/yaml_json.hpp"

namespace podwire::control {
namespace {

int line_at(std::string_view text, std::size_t offset) {
  return 1 +
         static_cast<int>(std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(offset), '\n'));
}

// Length of the UTF-8 character at the start of `text` (RFC 3629), 0 when there is none.
std::size_t character_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  const unsigned second = byte(1);
  const bool out_of_range = (first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ||
                            (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f);
  return out_of_range ? 0 : length;
}

// The parser would guess at other encodings, and JSON takes nothing else.
Result<void> check_text(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const auto c = static_cast<unsigned char>(text[at]);
    const bool control = (c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7f;
    const auto length = control ? 0 : character_length(text.substr(at));
    if (length == 0) {
      return Error{ErrorCode::kParse,
                   "line " + std::to_string(line_at(text, at)) +
                       (control ? " has a control character (byte " + std::to_string(c) + ")"
                                : std::string(" is no UTF-8")) +
                       "; a manifest is text in UTF-8"};
    }
    at += length;
  }
  return {};
}

Result<std::vector<YamlDocument>> read_documents(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first != text.npos && text[first] == '{') {
    // Most of JSON is YAML, but not its \/ and its \u pairs.
    if (auto json = parse_json(text, ""))
      return std::vector{YamlDocument{line_at(text, first), std::move(*json)}};
  }
  return parse_yaml(std::string(text));
}

struct Collector {
  std::string_view what;
  std::vector<Json> out;

  Error wrong(const YamlDocument& document, const std::string& message) const {
    return invalid(std::string(what) + ": the object at line " + std::to_string(document.line) + ": " +
                   message);
  }
  Result<void> add(const YamlDocument& document, Json object);
  Result<void> add_items(const YamlDocument& document, Json list, const std::string& item_kind);
};

Result<void> Collector::add(const YamlDocument& document, Json object) {
  if (object.is_null()) return {};
  if (!object.is_object()) return wrong(document, "must be a mapping, not " + json_type_name(object));
  for (const char* const key : {"apiVersion", "kind"}) {
    const auto found = object.find(key);
    if (found == object.end()) {
      return wrong(document,
                   std::string(key) + " is missing; a manifest begins like: apiVersion: v1, kind: Pod");
    }
    if (!found->is_string())
      return wrong(document, std::string(key) + " must be a string, not " + json_type_name(*found));
  }
  const auto kind = object["kind"].get<std::string>();
  constexpr std::string_view kList = "List";
  if (!kind.ends_with(kList)) {
    out.push_back(std::move(object));
    return {};
  }
  return add_items(document, std::move(object), kind.substr(0, kind.size() - kList.size()));
}

// A typed list's items (PodList) may leave out what its own kind says.
Result<void> Collector::add_items(const YamlDocument& document, Json list, const std::string& item_kind) {
  const auto items = list.find("items");
  if (items == list.end() || items->is_null()) return {};
  if (!items->is_array()) return wrong(document, "items must be an array, not " + json_type_name(*items));
  for (auto& item : *items) {
    if (!item_kind.empty() && item.is_object()) {
      if (!item.contains("apiVersion")) item["apiVersion"] = list["apiVersion"];
      if (!item.contains("kind")) item["kind"] = item_kind;
    }
    PODWIRE_CHECK(add(document, std::move(item)));
  }
  return {};
}

}  // namespace

Result<std::vector<Json>> read_manifests(std::string_view text, std::string_view what) {
  const auto named = [&](const Error& error) {
    return Error{error.code, std::string(what) + ": " + error.message};
  };
  if (text.size() > kMaxManifestBytes) {
    return invalid(std::string(what) + " has " + std::to_string(text.size()) + " bytes, more than " +
                   std::to_string(kMaxManifestBytes) + "; split it");
  }
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  if (auto checked = check_text(text); !checked) return named(checked.error());
  auto documents = read_documents(text);
  if (!documents) return named(documents.error());
  Collector collector{what, {}};
  for (auto& document : *documents) {
    Json value = std::move(document.value);
    PODWIRE_CHECK(collector.add(document, std::move(value)));
  }
  return std::move(collector.out);
}

}  // namespace podwire::control
