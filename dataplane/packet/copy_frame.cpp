#include "dataplane/packet/copy_frame.hpp"

#include <algorithm>
#include <cstring>

namespace podwire::engine {

rte_mbuf* copy_frame(rte_mempool* pool, std::span<const std::uint8_t> bytes) noexcept {
  rte_mbuf* head = nullptr;
  for (std::size_t at = 0; at < bytes.size();) {
    rte_mbuf* segment = rte_pktmbuf_alloc(pool);
    if (segment == nullptr || (head != nullptr && rte_pktmbuf_chain(head, segment) != 0)) {
      rte_pktmbuf_free(segment);
      rte_pktmbuf_free(head);
      return nullptr;
    }
    const auto room = rte_pktmbuf_tailroom(segment);
    const auto take = static_cast<std::uint16_t>(std::min<std::size_t>(room, bytes.size() - at));
    std::memcpy(rte_pktmbuf_mtod(segment, void*), &bytes[at], take);
    segment->data_len = take;
    if (head == nullptr) {
      head = segment;
      head->pkt_len = take;
    } else {
      head->pkt_len += take;
    }
    at += take;
  }
  return head;
}

}  // namespace podwire::engine
