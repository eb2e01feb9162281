#include "dataplane/pipeline/finalize.hpp"

#include <memory>

#include "dataplane/pipeline/driver.hpp"
#include "tests/support/fake_switch.hpp"

namespace podwire::engine::tests {
namespace {

using OnlyFinalize = StageList<FinalizeStage>;

constexpr PortId kPlain{3};   // takes nothing but complete linear frames
constexpr PortId kClever{4};  // takes everything
constexpr PortId kChains{5};  // chained frames, checksums its own, no segmentation
constexpr PortId kGone{6};
constexpr std::uint32_t kVtep = 1;

class FinalizeTest : public ::testing::Test {
 protected:
  FinalizeTest() {
    fake.add_port(kPlain, {.max_frame = 1518}, 1500);
    fake.add_port(
        kClever, {.l4_checksum = true, .segmentation = true, .multi_segment = true, .max_frame = 1518}, 1500);
    fake.add_port(kChains,
                  {.l4_checksum = true, .segmentation = false, .multi_segment = true, .max_frame = 1518},
                  1500);
    fake.tables.vteps[kVtep].mtu = 1450;
    fake.tables.vteps[kVtep].egress = kPlain;
  }

  void add(rte_mbuf* mbuf, PortId egress) {
    PacketMeta meta = meta_of(mbuf);
    meta.verdict = Verdict::kForward;
    meta.egress = egress;
    burst.push(mbuf, meta);
  }
  void add_tunnel(rte_mbuf* mbuf, std::uint32_t vtep = kVtep) {
    PacketMeta meta = meta_of(mbuf);
    meta.verdict = Verdict::kTunnel;
    meta.vtep = vtep;
    burst.push(mbuf, meta);
  }

  bool wanted() { return FinalizeStage::wanted(fake.ctx, burst); }
  void run() {
    const std::size_t received = burst.count;
    OnlyFinalize::run(fake.ctx, burst);
    EXPECT_EQ(fake.balance(received), 0);
    EXPECT_EQ(fake.counters->ports[1].ledger.segments.get(), fake.counters->engine.segments.get());
    EXPECT_EQ(fake.counters->domains[2].dropped.get(), fake.counters->engine.dropped.get());
  }
  void expect_dropped(DropReason reason) {
    EXPECT_TRUE(wanted());
    run();
    EXPECT_EQ(fake.dropped(reason), 1u) << name_of(reason);
    EXPECT_TRUE(fake.egress.mbufs.empty());
  }

  rte_mbuf* tso(const Packet& packet, std::uint16_t segment) {
    rte_mbuf* mbuf = to_chain(pool.get(), packet.bytes(), {300, 900});
    make_tso(mbuf, meta_of(mbuf), segment);
    return mbuf;
  }
  rte_mbuf* partial(const Packet& packet) {
    rte_mbuf* mbuf = to_mbuf(pool.get(), packet.bytes());
    make_partial(mbuf, meta_of(mbuf));
    return mbuf;
  }

  TestPool pool;
  FakeSwitch fake{pool};
  Burst burst;
};

Packet tcp4(std::size_t size) {
  return Packet().eth(kMacB, kMacA).ipv4(kIpA, kIpB).tcp(80, 90).payload(size);
}
Packet tcp6(std::size_t size) {
  return Packet().eth(kMacB, kMacA).ipv6(kIp6A, kIp6B).tcp(80, 90).payload(size);
}
Packet udp4(std::size_t size, std::uint16_t flags = 0) {
  return Packet().eth(kMacB, kMacA).ipv4(kIpA, kIpB, {.flags_fragment = flags}).udp(80, 90).payload(size);
}

TEST_F(FinalizeTest, NothingIsWantedForFinishedPackets) {
  add(to_mbuf(pool.get(), tcp4(1460).bytes()), kPlain);
  add(to_mbuf(pool.get(), tcp6(1440).bytes()), kClever);
  add(partial(tcp4(1460)), kClever);
  add(tso(tcp4(30000), 1460), kClever);
  add(to_chain(pool.get(), tcp4(1000).bytes(), {300}), kChains);
  add_tunnel(to_mbuf(pool.get(), tcp4(1410).bytes()));
  EXPECT_FALSE(wanted());
  run();
  EXPECT_EQ(fake.egress.mbufs.size(), 6u);
  EXPECT_EQ(fake.egress.mbufs[3]->nb_segs, 17);
}

TEST_F(FinalizeTest, CompletesChecksumsForPortsThatCannot) {
  add(partial(tcp4(100)), kPlain);
  add(partial(udp4(100)), kPlain);
  EXPECT_TRUE(wanted());
  run();
  ASSERT_EQ(fake.egress.mbufs.size(), 2u);
  EXPECT_EQ(difference(to_bytes(fake.egress.mbufs[0]), tcp4(100).bytes()), "");
  EXPECT_EQ(difference(to_bytes(fake.egress.mbufs[1]), udp4(100).bytes()), "");
}

TEST_F(FinalizeTest, CompletesOneOfTwoClonesWithoutTouchingTheOther) {
  rte_mbuf* mbuf = partial(tcp4(100));
  rte_mbuf* clone = rte_pktmbuf_clone(mbuf, pool.get());
  const Bytes before = to_bytes(clone);
  add(mbuf, kPlain);
  run();
  EXPECT_EQ(difference(to_bytes(fake.egress.mbufs[0]), tcp4(100).bytes()), "");
  EXPECT_EQ(to_bytes(clone), before);
  rte_pktmbuf_free(clone);
}

TEST_F(FinalizeTest, EncapNeverSeesOffloadWork) {
  add_tunnel(partial(tcp4(100)));
  add_tunnel(tso(tcp4(5000), 1410));
  add_tunnel(to_chain(pool.get(), tcp4(700).bytes(), {99}));
  EXPECT_TRUE(wanted());
  run();
  ASSERT_EQ(fake.egress.mbufs.size(), 6u);
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(fake.egress.mbufs[i]->ol_flags, 0u);
    EXPECT_EQ(fake.egress.mbufs[i]->nb_segs, 1);
    EXPECT_EQ(fake.egress.metas[i].verdict, Verdict::kTunnel);
    EXPECT_EQ(fake.egress.metas[i].l4_offset, 34);
    EXPECT_GE(rte_pktmbuf_headroom(fake.egress.mbufs[i]), 80);
  }
  EXPECT_EQ(fake.counters->engine.segments.get(), 3u);
}

TEST_F(FinalizeTest, KeepsOrderAmongPackets) {
  add(to_mbuf(pool.get(), tcp4(1).bytes()), kPlain);
  add(tso(tcp4(3000), 1460), kPlain);
  add(to_mbuf(pool.get(), tcp4(2).bytes()), kPlain);
  add(tso(tcp4(150000 / 100), 100), kChains);
  add(to_mbuf(pool.get(), tcp4(3).bytes()), kPlain);
  run();
  std::vector<std::uint32_t> sizes;
  for (rte_mbuf* mbuf : fake.egress.mbufs) sizes.push_back(mbuf->pkt_len - 54);
  std::vector<std::uint32_t> expected{1, 1460, 1460, 80, 2};
  expected.insert(expected.end(), 15, 100);
  expected.push_back(3);
  EXPECT_EQ(sizes, expected);
  EXPECT_EQ(fake.counters->engine.segments.get(), 16u);
}

TEST_F(FinalizeTest, LinearisesForPortsWithoutChains) {
  add(to_chain(pool.get(), tcp4(1400).bytes(), {100, 200, 900}), kPlain);
  run();
  ASSERT_EQ(fake.egress.mbufs.size(), 1u);
  EXPECT_EQ(fake.egress.mbufs[0]->nb_segs, 1);
  EXPECT_EQ(difference(to_bytes(fake.egress.mbufs[0]), tcp4(1400).bytes()), "");
}

TEST_F(FinalizeTest, FragmentsIpv4WithoutDontFragment) {
  for (const bool tunnel : {false, true}) {
    rte_mbuf* mbuf = partial(udp4(1900));
    if (tunnel)
      add_tunnel(mbuf);
    else
      add(mbuf, kPlain);
    EXPECT_TRUE(wanted());
    run();
    ASSERT_EQ(fake.egress.mbufs.size(), 2u);
    EXPECT_EQ(fake.egress.mbufs[0]->pkt_len, 14u + (tunnel ? 1444u : 1500u));
    const Bytes whole = udp4(1900).bytes();
    Bytes payload;
    for (rte_mbuf* piece : fake.egress.mbufs) {
      const Bytes bytes = to_bytes(piece);
      payload.insert(payload.end(), bytes.begin() + 34, bytes.end());
      EXPECT_EQ(piece->nb_segs, 1);
    }
    EXPECT_EQ(difference(payload, Bytes(whole.begin() + 34, whole.end())), "");
    EXPECT_EQ(fake.egress.metas[0].l4_offset, 34);
    EXPECT_EQ(fake.egress.metas[1].l4_offset, 0);
    EXPECT_TRUE(fake.egress.metas[0].is_fragment && fake.egress.metas[1].is_fragment);
    fake.egress.clear();
    fake.counters = std::make_unique<WorkerCounters>();
    fake.ctx.counters = fake.counters.get();
  }
}

TEST_F(FinalizeTest, FragmentsChainsLargerThanAnMbuf) {
  add(to_chain(pool.get(), udp4(20000).bytes(), {}), kPlain);
  run();
  EXPECT_EQ(fake.egress.mbufs.size(), 14u);
  for (rte_mbuf* piece : fake.egress.mbufs) EXPECT_EQ(piece->nb_segs, 1);
}

TEST_F(FinalizeTest, DropsWhatIsTooBigAndMustNotBeCut) {
  add(to_mbuf(pool.get(), udp4(1600, 0x4000).bytes()), kPlain);
  expect_dropped(DropReason::too_big);
}
TEST_F(FinalizeTest, DropsIpv6ThatIsTooBig) {
  add_tunnel(to_mbuf(pool.get(), tcp6(1500).bytes()));
  expect_dropped(DropReason::too_big);
}
TEST_F(FinalizeTest, DropsOtherProtocolsThatAreTooBig) {
  add(to_mbuf(pool.get(), Packet().eth(kMacB, kMacA).payload(1600).bytes()), kPlain);
  expect_dropped(DropReason::too_big);
}
TEST_F(FinalizeTest, DropsSegmentsThatWouldBeTooBig) {
  add(tso(tcp4(9000), 2000), kClever);
  expect_dropped(DropReason::too_big);
}
TEST_F(FinalizeTest, DropsWhenThePortIsGone) {
  add(to_mbuf(pool.get(), tcp4(1).bytes()), kGone);
  expect_dropped(DropReason::port_gone);
}
TEST_F(FinalizeTest, DropsHostileSegmentation) {
  rte_mbuf* mbuf = tso(tcp4(9000), 1000);
  mbuf->l4_len = 12;
  add(mbuf, kPlain);
  expect_dropped(DropReason::segmentation_failed);
}
TEST_F(FinalizeTest, DropsHostileChecksumWork) {
  rte_mbuf* mbuf = partial(tcp4(10));
  mbuf->l3_len = 500;
  add(mbuf, kPlain);
  expect_dropped(DropReason::bad_offload);
}

TEST_F(FinalizeTest, DropsWholePacketsWhenMbufsRunOut) {
  TestPool small(3);
  fake.ctx.pool = small.get();
  add(tso(tcp4(9000), 1000), kPlain);
  expect_dropped(DropReason::no_mbufs);
  EXPECT_EQ(small.in_use(), 0u);
  EXPECT_EQ(pool.in_use(), 0u);
}

TEST_F(FinalizeTest, FragmentsSegmentsThatMayBeCut) {
  add(tso(Packet().eth(kMacB, kMacA).ipv4(kIpA, kIpB, {.flags_fragment = 0}).tcp(1, 2).payload(4000), 1900),
      kPlain);
  run();
  // 1900 + 1900 + 200: the first two in two fragments each.
  EXPECT_EQ(fake.egress.mbufs.size(), 5u);
  EXPECT_EQ(fake.counters->engine.segments.get(), 4u);
}

TEST_F(FinalizeTest, FullBurstsOfLargePackets) {
  TestPool large(16384);
  fake.ctx.pool = large.get();
  for (int i = 0; i < 64; ++i) add(tso(tcp4(20000), 1000), kPlain);
  run();
  EXPECT_EQ(fake.egress.mbufs.size(), 64u * 20);
  fake.egress.clear();
}

}  // namespace
}  // namespace podwire::engine::tests
