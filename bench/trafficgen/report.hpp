// What was measured, for programs (JSON), for people (Markdown) and for both (SVG chart, in chart.cpp). Pure.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "bench/trafficgen/options.hpp"
#include "dataplane/base/json.hpp"

namespace podwire::trafficgen {

struct Report {
  Settings settings;
  std::array<std::string, 2> drivers;  // of A and B
  std::string date;                    // ISO 8601
  std::string machine;                 // CPU model
  std::string dpdk;                    // version
  bool hugepages = true;
  double cycles_per_second = 1e9;  // of the TSC
  std::vector<Cell> cells;
};

// Frames a second of one direction as those of all active directions together.
double total_rate(const Report& report, double per_direction);
// As it would fill a wire: with preamble, start delimiter and gap (20 bytes a frame).
double wire_gbit(const Report& report, const Cell& cell, double per_direction);
// "the switch", "the generator", "the highest rate asked for".
const char* limit_text(const SearchResult& search);

// Microseconds.
struct Percentiles {
  double lowest = 0, p50 = 0, p99 = 0, p999 = 0, highest = 0;
};
Percentiles percentiles(const Report& report, const Histogram& histogram);

Json to_json(const Report& report);
std::string to_markdown(const Report& report);
std::string to_svg(const Report& report);

}  // namespace podwire::trafficgen
