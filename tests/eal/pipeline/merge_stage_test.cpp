#include "dataplane/pipeline/merge.hpp"

#include "dataplane/packet/offload.hpp"
#include "dataplane/pipeline/driver.hpp"
#include "tests/support/fake_switch.hpp"

namespace podwire::engine::tests {
namespace {

constexpr PortId kTap{3};
constexpr PortId kPlainPort{4};

class MergeStageTest : public ::testing::Test {
 protected:
  MergeStageTest() {
    fake.add_port(kTap, {.l4_checksum = true, .segmentation = true, .multi_segment = true, .max_frame = 1464},
                  1450);
    fake.add_port(kPlainPort, {.max_frame = 1518}, 1500);
  }

  PacketMeta& add(std::uint32_t seq, PortId egress = kTap, bool fragment = false) {
    rte_mbuf* mbuf = to_mbuf(
        pool.get(),
        Packet()
            .eth(kMacB, kMacA)
            .ipv4(kIpA, kIpB, {.flags_fragment = static_cast<std::uint16_t>(fragment ? 0x2000 : 0x4000)})
            .tcp(80, 90, {.seq = seq})
            .payload(104)
            .bytes());
    PacketMeta meta = meta_of(mbuf);
    meta.verdict = Verdict::kForward;
    meta.egress = egress;
    meta.from_tunnel = true;
    burst.push(mbuf, meta);
    return burst.meta[burst.count - 1u];
  }

  std::size_t run() {
    const std::size_t received = burst.count;
    StageList<MergeStage>::run(fake.ctx, burst);
    EXPECT_EQ(fake.balance(received), 0);
    EXPECT_EQ(fake.counters->ports[1].ledger.merged.get(), fake.counters->engine.merged.get());
    EXPECT_EQ(fake.counters->domains[2].merged.get(), fake.counters->engine.merged.get());
    return fake.egress.mbufs.size();
  }

  TestPool pool;
  FakeSwitch fake{pool};
  Burst burst;
};

TEST_F(MergeStageTest, MergesWhatCameFromATunnelTowardsATap) {
  for (std::uint32_t i = 0; i < 10; ++i) add(1000 + i * 104);
  EXPECT_EQ(run(), 1u);
  EXPECT_EQ(fake.counters->engine.merged.get(), 9u);
  EXPECT_TRUE(needs_segmentation(fake.egress.mbufs[0]));
  EXPECT_EQ(fake.egress.mbufs[0]->pkt_len, 54u + 1040);
}

TEST_F(MergeStageTest, MergesNothingTowardsPortsWithoutSegmentation) {
  for (std::uint32_t i = 0; i < 4; ++i) add(1000 + i * 104, kPlainPort);
  for (std::uint32_t i = 0; i < 4; ++i) add(1000 + i * 104, PortId(9));
  EXPECT_EQ(run(), 8u);
}

TEST_F(MergeStageTest, MergesNothingThatCameFromAPod) {
  for (std::uint32_t i = 0; i < 4; ++i) add(1000 + i * 104).from_tunnel = false;
  EXPECT_EQ(run(), 4u);
}

TEST_F(MergeStageTest, FragmentsAreNotOvertaken) {
  add(1000);
  add(1104, kTap, true);
  add(1104);
  add(1208);
  EXPECT_EQ(run(), 3u);
  EXPECT_EQ(fake.egress.mbufs[0]->pkt_len, 54u + 104);
  EXPECT_EQ(fake.egress.mbufs[2]->pkt_len, 54u + 208);
}

TEST_F(MergeStageTest, InterleavedPortsKeepTheirPackets) {
  for (std::uint32_t i = 0; i < 8; ++i) add(1000 + i / 2 * 104, i % 2 == 0 ? kTap : kPlainPort);
  EXPECT_EQ(run(), 5u);
}

}  // namespace
}  // namespace podwire::engine::tests
