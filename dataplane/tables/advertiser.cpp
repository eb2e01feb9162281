#include "dataplane/tables/advertiser.hpp"

#include "dataplane/packet/host_answer.hpp"
#include "dataplane/pipeline/accounting.hpp"

namespace podwire::engine {

void Advertiser::tick(const std::vector<const PortEntry*>& ports, std::uint64_t now_ms) {
  const auto before = std::exchange(second_, now_ms / 1000);
  if (second_ == before) return;
  for (const auto* port : ports) {
    if (port == nullptr || port->leases.empty()) continue;
    const std::uint64_t shift = port->id.value();
    if ((before + shift) / kAdvertiseSeconds != (second_ + shift) / kAdvertiseSeconds) advertise(*port);
  }
}

void Advertiser::advertise(const PortEntry& port) {
  if (!port.device->link_up()) return;  // whoever comes solicits
  for (const auto& lease : port.leases) {
    if (!lease.addresses6.empty()) send(port, lease);
  }
}

void Advertiser::send(const PortEntry& port, const Lease& lease) {
  PacketMeta meta;
  meta.ingress = meta.egress = port.id;
  meta.ingress_role = static_cast<std::uint8_t>(port.role);
  meta.domain = port.domain;
  meta.verdict = Verdict::kForward;
  meta.generated = true;
  meta.resolved = true;
  book(counters_, meta, &LedgerCounters::generated);
  rte_mbuf* mbuf = rte_pktmbuf_alloc(pool_);
  AnswerBuffer buffer;
  if (mbuf == nullptr || !put_frame(mbuf, meta, router_advert_frame(lease, Ipv6(), buffer))) {
    book_drop(counters_, meta, DropReason::no_mbufs);
    rte_pktmbuf_free(mbuf);
    return;
  }
  if (injector_.inject(mbuf, meta)) return;
  book_drop(counters_, meta, DropReason::handover_full);
  rte_pktmbuf_free(mbuf);
}

}  // namespace podwire::engine
