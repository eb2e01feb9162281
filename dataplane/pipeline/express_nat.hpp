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

// What FlowStage does with a packet that leaves its translated connection as it is. False: anything else.
[[gnu::noinline]] inline bool follow_translated(const Context& ctx, const std::uint8_t* frame,
                                                const FlowKey& key, FlowRef ref, FlowDecision& decision,
                                                PlainLeaving& leaving) noexcept {
  FlowView view;
  FlowKey other;
  if (!ctx.flows->read(ref, view) || !view.decision.translated || view.decision.adjacency == 0 ||
      !ctx.flows->read_other_key(ref, other))
    return false;
  const auto* ruling = nat::ruling_domain(*ctx.tables, ref.direction(), key, other);
  leaving.domain = ctx.tables->domain(other.domain());
  if (ruling == nullptr || leaving.domain == nullptr || view.rules_generation != ruling->rules_generation)
    return false;
  const auto step = step_flow(plain_flow_packet(frame), view.phase, ref.direction());
  if (step.outcome != FlowStep::Outcome::kPass || !(step.phase == view.phase)) return false;
  const auto& adjacency = ctx.tables->adjacencies[view.decision.adjacency];
  if (adjacency.generation.get() != view.decision.generation) return false;
  if (reinterpret_cast<const EtherHeader*>(frame)->destination.is_multicast() || frame[plain::kTtl] <= 1)
    return false;
  const auto back = other.reversed();
  leaving.addresses = back.words[1];
  leaving.ports = back.ports();
  ctx.flows->touch(ref, ctx.now_s);
  decision = view.decision;
  return true;
}

// Gives the plain frame of `mbuf` its new ends.
inline void translate_plain(rte_mbuf* mbuf, const PlainLeaving& leaving) noexcept {
  const auto* frame = rte_pktmbuf_mtod(mbuf, const std::uint8_t*);
  PacketEnds before, after;
  std::memcpy(before.addresses.data(), frame + plain::kSource, sizeof leaving.addresses);
  std::memcpy(&before.ports, frame + plain::kL4, sizeof before.ports);
  std::memcpy(after.addresses.data(), &leaving.addresses, sizeof leaving.addresses);
  after.ports = leaving.ports;
  PacketMeta meta;
  meta.ether_type = ether_type::kIpv4;
  meta.ip_proto = frame[plain::kProtocol];
  meta.l3_offset = plain::kIp;
  meta.l4_offset = plain::kL4;
  (void)translate(mbuf, meta, before, after);  // refuses SCTP alone, which is not plain
}

}  // namespace podwire::engine
