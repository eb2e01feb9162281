// Strict readers for JSON that somebody else wrote: wrong types, missing and unknown keys are refused by
// path, unknown keys with a suggestion. Used for both sockets, both config files and the CNI input.
#pragma once

#include <concepts>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/base/addresses.hpp"
#include "dataplane/base/ids.hpp"
#include "dataplane/base/result.hpp"

namespace podwire {

using Json = nlohmann::ordered_json;

// Parses `text` as one JSON document; duplicate keys keep the last. `what` names the source in the message
// ("/etc/podwire/engine.json", "request"). Depth is limited to 64, so a hostile document cannot exhaust the
// stack.
Result<Json> parse_json(std::string_view text, std::string_view what);
// Reads and parses a whole file (at most 16 MiB).
Result<Json> read_json_file(const std::string& path);

// The candidate closest to `word`, or empty when none is near enough to be what was meant.
std::string closest_match(std::string_view word, const std::vector<std::string>& candidates);

std::string json_type_name(const Json& value);

// read_value overloads: convert `value` into `out` or say what is wrong at `path`.
Result<void> read_value(const Json& value, const std::string& path, bool& out);
Result<void> read_value(const Json& value, const std::string& path, std::string& out);
Result<void> read_value(const Json& value, const std::string& path, double& out);
Result<void> read_value(const Json& value, const std::string& path, MacAddr& out);
Result<void> read_value(const Json& value, const std::string& path, Ipv4& out);
Result<void> read_value(const Json& value, const std::string& path, Ipv6& out);
Result<void> read_value(const Json& value, const std::string& path, IpAddr& out);
Result<void> read_value(const Json& value, const std::string& path, IpPrefix& out);
Result<void> read_value(const Json& value, const std::string& path, Vni& out);
Result<void> read_value(const Json& value, const std::string& path, Json& out);  // any value

// An integer in [low, high].
Result<std::int64_t> read_integer(const Json& value, const std::string& path, std::int64_t low,
                                  std::int64_t high);

template <std::integral T>
requires(!std::same_as<T, bool>) Result<void> read_value(const Json& value, const std::string& path, T& out) {
  constexpr auto kHigh = sizeof(T) >= 8 ? std::numeric_limits<std::int64_t>::max()
                                        : static_cast<std::int64_t>(std::numeric_limits<T>::max());
  PODWIRE_TRY(const auto n,
              read_integer(value, path, static_cast<std::int64_t>(std::numeric_limits<T>::min()), kHigh));
  out = static_cast<T>(n);
  return {};
}

template <class Tag, class Rep>
Result<void> read_value(const Json& value, const std::string& path, Id<Tag, Rep>& out) {
  PODWIRE_TRY(const auto n, read_integer(value, path, 1, std::numeric_limits<Rep>::max()));
  out = Id<Tag, Rep>(static_cast<Rep>(n));
  return {};
}

template <class T>
Result<void> read_value(const Json& value, const std::string& path, std::vector<T>& out);

template <class T>
Result<void> read_value(const Json& value, const std::string& path, std::optional<T>& out) {
  if (value.is_null()) {
    out.reset();
    return {};
  }
  T inner{};
  PODWIRE_CHECK(read_value(value, path, inner));
  out = std::move(inner);
  return {};
}

template <class T>
Result<void> read_value(const Json& value, const std::string& path, std::vector<T>& out) {
  if (!value.is_array()) return invalid(path + " must be an array, not " + json_type_name(value));
  out.clear();
  out.reserve(value.size());
  for (std::size_t i = 0; i < value.size(); ++i) {
    T element{};
    PODWIRE_CHECK(read_value(value[i], path + "[" + std::to_string(i) + "]", element));
    out.push_back(std::move(element));
  }
  return {};
}

// Reads the fields of one JSON object. Keeps the first error; finish() returns it, or names a key that no
// call asked for. Usage:
//   ObjectReader r(value, "port");
//   r.required("id", port.id);
//   r.optional("mtu", port.mtu);
//   PODWIRE_CHECK(r.finish());
class ObjectReader {
 public:
  ObjectReader(const Json& object, std::string path);

  template <class T>
  void required(const char* key, T& out) {
    if (const Json* value = find(key)) {
      keep(read_value(*value, child(key), out));
    } else {
      keep(invalid(child(key) + " is missing"));
    }
  }

  // Leaves `out` as it is when the key is absent. Returns whether it was there.
  template <class T>
  bool optional(const char* key, T& out) {
    const Json* value = find(key);
    if (value) keep(read_value(*value, child(key), out));
    return value != nullptr;
  }

  // Optional integer that must lie in [low, high].
  template <std::integral T>
  bool optional_in(const char* key, T& out, std::int64_t low, std::int64_t high) {
    const Json* value = find(key);
    if (!value) return false;
    auto n = read_integer(*value, child(key), low, high);
    if (n) {
      out = static_cast<T>(*n);
    } else {
      keep(n.error());
    }
    return true;
  }

  // Optional string out of a fixed list; `out` becomes its index in `names`.
  template <class Enum>
  bool choice(const char* key, Enum& out, const std::vector<std::string>& names) {
    std::size_t index = 0;
    if (!choice_index(key, names, index)) return false;
    out = static_cast<Enum>(index);
    return true;
  }

  // The value under `key` (marked as known), or null when absent. For nested objects.
  const Json* find(const char* key);
  std::string child(const char* key) const { return path_.empty() ? key : path_ + "." + key; }
  void keep(const Result<void>& result);
  void ignore_unknown() { ignore_unknown_ = true; }
  Result<void> finish();

 private:
  bool choice_index(const char* key, const std::vector<std::string>& names, std::size_t& index);

  const Json& object_;
  std::string path_;
  std::vector<std::string> known_;
  std::optional<Error> error_;
  bool ignore_unknown_ = false;
};

}  // namespace podwire
