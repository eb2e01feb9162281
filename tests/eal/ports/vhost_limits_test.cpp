// What a guest can take of what is everybody's: packet buffers, by frames that are long or without end; and
// what becomes of one whose memory lies behind an IOMMU.
#include <gtest/gtest.h>

#include "dataplane/ports/buffer_budget.hpp"
#include "dataplane/ports/refused_frame.hpp"
#include "tests/eal/ports/vhost_fixture.hpp"
#include "tests/support/mbufs.hpp"

namespace podwire::engine {
namespace {

using test::TestPools;
using test::VhostPeer;
using tests::kBasic;
using tests::tcp_packet;

class VhostLimitsTest : public tests::VhostPortTest {
 protected:
  // A frame of so many bytes, header included, in one buffer.
  static void offer_frame(VhostPeer& peer, std::uint16_t slot, std::uint32_t bytes) {
    peer.offer(1, slot, slot, bytes, 0, 1 << 20);
  }
  std::uint64_t fact(const char* name) const { return port_->describe()[name]; }
};

TEST_F(VhostLimitsTest, LongFramesOfOnePollTakeAShareOfTheBuffers) {
  constexpr unsigned kFrames = 64;
  VhostPeer peer(*reactor_);
  open_with(peer, kBasic);
  const std::vector<unsigned char> frame(60'000, 7);
  for (unsigned i = 0; i < kFrames; ++i) peer.transmit({}, frame);
  std::array<rte_mbuf*, 64> out;
  unsigned received = 0;
  for (unsigned poll = 0; poll < 20 && received < kFrames; ++poll) {
    const auto got = port_->rx_burst(0, out);
    EXPECT_GT(got, 0);
    const auto occupancy = pools_.occupancy();
    EXPECT_LE(occupancy.in_use, occupancy.size / 4);
    for (rte_mbuf* packet : std::span(out).first(got)) {
      EXPECT_EQ(packet->pkt_len, frame.size());
      EXPECT_EQ(packet->ol_flags, 0u);
    }
    rte_pktmbuf_free_bulk(out.data(), got);
    received += got;
  }
  EXPECT_EQ(received, kFrames) << "none is lost";
  EXPECT_GT(fact("receive_held"), 0u);
  EXPECT_EQ(fact("oversized"), 0u);
  EXPECT_EQ(fact("receive_without_buffers"), 0u);
}

TEST_F(VhostLimitsTest, WhereBuffersAreShortEveryPollTakesOneFrame) {
  VhostPeer peer(*reactor_);
  open_with(peer, kBasic);
  std::vector<rte_mbuf*> hoard(4095 - 100);
  ASSERT_EQ(rte_mempool_get_bulk(pools_.get().packets, reinterpret_cast<void**>(hoard.data()),
                                 static_cast<unsigned>(hoard.size())),
            0);
  const std::vector<unsigned char> frame(60'000, 7);
  for (unsigned i = 0; i < 3; ++i) peer.transmit({}, frame);
  for (unsigned i = 0; i < 3; ++i) {
    rte_mbuf* packet = nullptr;
    std::array<rte_mbuf*, 4> out;
    ASSERT_EQ(port_->rx_burst(0, out), 1);
    packet = out[0];
    EXPECT_EQ(packet->pkt_len, frame.size());
    rte_pktmbuf_free(packet);
  }
  rte_mempool_put_bulk(pools_.get().packets, reinterpret_cast<void**>(hoard.data()),
                       static_cast<unsigned>(hoard.size()));
}

TEST_F(VhostLimitsTest, AFrameWithoutEndIsRefusedAndCounted) {
  VhostPeer peer(*reactor_);
  open_with(peer, kBasic);
  offer_frame(peer, 0, 100);
  offer_frame(peer, 1, 3 << 20);  // more than a share
  offer_frame(peer, 2, 200);
  offer_frame(peer, 3, 100'000);  // less, and yet too long
  offer_frame(peer, 4, 300);
  std::array<rte_mbuf*, 8> out;
  ASSERT_EQ(port_->rx_burst(0, out), 2);
  EXPECT_EQ(out[0]->pkt_len, 100u - sizeof(VnetHeader));
  ASSERT_NE(out[1]->ol_flags & kBadOffloadFlag, 0u);
  EXPECT_EQ(refusal_of(out[1]), DropReason::too_big);
  rte_pktmbuf_free_bulk(out.data(), 2);
  ASSERT_EQ(port_->rx_burst(0, out), 3);
  EXPECT_EQ(out[0]->pkt_len, 200u - sizeof(VnetHeader));
  EXPECT_EQ(refusal_of(out[1]), DropReason::too_big);
  EXPECT_EQ(out[1]->pkt_len, 100'000u - sizeof(VnetHeader));
  EXPECT_EQ(out[1]->nb_segs, 1);
  EXPECT_EQ(out[2]->pkt_len, 300u - sizeof(VnetHeader));
  EXPECT_EQ(out[2]->ol_flags, 0u);
  rte_pktmbuf_free_bulk(out.data(), 3);
  EXPECT_EQ(fact("oversized"), 2u);
  EXPECT_EQ(port_->queue_counters(0).received_packets, 5u);
  EXPECT_TRUE(port_->link_up());
}

TEST_F(VhostLimitsTest, TheLongestFrameThatMayBePasses) {
  VhostPeer peer(*reactor_);
  open_with(peer, kBasic);
  offer_frame(peer, 0, kLongestFrameBytes + sizeof(VnetHeader));
  offer_frame(peer, 1, kLongestFrameBytes + 1 + sizeof(VnetHeader));
  std::array<rte_mbuf*, 4> out;
  ASSERT_EQ(port_->rx_burst(0, out), 2);
  EXPECT_EQ(out[0]->pkt_len, kLongestFrameBytes);
  EXPECT_EQ(out[0]->nb_segs, kFrameBuffers);
  EXPECT_EQ(out[0]->ol_flags, 0u);
  EXPECT_NE(out[1]->ol_flags & kBadOffloadFlag, 0u);
  rte_pktmbuf_free_bulk(out.data(), 2);
}

class VhostIommuTest : public VhostLimitsTest {
 protected:
  static constexpr auto kFeatures = kBasic | feature_bits(VirtioFeature::kAccessPlatform);

  void connect(VhostPeer& peer, std::uint64_t features = kFeatures) {
    config_.iommu = true;
    open();
    ASSERT_TRUE(peer.connect(config_.socket));
    peer.use_iommu();
    peer.start(features);
    ASSERT_TRUE(peer.serve_until([this] { return port_->link_up(); }));
  }
  void expect_traffic(VhostPeer& peer) {
    const auto frame = tcp_packet(1000).bytes();
    peer.transmit({}, frame);
    rte_mbuf* packet = nullptr;
    ASSERT_TRUE(peer.serve_until([&] { return (packet = receive_one()) != nullptr; }));
    EXPECT_EQ(TestPools::bytes(packet), frame);
    ASSERT_TRUE(send(packet)) << "it waits for the buffer's address if need be";
    VnetHeader header;
    std::vector<unsigned char> got;
    ASSERT_TRUE(peer.serve_until([&] {
      EXPECT_EQ(receive_one(), nullptr);  // the poll that sends what waits
      return !(got = peer.receive(header)).empty();
    }));
    EXPECT_EQ(got, frame);
    EXPECT_TRUE(port_->arm(0));
    port_->disarm(0);
  }
  std::uint64_t translations(const char* kind) const { return port_->describe()["translations"][kind]; }
};

TEST_F(VhostIommuTest, AddressesAreAskedForAndFollowed) {
  VhostPeer peer(*reactor_);
  connect(peer);
  for (int round = 0; round < 20; ++round) expect_traffic(peer);
  EXPECT_GE(translations("misses"), 8u) << "three pages a ring, and buffers";
  EXPECT_GE(translations("updates"), 8u);
  EXPECT_EQ(translations("invalidations"), 0u);
  EXPECT_EQ(port_->describe()["protocol_violations"], 0);
}

// The rings' own addresses included: whatever the worker does with them then must find that they are gone.
TEST_F(VhostIommuTest, WhatIsTakenBackIsNotUsedAndCanBeGivenAgain) {
  VhostPeer peer(*reactor_);
  connect(peer);
  // Of all addresses; of all from the first on, whose end is no number; of the rings and buffers alone.
  const std::uint64_t ranges[][2] = {{0, ~std::uint64_t{0}},
                                     {VhostPeer::kDeviceBase, -VhostPeer::kDeviceBase},
                                     {VhostPeer::kDeviceBase, VhostPeer::kMemory}};
  for (const auto& [first, bytes] : ranges) {
    SCOPED_TRACE(first + bytes);
    expect_traffic(peer);
    const auto before = translations("misses");
    peer.translate(VhostTranslation::kInvalidate, first, bytes);
    peer.ask(VhostRequest::kGetQueueNum);  // answered after that
    port_->arm(0);
    port_->disarm(0);
    EXPECT_EQ(receive_one(), nullptr);
    expect_traffic(peer);
    EXPECT_GT(translations("misses"), before);
  }
  EXPECT_EQ(translations("invalidations"), 3u);
  EXPECT_TRUE(port_->link_up());
}

// A guest that never tells costs the packets that it does not take, after a while, and nobody's sleep.
TEST_F(VhostIommuTest, WhatIsNeverToldIsNotWaitedForForever) {
  VhostPeer peer(*reactor_);
  connect(peer);
  expect_traffic(peer);
  peer.translate(VhostTranslation::kInvalidate, 0, ~std::uint64_t{0});
  peer.ask(VhostRequest::kGetQueueNum);
  unsigned taken = 0;
  rte_mbuf* packet = nullptr;
  // As many as may wait; more where this thread is so slow that the first are given up meanwhile.
  while (taken < 1000 && send(packet = pools_.packet(tcp_packet(10).bytes()))) ++taken;
  if (taken < 1000) rte_pktmbuf_free(packet);
  EXPECT_GE(taken, 64u);
  EXPECT_TRUE(peer.run_until([this] {
    EXPECT_EQ(receive_one(), nullptr);
    return port_->arm(0);
  }));
  EXPECT_EQ(fact("sent_untranslated"), taken);
  peer.answer_misses();
  expect_traffic(peer);
}

// The library asks once for an address; the peer may have had nothing to say then.
TEST_F(VhostIommuTest, WhatIsNotAnsweredIsAskedForAgain) {
  VhostPeer peer(*reactor_);
  connect(peer);
  ASSERT_TRUE(send(pools_.packet(tcp_packet(10).bytes())));
  EXPECT_EQ(translations("repeats"), 0u);
  ASSERT_TRUE(peer.run_until([&] { return peer.ignore_misses() != 0; }));
  EXPECT_EQ(translations("unanswered"), 1u);
  ASSERT_TRUE(peer.run_until([&] {
    receive_one();
    return fact("sent_untranslated") == 1;  // of the same buffer the address is needed next
  }));
  expect_traffic(peer);
  EXPECT_GE(translations("repeats"), 1u);
  EXPECT_EQ(translations("unanswered"), 0u);
}

// It was finished for a guest that completes checksums; the one that comes does not.
TEST_F(VhostIommuTest, WhatWaitsForAGuestIsNotForTheNext) {
  VhostPeer former(*reactor_), next(*reactor_);
  connect(former, kFeatures | feature_bits(VirtioFeature::kGuestChecksum));
  rte_mbuf* packet = pools_.packet(tcp_packet(10).bytes());
  tests::make_partial(packet, tests::meta_of(packet));
  ASSERT_TRUE(send(packet)) << "no buffer's address is known yet";
  former.close();
  ASSERT_TRUE(former.run_until([this] { return !port_->link_up(); }));
  ASSERT_TRUE(next.connect(config_.socket));
  next.start(kBasic);  // not behind an IOMMU: takes whatever comes at once
  ASSERT_TRUE(next.run_until([this] { return port_->link_up(); }));
  EXPECT_EQ(receive_one(), nullptr);
  VnetHeader header;
  EXPECT_TRUE(next.receive(header).empty());
  EXPECT_EQ(fact("sent_untranslated"), 1u);
  expect_traffic(next);
}

TEST_F(VhostIommuTest, WhatWaitsGoesOnWhileNothingIsReceived) {
  VhostPeer peer(*reactor_);
  connect(peer);
  const auto frame = tcp_packet(10).bytes();
  peer.transmit({}, frame);
  ASSERT_TRUE(send(pools_.packet(frame)));
  EXPECT_FALSE(port_->go_on(0));
  VnetHeader header;
  std::vector<unsigned char> got;
  ASSERT_TRUE(peer.serve_until([&] {
    port_->go_on(0);
    return !(got = peer.receive(header)).empty();
  }));
  EXPECT_EQ(got, frame);
  EXPECT_TRUE(port_->go_on(0));
  EXPECT_EQ(port_->queue_counters(0).received_packets, 0u);
}

TEST_F(VhostIommuTest, WhatWaitsGoesWithThePort) {
  VhostPeer peer(*reactor_);
  connect(peer);
  rte_mbuf* packet = pools_.packet(tcp_packet(10).bytes());
  ASSERT_TRUE(send(packet)) << "no buffer's address is known yet";
  port_.reset();
}

// What follows each other in the device's addresses, the library takes for one piece of its own: this frame
// would be read from behind the guest's memory.
TEST_F(VhostIommuTest, NoFrameIsReadFromBehindTheMemory) {
  constexpr std::uint64_t kPage = 4096, kFirst = VhostPeer::kDeviceBase + VhostPeer::kMemory;
  VhostPeer peer(*reactor_);
  connect(peer);
  expect_traffic(peer);
  peer.translate(VhostTranslation::kUpdate, kFirst, kPage, peer.user_address(VhostPeer::kMemory - kPage));
  peer.translate(VhostTranslation::kUpdate, kFirst + kPage, kPage, peer.user_address(3 << 20));
  peer.ask(VhostRequest::kGetQueueNum);
  peer.offer(1, 7, 7, 200, 0, kFirst + kPage - 100);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(receive_one(), nullptr);
    peer.ignore_misses();
    peer.ask(VhostRequest::kGetQueueNum);
  }
  EXPECT_GT(translations("unanswered"), 0u);
  EXPECT_TRUE(port_->link_up());
}

TEST_F(VhostIommuTest, WhatTheLibraryCannotFollowCostsTheConnection) {
  constexpr auto kUpdate = VhostTranslation::kUpdate;
  struct {
    std::uint64_t features;
    const char* says;
    std::function<void(VhostPeer&)> tell;
  } const cases[] = {
      {kFeatures, "which was not taken back",
       [&](VhostPeer& p) { p.translate(kUpdate, p.kDeviceBase, 4096, p.user_address(1 << 20)); }},
      {kFeatures, "ring 0 of 256 entries lies in pieces",
       [&](VhostPeer& p) {
         p.translate(VhostTranslation::kInvalidate, p.kDeviceBase, 4096);
         p.translate(kUpdate, p.kDeviceBase, 2048, p.user_address(0));
         p.translate(kUpdate, p.kDeviceBase + 2048, 2048, p.user_address(1 << 20));
       }},
      {kBasic, "behind no IOMMU",
       [&](VhostPeer& p) { p.translate(kUpdate, p.kDeviceBase, 4096, p.user_address(0)); }},
  };
  config_.iommu = true;
  open();
  for (const auto& one : cases) {
    SCOPED_TRACE(one.says);
    VhostPeer peer(*reactor_);
    ASSERT_TRUE(peer.connect(config_.socket));
    if (one.features == kFeatures) peer.use_iommu();
    peer.start(one.features);
    ASSERT_TRUE(peer.serve_until([this] { return port_->link_up(); }));
    one.tell(peer);
    EXPECT_TRUE(peer.closed());
    EXPECT_NE(last_disconnect().find(one.says), std::string::npos) << last_disconnect();
    ASSERT_TRUE(peer.run_until([this] { return !port_->link_up(); }));
  }
}

TEST_F(VhostIommuTest, HostileTranslationsCostTheConnectionOnly) {
  constexpr auto kAll = ~std::uint64_t{0};
  struct {
    unsigned type;
    std::uint64_t address, bytes, user;
    unsigned char permissions;
    const char* says;
  } const cases[] = {{1, 0, 4096, 0, 3, "of type 1"},
                     {4, 0, 4096, 0, 3, "of type 4"},
                     {0, 0, 4096, 0, 3, "of type 0"},
                     {2, 0, 0, 0, 3, "0 bytes at 0"},
                     {3, 0, 0, 0, 0, "0 bytes at 0"},
                     {2, kAll - 10, 4096, 0, 3, "4096 bytes at"},
                     {2, 0, 4096, kAll - 10, 3, "4096 bytes at 0"},
                     {3, 4096, kAll, 0, 0, "bytes at 4096"},
                     {2, 0, 4096, 0, 0, "permissions 0"},
                     {2, 0, 4096, 0, 4, "permissions 4"},
                     {2, 0, 4096, 1, 3, "refuses IOTLB_MSG"}};
  config_.iommu = true;
  open();
  for (const auto& one : cases) {
    SCOPED_TRACE(one.says);
    VhostPeer peer(*reactor_);
    ASSERT_TRUE(peer.connect(config_.socket));
    peer.use_iommu();
    peer.start(kFeatures);
    ASSERT_TRUE(peer.serve_until([this] { return port_->link_up(); }));
    peer.translate(static_cast<VhostTranslation>(one.type), one.address, one.bytes, one.user,
                   one.permissions);
    EXPECT_TRUE(peer.closed());
    EXPECT_NE(last_disconnect().find(one.says), std::string::npos) << last_disconnect();
    ASSERT_TRUE(peer.run_until([this] { return !port_->link_up(); }));
  }
}

}  // namespace
}  // namespace podwire::engine
