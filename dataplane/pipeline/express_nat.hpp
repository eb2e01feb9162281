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

// As nat::ruling_domain(), of a key of `direction` in domain `own` and another one in `other`.
inline const DomainEntry& ruling_domain(Direction direction, const DomainEntry& own,
                                        const DomainEntry& other) noexcept {
  const bool is_original = direction == Direction::kOriginal;
  const auto& reply = is_original ? other : own;
  return reply.id == kUnderlayDomain ? (is_original ? own : other) : reply;
}

// What FlowStage does with a packet of `domain` that leaves its translated connection, `view`, as it is.
// False: anything else.
[[gnu::always_inline]] inline bool follow_translated(const Context& ctx, const std::uint8_t* frame,
                                                     const DomainEntry& domain, FlowRef ref,
                                                     const FlowView& view, PlainLeaving& leaving) noexcept {
  std::uint64_t head, addresses;
  if (!ctx.flows->read_other_v4(ref, head, addresses)) return false;
  const auto there = FlowKey::domain_of(head);
  leaving.domain = there == domain.id ? &domain : ctx.tables->domain(there);
  if (leaving.domain == nullptr ||
      view.rules_generation != ruling_domain(ref.direction(), domain, *leaving.domain).rules_generation)
    return false;
  if (!changes_nothing(frame, view.phase, ref.direction())) return false;
  const auto& adjacency = ctx.tables->adjacencies[view.decision.adjacency];
  if (adjacency.generation.get() != view.decision.generation) return false;
  if (reinterpret_cast<const EtherHeader*>(frame)->destination.is_multicast() || frame[plain::kTtl] <= 1)
    return false;
  leaving.addresses = FlowKey::exchange_addresses(addresses);
  leaving.ports = FlowKey::exchange_ports(static_cast<std::uint32_t>(head));
  ctx.flows->touch(ref, ctx.now_s);
  return true;
}

// Of words of 16 bits as they lie in memory (packet/checksum.hpp): to 17 bits, without losing carries.
[[gnu::always_inline]] inline std::uint32_t halve(std::uint64_t sum) noexcept {
  const std::uint64_t word = (sum & 0xffffffff) + (sum >> 32);
  return static_cast<std::uint32_t>((word & 0xffff) + (word >> 16 & 0xffff) + (word >> 32));
}

// The checksum after what it covers has gained so much, at most 20 bits (RFC 1624, equation 3).
[[gnu::always_inline]] inline std::uint16_t gain(std::uint8_t* at, std::uint32_t gained) noexcept {
  std::uint16_t checksum;
  std::memcpy(&checksum, at, sizeof checksum);
  std::uint32_t sum = static_cast<std::uint16_t>(~checksum) + gained;
  sum = (sum & 0xffff) + (sum >> 16);
  checksum = static_cast<std::uint16_t>(~(sum + (sum >> 16)));
  std::memcpy(at, &checksum, sizeof checksum);
  return checksum;
}

// Gives the plain frame its new ends. One sum of what changed serves both checksums.
[[gnu::always_inline]] inline void translate_plain(std::uint8_t* frame,
                                                   const PlainLeaving& leaving) noexcept {
  std::uint64_t addresses;
  std::uint32_t ports;
  std::memcpy(&addresses, frame + plain::kSource, sizeof addresses);
  std::memcpy(&ports, frame + plain::kL4, sizeof ports);
  std::memcpy(frame + plain::kSource, &leaving.addresses, sizeof leaving.addresses);
  std::memcpy(frame + plain::kL4, &leaving.ports, sizeof leaving.ports);
  const std::uint32_t gained = halve(~addresses) + halve(leaving.addresses);
  gain(frame + plain::kChecksum, gained);
  const std::uint32_t all = gained + halve(std::uint64_t{~ports} + leaving.ports);
  if (frame[plain::kProtocol] == ip_proto::kTcp) {
    gain(frame + plain::kL4 + offsetof(TcpHeader, checksum), all);
    return;
  }
  // Zero is UDP's way to have none (RFC 768).
  constexpr std::size_t kAt = plain::kL4 + offsetof(UdpHeader, checksum);
  if ((frame[kAt] | frame[kAt + 1]) != 0 && gain(frame + kAt, all) == 0) frame[kAt] = frame[kAt + 1] = 0xff;
}

}  // namespace podwire::engine
