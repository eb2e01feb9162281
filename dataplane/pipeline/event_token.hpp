// How often a worker may tell the main thread of something that it drops. Called by workers.
#pragma once

#include <algorithm>

#include "dataplane/pipeline/context.hpp"

namespace podwire::engine {

// Whether an event may be pushed now: 5 a second and worker.
inline bool take_event_token(EventLimiter& limiter, std::uint64_t now_tsc, std::uint64_t tsc_hz) noexcept {
  constexpr std::uint32_t kPerSecond = 5;
  const auto per_token = std::max<std::uint64_t>(1, tsc_hz / kPerSecond);
  const auto gained = (now_tsc - limiter.last_tsc) / per_token;
  if (gained != 0) {
    limiter.last_tsc = now_tsc;
    limiter.tokens = static_cast<std::uint32_t>(std::min<std::uint64_t>(kPerSecond, limiter.tokens + gained));
  }
  if (limiter.tokens == 0) return false;
  --limiter.tokens;
  return true;
}

}  // namespace podwire::engine
