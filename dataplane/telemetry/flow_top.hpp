// FlowTop: which connections had the most traffic, measured when somebody asks. `flows_sample` begins: for so
// many seconds every worker has a FlowSampler (worker/flow_sampler.hpp); then nobody has one any more, and
// `flows_top` tells what they saw, until the next sample begins. One sample at a time, so what measuring
// costs is bounded whoever asks. Between samples there is no memory but that of the last result, and workers
// look at one pointer a burst.
//
// What was seen is told as connections, both directions together, when they are asked for; what is none (by
// then, or in a stateless domain, or the node's own) as pairs of ends with the state "untracked".
//
// Main thread only. The workers outlive a running sample or have stopped.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "dataplane/base/json.hpp"
#include "dataplane/tables/flow_table.hpp"
#include "dataplane/worker/worker_set.hpp"

namespace podwire::engine {

class FlowTop {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::uint32_t kMaxSeconds = 30;

  explicit FlowTop(const FlowTable& flows) : flows_(flows) {}

  // {seconds: 1 to kMaxSeconds}; replies {sample, seconds}, sample being the number of this one. kConflict
  // while one is under way.
  Result<Json> start(WorkerSet& workers, const Json& params, Clock::time_point now);
  // Ends the sample that is due, if any; every 100 ms or so.
  void tick(WorkerSet& workers, Clock::time_point now);
  bool is_sampling() const { return !samplers_.empty(); }

  // {sample, limit, and the filters of flows}: the connections with the most bytes, at most `limit` (default
  // 10, at most 1,000), each as `flows` shows it with packets_per_s and bits_per_s. Replies {sample, seconds,
  // packets_per_s, packets_seen, packets_sampled, not_ip_per_s, displaced, flows}. kUnavailable while it is
  // under way, kNotFound when `sample` is not the last one. `now_s` is the workers' clock.
  Result<Json> top(const Json& params, std::uint32_t now_s) const;

 private:
  struct Traffic {
    double packets = 0, bytes = 0;
  };
  struct KeyHash {
    const FlowTable* flows;
    std::size_t operator()(const FlowKey& key) const noexcept { return flows->hash(key); }
  };
  using ByKey = std::unordered_map<FlowKey, Traffic, KeyHash>;
  struct Shown;

  void collect();
  std::vector<Shown> as_connections() const;

  const FlowTable& flows_;
  std::uint64_t number_ = 0;  // of the last sample; 0: there was none
  Clock::time_point began_, ends_;
  std::vector<std::unique_ptr<FlowSampler>> samplers_;  // of the workers, while there is a sample
  // The last result.
  double seconds_ = 0;
  FlowSampler::Totals totals_;
  double scale_ = 1;  // packets there were by packets there seem to have been
  ByKey seen_{0, KeyHash{&flows_}};
};

}  // namespace podwire::engine
