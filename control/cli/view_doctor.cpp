// The peers as `doctor` found them: a line each, then a paragraph for every fault.
#include <set>

#include "control/cli/fields.hpp"
#include "control/cli/table.hpp"
#include "control/cli/views.hpp"

namespace podwire::control::cli {
namespace {

struct RoundTrip {
  std::uint64_t min = 0, avg = 0, max = 0;  // microseconds
};

struct PathRow {
  std::string domain, not_probed;
  std::uint64_t family = 4, sent = 0, answered = 0;
  std::optional<RoundTrip> rtt;
  std::optional<std::uint64_t> largest;
};

struct FaultRow {
  std::string text, remedy;
};

struct DoctorRow {
  std::string name, address, state, underlay;
  std::vector<PathRow> paths;
  std::uint64_t paths_left_out = 0;
  std::vector<FaultRow> faults;
};

Result<void> read_value(const Json& value, const std::string& path, RoundTrip& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.required("min", out.min);
  r.required("avg", out.avg);
  r.required("max", out.max);
  return r.finish();
}

Result<void> read_value(const Json& value, const std::string& path, PathRow& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.required("domain", out.domain);
  r.optional("not_probed", out.not_probed);
  r.optional("family", out.family);
  r.optional("sent", out.sent);
  r.optional("answered", out.answered);
  r.optional("rtt_us", out.rtt);
  r.optional("largest", out.largest);
  return r.finish();
}

Result<void> read_value(const Json& value, const std::string& path, FaultRow& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.required("text", out.text);
  r.required("remedy", out.remedy);
  return r.finish();
}

Result<void> read_value(const Json& value, const std::string& path, DoctorRow& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.required("name", out.name);
  r.required("address", out.address);
  r.required("state", out.state);
  r.required("underlay", out.underlay);
  r.required("paths", out.paths);
  r.optional("paths_left_out", out.paths_left_out);
  r.required("faults", out.faults);
  return r.finish();
}

std::string milliseconds_text(std::uint64_t us) {
  return decimal_text(static_cast<double>(us) / 1000.0, 2);
}

// "0.11/0.20/0.45 ms" over all paths, each of which counts as much.
std::string rtt_text(const DoctorRow& row) {
  RoundTrip all;
  std::uint64_t paths = 0;
  for (const auto& path : row.paths) {
    if (!path.rtt) continue;
    all.min = paths == 0 ? path.rtt->min : std::min(all.min, path.rtt->min);
    all.max = std::max(all.max, path.rtt->max);
    all.avg += path.rtt->avg;
    ++paths;
  }
  if (paths == 0) return "";
  return milliseconds_text(all.min) + "/" + milliseconds_text(all.avg / paths) + "/" +
         milliseconds_text(all.max) + " ms";
}

std::string largest_text(const DoctorRow& row) {
  std::set<std::uint64_t> sizes;
  for (const auto& path : row.paths) {
    if (path.largest) sizes.insert(*path.largest);
  }
  std::vector<std::string> parts;
  for (const auto size : sizes) parts.push_back(std::to_string(size));
  return join(parts, ", ");
}

std::string tunnel_text(const DoctorRow& row) {
  std::uint64_t sent = 0, answered = 0;
  for (const auto& path : row.paths) {
    sent += path.sent;
    answered += path.answered;
  }
  return sent == 0 ? "" : std::to_string(answered) + " of " + std::to_string(sent);
}

Tone tone_of(const DoctorRow& row) {
  if (row.state == "well") return Tone::kGood;
  return row.faults.empty() ? Tone::kPlain : Tone::kBad;
}

}  // namespace

Result<bool> all_well(const Json& reply) {
  PODWIRE_TRY(const auto rows, read_list<DoctorRow>(reply, "peers"));
  for (const auto& row : rows) {
    if (!row.faults.empty()) return false;
  }
  return true;
}

Result<std::string> doctor_view(const Json& reply, const Style& style) {
  PODWIRE_TRY(const auto rows, read_list<DoctorRow>(reply, "peers"));
  if (rows.empty()) return std::string("There are no other nodes to probe.\n");
  Table table({{"PEER"}, {"ADDRESS"}, {"STATE"}, {"UNDERLAY"}, {"TUNNEL"}, {"RTT MIN/AVG/MAX"}, {"LARGEST"}});
  std::string faults, left_out;
  for (const auto& row : rows) {
    table.add({row.name, row.address, Cell(row.state, tone_of(row)), row.underlay, tunnel_text(row),
               rtt_text(row), largest_text(row)});
    for (const auto& fault : row.faults) {
      faults +=
          "\n" +
          painted("peer " + printable(row.name) + ": " + printable(fault.text) + ".", Tone::kBad, style) +
          "\n  What to do: " + printable(fault.remedy) + ".\n";
    }
    if (row.paths_left_out != 0) {
      left_out += "  peer " + printable(row.name) + ": " + std::to_string(row.paths_left_out) +
                  " more paths; asked again, it looks at the next ones\n";
    }
    for (const auto& path : row.paths) {
      if (path.not_probed.empty()) continue;
      left_out += "  peer " + printable(row.name) + ", domain " + printable(path.domain) + ": " +
                  printable(path.not_probed) + "\n";
    }
  }
  if (!left_out.empty()) left_out = "\nNot probed:\n" + left_out;
  return table.text(style) + faults + left_out;
}

}  // namespace podwire::control::cli
