// Shaping: the rate limiters of ports, which stay the same objects while a port's limits do: what it has
// passed so far counts on. Main thread only.
#pragma once

#include <map>
#include <memory>
#include <optional>

#include "dataplane/tables/rate_limiter.hpp"
#include "dataplane/tables/snapshot.hpp"

namespace podwire::engine {

class Shaping {
 public:
  // Below this rate a segmentation packet of 64 KiB holds up its port for more than 2.6 ms; it is cut before.
  static constexpr std::uint64_t kCutBelowBps = 200'000'000;

  // Gives `entry` the limiters of `port`. Returns whether they are others than before.
  bool apply(const api::Port& port, PortEntry& entry);
  void forget(PortId port) { ports_.erase(port); }

 private:
  struct Direction {
    std::optional<api::RateLimit> limit;
    std::shared_ptr<RateLimiter> limiter;

    bool follow(const std::optional<api::RateLimit>& wanted);
  };
  struct Both {
    Direction from_pod, to_pod;
  };
  std::map<PortId, Both> ports_;
};

}  // namespace podwire::engine
