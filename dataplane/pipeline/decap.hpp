// Decap: VXLAN packets on an uplink addressed to one of our VTEPs lose their outer headers and move to their
// VNI's domain. Everything else passes. A pod's own VXLAN to the node never comes here: it is on no uplink.
#pragma once

#include "dataplane/packet/marking.hpp"
#include "dataplane/pipeline/accounting.hpp"
#include "dataplane/pipeline/event_token.hpp"
#include "dataplane/pipeline/parse.hpp"
#include "dataplane/tunnels/vxlan.hpp"

namespace podwire::engine {

struct DecapStage {
  static constexpr std::string_view kName = "decap";

  static void run(Context& ctx, Burst& burst) noexcept {
    for (std::uint16_t i = 0; i < burst.count; ++i) {
      auto& meta = burst.meta[i];
      if (meta.ingress_role != static_cast<std::uint8_t>(api::PortRole::kUplink)) continue;
      const auto* local = vxlan::match_local(*ctx.tables, burst.mbufs[i], meta);
      if (local == nullptr) continue;
      DropReason reason{};
      if (!decap(ctx, burst.mbufs[i], meta, *local, reason)) burst.drop(i, reason);
    }
  }

 private:
  static bool decap(Context& ctx, rte_mbuf* mbuf, PacketMeta& meta, const LocalVtep& local,
                    DropReason& reason) noexcept {
    const auto sender = vxlan::find_sender(*ctx.tables, mbuf, meta, local.udp_port);
    const std::uint8_t outer = traffic_class_of(mbuf, meta);
    Vni vni;
    if (!vxlan::strip(mbuf, meta, vni, reason)) return false;
    const DomainId id(static_cast<std::uint16_t>(ctx.tables->vni_to_domain->find({vni.value()})));
    const auto* domain = ctx.tables->domain(id);
    if (domain == nullptr) {
      reason = DropReason::vni_unknown;
      if (sender.slot != 0) note_unknown_vni(ctx, sender, vni);
      return false;
    }
    move_to_domain(*ctx.counters, meta, id);
    meta.from_tunnel = true;
    meta.vtep = sender.slot;
    meta.vni = vni;
    const auto inner = parse_frame(mbuf, meta);
    reason = inner.reason;
    if (!inner.good) return false;
    if (sender.slot == 0 && !domain->learning) {
      reason = DropReason::vtep_unknown;
      return false;
    }
    if (!carry_congestion(mbuf, meta, outer)) {
      reason = DropReason::ecn_not_capable;
      return false;
    }
    if (domain->learning) learn_sender(ctx, mbuf, meta, sender, local.udp_port);
    return true;
  }

  // For who asks why a peer's packets get lost. Strangers are of no interest.
  [[gnu::cold, gnu::noinline]] static void note_unknown_vni(Context& ctx, const vxlan::Sender& sender,
                                                            Vni vni) noexcept {
    if (!take_event_token(ctx.unknown_vnis, ctx.now_tsc, ctx.tsc_hz)) return;
    Event event;
    event.kind = Event::Kind::kUnknownVni;
    event.address = sender.address;
    event.vni = vni;
    ctx.events->push(event);
  }

  static void learn_sender(Context& ctx, rte_mbuf* mbuf, const PacketMeta& meta, const vxlan::Sender& sender,
                           std::uint16_t udp_port) noexcept {
    const auto mac = header_unchecked<EtherHeader>(mbuf, 0)->source;
    const auto where = mix(sender.slot ^ mix(udp_port)) ^ address_word(sender.address);
    auto& slot = ctx.learned.slot_of(meta.domain, mac);
    if (!slot.is_news(meta.domain, mac, where, ctx.now_s)) return;
    Event event;
    event.kind = Event::Kind::kLearn;
    event.from_tunnel = true;
    event.port = meta.ingress;
    event.domain = meta.domain;
    event.mac = mac;
    event.address = sender.address;
    event.udp_port = udp_port;
    event.vtep = sender.slot;
    ctx.events->push(event);
  }

  static std::uint64_t address_word(const IpAddr& address) noexcept {
    std::uint64_t words[2];
    std::memcpy(words, address.bytes().data(), sizeof words);
    return words[0] ^ mix(words[1]);
  }
};

}  // namespace podwire::engine
