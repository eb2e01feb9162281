#include "bench/trafficgen/report.hpp"

#include <cmath>
#include <cstdarg>
#include <cstdio>

namespace podwire::trafficgen {
namespace {

constexpr double kWireBytesBeside = 20;  // preamble 7, start delimiter 1, gap 12
// Above this share of bursts with a backlog the generator is what limits.
constexpr double kGeneratorBusy = 0.5;
// Searches further apart than this do not agree on a figure.
constexpr double kNoisySpread = 0.1;
// Beyond this share of a trial lost to others, the rates are better than the truth: the switch rested
// meanwhile.
constexpr double kHeldUpTooMuch = 0.02;
constexpr const char* kSideNames[] = {"A", "B"};

[[gnu::format(printf, 1, 2)]] std::string text_of(const char* format, ...) {
  char text[256];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return text;
}

double rounded(double value, double digits) {
  const double factor = std::pow(10.0, digits);
  return std::round(value * factor) / factor;
}

const char* verdict_text(Verdict verdict) {
  switch (verdict) {
    case Verdict::kPassed:
      return "passed";
    case Verdict::kLost:
      return "lost";
    case Verdict::kNotOffered:
      break;
  }
  return "not offered";
}

Json latency_json(const Report& report, const Histogram& histogram) {
  const auto p = percentiles(report, histogram);
  return {{"frames", histogram.count()}, {"min_us", rounded(p.lowest, 3)}, {"p50_us", rounded(p.p50, 3)},
          {"p99_us", rounded(p.p99, 3)}, {"p99_9_us", rounded(p.p999, 3)}, {"max_us", rounded(p.highest, 3)}};
}

Json trial_json(const Report& report, const TrialResult& trial) {
  Json directions = Json::array();
  for (unsigned i = 0; i < 2; ++i) {
    const auto& d = trial.direction[i];
    if (!d.active) continue;
    Json one{{"from", kSideNames[i]},    {"to", kSideNames[1 - i]},    {"sent", d.sent},
             {"refused", d.refused},     {"received", d.received},     {"lost", d.lost()},
             {"reordered", d.reordered}, {"duplicated", d.duplicated}, {"stale", d.stale}};
    if (d.latency) one["latency"] = latency_json(report, *d.latency);
    directions.push_back(std::move(one));
  }
  return {{"pps_per_direction",
           std::isfinite(trial.plan.rate) ? Json(rounded(trial.plan.rate, 1)) : Json(nullptr)},
          {"seconds", rounded(trial.seconds, 4)},
          {"loss", trial.loss()},
          {"held_up", rounded(trial.held_up, 6)},
          {"generator_behind", rounded(trial.behind, 4)},
          {"longest_stall_us", rounded(trial.longest_stall_us, 1)},
          {"disturbed", trial.disturbed},
          {"foreign_frames", trial.foreign},
          {"directions", std::move(directions)}};
}

Json search_json(const Report& report, const SearchResult& search) {
  Json probes = Json::array();
  for (const auto& probe : search.probes) {
    probes.push_back({{"pps_per_direction", rounded(probe.rate, 1)},
                      {"verdict", verdict_text(probe.verdict)},
                      {"trial", trial_json(report, probe.trial)}});
  }
  const auto* best = search.best();
  return {{"pps_per_direction", rounded(search.rate, 1)},
          {"limited_by", limit_text(search)},
          {"best", best != nullptr ? trial_json(report, best->trial) : Json(nullptr)},
          {"probes", std::move(probes)}};
}

Json rate_json(const Report& report, const Cell& cell, const RateResult& rate) {
  Json searches = Json::array();
  for (const auto& search : rate.searches) searches.push_back(search_json(report, search));
  return {{"name", rate.loss == 0 ? "NDR" : "PDR"},
          {"loss_percent", rate.loss * 100},
          {"pps_per_direction", rounded(rate.median(), 1)},
          {"mpps", rounded(total_rate(report, rate.median()) / 1e6, 4)},
          {"wire_gbit_s", rounded(wire_gbit(report, cell, rate.median()), 3)},
          {"lowest_pps_per_direction", rounded(rate.lowest(), 1)},
          {"highest_pps_per_direction", rounded(rate.highest(), 1)},
          {"spread", rounded(rate.spread(), 4)},
          {"noisy", rate.spread() > kNoisySpread},
          {"limited_by", limit_text(rate.typical())},
          {"searches", std::move(searches)}};
}

Json cell_json(const Report& report, const Cell& cell) {
  Json rates = Json::array(), latency = Json::array();
  for (const auto& rate : cell.rates) rates.push_back(rate_json(report, cell, rate));
  for (const auto& at : cell.latency)
    latency.push_back({{"share_percent", at.share * 100}, {"trial", trial_json(report, at.trial)}});
  const bool ipv6 = report.settings.ipv6();
  return {{"size", to_string(cell.size)},
          {"mean_bytes_with_fcs", rounded(mean_size(cell.size, ipv6), 1)},
          {"flows", cell.flows},
          {"max_offered_mpps", rounded(total_rate(report, cell.max_offered) / 1e6, 4)},
          {"max_forwarded_mpps", rounded(total_rate(report, cell.max_forwarded) / 1e6, 4)},
          {"rates", std::move(rates)},
          {"latency", std::move(latency)}};
}

Json method_json(const Settings& s) {
  const auto& m = s.method;
  return {{"direction", to_text(s.direction)},
          {"trial_seconds", m.trial_seconds},
          {"trials", m.trials},
          {"retries", m.retries},
          {"resolution_percent", m.resolution * 100},
          {"repeat", m.repeat},
          {"warm_up_seconds", m.warm_up_seconds},
          {"settle_seconds", s.settle_seconds},
          {"pause_seconds", s.pause_seconds},
          {"max_rate", std::isfinite(m.max_rate) ? Json(m.max_rate) : Json(nullptr)},
          {"burst", s.burst},
          {"queues", s.queues}};
}

// The most that another program took of the generator's CPU in a trial on which a figure rests.
double most_held_up(const Report& report) {
  double most = 0;
  for (const auto& cell : report.cells) {
    for (const auto& rate : cell.rates) {
      for (const auto& search : rate.searches) {
        if (const auto* best = search.best()) most = std::max(most, best->trial.held_up);
      }
    }
    for (const auto& at : cell.latency) most = std::max(most, at.trial.held_up);
  }
  return most;
}

std::string rate_rows(const Report& report) {
  std::string out =
      "| frame | flows | tolerated loss | Mpps | per direction | wire Gbit/s | spread | limited by |\n"
      "|---|---|---|---|---|---|---|---|\n";
  for (const auto& cell : report.cells) {
    for (const auto& rate : cell.rates) {
      out +=
          text_of("| %s | %u | %s%g %% | %.3f | %.3f | %.2f | %.1f %%%s | %s |\n",
                  to_string(cell.size).c_str(), cell.flows, rate.loss == 0 ? "NDR " : "PDR ", rate.loss * 100,
                  total_rate(report, rate.median()) / 1e6, rate.median() / 1e6,
                  wire_gbit(report, cell, rate.median()), rate.spread() * 100,
                  rate.spread() > kNoisySpread ? ": too noisy to conclude" : "", limit_text(rate.typical()));
    }
  }
  return out;
}

std::string latency_rows(const Report& report) {
  std::string out =
      "\n| frame | flows | at | way | min µs | p50 | p99 | p99.9 | max | lost "
      "|\n|---|---|---|---|---|---|---|---|---|---|\n";
  for (const auto& cell : report.cells) {
    for (const auto& at : cell.latency) {
      for (unsigned i = 0; i < 2; ++i) {
        const auto& d = at.trial.direction[i];
        if (!d.active || !d.latency) continue;
        const auto p = percentiles(report, *d.latency);
        out += text_of("| %s | %u | %g %% | %s to %s | %.1f | %.1f | %.1f | %.1f | %.1f | %llu |\n",
                       to_string(cell.size).c_str(), cell.flows, at.share * 100, kSideNames[i],
                       kSideNames[1 - i], p.lowest, p.p50, p.p99, p.p999, p.highest,
                       static_cast<unsigned long long>(d.lost()));
      }
    }
  }
  return out;
}

}  // namespace

double total_rate(const Report& report, double per_direction) {
  return report.settings.direction == Direction::kBoth ? 2 * per_direction : per_direction;
}

double wire_gbit(const Report& report, const Cell& cell, double per_direction) {
  const double bytes = mean_size(cell.size, report.settings.ipv6()) + kWireBytesBeside;
  return total_rate(report, per_direction) * bytes * 8 / 1e9;
}

const char* limit_text(const SearchResult& search) {
  const auto* best = search.best();
  if (best != nullptr && best->trial.behind > kGeneratorBusy) return "the generator";
  switch (search.limit) {
    case Verdict::kPassed:
      return "the highest rate asked for";
    case Verdict::kLost:
      return "the switch";
    case Verdict::kNotOffered:
      break;
  }
  return "the generator";
}

Percentiles percentiles(const Report& report, const Histogram& histogram) {
  const auto us = [&](std::uint64_t cycles) {
    return static_cast<double>(cycles) / report.cycles_per_second * 1e6;
  };
  return {us(histogram.lowest()), us(histogram.percentile(0.5)), us(histogram.percentile(0.99)),
          us(histogram.percentile(0.999)), us(histogram.highest())};
}

Json to_json(const Report& report) {
  Json ports = Json::array(), results = Json::array();
  for (unsigned i = 0; i < 2; ++i) {
    const auto& side = report.settings.sides[i];
    ports.push_back({{"name", kSideNames[i]},
                     {"device", side.device.text},
                     {"driver", report.drivers[i]},
                     {"mac", to_string(side.mac)},
                     {"destination_mac", to_string(side.destination_mac)},
                     {"address", to_string(side.address)}});
  }
  for (const auto& cell : report.cells) results.push_back(cell_json(report, cell));
  return {{"program", "podwire-trafficgen " PODWIRE_VERSION},
          {"date", report.date},
          {"machine", report.machine},
          {"held_up", rounded(most_held_up(report), 6)},
          {"dpdk", report.dpdk},
          {"hugepages", report.hugepages},
          {"ports", std::move(ports)},
          {"method", method_json(report.settings)},
          {"results", std::move(results)}};
}

std::string to_markdown(const Report& report) {
  const auto& s = report.settings;
  std::string out = "Loss-free rate and latency, " + report.date + "\n\n";
  for (unsigned i = 0; i < 2; ++i)
    out += "- " + std::string(kSideNames[i]) + ": `" + s.sides[i].device.text + "` (" + report.drivers[i] +
           ")\n";
  out += text_of("- direction %s, trials of %g s, %u searches, resolution %g %%\n", to_text(s.direction),
                 s.method.trial_seconds, s.method.repeat, s.method.resolution * 100);
  out += "- " + report.machine + ", " + report.dpdk + (report.hugepages ? ", hugepages" : ", 4 KiB pages") +
         "\n\n";
  if (const double held_up = most_held_up(report); held_up > kHeldUpTooMuch)
    out += text_of(
        "Other programs had up to %.1f %% of the generator's CPU during trials: give it one of its own "
        "(--cpu), or "
        "--realtime.\n\n",
        held_up * 100);
  out += rate_rows(report);
  if (!s.method.latency_shares.empty()) out += latency_rows(report);
  return out;
}

}  // namespace podwire::trafficgen
