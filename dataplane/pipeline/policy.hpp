// Policy: what the flow stage asks about a connection's first packet, and what is told of the denials:
// counted by policy and side, and now and then an event for the log of the main thread. Called by workers.
#pragma once

#include "dataplane/pipeline/event_token.hpp"
#include "dataplane/tables/policy_view.hpp"

namespace podwire::engine {

[[gnu::cold, gnu::noinline]] inline void note_denial(Context& ctx, const PacketMeta& meta,
                                                     const FlowKey& original, const FlowKey& reply,
                                                     const PolicyAnswer& answer) noexcept {
  const bool ingress = answer.side == PolicyDirection::kIngress;
  auto& counters = ctx.counters->policies[answer.slot];
  (ingress ? counters.denied_ingress : counters.denied_egress).add(1);
  if (!take_event_token(ctx.denials, ctx.now_tsc, ctx.tsc_hz)) {
    ++ctx.denials.left_out;
    return;
  }
  Event event;
  event.kind = Event::Kind::kDenied;
  event.port = meta.ingress;
  event.domain = original.domain();
  event.address = original.source();
  event.policy = answer.policy;
  event.ingress = ingress;
  event.protocol = original.protocol();
  event.peer_domain = reply.domain();
  event.peer = reply.source();
  event.source_port = original.source_port();
  event.destination_port = reply.source_port();
  event.left_out = std::exchange(ctx.denials.left_out, 0);
  if (!ctx.events->push(event)) ctx.denials.left_out = event.left_out + 1;
}

inline bool is_from_node(const PacketMeta& meta) noexcept {
  return meta.ingress_role == static_cast<std::uint8_t>(api::PortRole::kHost);
}

// Whether a connection may begin that the packet with `meta` is the first of. The keys are those that it
// would be remembered by. Decides and notes; dropping is the caller's.
inline bool policies_allow(Context& ctx, const PacketMeta& meta, const FlowKey& original,
                           const FlowKey& reply) noexcept {
  if (ctx.tables->policies == nullptr) return true;
  const auto answer = ask_policies(*ctx.tables, original, reply, is_from_node(meta));
  if (ctx.policy_answer != nullptr) [[unlikely]]
    *ctx.policy_answer = answer;
  if (!answer.allowed) [[unlikely]]
    note_denial(ctx, meta, original, reply, answer);
  return answer.allowed;
}

}  // namespace podwire::engine
