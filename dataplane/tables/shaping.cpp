#include "dataplane/tables/shaping.hpp"

#include <rte_cycles.h>

namespace podwire::engine {

bool Shaping::Direction::follow(const std::optional<api::RateLimit>& wanted) {
  if (limit == wanted) return false;
  limit = wanted;
  limiter = wanted ? std::make_shared<RateLimiter>(*wanted, rte_get_tsc_hz()) : nullptr;
  return true;
}

bool Shaping::apply(const api::Port& port, PortEntry& entry) {
  if (!port.from_pod && !port.to_pod && ports_.count(port.id) == 0) return false;
  auto& both = ports_[port.id];
  const bool from_changed = both.from_pod.follow(port.from_pod);
  const bool to_changed = both.to_pod.follow(port.to_pod);
  entry.from_pod = both.from_pod.limiter;
  entry.to_pod = both.to_pod.limiter;
  entry.cut_segments = port.to_pod && port.to_pod->rate_bps < kCutBelowBps;
  if (!port.from_pod && !port.to_pod) forget(port.id);
  return from_changed || to_changed;
}

}  // namespace podwire::engine
