#include "dataplane/packet/linearize.hpp"

#include "dataplane/packet/offload.hpp"
#include "tests/support/mbufs.hpp"

namespace podwire::engine::tests {
namespace {

TEST(Linearize, LeavesALinearPacketAlone) {
  TestPool pool;
  rte_mbuf* mbuf = to_mbuf(pool.get(), make_payload(100));
  EXPECT_EQ(linearize(mbuf, pool.get()), mbuf);
  rte_pktmbuf_free(mbuf);
}

TEST(Linearize, KeepsBytesAndOffloadFields) {
  TestPool pool;
  for (std::size_t size = 2; size <= 2048; size += 93) {
    for (const std::size_t cut : {std::size_t{1}, size / 2, size - 1}) {
      const Bytes bytes = make_payload(size);
      rte_mbuf* mbuf = to_chain(pool.get(), bytes, {cut});
      mbuf->ol_flags |= RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4;
      mbuf->l2_len = 14;
      mbuf->l3_len = 20;
      rte_mbuf* linear = linearize(mbuf, pool.get());
      ASSERT_NE(linear, nullptr);
      EXPECT_EQ(linear->nb_segs, 1);
      EXPECT_EQ(to_bytes(linear), bytes);
      EXPECT_EQ(linear->ol_flags, RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4);
      EXPECT_EQ(linear->l2_len, 14);
      EXPECT_EQ(linear->l3_len, 20);
      EXPECT_GE(rte_pktmbuf_headroom(linear), 128);
      EXPECT_EQ(pool.in_use(), 1u);
      rte_pktmbuf_free(linear);
    }
  }
}

TEST(Linearize, CopiesWhatIsShared) {
  TestPool pool;
  const Bytes bytes = make_payload(200);
  rte_mbuf* mbuf = to_chain(pool.get(), bytes, {100});
  rte_mbuf* clone = rte_pktmbuf_clone(mbuf, pool.get());
  EXPECT_FALSE(exclusively_owned(mbuf));
  EXPECT_FALSE(exclusively_owned(clone));
  rte_mbuf* linear = linearize(mbuf, pool.get());
  ASSERT_NE(linear, nullptr);
  EXPECT_TRUE(exclusively_owned(linear));
  EXPECT_EQ(to_bytes(linear), bytes);
  EXPECT_EQ(to_bytes(clone), bytes);
  rte_mbuf* second = linearize(clone, pool.get());
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(to_bytes(second), bytes);
  rte_pktmbuf_free(linear);
  rte_pktmbuf_free(second);
}

TEST(Linearize, FailsWithoutLossWhenItFitsNoMbuf) {
  TestPool pool;
  const Bytes bytes = make_payload(2049);
  rte_mbuf* mbuf = to_chain(pool.get(), bytes, {1000});
  EXPECT_EQ(linearize(mbuf, pool.get()), nullptr);
  EXPECT_EQ(to_bytes(mbuf), bytes);
  rte_pktmbuf_free(mbuf);
}

TEST(Linearize, FailsWithoutLossWhenMbufsRanOut) {
  TestPool pool(2);
  const Bytes bytes = make_payload(2048);
  rte_mbuf* mbuf = to_chain(pool.get(), bytes, {2000});
  rte_pktmbuf_prepend(mbuf, 0);
  mbuf->buf_len = static_cast<std::uint16_t>(mbuf->data_off + mbuf->data_len);  // no tailroom: a copy is due
  EXPECT_EQ(linearize(mbuf, pool.get()), nullptr);
  EXPECT_EQ(to_bytes(mbuf), bytes);
  mbuf->buf_len = 2048 + 128;
  rte_pktmbuf_free(mbuf);
}

TEST(Truncate, CutsAtEveryLength) {
  TestPool pool;
  const Bytes bytes = make_payload(300);
  for (std::uint32_t length = 1; length <= 310; ++length) {
    rte_mbuf* mbuf = to_chain(pool.get(), bytes, {100, 101, 250});
    truncate(mbuf, length);
    const auto kept = std::min<std::size_t>(length, bytes.size());
    EXPECT_EQ(to_bytes(mbuf), Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(kept)));
    rte_pktmbuf_free(mbuf);
  }
}

}  // namespace
}  // namespace podwire::engine::tests
