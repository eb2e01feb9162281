#include "tests/support/mbufs.hpp"

#include <algorithm>
#include <atomic>

#include "dataplane/packet/access.hpp"
#include "dataplane/packet/ipv6_chain.hpp"
#include "dataplane/packet/offload.hpp"

namespace podwire::engine::tests {

TestPool::TestPool(unsigned size, std::uint16_t room) {
  static std::atomic<int> number{0};
  const std::string name = "test-" + std::to_string(number++);
  pool_ = rte_pktmbuf_pool_create(name.c_str(), size, 0, kMbufPrivateBytes,
                                  static_cast<std::uint16_t>(room + RTE_PKTMBUF_HEADROOM), SOCKET_ID_ANY);
  if (pool_ == nullptr)
    throw std::runtime_error("no memory for a test pool of " + std::to_string(size) + " mbufs");
}

TestPool::~TestPool() {
  EXPECT_EQ(in_use(), 0u) << "mbufs leaked";
  rte_mempool_free(pool_);
}

rte_mbuf* to_mbuf(rte_mempool* pool, const Bytes& bytes) {
  return to_chain(pool, bytes, {});
}

rte_mbuf* to_chain(rte_mempool* pool, const Bytes& bytes, const std::vector<std::size_t>& cuts) {
  rte_mbuf* head = nullptr;
  rte_mbuf* last = nullptr;
  std::size_t done = 0;
  auto cut = cuts.begin();
  do {
    rte_mbuf* mbuf = rte_pktmbuf_alloc(pool);
    if (mbuf == nullptr) throw std::runtime_error("test pool exhausted");
    std::size_t take = std::min<std::size_t>(bytes.size() - done, rte_pktmbuf_tailroom(mbuf));
    if (cut != cuts.end()) {
      take = std::min(take, *cut - done);
      if (done + take == *cut) ++cut;
    }
    std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(done), take,
                reinterpret_cast<std::uint8_t*>(rte_pktmbuf_append(mbuf, static_cast<std::uint16_t>(take))));
    done += take;
    if (head == nullptr) {
      head = mbuf;
    } else {
      last->next = mbuf;
      ++head->nb_segs;
      head->pkt_len += static_cast<std::uint32_t>(take);
    }
    last = mbuf;
  } while (done < bytes.size());
  return head;
}

Bytes to_bytes(const rte_mbuf* mbuf) {
  const char* reason = nullptr;
  EXPECT_EQ(rte_mbuf_check(mbuf, 1, &reason), 0) << reason;
  Bytes bytes;
  for (const rte_mbuf* segment = mbuf; segment != nullptr; segment = segment->next) {
    const auto* data = rte_pktmbuf_mtod(segment, const std::uint8_t*);
    bytes.insert(bytes.end(), data, data + segment->data_len);
  }
  EXPECT_EQ(bytes.size(), mbuf->pkt_len);
  return bytes;
}

PacketMeta meta_of(rte_mbuf* mbuf, std::uint16_t l2_bytes) {
  PacketMeta meta;
  meta.ingress = PortId(1);
  meta.domain = DomainId(2);
  meta.l3_offset = l2_bytes;
  const auto* type = header_at<Be16>(mbuf, l2_bytes - 2u);
  meta.ether_type = type != nullptr ? type->host() : 0;
  if (meta.ether_type == ether_type::kIpv4) {
    const auto* ip = header_at<Ipv4Header>(mbuf, l2_bytes);
    if (ip == nullptr) return meta;
    meta.ip_proto = ip->protocol;
    meta.is_fragment = ip->is_fragment();
    if (!ip->is_later_fragment()) meta.l4_offset = static_cast<std::uint16_t>(l2_bytes + ip->header_bytes());
  } else if (meta.ether_type == ether_type::kIpv6) {
    const auto chain = walk_ipv6_chain(mbuf, l2_bytes);
    meta.ip_proto = chain.protocol;
    meta.is_fragment = chain.is_fragment;
    if (chain.complete && !chain.later_fragment) meta.l4_offset = static_cast<std::uint16_t>(chain.offset);
  }
  return meta;
}

void make_partial(rte_mbuf* mbuf, const PacketMeta& meta) {
  const bool tcp = meta.ip_proto == ip_proto::kTcp;
  const bool v4 = meta.ether_type == ether_type::kIpv4;
  Bytes pseudo;
  const auto* addresses = header_unchecked<std::uint8_t>(mbuf, meta.l3_offset + (v4 ? 12u : 8u));
  pseudo.assign(addresses, addresses + (v4 ? 8 : 32));
  const std::uint32_t l4_bytes = mbuf->pkt_len - meta.l4_offset;
  for (const std::uint32_t word : {std::uint32_t{meta.ip_proto}, l4_bytes}) {
    pseudo.push_back(static_cast<std::uint8_t>(word >> 8));
    pseudo.push_back(static_cast<std::uint8_t>(word));
  }
  *header_unchecked<Be16>(mbuf, meta.l4_offset + (tcp ? 16u : 6u)) =
      Be16(static_cast<std::uint16_t>(~slow_checksum(pseudo)));
  mbuf->l2_len = meta.l3_offset & 0x7f;
  mbuf->l3_len = static_cast<unsigned>(meta.l4_offset - meta.l3_offset) & 0x1ff;
  mbuf->ol_flags |= (tcp ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM) |
                    (v4 ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6);
}

void make_tso(rte_mbuf* mbuf, const PacketMeta& meta, std::uint16_t segment) {
  make_partial(mbuf, meta);
  mbuf->l4_len = header_unchecked<TcpHeader>(mbuf, meta.l4_offset)->header_bytes() & 0xff;
  mbuf->tso_segsz = segment;
  mbuf->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
}

}  // namespace podwire::engine::tests
