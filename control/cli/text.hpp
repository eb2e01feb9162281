// Text for people: foreign strings made safe for a terminal, and numbers in units that can be read at a
// glance. Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace podwire::control::cli {

// How output may look. Colour is for terminals only.
struct Style {
  bool colour = false;
};

enum class Tone { kPlain, kHeading, kGood, kBad, kDim };

// `text` in the tone's colour, or as it is without colour.
std::string painted(std::string_view text, Tone tone, const Style& style);

// Pod and interface names come from strangers: control characters (C0, DEL, C1) and bytes that are no UTF-8
// become \xNN, so that a name can neither move the cursor nor break a line.
std::string printable(std::string_view text);

// Columns that `text` takes on a terminal, one per code point.
std::size_t display_width(std::string_view text);

std::string join(const std::vector<std::string>& parts, std::string_view separator);

std::string count_text(std::int64_t n);                          // 1234567 → "1,234,567"
std::string plural_text(std::int64_t n, std::string_view noun);  // 1, "port" → "1 port"; 2 → "2 ports"
std::string bytes_text(double bytes);                            // 1536 → "1.5 KiB"
std::string rate_text(double per_second);                        // 1234567 → "1.23M"
std::string megabits_text(double bits_per_second);               // 12345678 → "12.35"
std::string duration_text(double seconds);                       // 7500 → "2h 05m"
std::string percent_text(double ratio);                          // 0.034 → "3.4 %"
std::string decimal_text(double value, int digits);              // fixed point, never in exponent form

}  // namespace podwire::control::cli
