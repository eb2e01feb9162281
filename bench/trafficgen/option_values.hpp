// Values of command line options: numbers with units, lists of them. Errors name option, text and range.
// Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "dataplane/base/result.hpp"

namespace podwire::trafficgen {

// "1.5" in [low, high].
Result<double> number_of(const std::string& option, const std::string& text, double low, double high);
// "12", "10k", "1M", whole, in [low, high].
Result<std::uint64_t> count_of(const std::string& option, const std::string& text, std::uint64_t low,
                               std::uint64_t high);
// Frames a second: "2500000", "2.5M", "800k".
Result<double> rate_of(const std::string& option, const std::string& text);
// The parts between commas; an empty text has none.
std::vector<std::string> split(const std::string& text);

}  // namespace podwire::trafficgen
