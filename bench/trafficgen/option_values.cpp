#include "bench/trafficgen/option_values.hpp"

#include <charconv>
#include <cmath>
#include <cstdio>

namespace podwire::trafficgen {
namespace {

std::string plain(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.12g", value);
  return text;
}

// The number in `text` with a factor behind it; false when it is none.
bool scaled(const std::string& text, double& out) {
  const auto* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, out);
  if (error != std::errc{} || !std::isfinite(out)) return false;
  if (rest == end) return true;
  if (rest + 1 != end) return false;
  if (*rest == 'k')
    out *= 1e3;
  else if (*rest == 'M')
    out *= 1e6;
  else
    return false;
  return true;
}

Error out_of_range(const std::string& option, const std::string& text, const std::string& what, double low,
                   double high) {
  return invalid("--" + option + " is \"" + text.substr(0, 64) + "\", must be " + what + " from " +
                 plain(low) + " to " + plain(high));
}

}  // namespace

Result<double> number_of(const std::string& option, const std::string& text, double low, double high) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc{} && end == text.data() + text.size();
  if (!whole || !(value >= low && value <= high)) return out_of_range(option, text, "a number", low, high);
  return value;
}

Result<std::uint64_t> count_of(const std::string& option, const std::string& text, std::uint64_t low,
                               std::uint64_t high) {
  double value = 0;
  const auto least = static_cast<double>(low), most = static_cast<double>(high);
  if (!scaled(text, value) || !(value >= least && value <= most) || value != std::floor(value))
    return out_of_range(option, text, "a whole number (10k, 1M)", least, most);
  return static_cast<std::uint64_t>(value);
}

Result<double> rate_of(const std::string& option, const std::string& text) {
  double value = 0;
  if (!scaled(text, value) || !(value >= 1 && value <= 1e9))
    return out_of_range(option, text, "frames a second (800k, 2.5M)", 1, 1e9);
  return value;
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  if (text.empty()) return parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const auto comma = std::min(text.find(',', begin), text.size());
    parts.push_back(text.substr(begin, comma - begin));
    begin = comma + 1;
  }
  return parts;
}

}  // namespace podwire::trafficgen
