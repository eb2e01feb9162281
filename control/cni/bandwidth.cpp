#include "control/cni/bandwidth.hpp"

#include <algorithm>
#include <limits>

namespace podwire::control {
namespace {

constexpr std::int64_t kMostBps = 1'000'000'000'000;
constexpr std::int64_t kLeastBps = 1'000;
// What runtimes pass as the burst when they were given a rate only. Taken literally, a pod with 10 Mbit/s
// could send for minutes at full speed.
constexpr std::uint64_t kNoBurst = std::numeric_limits<std::int32_t>::max();

Result<std::optional<api::RateLimit>> limit_of(const std::string& path, const char* direction,
                                               std::uint64_t rate_bps, std::uint64_t burst_bits) {
  if (rate_bps == 0) {
    if (burst_bits == 0) return std::optional<api::RateLimit>();
    return invalid(path + "." + direction + "Burst is " + std::to_string(burst_bits) + " without " +
                   direction + "Rate; give both, or neither for no limit");
  }
  if (rate_bps < kLeastBps) {
    return invalid(path + "." + direction + "Rate is " + std::to_string(rate_bps) +
                   " bits a second, must be at least " + std::to_string(kLeastBps) + ", or 0 for no limit");
  }
  return std::optional<api::RateLimit>({rate_bps, burst_bits >= kNoBurst ? 0 : burst_bits / 8});
}

}  // namespace

Result<PortLimits> read_bandwidth(const Json& value, const std::string& path) {
  std::uint64_t ingress_rate = 0, ingress_burst = 0, egress_rate = 0, egress_burst = 0;
  constexpr auto kMostBurst = std::numeric_limits<std::int64_t>::max();
  ObjectReader r(value, path);
  r.optional_in("ingressRate", ingress_rate, 0, kMostBps);
  r.optional_in("ingressBurst", ingress_burst, 0, kMostBurst);
  r.optional_in("egressRate", egress_rate, 0, kMostBps);
  r.optional_in("egressBurst", egress_burst, 0, kMostBurst);
  PODWIRE_CHECK(r.finish());
  PortLimits limits;
  PODWIRE_TRY(limits.to_pod, limit_of(path, "ingress", ingress_rate, ingress_burst));
  PODWIRE_TRY(limits.from_pod, limit_of(path, "egress", egress_rate, egress_burst));
  return limits;
}

}  // namespace podwire::control
