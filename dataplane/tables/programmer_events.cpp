// What the programmer does about the workers' events and the passing of time.
#include "dataplane/pipeline/accounting.hpp"
#include "dataplane/tables/programmer_state.hpp"

namespace podwire::engine {

void Programmer::State::on_event(const Event& event, std::uint64_t now_ms) {
  switch (event.kind) {
    case Event::Kind::kLearn:
      serve_learn(event, now_ms);
      return;
    case Event::Kind::kNeighbor:
      underlay_.learn_neighbor({event.port, event.address}, event.mac, event.solicited, now_ms);
      return;
    case Event::Kind::kPark:
      name_hop(event.mbuf, now_ms);
      dispatch(event.mbuf);
      return;
    case Event::Kind::kDenied:
      denials_.note(event, intent_,
                    {policies_.owner_of(event.domain, event.address),
                     policies_.owner_of(event.peer_domain, event.peer)},
                    now_ms);
      return;
    case Event::Kind::kProbeAnswer:
      probes_.answered(event);
      return;
    case Event::Kind::kUnknownVni:
      probes_.note_unknown_vni(event, now_ms);
      return;
  }
}

void Programmer::State::serve_learn(const Event& event, std::uint64_t now_ms) {
  const auto* domain = intent_.domain(event.domain);
  if (domain == nullptr || !domain->learning) return;  // no VTEP slot for nothing
  LearnedMac seen;
  seen.domain = event.domain;
  seen.mac = event.mac;
  seen.seen_ms = now_ms;
  if (event.from_tunnel) {
    // By address, not by the slot that the worker saw: that may be another VTEP's by now.
    seen.vtep = underlay_.slot_at(event.address, event.udp_port, now_ms);
    if (seen.vtep == 0) return;
  } else {
    seen.port = event.port;
  }
  forwarding_.learn(seen);
}

void Programmer::State::flush() {
  publish();
  forwarding_.retire(*environment_.publisher);
  release_settled();
}

void Programmer::State::tick(std::uint64_t now_ms) {
  underlay_.tick(now_ms);
  probes_.tick(now_ms);
  if (now_ms >= next_second_ms_) {
    next_second_ms_ = now_ms + 1000;
    forwarding_.age(now_ms);
    age_hops(now_ms);
    underlay_.drop_dynamic([this](std::uint32_t slot) { return forwarding_.learned().on_vtep(slot) != 0; },
                           now_ms);
    advertiser_.tick(environment_.publisher->current_for_main()->ports, now_ms);
    denials_.tick(now_ms);
  }
  flush();
  close_devices(0);
  environment_.publisher->reclaim();
}

void Programmer::State::release_settled() {
  for (const auto& key : underlay_.take_settled()) {
    for (auto* mbuf : parking_.take(key)) dispatch(mbuf);
  }
}

void Programmer::State::dispatch(rte_mbuf* mbuf) {
  const auto meta = load_meta(mbuf);
  switch (underlay_.reach(meta.vtep)) {
    case VtepReach::kGone:
      return drop_parked(mbuf, meta, DropReason::vtep_unknown);
    case VtepReach::kNoSource:
      return drop_parked(mbuf, meta, DropReason::vtep_no_source);
    case VtepReach::kNoRoute:
      return drop_parked(mbuf, meta, DropReason::no_route);
    case VtepReach::kFailed:
      return drop_parked(mbuf, meta, DropReason::neighbor_unresolved);
    case VtepReach::kWaiting:
      if (parking_.park(*underlay_.next_hop(meta.vtep), mbuf)) return;
      return drop_parked(mbuf, meta, DropReason::neighbor_queue_full);
    case VtepReach::kResolved:
      publish();  // the worker that takes it must see the headers, or it would park it again
      if (!environment_.injector->inject(mbuf, meta))
        return drop_parked(mbuf, meta, DropReason::handover_full);
      book(*environment_.counters, meta, &LedgerCounters::parked_out);
      return;
  }
}

void Programmer::State::drop_parked(rte_mbuf* mbuf, const PacketMeta& meta, DropReason reason) {
  book(*environment_.counters, meta, &LedgerCounters::parked_out);
  book_drop(*environment_.counters, meta, reason);
  rte_pktmbuf_free(mbuf);
}

}  // namespace podwire::engine
