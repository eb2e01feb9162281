// ExpressWay: where the express lane's packets with one adjacency kind and port or VTEP go; kept from packet
// to packet. What it lets pass needs nothing that the stages would do on the way (MTU, segmentation, parking,
// merging). Called by workers.
#pragma once

#include <algorithm>

#include "dataplane/pipeline/context.hpp"

namespace podwire::engine {

struct ExpressWay {
  std::uint64_t place = 0;  // Adjacency::place(), 0: nothing is known
  const DomainEntry* domain = nullptr;
  EgressQueue* queue = nullptr;
  const VtepEntry* vtep = nullptr;  // with a tunnel, or a next hop of the underlay
  std::uint32_t limit = 0;          // frames up to this go untouched; 0: the stages know why none does
  bool joins_tcp = false;           // its TCP from tunnels is for the merge stage
  // Behind what was appended, and bytes of that; not yet counted in the queue.
  rte_mbuf** end = nullptr;
  std::uint64_t bytes = 0;

  void append(rte_mbuf* mbuf) noexcept {
    *end++ = mbuf;
    bytes += mbuf->data_len;
  }

  // Counts what was appended, which came from `ingress`; the next packet finds its way anew.
  void leave(PortId ingress) noexcept {
    if (queue != nullptr) {
      const auto count = end - (queue->mbufs.data() + queue->count);
      std::fill_n(queue->accounts.begin() + queue->count, count, Account::of(ingress, domain->id));
      queue->count = static_cast<std::uint16_t>(queue->count + count);
      queue->bytes += bytes;
    }
    *this = ExpressWay{};
  }

  // The same port's next packet may be for another VTEP: then all that changes is the headers. False: leave()
  // and find().
  [[gnu::always_inline]] bool turn(const Context& ctx, const Adjacency& adjacency,
                                   const DomainEntry& of_domain) noexcept {
    if (adjacency.kind != Adjacency::Kind::kVtep || queue == nullptr || &of_domain != domain ||
        adjacency.vtep >= ctx.tables->vteps.size())
      return false;
    const auto& entry = ctx.tables->vteps[adjacency.vtep];
    if (!can_carry(entry) || entry.egress != queue->port) return false;
    place = adjacency.place();
    aim(entry);
    return true;
  }

  void find(const Context& ctx, const Adjacency& adjacency, const DomainEntry& of_domain,
            bool into_tunnels) noexcept {
    place = adjacency.place();
    domain = &of_domain;
    if (adjacency.kind == Adjacency::Kind::kPort) {
      find_port(ctx, adjacency.port);
    } else if (adjacency.kind == Adjacency::Kind::kVtep && into_tunnels) {
      find_tunnel(ctx, adjacency.vtep);
    } else if (adjacency.kind == Adjacency::Kind::kUnderlay) {
      find_hop(ctx, adjacency.vtep);
    }
  }

 private:
  static constexpr std::uint32_t kEther = 14;
  static constexpr std::uint32_t kOuterMost = 128;  // more than any outer headers

  bool take_queue(const Context& ctx, PortId egress) noexcept {
    queue = ctx.egress->queue(egress);
    if (queue == nullptr) return false;
    end = queue->mbufs.data() + queue->count;
    return true;
  }

  void find_port(const Context& ctx, PortId egress) noexcept {
    const auto* port = ctx.tables->port(egress);
    if (port == nullptr) return;
    if (!take_queue(ctx, egress)) return;
    const auto& can = port->device->capabilities();
    std::uint32_t ip_bytes = UINT16_MAX;
    if (port->mtu != 0) ip_bytes = port->mtu;
    if (port->device->mtu() != 0) ip_bytes = std::min<std::uint32_t>(ip_bytes, port->device->mtu());
    limit = std::min<std::uint32_t>(can.max_frame, ip_bytes + kEther);
    joins_tcp = can.segmentation && can.multi_segment && !port->cut_segments;
  }

  // Without a tunnel, and without a tag.
  void find_hop(const Context& ctx, std::uint32_t slot) noexcept {
    if (slot >= ctx.tables->vteps.size()) return;
    const auto& hop = ctx.tables->vteps[slot];
    if (!hop.direct || !hop.resolved || hop.header_bytes != 2 * sizeof(MacAddr)) return;
    find_port(ctx, hop.egress);
    if (domain->mtu != 0) limit = std::min(limit, domain->mtu + kEther);
    vtep = &hop;
  }

  static bool can_carry(const VtepEntry& entry) noexcept {
    return entry.known && entry.has_source && entry.resolved && !entry.v6;
  }

  void aim(const VtepEntry& entry) noexcept {
    std::uint32_t ip_bytes = UINT16_MAX - kOuterMost;
    if (entry.mtu != 0) ip_bytes = std::min<std::uint32_t>(ip_bytes, entry.mtu);
    if (domain->mtu != 0) ip_bytes = std::min<std::uint32_t>(ip_bytes, domain->mtu);
    vtep = &entry;
    limit = ip_bytes + kEther;
    joins_tcp = false;
  }

  void find_tunnel(const Context& ctx, std::uint32_t slot) noexcept {
    if (slot >= ctx.tables->vteps.size()) return;
    const auto& entry = ctx.tables->vteps[slot];
    if (!can_carry(entry) || ctx.tables->port(entry.egress) == nullptr) return;
    if (take_queue(ctx, entry.egress)) aim(entry);
  }
};

}  // namespace podwire::engine
