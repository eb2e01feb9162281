// Statistics as tables: totals, and rates between two looks.
#include <algorithm>
#include <array>
#include <functional>
#include <limits>

#include "control/cli/stats.hpp"
#include "control/cli/table.hpp"

namespace podwire::control::cli {
namespace {

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();  // shown as "-"

bool wants(std::string_view section, std::string_view part) {
  return section == "all" || section == part;
}

double ratio(double part, double whole) {
  return whole > 0 ? part / whole : kUnknown;
}

// The increase per second, or unknown when the counter fell: the engine was restarted between the looks.
double rate(std::int64_t before, std::int64_t after, double seconds) {
  return after < before ? kUnknown : ratio(static_cast<double>(after) - static_cast<double>(before), seconds);
}

template <class Row, class Key>
const Row* find_row(const std::vector<Row>& rows, Key Row::*key, const Row& like) {
  const auto it =
      std::find_if(rows.begin(), rows.end(), [&](const Row& row) { return row.*key == like.*key; });
  return it == rows.end() ? nullptr : &*it;
}

struct LedgerField {
  const char* name;
  std::int64_t Ledger::*member;
  const char* help;
};
constexpr std::array kLedgerFields{
    LedgerField{"received", &Ledger::received, "came in by a port"},
    LedgerField{"generated", &Ledger::generated, "made by Podwire: ARP, ND, ICMP"},
    LedgerField{"clones", &Ledger::clones, "copies made by flooding"},
    LedgerField{"segments", &Ledger::segments, "gained by cutting large packets"},
    LedgerField{"sent", &Ledger::sent, "went out by a port"},
    LedgerField{"dropped", &Ledger::dropped, "lost, see drops"},
    LedgerField{"consumed", &Ledger::consumed, "were for Podwire itself"},
    LedgerField{"parked", &Ledger::parked, "wait for a neighbour to be resolved"},
    LedgerField{"merged", &Ledger::merged, "joined into a larger packet"},
};

// One section under a title; the title is left out when it was asked for alone.
std::string section_text(const char* title, std::string_view section, const std::string& body,
                         const Style& style) {
  return section == "all" ? painted(title, Tone::kHeading, style) + "\n" + body : body;
}

const Column kNameColumn{"NAME"};
Column number(const char* title) {
  return {title, Align::kRight};
}

Cell loss(std::int64_t n) {
  return Cell(count_text(n), n > 0 ? Tone::kBad : Tone::kPlain);
}
Cell loss_rate(double per_second) {
  return Cell(rate_text(per_second), per_second > 0 ? Tone::kBad : Tone::kPlain);
}

std::string port_totals(const Stats& stats, const Style& style) {
  Table table({number("ID"),
               kNameColumn,
               {"ROLE"},
               number("RECEIVED"),
               number("BYTES"),
               number("SENT"),
               number("BYTES"),
               number("DROPPED")});
  for (const auto& port : stats.ports) {
    table.add({port.id.text, port.name, port.role.text, count_text(port.received_packets),
               bytes_text(static_cast<double>(port.received_bytes)), count_text(port.sent_packets),
               bytes_text(static_cast<double>(port.sent_bytes)), loss(port.dropped_packets)});
  }
  return table.empty() ? "There are no ports.\n" : table.text(style);
}

std::string port_rates(const Stats& before, const Stats& after, double seconds, const Style& style) {
  Table table({number("ID"),
               kNameColumn,
               {"ROLE"},
               number("RECEIVED/S"),
               number("MBIT/S"),
               number("SENT/S"),
               number("MBIT/S"),
               number("DROPPED/S")});
  for (const auto& port : after.ports) {
    const auto* old = find_row(before.ports, &PortStats::name, port);
    const auto per_second = [&](std::int64_t PortStats::*counter) {
      return old ? rate(old->*counter, port.*counter, seconds) : kUnknown;
    };
    table.add({port.id.text, port.name, port.role.text, rate_text(per_second(&PortStats::received_packets)),
               megabits_text(per_second(&PortStats::received_bytes) * 8),
               rate_text(per_second(&PortStats::sent_packets)),
               megabits_text(per_second(&PortStats::sent_bytes) * 8),
               loss_rate(per_second(&PortStats::dropped_packets))});
  }
  return table.empty() ? "There are no ports.\n" : table.text(style);
}

double all_cycles(const Stats& stats) {
  double sum = 0;
  for (const auto& stage : stats.stages) sum += static_cast<double>(stage.cycles);
  return sum;
}

std::string share_text(double part) {
  return part == part ? percent_text(part) : "-";
}

std::string empty_share(double empty, double polls) {
  return share_text(ratio(empty, polls)) + " of them empty, ";
}

std::string stage_totals(const Stats& stats, const Style& style) {
  Table table({{"STAGE"},
               number("PACKETS"),
               number("PER BURST"),
               number("CYCLES/PACKET"),
               number("OF ALL CYCLES"),
               number("DROPPED")});
  const double total = all_cycles(stats);
  for (const auto& stage : stats.stages) {
    const auto packets = static_cast<double>(stage.packets);
    const auto cycles = static_cast<double>(stage.cycles);
    table.add({stage.name, count_text(stage.packets),
               decimal_text(ratio(packets, static_cast<double>(stage.bursts)), 1),
               decimal_text(ratio(cycles, packets), 1), share_text(ratio(cycles, total)),
               loss(stage.dropped)});
  }
  std::string out = table.empty() ? "There are no stages.\n" : table.text(style);
  if (!stats.worker) return out;
  const auto& w = *stats.worker;
  return out + "Workers: " + count_text(w.polls) + " polls, " +
         empty_share(static_cast<double>(w.empty_polls), static_cast<double>(w.polls)) +
         count_text(w.sleeps) + " sleeps.\n";
}

std::string stage_rates(const Stats& before, const Stats& after, double seconds, const Style& style) {
  Table table({{"STAGE"},
               number("PACKETS/S"),
               number("PER BURST"),
               number("CYCLES/PACKET"),
               number("OF ALL CYCLES"),
               number("DROPPED/S")});
  const double total = ratio(std::max(0.0, all_cycles(after) - all_cycles(before)), seconds);
  for (const auto& stage : after.stages) {
    const auto* old = find_row(before.stages, &StageStats::name, stage);
    const auto per_second = [&](std::int64_t StageStats::*counter) {
      return old ? rate(old->*counter, stage.*counter, seconds) : kUnknown;
    };
    const double packets = per_second(&StageStats::packets);
    const double cycles = per_second(&StageStats::cycles);
    table.add({stage.name, rate_text(packets),
               decimal_text(ratio(packets, per_second(&StageStats::bursts)), 1),
               decimal_text(ratio(cycles, packets), 1), share_text(ratio(cycles, total)),
               loss_rate(per_second(&StageStats::dropped))});
  }
  std::string out = table.empty() ? "There are no stages.\n" : table.text(style);
  if (!before.worker || !after.worker) return out;
  const auto& old = *before.worker;
  const auto& now = *after.worker;
  const double polls = rate(old.polls, now.polls, seconds);
  return out + "Workers: " + rate_text(polls) + " polls/s, " +
         empty_share(rate(old.empty_polls, now.empty_polls, seconds), polls) +
         rate_text(rate(old.sleeps, now.sleeps, seconds)) + " sleeps/s.\n";
}

std::string drop_totals(const Stats& stats, const Style& style) {
  Table table({{"REASON"}, number("PACKETS"), {"MEANING"}});
  for (const auto& drop : stats.drops) table.add({drop.reason, count_text(drop.packets), drop.help.text});
  return table.empty() ? "Nothing was dropped.\n" : table.text(style);
}

std::string drop_rates(const Stats& before, const Stats& after, double seconds, const Style& style) {
  Table table({{"REASON"}, number("PACKETS/S"), number("PACKETS"), {"MEANING"}});
  for (const auto& drop : after.drops) {
    // A reason that was not listed before had not happened before.
    const auto* old = find_row(before.drops, &DropStats::reason, drop);
    table.add({drop.reason, loss_rate(rate(old ? old->packets : 0, drop.packets, seconds)),
               count_text(drop.packets), drop.help.text});
  }
  return table.empty() ? "Nothing was dropped.\n" : table.text(style);
}

std::string domain_table(const Stats& stats, const Style& style, const char* suffix,
                         const std::function<Cell(const DomainStats&, const LedgerField&)>& cell) {
  std::vector<Column> columns{kNameColumn, number("VNI")};
  for (const auto& field : kLedgerFields) {
    std::string title = field.name;
    std::transform(title.begin(), title.end(), title.begin(),
                   [](char c) { return static_cast<char>(c - 'a' + 'A'); });
    columns.push_back(number((title + suffix).c_str()));
  }
  Table table(std::move(columns));
  for (const auto& domain : stats.domains) {
    std::vector<Cell> cells{domain.name, domain.vni.text};
    for (const auto& field : kLedgerFields) cells.push_back(cell(domain, field));
    table.add(std::move(cells));
  }
  return table.empty() ? "There are no domains.\n" : table.text(style);
}

std::string domain_totals(const Stats& stats, const Style& style) {
  return domain_table(stats, style, "", [](const DomainStats& domain, const LedgerField& field) {
    return Cell(count_text(domain.ledger.*field.member));
  });
}

std::string domain_rates(const Stats& before, const Stats& after, double seconds, const Style& style) {
  return domain_table(after, style, "/S", [&](const DomainStats& domain, const LedgerField& field) {
    const auto* old = find_row(before.domains, &DomainStats::name, domain);
    return Cell(
        rate_text(old ? rate(old->ledger.*field.member, domain.ledger.*field.member, seconds) : kUnknown));
  });
}

std::string balance_text(const Ledger& ledger, const Style& style) {
  const bool settled = ledger.balance == 0;
  return painted("Balance " + count_text(ledger.balance), settled ? Tone::kGood : Tone::kPlain, style) +
         (settled ? ": every packet is accounted for.\n"
                  : ": packets in flight just now; 0 when traffic rests.\n");
}

std::string ledger_totals(const Stats& stats, const Style& style) {
  Table table({{"PACKETS"}, number("TOTAL"), {"MEANING"}});
  for (const auto& field : kLedgerFields)
    table.add({field.name, count_text(stats.ledger.*field.member), field.help});
  return table.text(style) + balance_text(stats.ledger, style);
}

std::string ledger_rates(const Stats& before, const Stats& after, double seconds, const Style& style) {
  Table table({{"PACKETS"}, number("PER SECOND"), number("TOTAL"), {"MEANING"}});
  for (const auto& field : kLedgerFields) {
    const auto now = after.ledger.*field.member;
    table.add({field.name, rate_text(rate(before.ledger.*field.member, now, seconds)), count_text(now),
               field.help});
  }
  return table.text(style) + balance_text(after.ledger, style);
}

}  // namespace

std::string totals_view(const Stats& stats, std::string_view section, const Style& style) {
  std::string out;
  const auto add = [&](const char* name, const char* title, const auto& totals) {
    if (!wants(section, name)) return;
    out += (out.empty() ? "" : "\n") + section_text(title, section, totals(stats, style), style);
  };
  add("ports", "Ports", port_totals);
  add("stages", "Stages", stage_totals);
  add("drops", "Drops", drop_totals);
  add("domains", "Domains", domain_totals);
  add("ledger", "Ledger", ledger_totals);
  return out;
}

std::string rates_view(const Stats& before, const Stats& after, double seconds, std::string_view section,
                       const Style& style) {
  std::string out;
  const auto add = [&](const char* name, const char* title, const auto& rates) {
    if (!wants(section, name)) return;
    out +=
        (out.empty() ? "" : "\n") + section_text(title, section, rates(before, after, seconds, style), style);
  };
  add("ports", "Ports", port_rates);
  add("stages", "Stages", stage_rates);
  add("drops", "Drops", drop_rates);
  add("domains", "Domains", domain_rates);
  add("ledger", "Ledger", ledger_rates);
  return out;
}

}  // namespace podwire::control::cli
