#include "dataplane/tables/neighbor_prober.hpp"

#include "dataplane/packet/neighbor_frames.hpp"
#include "dataplane/pipeline/accounting.hpp"

namespace podwire::engine {
namespace {

// An address of ours to ask from: a local VTEP's. Without one of that family IPv6 asks from the link-local
// address, and ARP as an RFC 5227 probe, whose answer comes to our MAC all the same.
IpAddr source_for(const Intent& intent, const PortEntry& uplink, const IpAddr& target) {
  for (const auto id : intent.local_vteps()) {
    const auto& address = intent.vtep(id)->address;
    if (address.is_v4() == target.is_v4()) return address;
  }
  return target.is_v4() ? IpAddr(Ipv4()) : IpAddr(Ipv6::link_local_of(uplink.mac));
}

}  // namespace

void NeighborProber::ask(const Intent& intent, const PortEntry& uplink, const NeighborKey& key,
                         const MacAddr& mac) {
  PacketMeta meta;
  meta.ingress = uplink.id;
  meta.ingress_role = static_cast<std::uint8_t>(uplink.role);
  meta.egress = uplink.id;
  meta.domain = kUnderlayDomain;
  meta.verdict = Verdict::kForward;
  meta.generated = true;
  meta.resolved = true;
  book(counters_, meta, &LedgerCounters::generated);
  rte_mbuf* mbuf = rte_pktmbuf_alloc(pool_);
  if (mbuf == nullptr) {
    book_drop(counters_, meta, DropReason::no_mbufs);
    return;
  }
  const NeighborQuestion question{uplink.mac, mac, uplink.vlan};
  const auto source = source_for(intent, uplink, key.address);
  const bool built = key.address.is_v4()
                         ? build_arp_request(mbuf, meta, question, source.v4(), key.address.v4())
                         : build_neighbor_solicitation(mbuf, meta, question, source.v6(), key.address.v6());
  const bool sent = built && injector_.inject(mbuf, meta);
  if (sent) return;
  book_drop(counters_, meta, built ? DropReason::handover_full : DropReason::no_mbufs);
  rte_pktmbuf_free(mbuf);
}

}  // namespace podwire::engine
