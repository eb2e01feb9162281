#include "dataplane/telemetry/flow_top.hpp"

#include <rte_cycles.h>

#include <algorithm>
#include <cmath>

#include "dataplane/tables/flow_filter.hpp"

namespace podwire::engine {
namespace {

constexpr std::size_t kMostShown = 1000;  // of some 500 bytes each; a reply has 1 MiB

std::uint64_t rounded(double value) {
  return static_cast<std::uint64_t>(std::llround(value));
}

}  // namespace

// One line of the answer.
struct FlowTop::Shown {
  std::uint32_t id = 0;  // of the connection; 0: untracked
  FlowView original, reply;
  Traffic traffic;
};

Result<Json> FlowTop::start(WorkerSet& workers, const Json& params, Clock::time_point now) {
  std::uint32_t seconds = 1;
  ObjectReader r(params, "params");
  r.optional_in("seconds", seconds, 1, kMaxSeconds);
  PODWIRE_CHECK(r.finish());
  tick(workers, now);
  if (is_sampling()) {
    const auto left = std::chrono::ceil<std::chrono::seconds>(ends_ - now).count();
    return conflict("flows are being sampled for somebody else already; try again in " +
                    std::to_string(left) + " s");
  }
  seen_.clear();
  std::vector<FlowSampler*> given;
  for (unsigned worker = 0; worker < workers.count(); ++worker) {
    samplers_.push_back(std::make_unique<FlowSampler>(flows_, rte_get_tsc_hz(), rte_rdtsc() + worker));
    given.push_back(samplers_.back().get());
  }
  ++number_;
  began_ = Clock::now();
  ends_ = began_ + std::chrono::seconds(seconds);
  workers.sample(given);
  return Json{{"sample", number_}, {"seconds", seconds}};
}

void FlowTop::tick(WorkerSet& workers, Clock::time_point now) {
  if (!is_sampling() || now < ends_) return;
  workers.sample({});
  seconds_ = std::chrono::duration<double>(Clock::now() - began_).count();
  collect();
  samplers_.clear();
}

void FlowTop::collect() {
  totals_ = {};
  for (const auto& sampler : samplers_) {
    const auto& totals = sampler->totals();
    totals_.seen += totals.seen;
    totals_.looked_at += totals.looked_at;
    totals_.estimated += totals.estimated;
    totals_.not_ip += totals.not_ip;
    totals_.displaced += totals.displaced;
    for (const auto& row : sampler->rows()) {
      if (row.key.words[0] == 0) continue;
      auto& traffic = seen_[row.key];
      traffic.packets += static_cast<double>(row.packets);
      traffic.bytes += static_cast<double>(row.bytes);
    }
  }
  scale_ =
      totals_.estimated == 0 ? 1 : static_cast<double>(totals_.seen) / static_cast<double>(totals_.estimated);
}

std::vector<FlowTop::Shown> FlowTop::as_connections() const {
  std::unordered_map<std::uint32_t, Shown> connections;
  std::unordered_map<FlowKey, Shown, KeyHash> untracked(0, KeyHash{&flows_});
  for (const auto& [key, traffic] : seen_) {
    Shown found;
    auto* into = &found;
    if (const auto ref = flows_.find(key);
        ref && flows_.read_entry(ref.line / 2, found.original, found.reply)) {
      found.id = ref.line / 2;
      into = &connections.try_emplace(found.id, found).first->second;
    } else {
      const auto back = untracked.find(key.reversed());
      found.original.key = key;
      into = back != untracked.end() ? &back->second : &untracked.try_emplace(key, found).first->second;
    }
    into->traffic.packets += traffic.packets;
    into->traffic.bytes += traffic.bytes;
  }
  std::vector<Shown> all;
  all.reserve(connections.size() + untracked.size());
  for (const auto& [id, shown] : connections) all.push_back(shown);
  for (const auto& [key, shown] : untracked) all.push_back(shown);
  return all;
}

Result<Json> FlowTop::top(const Json& params, std::uint32_t now_s) const {
  std::uint64_t sample = number_;
  std::size_t limit = 10;
  ObjectReader r(params, "params");
  r.optional("sample", sample);
  r.optional_in("limit", limit, 1, kMostShown);
  PODWIRE_TRY(const auto filter, read_flow_filter(r));
  if (number_ == 0 || sample != number_) {
    return not_found("sample " + std::to_string(sample) +
                     " is not the last one; begin one with flows_sample");
  }
  if (is_sampling()) return unavailable("sample " + std::to_string(sample) + " is still under way");
  auto all = as_connections();
  std::erase_if(all, [&](const Shown& shown) { return !filter.matches(shown.original, shown.reply); });
  const auto most = std::min(limit, all.size());
  std::partial_sort(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(most), all.end(),
                    [](const Shown& a, const Shown& b) { return a.traffic.bytes > b.traffic.bytes; });
  const auto rate = [this](double amount) { return rounded(amount * scale_ / seconds_); };
  Json flows = Json::array();
  for (std::size_t i = 0; i < most; ++i) {
    const auto& one = all[i];
    Json flow = one.id != 0
                    ? flow_json(one.id, flows_.owner_of({one.id * 2, 0}), one.original, one.reply, now_s)
                    : flow_key_json(one.original.key);
    if (one.id == 0) flow["state"] = "untracked";
    flow["packets_per_s"] = rate(one.traffic.packets);
    flow["bits_per_s"] = rate(one.traffic.bytes * 8);
    flows.push_back(std::move(flow));
  }
  return Json{{"sample", number_},
              {"seconds", seconds_},
              {"packets_per_s", rounded(static_cast<double>(totals_.seen) / seconds_)},
              {"packets_seen", totals_.seen},
              {"packets_sampled", totals_.looked_at},
              {"not_ip_per_s", rate(static_cast<double>(totals_.not_ip))},
              {"displaced", totals_.displaced},
              {"flows", std::move(flows)}};
}

}  // namespace podwire::engine
