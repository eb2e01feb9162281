#include "bench/trafficgen/measure.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace podwire::trafficgen {
namespace {

// A rate counts as offered when this much of it was.
constexpr double kOfferedShare = 0.98;
// The longest estimate of the highest rate, and the lowest rate looked for, relative to it.
constexpr double kEstimateSeconds = 1;
constexpr double kLowestShare = 0.001;

std::vector<double> sorted_rates(const std::vector<SearchResult>& searches) {
  std::vector<double> rates;
  for (const auto& search : searches) rates.push_back(search.rate);
  std::sort(rates.begin(), rates.end());
  return rates;
}

std::string mega(double rate) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3f Mpps", rate / 1e6);
  return text;
}

std::string percent(double share) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g %%", share * 100);
  return text;
}

Verdict judge(const TrialResult& trial, double tolerated) {
  if (trial.loss() > tolerated) return Verdict::kLost;
  const double asked = trial.plan.rate * trial.directions();
  return trial.offered_rate() < kOfferedShare * asked ? Verdict::kNotOffered : Verdict::kPassed;
}

// One trial, again while it lost frames after the generator itself was held up.
Result<TrialResult> undisturbed(const Method& method, const TrialPlan& plan, double tolerated,
                                const RunTrial& run) {
  for (unsigned tries = 0;; ++tries) {
    PODWIRE_TRY(TrialResult trial, run(plan));
    if (!trial.disturbed || trial.loss() <= tolerated || tries == method.retries) return trial;
  }
}

Result<Probe> probe_rate(const Method& method, double rate, double tolerated, const RunTrial& run) {
  std::vector<TrialResult> trials;
  unsigned passed = 0, failed = 0;
  // No more than it takes for a majority.
  while (passed <= method.trials / 2 && failed <= (method.trials - 1) / 2) {
    PODWIRE_TRY(TrialResult trial, undisturbed(method, {rate, method.trial_seconds, false}, tolerated, run));
    ++(judge(trial, tolerated) == Verdict::kPassed ? passed : failed);
    trials.push_back(std::move(trial));
  }
  const bool good = passed > method.trials / 2;
  // The last one is of the majority, because it was the one that made it so.
  auto& deciding = trials.back();
  return Probe{rate, good ? Verdict::kPassed : judge(deciding, tolerated), std::move(deciding)};
}

std::string line_of(const Probe& probe) {
  const char* verdict = probe.verdict == Verdict::kPassed ? "passed"
                        : probe.verdict == Verdict::kLost ? "lost"
                                                          : "not offered";
  return "  " + mega(probe.rate) + " a direction: " + verdict + ", loss " + percent(probe.trial.loss());
}

Result<RateResult> search_rate(const Method& method, const Cell& cell, double tolerated, const RunTrial& run,
                               const Tell& tell) {
  RateResult result;
  result.loss = tolerated;
  for (unsigned i = 0; i < method.repeat; ++i) {
    SearchRange range;
    range.high = std::min(method.max_rate, cell.max_offered);
    range.start = std::min(range.high, cell.max_forwarded);
    range.resolution = method.resolution;
    range.lowest = range.high * kLowestShare;
    PODWIRE_TRY(SearchResult search, find_rate(range, [&](double rate) -> Result<Probe> {
                  PODWIRE_TRY(Probe probe, probe_rate(method, rate, tolerated, run));
                  tell(line_of(probe));
                  return probe;
                }));
    if (search.limit == Verdict::kPassed && range.high < method.max_rate) search.limit = Verdict::kNotOffered;
    tell(" search " + std::to_string(i + 1) + " of " + std::to_string(method.repeat) + ", tolerated loss " +
         percent(tolerated) + ": " +
         (search.rate > 0 ? mega(search.rate) + " a direction" : "no rate passes"));
    result.searches.push_back(std::move(search));
  }
  return result;
}

}  // namespace

double RateResult::median() const {
  const auto rates = sorted_rates(searches);
  if (rates.empty()) return 0;
  const auto middle = rates.size() / 2;
  return rates.size() % 2 == 1 ? rates[middle] : (rates[middle - 1] + rates[middle]) / 2;
}

double RateResult::lowest() const {
  return searches.empty() ? 0 : sorted_rates(searches).front();
}

double RateResult::highest() const {
  return searches.empty() ? 0 : sorted_rates(searches).back();
}

double RateResult::spread() const {
  const double middle = median();
  return middle > 0 ? (highest() - lowest()) / middle : 0;
}

const SearchResult& RateResult::typical() const {
  const double middle = median();
  return *std::min_element(searches.begin(), searches.end(), [&](const auto& a, const auto& b) {
    return std::abs(a.rate - middle) < std::abs(b.rate - middle);
  });
}

Result<Cell> measure(const Method& method, FrameSize size, std::uint32_t flows, const RunTrial& run,
                     const Tell& tell) {
  Cell cell;
  cell.size = size;
  cell.flows = flows;
  const double estimate_seconds = std::min(method.trial_seconds, kEstimateSeconds);
  PODWIRE_TRY(const TrialResult estimate, run({kUnpaced, estimate_seconds, false}));
  cell.max_offered = estimate.offered_rate() / estimate.directions();
  cell.max_forwarded = estimate.received_rate() / estimate.directions();
  tell(" as fast as it goes: " + mega(cell.max_offered) + " offered, " + mega(cell.max_forwarded) +
       " forwarded a direction");
  if (cell.max_forwarded == 0) {
    return unavailable(
        "size " + to_string(size) + ", " + std::to_string(flows) +
        " flows: of the frames that were sent as fast as possible none arrived; is the size above the "
        "switch's MTU, or are most flows' addresses unknown to it?");
  }
  if (method.warm_up_seconds > 0) {
    const double rate = std::min(method.max_rate, cell.max_forwarded / 2);
    PODWIRE_TRY([[maybe_unused]] const TrialResult warm_up, run({rate, method.warm_up_seconds, false}));
  }
  for (const double tolerated : method.losses) {
    PODWIRE_TRY(RateResult rate, search_rate(method, cell, tolerated, run, tell));
    cell.rates.push_back(std::move(rate));
  }
  const double reference = cell.rates.front().median();
  for (const double share : method.latency_shares) {
    if (reference == 0) break;
    PODWIRE_TRY(TrialResult trial,
                undisturbed(method, {reference * share, method.latency_seconds, true}, 0, run));
    cell.latency.push_back({share, std::move(trial)});
  }
  return cell;
}

}  // namespace podwire::trafficgen
