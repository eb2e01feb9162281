#include "control/cli/text.hpp"

#include <array>
#include <cmath>
#include <cstdio>

namespace podwire::control::cli {
namespace {

// Length of the valid UTF-8 sequence at the start of `text` that may be shown as it is, or 0.
std::size_t shown_sequence(std::string_view text) {
  const auto byte = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(0);
  if (first < 0x20 || first == 0x7f) return 0;
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xf0 && first <= 0xf4 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 0;
  if (length == 0 || first > 0xf4 || text.size() < length) return 0;
  std::uint32_t point = first & (0xffu >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
    point = point << 6 | (byte(i) & 0x3fu);
  }
  constexpr std::array<std::uint32_t, 5> kLowest{0, 0, 0x80, 0x800, 0x10000};
  if (point < kLowest[length] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) return 0;
  const bool c1 = point < 0xa0;
  const bool turns_direction = (point >= 0x202a && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069);
  const bool breaks_line = point == 0x2028 || point == 0x2029;
  return c1 || turns_direction || breaks_line ? 0 : length;
}

}  // namespace

std::string painted(std::string_view text, Tone tone, const Style& style) {
  if (!style.colour || tone == Tone::kPlain || text.empty()) return std::string(text);
  const char* code = tone == Tone::kHeading ? "\033[1m"
                     : tone == Tone::kGood  ? "\033[32m"
                     : tone == Tone::kBad   ? "\033[31m"
                                            : "\033[2m";
  return code + std::string(text) + "\033[0m";
}

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const auto length = shown_sequence(text);
    if (length > 0) {
      out.append(text.substr(0, length));
      text.remove_prefix(length);
    } else {
      char escaped[5];
      std::snprintf(escaped, sizeof escaped, "\\x%02x",
                    static_cast<unsigned>(static_cast<unsigned char>(text[0])));
      out += escaped;
      text.remove_prefix(1);
    }
  }
  return out;
}

std::size_t display_width(std::string_view text) {
  std::size_t width = 0;
  for (const char c : text) width += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  return width;
}

std::string join(const std::vector<std::string>& parts, std::string_view separator) {
  std::string out;
  for (const auto& part : parts) {
    if (!out.empty()) out += separator;
    out += part;
  }
  return out;
}

std::string count_text(std::int64_t n) {
  std::string digits = std::to_string(n);
  const std::size_t first = n < 0 ? 1 : 0;
  for (std::size_t at = digits.size(); at > first + 3;) {
    at -= 3;
    digits.insert(at, ",");
  }
  return digits;
}

std::string plural_text(std::int64_t n, std::string_view noun) {
  return count_text(n) + " " + std::string(noun) + (n == 1 ? "" : "s");
}

std::string decimal_text(double value, int digits) {
  if (!std::isfinite(value)) return "-";
  char buffer[400];  // the largest double has 309 digits
  const int n = std::snprintf(buffer, sizeof buffer, "%.*f", digits, value);
  return std::string(buffer, static_cast<std::size_t>(n));
}

std::string bytes_text(double bytes) {
  constexpr std::array kUnits{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  std::size_t unit = 0;
  while (std::fabs(bytes) >= 1023.95 && unit + 1 < kUnits.size()) {
    bytes /= 1024;
    ++unit;
  }
  const bool whole = unit == 0 || bytes == std::floor(bytes);
  return decimal_text(bytes, whole ? 0 : 1) + " " + kUnits[unit];
}

std::string rate_text(double per_second) {
  constexpr std::array kUnits{"", "k", "M", "G", "T"};
  std::size_t unit = 0;
  while (std::fabs(per_second) >= 999.5 && unit + 1 < kUnits.size()) {
    per_second /= 1000;
    ++unit;
  }
  const double size = std::fabs(per_second);
  int digits = size >= 100 ? 0 : size >= 10 ? 1 : 2;
  if (unit == 0) digits = size == std::floor(size) || size >= 100 ? 0 : 1;
  return decimal_text(per_second, digits) + kUnits[unit];
}

std::string megabits_text(double bits_per_second) {
  const double megabits = bits_per_second / 1e6;
  return decimal_text(megabits, std::fabs(megabits) >= 1000 ? 0 : std::fabs(megabits) >= 100 ? 1 : 2);
}

std::string duration_text(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e12) return "-";
  const auto s = static_cast<std::int64_t>(seconds);
  char buffer[64];
  if (s < 60) {
    std::snprintf(buffer, sizeof buffer, "%ds", static_cast<int>(s));
  } else if (s < 3600) {
    std::snprintf(buffer, sizeof buffer, "%dm %02ds", static_cast<int>(s / 60), static_cast<int>(s % 60));
  } else if (s < 86400) {
    std::snprintf(buffer, sizeof buffer, "%dh %02dm", static_cast<int>(s / 3600),
                  static_cast<int>(s / 60 % 60));
  } else {
    std::snprintf(buffer, sizeof buffer, "%lldd %02dh", static_cast<long long>(s / 86400),
                  static_cast<int>(s / 3600 % 24));
  }
  return buffer;
}

std::string percent_text(double ratio) {
  return decimal_text(ratio * 100, 1) + " %";
}

}  // namespace podwire::control::cli
