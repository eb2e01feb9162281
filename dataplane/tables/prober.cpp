#include "dataplane/tables/prober.hpp"

#include <rte_cycles.h>
#include <sys/random.h>

#include <algorithm>

#include "dataplane/packet/copy_frame.hpp"
#include "dataplane/packet/probe_frame.hpp"
#include "dataplane/pipeline/accounting.hpp"

namespace podwire::engine {

struct Prober::Wish {
  DomainId domain;
  IpAddr to;
  std::uint16_t bytes = 0;
};

namespace {

constexpr std::uint32_t kSlotMask = ProbeWindow::kSlots - 1;
static_assert((ProbeWindow::kSlots & kSlotMask) == 0);

Json problem(const char* kind, std::string message) {
  return {{"problem", kind}, {"message", std::move(message)}};
}

std::uint64_t fresh_nonce() {
  std::uint64_t nonce = 0;
  if (::getrandom(&nonce, sizeof nonce, 0) != sizeof nonce) nonce = rte_rdtsc();
  return nonce == 0 ? 1 : nonce;
}

const char* to_text(VtepReach reach) {
  switch (reach) {
    case VtepReach::kNoSource:
      return "no_source";
    case VtepReach::kNoRoute:
      return "no_route";
    case VtepReach::kWaiting:
    case VtepReach::kFailed:
      return "unresolved";
    case VtepReach::kResolved:
      return "resolved";
    case VtepReach::kGone:
      break;
  }
  return "gone";
}

// The adjacency that a packet of `domain` to `address` takes; of several paths the first. Slot 0: none.
const Adjacency& way_to(const Snapshot& tables, const DomainEntry& domain, const IpAddr& address) {
  const auto slot =
      address.is_v4() ? find_route(tables, domain, address.v4()) : find_route(tables, domain, address.v6());
  const auto& adjacency = tables.adjacencies[slot];
  if (adjacency.kind != Adjacency::Kind::kMultipath || adjacency.paths_count == 0) return adjacency;
  return tables.adjacencies[tables.paths[adjacency.paths_first]];
}

// Of the family of `to`, and not link-local; zero: it has none.
IpAddr gateway_towards(const DomainEntry& domain, const IpAddr& to) {
  if (to.is_v4()) return domain.gateways4.empty() ? IpAddr(Ipv4()) : IpAddr(domain.gateways4.front());
  const auto global = std::find_if(domain.gateways6.begin(), domain.gateways6.end(),
                                   [](const Ipv6& address) { return !address.is_link_local(); });
  return global == domain.gateways6.end() ? IpAddr(Ipv6()) : IpAddr(*global);
}

}  // namespace

Result<Json> Prober::send(const Json& params, const Snapshot& tables, std::uint64_t now_ms) {
  std::vector<Json> list;
  ObjectReader r(params, "params");
  r.required("probes", list);
  PODWIRE_CHECK(r.finish());
  if (list.size() > kMostAtOnce) {
    return invalid("params.probes has " + std::to_string(list.size()) + " probes, at most " +
                   std::to_string(kMostAtOnce) + " go at once");
  }
  std::vector<Wish> wishes(list.size());
  for (std::size_t i = 0; i < list.size(); ++i) {
    ObjectReader one(list[i], "params.probes[" + std::to_string(i) + "]");
    one.required("domain", wishes[i].domain);
    one.required("to", wishes[i].to);
    one.required("bytes", wishes[i].bytes);
    PODWIRE_CHECK(one.finish());
  }
  Json replies = Json::array();
  for (const auto& wish : wishes) replies.push_back(send_one(wish, tables, now_ms));
  return Json{{"probes", std::move(replies)}};
}

Json Prober::send_one(const Wish& wish, const Snapshot& tables, std::uint64_t now_ms) {
  const auto* domain = tables.domain(wish.domain);
  if (domain == nullptr || wish.domain == kUnderlayDomain)
    return problem("no_domain", "there is no domain " + std::to_string(wish.domain.value()));
  const auto source = gateway_towards(*domain, wish.to);
  if (source.is_zero())
    return problem("no_gateway", "the domain has no gateway address to ask " + to_string(wish.to) + " from");
  const auto& way = way_to(tables, *domain, wish.to);
  if (way.kind != Adjacency::Kind::kVtep || way.vtep >= tables.vteps.size())
    return problem("no_tunnel", "no tunnel leads to " + to_string(wish.to));
  const auto& vtep = tables.vteps[way.vtep];
  const auto least = least_probe_bytes(wish.to.is_v4());
  if (wish.bytes < least)
    return problem("too_short", "a probe has " + std::to_string(least) + " bytes at least");
  if (vtep.mtu != 0 && wish.bytes > vtep.mtu) {
    auto refusal = problem("too_long", "the uplink's MTU leaves " + std::to_string(vtep.mtu) +
                                           " bytes for a packet in the tunnel to " + to_string(vtep.address));
    refusal["limit"] = vtep.mtu;
    return refusal;
  }
  auto* probe = free_slot();
  if (probe == nullptr) {
    return problem("busy", std::to_string(ProbeWindow::kSlots) +
                               " probes are under way already; try again in a few seconds");
  }
  const auto slot = static_cast<std::size_t>(probe - probes_.data());
  *probe = {State::kWaiting,
            static_cast<std::uint32_t>(++generation_ * ProbeWindow::kSlots + slot),
            way.vtep,
            wish.domain,
            wish.to,
            fresh_nonce(),
            now_ms,
            rte_rdtsc(),
            0};
  window_.open(slot, probe->nonce);
  if (!inject(*probe, wish, way, *domain, source, tables)) {
    window_.close(slot);
    probe->state = State::kFree;
    return problem("no_mbufs", "no packet buffer or no worker is free; see podwirectl stats");
  }
  return {{"id", probe->id}, {"vtep", vtep.id.value()}};
}

// Of those that are not under way, the one that has been so for longest.
Prober::Probe* Prober::free_slot() {
  for (std::size_t tries = 0; tries < probes_.size(); ++tries) {
    auto& probe = probes_[next_];
    next_ = (next_ + 1) & kSlotMask;
    if (probe.state != State::kWaiting) return &probe;
  }
  return nullptr;
}

bool Prober::inject(Probe& probe, const Wish& wish, const Adjacency& way, const DomainEntry& domain,
                    const IpAddr& source, const Snapshot& tables) {
  const auto& vtep = tables.vteps[way.vtep];
  const auto uplink = vtep.egress ? vtep.egress : tables.uplinks.empty() ? PortId() : tables.uplinks.front();
  if (!uplink) return false;
  PacketMeta meta;
  meta.ingress = uplink;
  meta.ingress_role = static_cast<std::uint8_t>(api::PortRole::kUplink);
  meta.domain = domain.id;
  meta.verdict = Verdict::kTunnel;
  meta.vtep = way.vtep;
  meta.vni = domain.vni;
  meta.generated = true;
  meta.resolved = true;
  meta.l3_offset = sizeof(EtherHeader);
  meta.l4_offset =
      static_cast<std::uint16_t>(meta.l3_offset + (source.is_v4() ? sizeof(Ipv4Header) : sizeof(Ipv6Header)));
  meta.ether_type = source.is_v4() ? ether_type::kIpv4 : ether_type::kIpv6;
  meta.ip_proto = source.is_v4() ? ip_proto::kIcmp : ip_proto::kIcmpv6;
  const auto slot = static_cast<std::uint16_t>(&probe - probes_.data());
  rte_mbuf* mbuf = copy_frame(
      pool_, probe_frame({domain.gateway_mac, way.mac, source, wish.to, slot, probe.nonce, wish.bytes}));
  book(counters_, meta, &LedgerCounters::generated);
  if (mbuf == nullptr) {
    book_drop(counters_, meta, DropReason::no_mbufs);
    return false;
  }
  if (injector_.inject(mbuf, meta)) return true;
  book_drop(counters_, meta, DropReason::handover_full);
  rte_pktmbuf_free(mbuf);
  return false;
}

Result<Json> Prober::results(const Json& params, const FindReach& reach, std::uint64_t now_ms) const {
  std::vector<std::uint32_t> ids;
  ObjectReader r(params, "params");
  r.required("ids", ids);
  PODWIRE_CHECK(r.finish());
  if (ids.size() > ProbeWindow::kSlots) {
    return invalid("params.ids has " + std::to_string(ids.size()) + " ids; " +
                   std::to_string(ProbeWindow::kSlots) + " are the most that can be under way");
  }
  Json list = Json::array();
  for (const auto id : ids) {
    const auto& probe = probes_[id & kSlotMask];
    Json one{{"id", id}};
    if (probe.state == State::kFree || probe.id != id) {
      one["state"] = "unknown";
    } else if (probe.state == State::kAnswered) {
      one["state"] = "answered";
      one["rtt_us"] = probe.rtt_tsc * 1'000'000 / std::max<std::uint64_t>(1, rte_get_tsc_hz());
    } else if (probe.state == State::kDamaged) {
      one["state"] = "damaged";
    } else {
      const bool lost = probe.state == State::kLost || now_ms - probe.sent_ms >= kTimeoutMs;
      one["state"] = lost ? "lost" : "waiting";
      one["next_hop"] = to_text(reach(probe.vtep));
    }
    list.push_back(std::move(one));
  }
  return Json{{"results", std::move(list)}};
}

// A worker may have seen the probe before this one in the same slot.
void Prober::answered(const Event& event) {
  if (event.probe_slot >= probes_.size()) return;
  auto& probe = probes_[event.probe_slot];
  const bool ours = probe.state == State::kWaiting && probe.nonce == event.probe_nonce &&
                    probe.domain == event.domain && probe.to == event.address;
  if (!ours) return;
  probe.state = event.intact ? State::kAnswered : State::kDamaged;
  probe.rtt_tsc = event.tsc > probe.sent_tsc ? event.tsc - probe.sent_tsc : 0;
  window_.close(event.probe_slot);
}

void Prober::tick(std::uint64_t now_ms) {
  for (std::size_t slot = 0; slot < probes_.size(); ++slot) {
    auto& probe = probes_[slot];
    if (probe.state != State::kWaiting || now_ms - probe.sent_ms < kTimeoutMs) continue;
    probe.state = State::kLost;
    window_.close(slot);
  }
}

void Prober::note_unknown_vni(const Event& event, std::uint64_t now_ms) {
  const std::pair key{event.address, event.vni};
  if (unknown_vnis_.size() >= kMostVnis && !unknown_vnis_.contains(key)) {
    unknown_vnis_.erase(std::min_element(unknown_vnis_.begin(), unknown_vnis_.end(),
                                         [](const auto& a, const auto& b) { return a.second < b.second; }));
  }
  unknown_vnis_[key] = now_ms;
}

Json Prober::unknown_vnis(std::uint64_t now_ms) const {
  std::vector<std::pair<std::uint64_t, std::pair<IpAddr, Vni>>> by_age;
  for (const auto& [key, seen_ms] : unknown_vnis_) by_age.emplace_back(now_ms - seen_ms, key);
  std::sort(by_age.begin(), by_age.end());
  Json list = Json::array();
  for (const auto& [age_ms, key] : by_age)
    list.push_back({{"address", to_string(key.first)}, {"vni", key.second.value()}, {"age_ms", age_ms}});
  return {{"unknown_vnis", std::move(list)}};
}

}  // namespace podwire::engine
