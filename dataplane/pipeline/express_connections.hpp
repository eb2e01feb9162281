// Connections of stateful domains as the express lane meets them: plain frames (packet/plain_frame.hpp) only.
// Called by workers.
#pragma once

#include "dataplane/packet/checksum.hpp"
#include "dataplane/packet/flow_hash.hpp"
#include "dataplane/packet/marking.hpp"
#include "dataplane/packet/plain_frame.hpp"
#include "dataplane/pipeline/context.hpp"
#include "dataplane/pipeline/flow_packet.hpp"

namespace podwire::engine {

// The words of a plain frame's FlowKey.
struct PlainWords {
  std::uint64_t head, addresses;
};
inline PlainWords plain_connection_words(const std::uint8_t* frame, DomainId domain) noexcept {
  std::uint32_t ports;
  PlainWords words;
  std::memcpy(&ports, frame + plain::kL4, sizeof ports);
  std::memcpy(&words.addresses, frame + plain::kSource, sizeof words.addresses);
  words.head = FlowKey::head(domain, frame[plain::kProtocol], true, ports);
  return words;
}

inline FlowKey plain_connection_key(const std::uint8_t* frame, DomainId domain) noexcept {
  const auto words = plain_connection_words(frame, domain);
  FlowKey key;
  key.words[0] = words.head;
  key.words[1] = words.addresses;
  return key;
}

inline std::uint32_t plain_hash(const std::uint8_t* frame) noexcept {
  std::uint64_t addresses;
  std::uint32_t ports;
  std::memcpy(&addresses, frame + plain::kSource, sizeof addresses);
  std::memcpy(&ports, frame + plain::kL4, sizeof ports);
  return flow_hash_ipv4(frame[plain::kProtocol], addresses, ports);
}

[[gnu::always_inline]] inline void route_plain(std::uint8_t* frame, const MacAddr& destination,
                                               const MacAddr& source) noexcept {
  auto* ether = reinterpret_cast<EtherHeader*>(frame);
  ether->destination = destination;
  ether->source = source;
  engine::decrement_ttl(*reinterpret_cast<Ipv4Header*>(frame + plain::kIp));
}

// What the guard stage does with packets that pass.
inline void mark_plain(std::uint8_t* frame, const DomainEntry& domain) noexcept {
  auto& ip = *reinterpret_cast<Ipv4Header*>(frame + plain::kIp);
  set_traffic_class(ip, static_cast<std::uint8_t>((ip.dscp_ecn & domain.dscp_kept) | domain.dscp_set));
}

// Whether the packet leaves its connection's state as it is.
[[gnu::always_inline]] inline bool changes_nothing(const std::uint8_t* frame, FlowPhase phase,
                                                   Direction direction) noexcept {
  if (frame[plain::kProtocol] != ip_proto::kTcp) return answer_changes_nothing(phase, direction);
  return tcp_changes_nothing(phase, direction, reinterpret_cast<const TcpHeader*>(frame + plain::kL4)->flags);
}

// What FlowStage does with a packet that leaves its connection, `view`, as it is. False: anything else.
// `to_gateway` tells whether the frame is addressed to the domain's gateway.
[[gnu::always_inline]] inline bool follow_connection(const Context& ctx, const std::uint8_t* frame,
                                                     FlowRef ref, const FlowView& view,
                                                     const DomainEntry& domain, bool to_gateway) noexcept {
  if (view.rules_generation != domain.rules_generation) return false;
  if (!changes_nothing(frame, view.phase, ref.direction())) return false;
  const auto& adjacency = ctx.tables->adjacencies[view.decision.adjacency];
  if (adjacency.generation.get() != view.decision.generation) return false;
  const MacAddr destination = reinterpret_cast<const EtherHeader*>(frame)->destination;
  if (view.decision.routed ? !to_gateway || frame[plain::kTtl] <= 1 : destination != adjacency.mac)
    return false;
  ctx.flows->touch(ref, ctx.now_s);
  return true;
}

}  // namespace podwire::engine
