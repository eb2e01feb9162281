// Making and freeing packets of one mbuf, and what must not be taken for one.
#include "dataplane/packet/plain_mbufs.hpp"

#include <gtest/gtest.h>

#include "tests/eal/ports/test_pools.hpp"

namespace podwire::engine {
namespace {

class PlainMbufs : public testing::Test {
 protected:
  // `count` packets of one mbuf each.
  std::vector<rte_mbuf*> plain(unsigned count) const {
    std::vector<rte_mbuf*> all(count);
    EXPECT_EQ(rte_mempool_get_bulk(pools_.get().packets, reinterpret_cast<void**>(all.data()), count), 0);
    for (auto* mbuf : all) begin_plain(mbuf, 60);
    return all;
  }
  test::TestPools pools_;  // its end asserts that all have come back
};

TEST_F(PlainMbufs, APacketBeginsAsAnAllocatedOneDoes) {
  rte_mbuf* used = rte_pktmbuf_alloc(pools_.get().packets);
  used->ol_flags = RTE_MBUF_F_TX_TCP_CKSUM;
  used->packet_type = 1;
  used->vlan_tci = 7;
  used->data_off = 3;
  rte_pktmbuf_free(used);
  auto packets = plain(1);
  const rte_mbuf* mbuf = packets.front();
  EXPECT_EQ(mbuf->ol_flags, 0u);
  EXPECT_EQ(mbuf->packet_type, 0u);
  EXPECT_EQ(mbuf->vlan_tci, 0);
  EXPECT_EQ(mbuf->data_off, RTE_PKTMBUF_HEADROOM);
  EXPECT_EQ(mbuf->pkt_len, 60u);
  EXPECT_EQ(mbuf->data_len, 60);
  EXPECT_EQ(mbuf->nb_segs, 1);
  EXPECT_EQ(mbuf->next, nullptr);
  EXPECT_EQ(rte_mbuf_refcnt_read(mbuf), 1);
  const char* reason = nullptr;
  EXPECT_EQ(rte_mbuf_check(mbuf, 1, &reason), 0) << reason;
  free_packets(packets);
}

TEST_F(PlainMbufs, ABurstOfPlainPacketsGoesBack) {
  for (const unsigned count : {1u, 7u, 64u}) {
    auto packets = plain(count);
    free_packets(packets);
    pools_.expect_full();
  }
}

TEST_F(PlainMbufs, ChainsGoBackWhole) {
  auto packets = plain(3);
  packets.push_back(pools_.packet(std::vector<unsigned char>(500), 100));
  free_packets(packets);
}

TEST_F(PlainMbufs, WhatIsSharedStaysWithTheOthers) {
  auto packets = plain(2);
  rte_mbuf* original = packets[1];
  rte_mbuf* clone = rte_pktmbuf_clone(original, pools_.get().packets);
  free_packets(packets);
  EXPECT_EQ(rte_mbuf_refcnt_read(original), 1) << "the clone refers to it";
  rte_mbuf* again[] = {clone};
  free_packets(again);
}

TEST_F(PlainMbufs, EveryMbufGoesToItsOwnPool) {
  auto packets = plain(2);
  packets.push_back(rte_pktmbuf_alloc(pools_.get().jumbo));
  free_packets(packets);
}

}  // namespace
}  // namespace podwire::engine
