// Statistics: read from a reply, shown as totals or as rates between two looks. Pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/cli/fields.hpp"

namespace podwire::control::cli {

struct Ledger {
  std::int64_t received = 0, generated = 0, clones = 0, segments = 0;
  std::int64_t sent = 0, dropped = 0, consumed = 0, parked = 0, merged = 0;
  std::int64_t balance = 0;
};

struct PortStats {
  Label id;
  std::string name;
  Label kind, role, domain;
  std::int64_t received_packets = 0, received_bytes = 0, sent_packets = 0, sent_bytes = 0,
               dropped_packets = 0;
};

struct StageStats {
  std::string name;
  std::int64_t packets = 0, bursts = 0, dropped = 0, cycles = 0;
};

struct DropStats {
  std::string reason;
  std::int64_t packets = 0;
  Label help;
};

struct DomainStats {
  Label id;
  std::string name;
  Label vni;
  Ledger ledger;
};

// How the workers spend their rounds; not every daemon tells.
struct WorkerStats {
  std::int64_t polls = 0, empty_polls = 0, sleeps = 0;
};

struct Stats {
  std::vector<PortStats> ports;
  std::vector<StageStats> stages;
  std::vector<DropStats> drops;
  std::vector<DomainStats> domains;
  Ledger ledger;
  std::optional<WorkerStats> worker;
};

// `section` is "all", "ports", "stages", "drops", "domains" or "ledger"; only what it needs is read and
// shown.
Result<Stats> read_stats(const Json& reply, std::string_view section);
std::string totals_view(const Stats& stats, std::string_view section, const Style& style);
// Rates per second. What is new since `before`, or fell (the engine was restarted), is shown as "-".
std::string rates_view(const Stats& before, const Stats& after, double seconds, std::string_view section,
                       const Style& style);
// The reply reduced to the section, for --json.
Json filter_stats(const Json& reply, std::string_view section);

}  // namespace podwire::control::cli
