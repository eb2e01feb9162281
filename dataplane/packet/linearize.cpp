#include "dataplane/packet/linearize.hpp"

#include <cstring>

namespace podwire::engine {

namespace {

void copy_chain(const rte_mbuf* from, void* to) noexcept {
  auto* at = static_cast<char*>(to);
  for (; from != nullptr; from = from->next) {
    std::memcpy(at, rte_pktmbuf_mtod(from, const void*), from->data_len);
    at += from->data_len;
  }
}

}  // namespace

bool exclusively_owned(const rte_mbuf* packet) noexcept {
  for (; packet != nullptr; packet = packet->next) {
    if (!RTE_MBUF_DIRECT(packet) || rte_mbuf_refcnt_read(packet) != 1) return false;
  }
  return true;
}

rte_mbuf* linearize(rte_mbuf* packet, rte_mempool* pool) noexcept {
  if (packet->nb_segs == 1) return packet;
  const bool own_bytes = RTE_MBUF_DIRECT(packet) && rte_mbuf_refcnt_read(packet) == 1;
  if (own_bytes && packet->pkt_len - packet->data_len <= rte_pktmbuf_tailroom(packet)) {
    return rte_pktmbuf_linearize(packet) == 0 ? packet : nullptr;
  }
  rte_mbuf* copy = rte_pktmbuf_alloc(pool);
  if (copy == nullptr) return nullptr;
  if (packet->pkt_len > rte_pktmbuf_tailroom(copy)) {
    rte_pktmbuf_free(copy);
    return nullptr;
  }
  copy_chain(packet, rte_pktmbuf_mtod(copy, void*));
  copy->data_len = static_cast<std::uint16_t>(packet->pkt_len);
  copy->pkt_len = packet->pkt_len;
  copy->ol_flags = packet->ol_flags & ~(RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL);
  copy->tx_offload = packet->tx_offload;
  copy->port = packet->port;
  rte_pktmbuf_free(packet);
  return copy;
}

void truncate(rte_mbuf* packet, std::uint32_t length) noexcept {
  if (packet->pkt_len <= length) return;
  std::uint32_t left = length;
  rte_mbuf* last = packet;
  std::uint16_t segments = 1;
  while (left > last->data_len) {
    left -= last->data_len;
    last = last->next;
    ++segments;
  }
  last->data_len = static_cast<std::uint16_t>(left);
  rte_pktmbuf_free(last->next);
  last->next = nullptr;
  packet->nb_segs = segments;
  packet->pkt_len = length;
}

}  // namespace podwire::engine
