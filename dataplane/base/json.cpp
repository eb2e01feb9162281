#include "dataplane/base/json.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "dataplane/base/unique_fd.hpp"

namespace podwire {
namespace {

constexpr int kMaxDepth = 64;
constexpr std::size_t kMaxFileBytes = 16u << 20;

Error wrong_type(const std::string& path, const char* expected, const Json& value) {
  return invalid(path + " must be " + expected + ", not " + json_type_name(value));
}

// Insertions, deletions, replacements and swaps of neighbours (optimal string alignment).
std::size_t edit_distance(std::string_view a, std::string_view b) {
  const std::size_t width = b.size() + 1;
  std::vector<std::size_t> cost((a.size() + 1) * width);
  const auto at = [&](std::size_t i, std::size_t j) -> std::size_t& { return cost[i * width + j]; };
  for (std::size_t j = 0; j <= b.size(); ++j) at(0, j) = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    at(i, 0) = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      at(i, j) = std::min({at(i - 1, j - 1) + (a[i - 1] != b[j - 1]), at(i - 1, j) + 1, at(i, j - 1) + 1});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) at(i, j) = std::min(at(i, j), at(i - 2, j - 2) + 1);
    }
  }
  return at(a.size(), b.size());
}

// Builds a document as the library's own parser does, but for objects with many keys: that one walks all
// keys of an object for each, so that a megabyte of keys takes it minutes.
class DocumentBuilder final : public nlohmann::json_sax<Json> {
 public:
  Json take() { return std::move(root_); }
  const std::string& problem() const { return problem_; }

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(value); }
  bool number_unsigned(number_unsigned_t value) override { return put(value); }
  bool number_float(number_float_t value, const string_t&) override { return put(value); }
  bool string(string_t& value) override { return put(std::move(value)); }
  bool binary(binary_t& value) override { return put(std::move(value)); }
  bool start_object(std::size_t) override { return begin(Json::object()); }
  bool start_array(std::size_t) override { return begin(Json::array()); }
  bool end_object() override { return end(); }
  bool end_array() override { return end(); }
  bool key(string_t& name) override {
    open_.back().next = &member(open_.back(), std::move(name));
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& error) override {
    problem_ = error.what();
    return false;
  }

 private:
  using Members = std::vector<std::pair<const std::string, Json>>;  // what Json::object_t is made of

  struct Container {
    Json* value;
    Json* next;                                 // of an object: what its last key stands for
    std::map<std::string, std::size_t> places;  // of an object with many keys
  };

  // Where the value that comes next belongs.
  Json& place() {
    if (open_.empty()) return root_;
    auto& inmost = open_.back();
    return inmost.value->is_array() ? inmost.value->get_ref<Json::array_t&>().emplace_back() : *inmost.next;
  }
  bool put(Json value) {
    place() = std::move(value);
    return true;
  }
  // What is open is not added to but at its end, and there by what is open in it: pointers stay good.
  bool begin(Json value) {
    auto& at = place();
    at = std::move(value);
    open_.push_back({&at, nullptr, {}});
    return true;
  }
  bool end() {
    open_.pop_back();
    return true;
  }

  // Of two with the same key the last counts, in the first one's place.
  static Json& member(Container& object, std::string name) {
    constexpr std::size_t kFew = 16;
    Members& members = object.value->get_ref<Json::object_t&>();
    if (members.size() < kFew) {
      for (auto& [known, value] : members) {
        if (known == name) return value;
      }
    } else {
      for (std::size_t i = object.places.size(); i < members.size(); ++i)
        object.places.emplace(members[i].first, i);
      const auto known = object.places.find(name);
      if (known != object.places.end()) return members[known->second].second;
    }
    return members.emplace_back(std::move(name), Json()).second;
  }

  Json root_;
  std::vector<Container> open_;
  std::string problem_;
};

// Looked at before parsing: a parser with a callback would tell the depth as well, but takes time that grows
// with the square of an array's length.
bool is_too_deep(std::string_view text) {
  int depth = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      quoted = c != '"';
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxDepth) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

template <class T>
Result<void> read_parsed(const Json& value, const std::string& path, T& out,
                         Result<T> (*parse)(std::string_view)) {
  if (!value.is_string()) return wrong_type(path, "a string", value);
  auto parsed = parse(value.get_ref<const std::string&>());
  if (!parsed) return invalid(path + ": " + parsed.error().message);
  out = *parsed;
  return {};
}

}  // namespace

Result<Json> parse_json(std::string_view text, std::string_view what) {
  if (is_too_deep(text)) {
    return Error{ErrorCode::kParse,
                 std::string(what) + ": nested deeper than " + std::to_string(kMaxDepth) + " levels"};
  }
  DocumentBuilder builder;
  if (Json::sax_parse(text, &builder)) return builder.take();
  std::string detail = builder.problem();
  // "[json.exception.parse_error.101] parse error at line 1, column 2: ..." → the part a person can use.
  if (const auto at = detail.find("] "); at != detail.npos) detail.erase(0, at + 2);
  return Error{ErrorCode::kParse, std::string(what) + ": " + detail};
}

Result<Json> read_json_file(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return errno_error("cannot open " + path);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return errno_error("cannot stat " + path);
  if (S_ISDIR(status.st_mode)) return invalid(path + " is a directory, not a JSON file");
  std::string text;
  char buffer[65536];
  for (;;) {
    const auto n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error("cannot read " + path);
    if (n == 0) break;
    text.append(buffer, static_cast<std::size_t>(n));
    if (text.size() > kMaxFileBytes) return invalid(path + " is larger than 16 MiB");
  }
  return parse_json(text, path);
}

std::string closest_match(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, word.size() / 3) + 1;
  if (word.size() > 64) return best;
  for (const auto& candidate : candidates) {
    const auto distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

std::string json_type_name(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::object:
      return "an object";
    case Json::value_t::array:
      return "an array";
    case Json::value_t::string:
      return "a string";
    case Json::value_t::boolean:
      return "a boolean";
    case Json::value_t::number_float:
      return "a fraction";
    default:
      return "an integer";
  }
}

Result<void> read_value(const Json& value, const std::string& path, bool& out) {
  if (!value.is_boolean()) return wrong_type(path, "true or false", value);
  out = value.get<bool>();
  return {};
}

Result<void> read_value(const Json& value, const std::string& path, std::string& out) {
  if (!value.is_string()) return wrong_type(path, "a string", value);
  out = value.get_ref<const std::string&>();
  if (out.find('\0') != out.npos) return invalid(path + " contains a zero byte");
  return {};
}

Result<void> read_value(const Json& value, const std::string& path, double& out) {
  if (!value.is_number()) return wrong_type(path, "a number", value);
  out = value.get<double>();
  return {};
}

Result<void> read_value(const Json& value, const std::string& path, MacAddr& out) {
  return read_parsed(value, path, out, parse_mac);
}
Result<void> read_value(const Json& value, const std::string& path, Ipv4& out) {
  return read_parsed(value, path, out, parse_ipv4);
}
Result<void> read_value(const Json& value, const std::string& path, Ipv6& out) {
  return read_parsed(value, path, out, parse_ipv6);
}
Result<void> read_value(const Json& value, const std::string& path, IpAddr& out) {
  return read_parsed(value, path, out, parse_ip);
}
Result<void> read_value(const Json& value, const std::string& path, IpPrefix& out) {
  return read_parsed(value, path, out, parse_prefix);
}

Result<void> read_value(const Json& value, const std::string& path, Vni& out) {
  PODWIRE_TRY(const auto n, read_integer(value, path, 0, Vni::kMax));
  out = Vni(static_cast<std::uint32_t>(n));
  return {};
}

Result<void> read_value(const Json& value, const std::string&, Json& out) {
  out = value;
  return {};
}

Result<std::int64_t> read_integer(const Json& value, const std::string& path, std::int64_t low,
                                  std::int64_t high) {
  if (!value.is_number_integer()) return wrong_type(path, "an integer", value);
  const bool above =
      value.is_number_unsigned() &&
      value.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  const auto n = above ? std::numeric_limits<std::int64_t>::max() : value.get<std::int64_t>();
  if (above || n < low || n > high) {
    return invalid(path + " is " + value.dump() + ", must be from " + std::to_string(low) + " to " +
                   std::to_string(high));
  }
  return n;
}

ObjectReader::ObjectReader(const Json& object, std::string path) : object_(object), path_(std::move(path)) {
  known_.reserve(16);  // of most objects all: they are read by the hundred thousand
  if (!object.is_object()) keep(wrong_type(path_.empty() ? "the document" : path_, "an object", object));
}

const Json* ObjectReader::find(const char* key) {
  known_.emplace_back(key);
  if (!object_.is_object()) return nullptr;
  const auto it = object_.find(key);
  return it == object_.end() ? nullptr : &*it;
}

void ObjectReader::keep(const Result<void>& result) {
  if (!result && !error_) error_ = result.error();
}

bool ObjectReader::choice_index(const char* key, const std::vector<std::string>& names, std::size_t& index) {
  const Json* value = find(key);
  if (!value) return false;
  std::string list;
  for (const auto& name : names) list += (list.empty() ? "\"" : ", \"") + name + "\"";
  if (!value->is_string()) {
    keep(wrong_type(child(key), ("one of " + list).c_str(), *value));
    return false;
  }
  const auto it = std::find(names.begin(), names.end(), value->get_ref<const std::string&>());
  if (it == names.end()) {
    keep(invalid(child(key) + " is " + value->dump() + ", must be one of " + list));
    return false;
  }
  index = static_cast<std::size_t>(it - names.begin());
  return true;
}

Result<void> ObjectReader::finish() {
  if (error_) return *error_;
  if (ignore_unknown_) return {};
  for (const auto& [key, value] : object_.items()) {
    if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
    const auto near = closest_match(key, known_);
    std::string message = "unknown key \"" + key.substr(0, 64) + "\"" + (path_.empty() ? "" : " in " + path_);
    message += near.empty() ? "; known keys: " : "; did you mean \"" + near + "\"?";
    if (near.empty()) {
      for (std::size_t i = 0; i < known_.size(); ++i) message += (i ? ", " : "") + known_[i];
    }
    return invalid(std::move(message));
  }
  return {};
}

}  // namespace podwire
