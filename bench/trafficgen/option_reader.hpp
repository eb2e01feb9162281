// OptionReader: takes the values of options out of what Boost.Program_options parsed, and keeps the first
// error. It knows how often an option may be given; what a value may be, the caller says. Pure.
#pragma once

#include <boost/program_options.hpp>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bench/trafficgen/option_values.hpp"

namespace podwire::trafficgen {

using Texts = std::vector<std::string>;

class OptionReader {
 public:
  explicit OptionReader(const boost::program_options::variables_map& map) : map_(map) {}

  bool has(const char* name) const { return map_.contains(name); }
  Texts all(const char* name) const { return has(name) ? map_[name].as<Texts>() : Texts{}; }

  template <class T, class Convert>
  void one(const char* name, T& out, Convert convert) {
    if (failure_ || !has(name)) return;
    const auto texts = all(name);
    if (texts.size() != 1) return fail(name, "is given " + std::to_string(texts.size()) + " times");
    keep(convert(texts.front()), out);
  }
  template <class T, class Convert>
  void list(const char* name, std::vector<T>& out, Convert convert) {
    if (failure_ || !has(name)) return;
    out.clear();
    for (const auto& text : all(name)) {
      for (const auto& part : split(text)) {
        if (failure_) return;
        T value{};
        keep(convert(part), value);
        out.push_back(value);
      }
    }
    if (out.empty()) fail(name, "is empty");
  }
  // An option that is given once for A and once for B.
  template <class Convert>
  void both(const char* name, Convert convert) {
    if (failure_ || !has(name)) return;
    const auto texts = all(name);
    if (texts.size() != 2)
      return fail(
          name, "is given " + std::to_string(texts.size()) + " times, must be given twice, for side A and B");
    for (unsigned i = 0; i < 2; ++i) {
      if (const auto done = convert(texts[i], i); !done && !failure_)
        fail(name, "is wrong: " + done.error().message);
    }
  }
  void seconds(const char* name, double& out, double low) {
    one(name, out, [&](const auto& text) { return number_of(name, text, low, 86400); });
  }
  template <class T>
  void count(const char* name, T& out, std::uint64_t low, std::uint64_t high) {
    one(name, out, [&](const auto& text) { return count_of(name, text, low, high); });
  }
  void text(const char* name, std::string& out) {
    one(name, out, [](const auto& given) { return Result<std::string>(given); });
  }
  template <class T>
  void choice(const char* name, T& out, const std::map<std::string, T>& choices) {
    one(name, out, [&](const std::string& given) -> Result<T> {
      if (const auto at = choices.find(given); at != choices.end()) return at->second;
      std::string names;
      for (const auto& [key, value] : choices) names += (names.empty() ? "" : ", ") + key;
      return invalid("--" + std::string(name) + " is \"" + given.substr(0, 64) + "\", must be one of " +
                     names);
    });
  }
  Result<void> finish() const { return failure_ ? Result<void>(*failure_) : Result<void>(); }

 private:
  void fail(const char* name, const std::string& what) {
    failure_ = invalid("--" + std::string(name) + " " + what);
  }
  template <class From, class T>
  void keep(const Result<From>& result, T& out) {
    if (result)
      out = static_cast<T>(*result);
    else
      failure_ = result.error();
  }

  const boost::program_options::variables_map& map_;
  std::optional<Error> failure_;
};

}  // namespace podwire::trafficgen
