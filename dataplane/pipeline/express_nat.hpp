// Translated connections as the express lane meets them: plain frames from pods, or from outside without a
// tunnel, that leave their connection as it is. Called by workers.
#pragma once

#include "dataplane/pipeline/express_connections.hpp"
#include "dataplane/pipeline/nat.hpp"

namespace podwire::engine {

// The ends that a plain frame leaves with, as they stand on the wire, and the domain that they are of.
// Without initial values: the lane has one for every packet of a burst.
struct PlainLeaving {
  std::uint64_t addresses;
  std::uint32_t ports;
  const DomainEntry* domain;
};

// What FlowStage does with a packet that leaves its translated connection, `view`, as it is. False: anything
// else.
[[gnu::noinline]] inline bool follow_translated(const Context& ctx, const std::uint8_t* frame,
                                                const FlowKey& key, FlowRef ref, const FlowView& view,
                                                PlainLeaving& leaving) noexcept {
  FlowKey other;
  if (!ctx.flows->read_other_key(ref, other)) return false;
  const auto* ruling = nat::ruling_domain(*ctx.tables, ref.direction(), key, other);
  leaving.domain = ctx.tables->domain(other.domain());
  if (ruling == nullptr || leaving.domain == nullptr || view.rules_generation != ruling->rules_generation)
    return false;
  if (!changes_nothing(frame, view.phase, ref.direction())) return false;
  const auto& adjacency = ctx.tables->adjacencies[view.decision.adjacency];
  if (adjacency.generation.get() != view.decision.generation) return false;
  if (reinterpret_cast<const EtherHeader*>(frame)->destination.is_multicast() || frame[plain::kTtl] <= 1)
    return false;
  const auto back = other.reversed();
  leaving.addresses = back.words[1];
  leaving.ports = back.ports();
  ctx.flows->touch(ref, ctx.now_s);
  return true;
}

// Gives the plain frame its new ends. One sum of what changed serves both checksums (RFC 1624, equation 3;
// words of 32 bits fold to the same).
inline void translate_plain(std::uint8_t* frame, const PlainLeaving& leaving) noexcept {
  std::uint64_t addresses;
  std::uint32_t ports;
  std::memcpy(&addresses, frame + plain::kSource, sizeof addresses);
  std::memcpy(&ports, frame + plain::kL4, sizeof ports);
  std::memcpy(frame + plain::kSource, &leaving.addresses, sizeof leaving.addresses);
  std::memcpy(frame + plain::kL4, &leaving.ports, sizeof leaving.ports);
  const auto halves = [](std::uint64_t word) { return (word & 0xffffffff) + (word >> 32); };
  const std::uint64_t gained = halves(~addresses) + halves(leaving.addresses);
  const auto update = [frame](std::size_t at, std::uint64_t by) {
    std::uint16_t checksum;
    std::memcpy(&checksum, frame + at, sizeof checksum);
    checksum = checksum_of(std::uint64_t{static_cast<std::uint16_t>(~checksum)} + by).raw();
    std::memcpy(frame + at, &checksum, sizeof checksum);
    return checksum;
  };
  update(plain::kChecksum, gained);
  const std::uint64_t all = gained + static_cast<std::uint32_t>(~ports) + leaving.ports;
  if (frame[plain::kProtocol] == ip_proto::kTcp) {
    update(plain::kL4 + offsetof(TcpHeader, checksum), all);
    return;
  }
  // Zero is UDP's way to have none (RFC 768).
  constexpr std::size_t kAt = plain::kL4 + offsetof(UdpHeader, checksum);
  if ((frame[kAt] | frame[kAt + 1]) != 0 && update(kAt, all) == 0) frame[kAt] = frame[kAt + 1] = 0xff;
}

}  // namespace podwire::engine
