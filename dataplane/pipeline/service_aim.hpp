// Services in the pipeline: the first packet of a connection that asks for a service is aimed at one of its
// backends, or refused at once where there is none; what asks for no service, but for a floating address, is
// aimed at the endpoint behind it, whatever its protocol. Part of the flow stage, before its rules are asked;
// the packet itself is changed when they have allowed it (pipeline/nat.hpp). A load balancer's addresses may
// be for some clients only. Called by workers.
#pragma once

#include "dataplane/packet/tcp_reset.hpp"
#include "dataplane/pipeline/arrival.hpp"
#include "dataplane/pipeline/flow_packet.hpp"
#include "dataplane/pipeline/policy.hpp"
#include "dataplane/pipeline/routing.hpp"
#include "dataplane/tables/outside_table.hpp"
#include "dataplane/tables/rule_set.hpp"
#include "dataplane/tables/service_table.hpp"

namespace podwire::engine {

struct ServiceAim {
  enum class Outcome : std::uint8_t {
    kNone,   // asks for neither a service nor a floating address
    kAimed,  // `key` and `domain` are those of the backend or endpoint now, and the packet has its Arrival
    kGone,   // refused: dropped, or an answer in its place
  };

  static Outcome aim(Context& ctx, Burst& burst, std::uint16_t i, const FlowPacket& packet, FlowKey& key,
                     const DomainEntry*& domain) noexcept {
    const auto& tables = *ctx.tables;
    if (packet.kind != FlowPacket::Kind::kTracked) return Outcome::kNone;
    const auto* service =
        tables.services != nullptr ? tables.services->find_for(key, is_from_node(burst.meta[i])) : nullptr;
    const auto* inside =
        service == nullptr && tables.outside != nullptr ? tables.outside->behind(key.destination()) : nullptr;
    if (service == nullptr && inside == nullptr) return Outcome::kNone;
    const auto* to = tables.domain(service != nullptr ? service->domain : inside->domain);
    if (to == nullptr || !to->stateful) return Outcome::kNone;
    const auto start = begin_flow(packet, key.protocol(), to->strict_tcp);
    if (start.outcome != FlowStep::Outcome::kPass) return Outcome::kNone;
    // To other domains a pod is what it is to the world outside.
    const bool foreign = key.domain() != kUnderlayDomain && key.domain() != to->id;
    const auto seen_as = foreign ? outside_ends(tables, key).address : IpAddr();
    if (foreign && seen_as.is_zero()) return Outcome::kNone;
    if (service != nullptr && !tables.services->admits(key, foreign ? seen_as : key.source())) {
      burst.drop(i, DropReason::service_source_refused);
      return Outcome::kGone;
    }
    // The rules of its own domain are asked about what it sent; those of the other one come later.
    if (foreign && !own_rules_allow(tables, key)) {
      burst.drop(i, DropReason::policy_denied);
      return Outcome::kGone;
    }
    const auto choice = service != nullptr ? ServiceTable::choose(*service, key, ctx.now_s)
                                           : ServiceTable::Choice{ServiceTable::Choice::Kind::kBackend,
                                                                  inside->address, key.destination_port()};
    if (choice.kind == ServiceTable::Choice::Kind::kReject) {
      refuse(ctx, burst, i);
      return Outcome::kGone;
    }
    Arrival arrival{key, 0, start.phase, false, Arrival::Source::kOwn};
    const bool hidden = service != nullptr && service->hide_clients && key.domain() == kUnderlayDomain;
    if (foreign) {
      arrival.source = Arrival::Source::kMasquerade;
    } else if (hidden || choice.address == key.source()) {
      arrival.source = Arrival::Source::kGateway;
    }
    // From outside the backend is reached where it is, in a domain that the service's own is joined with.
    if (key.domain() != to->id) to = home_of_backend(tables, *to, choice.address);
    if (to == nullptr) {
      burst.drop(i, DropReason::no_route);
      return Outcome::kGone;
    }
    save_arrival(burst.mbufs[i], arrival);
    if (foreign && key.domain() != to->id) key.set_source(seen_as);
    key.set_domain(to->id);
    key.set_destination(choice.address);
    key.set_ports((key.ports() & 0xffff) | std::uint32_t{byte_swap(choice.port)} << 16);
    domain = to;
    return Outcome::kAimed;
  }

  // Whether a packet of the underlay that asks for no service is for an address that only services have: the
  // node's own program asked for a port that none of them has. Then it is refused.
  static bool refuse_host(Context& ctx, Burst& burst, std::uint16_t i, const FlowKey& key) noexcept {
    const auto* services = ctx.tables->services;
    if (services == nullptr || !is_from_node(burst.meta[i]) || !services->is_for_host(key.destination()))
      return false;
    reject(ctx, burst, i, DropReason::service_no_backend, IcmpErrorKind::kPortUnreachable);
    return true;
  }

  // What the rules of its own domain say of a client as it asks.
  static bool own_rules_allow(const Snapshot& tables, const FlowKey& key) noexcept {
    const auto* own = tables.domain(key.domain());
    return own == nullptr || !own->stateful || own->rules->allows(key);
  }

 private:
  // Null: it is in a domain that cannot track it.
  static const DomainEntry* home_of_backend(const Snapshot& tables, const DomainEntry& of_service,
                                            const IpAddr& backend) noexcept {
    const auto* home = tables.domain(home_of(tables, of_service.id, backend));
    return home != nullptr && home->stateful ? home : nullptr;
  }

  [[gnu::cold, gnu::noinline]] static void refuse(Context& ctx, Burst& burst, std::uint16_t i) noexcept {
    if (burst.meta[i].ip_proto != ip_proto::kTcp) {
      reject(ctx, burst, i, DropReason::service_no_backend, IcmpErrorKind::kPortUnreachable);
      return;
    }
    drop_with_answer(ctx, burst, i, DropReason::service_no_backend,
                     [](rte_mbuf* mbuf, PacketMeta& back, const DomainEntry& domain) {
                       return make_tcp_reset(mbuf, back, domain.gateway_mac);
                     });
  }
};

}  // namespace podwire::engine
