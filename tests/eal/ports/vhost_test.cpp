// The vhost port against a guest made by hand: both socket roles, offloads both ways, memory that goes away.
#include "dataplane/ports/vhost.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "dataplane/base/framing.hpp"
#include "dataplane/packet/offload.hpp"
#include "tests/eal/ports/vhost_fixture.hpp"
#include "tests/support/mbufs.hpp"

namespace podwire::engine {
namespace {

using test::TestPools;
using test::VhostPeer;
using tests::kBasic;
using tests::kGuestOffloads;
using tests::kHostOffloads;
using tests::make_partial;
using tests::make_tso;
using tests::meta_of;
using tests::tcp_packet;

class VhostTest : public tests::VhostPortTest {};

TEST_F(VhostTest, CarriesFramesBothWaysAndTellsOfItsPeer) {
  VhostPeer peer(*reactor_);
  open_with(peer, kBasic);
  const auto frame = tcp_packet(100).bytes();
  peer.transmit({}, frame);
  rte_mbuf* got = receive_one();
  ASSERT_NE(got, nullptr);
  EXPECT_EQ(TestPools::bytes(got), frame);
  EXPECT_EQ(got->ol_flags, 0u);
  EXPECT_GE(got->data_off, 128);
  ASSERT_TRUE(send(got));
  VnetHeader header;
  EXPECT_EQ(peer.receive(header), frame);
  EXPECT_EQ(header.flags, 0);

  const auto facts = port_->describe();
  EXPECT_EQ(facts["state"], "connected");
  EXPECT_EQ(facts["queue_pairs"], 1);
  EXPECT_EQ(facts["memory_bytes"], VhostPeer::kMemory);
  EXPECT_EQ(facts["peer"]["pid"], ::getpid());
  EXPECT_EQ(facts["features"], Json({"mrg_rxbuf", "version_1"}));
  EXPECT_EQ(port_->queue_counters(0).received_packets, 1u);
  EXPECT_EQ(port_->queue_counters(0).sent_bytes, frame.size());
}

TEST_F(VhostTest, EngineConnectsAndConnectsAgain) {
  config_.socket_mode = api::SocketMode::kClient;
  auto listener = listen_unix(config_.socket, 0600);
  ASSERT_TRUE(listener);
  open();
  for (int round = 0; round < 2; ++round) {
    VhostPeer peer(*reactor_);
    UniqueFd socket;
    ASSERT_TRUE(peer.run_until([&] {
      socket.reset(::accept4(listener->get(), nullptr, nullptr, SOCK_CLOEXEC));
      return static_cast<bool>(socket);
    }));
    peer.adopt(std::move(socket));
    peer.start(kBasic);
    ASSERT_TRUE(peer.run_until([this] { return port_->link_up(); }));
    peer.close();
    ASSERT_TRUE(peer.run_until([this] { return !port_->link_up(); }));
  }
  EXPECT_EQ(port_->describe()["connects"], 2);
  EXPECT_EQ(last_disconnect(), "the peer has closed the connection");
}

TEST_F(VhostTest, CapabilitiesFollowTheGuest) {
  VhostPeer plain(*reactor_);
  open_with(plain, kBasic);
  EXPECT_FALSE(port_->capabilities().l4_checksum);
  EXPECT_FALSE(port_->capabilities().segmentation);
  EXPECT_TRUE(port_->capabilities().multi_segment);
  plain.close();
  ASSERT_TRUE(plain.run_until([this] { return !port_->link_up(); }));

  VhostPeer able(*reactor_);
  ASSERT_TRUE(able.connect(config_.socket));
  able.start(kBasic | kGuestOffloads);
  ASSERT_TRUE(able.run_until([this] { return port_->link_up(); }));
  EXPECT_TRUE(port_->capabilities().l4_checksum);
  EXPECT_TRUE(port_->capabilities().segmentation);
}

TEST_F(VhostTest, PartialChecksumAndSegmentationFromTheGuest) {
  VhostPeer peer(*reactor_);
  open_with(peer, kBasic | kHostOffloads);
  rte_mbuf* model = pools_.packet(tcp_packet(9000).bytes());
  make_tso(model, meta_of(model), 1448);
  const auto frame = TestPools::bytes(model);
  peer.transmit(make_vnet_header(model), frame);
  rte_mbuf* got = receive_one();
  ASSERT_NE(got, nullptr);
  EXPECT_EQ(TestPools::bytes(got), frame);
  EXPECT_TRUE(needs_l4_checksum(got) && needs_segmentation(got));
  EXPECT_EQ(got->ol_flags & kBadOffloadFlag, 0u);
  EXPECT_EQ(got->tso_segsz, 1448);
  EXPECT_EQ(got->l2_len, 14);
  EXPECT_EQ(got->l3_len, 20);
  EXPECT_EQ(got->l4_len, 20);
  rte_pktmbuf_free(got);

  VnetHeader absurd = make_vnet_header(model);
  absurd.gso_size = 1;
  peer.transmit(absurd, frame);
  got = receive_one();
  ASSERT_NE(got, nullptr);
  EXPECT_NE(got->ol_flags & kBadOffloadFlag, 0u);
  rte_pktmbuf_free(got);
  rte_pktmbuf_free(model);
}

TEST_F(VhostTest, SegmentationTowardsTheGuestUsesMergedBuffers) {
  VhostPeer peer(*reactor_);
  open_with(peer, kBasic | kGuestOffloads);
  rte_mbuf* packet = pools_.packet(tcp_packet(9000).bytes());
  make_tso(packet, meta_of(packet), 1448);
  ASSERT_TRUE(send(packet));
  VnetHeader header;
  EXPECT_EQ(peer.receive(header).size(), 9000u + 54u);
  EXPECT_EQ(header.flags, VnetHeader::kNeedsChecksum);
  EXPECT_EQ(header.gso_type, VnetHeader::kGsoTcp4);
  EXPECT_EQ(header.gso_size, 1448);
  EXPECT_EQ(header.checksum_start, 34);
  EXPECT_EQ(header.checksum_offset, 16);
  EXPECT_GT(header.buffers, 4);
}

TEST_F(VhostTest, JumboFramesBothWays) {
  config_.mtu = 9000;
  VhostPeer peer(*reactor_);
  open_with(peer, kBasic);
  EXPECT_EQ(port_->capabilities().max_frame, 9014);
  for (const std::size_t payload : {1448u, 2035u, 2036u, 4096u, 8960u}) {
    const auto frame = tcp_packet(payload).bytes();
    peer.transmit({}, frame);
    rte_mbuf* packet = receive_one();
    ASSERT_NE(packet, nullptr);
    EXPECT_EQ(TestPools::bytes(packet), frame);
    ASSERT_TRUE(send(packet));
    VnetHeader header;
    EXPECT_EQ(peer.receive(header), frame) << payload;
  }
}

TEST_F(VhostTest, APacketThatSharesItsBytesIsCopiedBeforeTheyAreWritten) {
  VhostPeer peer(*reactor_);
  open_with(peer, kBasic | kGuestOffloads);
  rte_mbuf* packet = pools_.packet(tcp_packet(9000).bytes());
  make_tso(packet, meta_of(packet), 1448);
  const auto before = TestPools::bytes(packet);
  rte_mbuf* clone = rte_pktmbuf_clone(packet, pools_.get().packets);
  ASSERT_TRUE(send(clone));
  EXPECT_EQ(TestPools::bytes(packet), before);
  rte_pktmbuf_free(packet);
}

TEST_F(VhostTest, WhatTheGuestDidNotAgreeToIsCompletedOrRejected) {
  VhostPeer peer(*reactor_);
  open_with(peer, kBasic);
  const auto whole = tcp_packet(100).bytes();
  rte_mbuf* packet = pools_.packet(whole);
  make_partial(packet, meta_of(packet));
  ASSERT_TRUE(send(packet));  // negotiated anew since the pipeline looked
  VnetHeader header;
  EXPECT_EQ(peer.receive(header), whole);
  EXPECT_EQ(header.flags, 0);
  packet = pools_.packet(tcp_packet(9000).bytes());
  make_tso(packet, meta_of(packet), 1448);
  EXPECT_FALSE(send(packet));
  EXPECT_EQ(port_->tx_stop(0), TxStop::kRejected);
  rte_pktmbuf_free(packet);
}

TEST_F(VhostTest, WithoutMergedBuffersAFrameThatFitsNoneIsRejected) {
  VhostPeer peer(*reactor_);
  open_with(peer, feature_bits(VirtioFeature::kVersion1));
  rte_mbuf* packet = pools_.packet(tcp_packet(4000).bytes());
  EXPECT_FALSE(send(packet));
  EXPECT_EQ(port_->tx_stop(0), TxStop::kRejected);
  rte_pktmbuf_free(packet);
}

TEST_F(VhostTest, DownWithoutAPeerAndFullWhenTheGuestDoesNotTake) {
  open();
  rte_mbuf* packet = pools_.packet(tcp_packet(10).bytes());
  EXPECT_FALSE(send(packet));
  EXPECT_EQ(port_->tx_stop(0), TxStop::kDown);
  VhostPeer peer(*reactor_);
  ASSERT_TRUE(peer.connect(config_.socket));
  peer.start(kBasic);
  ASSERT_TRUE(peer.run_until([this] { return port_->link_up(); }));
  for (int i = 0; i < VhostPeer::kRing; ++i) {
    rte_mbuf* another = pools_.packet(tcp_packet(10).bytes());
    ASSERT_TRUE(send(another)) << i;
  }
  EXPECT_FALSE(send(packet));
  EXPECT_EQ(port_->tx_stop(0), TxStop::kFull);
  rte_pktmbuf_free(packet);
}

TEST_F(VhostTest, AKickWakesAndIsTakenBack) {
  VhostPeer peer(*reactor_);
  open_with(peer, kBasic);
  const auto readable = [this] {
    pollfd query{port_->poll_fd(0), POLLIN, 0};
    return ::poll(&query, 1, 0) == 1;
  };
  EXPECT_TRUE(port_->arm(0));
  port_->disarm(0);
  EXPECT_FALSE(peer.wants_kick());
  EXPECT_FALSE(readable());
  peer.transmit({}, tcp_packet(10).bytes());
  EXPECT_FALSE(readable());
  EXPECT_FALSE(port_->arm(0)) << "there is work";
  EXPECT_TRUE(peer.wants_kick());
  rte_pktmbuf_free(receive_one());
  EXPECT_TRUE(port_->arm(0));
  peer.transmit({}, tcp_packet(10).bytes());
  EXPECT_TRUE(readable());
  port_->disarm(0);
  EXPECT_FALSE(readable());
  rte_pktmbuf_free(receive_one());
}

TEST_F(VhostTest, MemoryThatGoesAwayCostsTheConnectionOnly) {
  for (int round = 0; round < 3; ++round) {
    VhostPeer peer(*reactor_);
    if (round == 0) {
      open_with(peer, kBasic);
    } else {
      ASSERT_TRUE(peer.connect(config_.socket));
      peer.start(kBasic);
      ASSERT_TRUE(peer.run_until([this] { return port_->link_up(); }));
    }
    peer.transmit({}, tcp_packet(10).bytes());
    peer.truncate();
    std::array<rte_mbuf*, 4> out;
    const auto got = port_->rx_burst(0, out);
    rte_pktmbuf_free_bulk(out.data(), got);
    rte_mbuf* packet = pools_.packet(tcp_packet(10).bytes());
    EXPECT_FALSE(send(packet));
    rte_pktmbuf_free(packet);
    EXPECT_TRUE(peer.closed());
    EXPECT_NE(last_disconnect().find("memory"), std::string::npos) << last_disconnect();
  }
  EXPECT_EQ(port_->describe()["memory_faults"], 3);
}

TEST_F(VhostTest, DescriptorsBeyondTheMemoryAreNotFollowed) {
  VhostPeer peer(*reactor_);
  open_with(peer, kBasic);
  peer.offer(1, 0, 0, 2000, 0, VhostPeer::kMemory - 1000);
  std::array<rte_mbuf*, 4> out;
  EXPECT_EQ(port_->rx_burst(0, out), 0);
  peer.close();
  EXPECT_TRUE(peer.run_until([this] { return !port_->link_up(); }));
}

TEST_F(VhostTest, HalfAMessageHoldsUpNobody) {
  open();
  VhostPeer slow(*reactor_);
  ASSERT_TRUE(slow.connect(config_.socket));
  slow.send_bytes({2, 0, 0, 0, 1});
  EXPECT_TRUE(slow.run_until([this] { return port_->describe()["state"] == "connected"; }));
  // Closing does not wait for the rest; another port goes on meanwhile.
  port_.reset();
  EXPECT_TRUE(slow.closed());
}

TEST_F(VhostTest, AnIommuIsOfferedWhereItIsConfigured) {
  constexpr auto kIommu = feature_bits(VirtioFeature::kAccessPlatform);
  open();
  {
    VhostPeer peer(*reactor_);
    ASSERT_TRUE(peer.connect(config_.socket));
    EXPECT_EQ(peer.ask(VhostRequest::kGetFeatures) & kIommu, 0u);
    EXPECT_EQ(peer.ask(VhostRequest::kGetProtocolFeatures) & kVhostIommuProtocolFeatures, 0u);
  }
  port_.reset();
  config_.iommu = true;
  open();
  VhostPeer peer(*reactor_);
  ASSERT_TRUE(peer.connect(config_.socket));
  EXPECT_EQ(peer.ask(VhostRequest::kGetFeatures) & kIommu, kIommu);
  EXPECT_NE(peer.ask(VhostRequest::kGetProtocolFeatures) & kVhostIommuProtocolFeatures, 0u);
  peer.send(VhostRequest::kSetProtocolFeatures, kVhostProtocolFeatures | kVhostIommuProtocolFeatures);
  int channel[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel), 0);
  const UniqueFd ours(channel[0]), theirs(channel[1]);
  peer.send(static_cast<std::uint32_t>(VhostRequest::kSetBackendRequestFd), nullptr, 0, {theirs.get()});
  EXPECT_EQ(peer.ask(VhostRequest::kGetQueueNum), 1u);
  EXPECT_EQ(port_->describe()["state"], "connected");
}

TEST_F(VhostTest, SocketModesAndRemoval) {
  config_.socket_permissions = 0660;
  config_.socket_group = 4242;
  open();
  struct stat status {};
  ASSERT_EQ(::lstat(config_.socket.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0660u);
  EXPECT_EQ(status.st_gid, 4242u);
  const auto second = open_port(config_, {}, {pools_.get(), 1, reactor_.get(), [] {}});
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().message.find("port vm"), std::string::npos) << second.error().message;
  EXPECT_NE(second.error().message.find("in use"), std::string::npos) << second.error().message;
  port_.reset();
  EXPECT_NE(::lstat(config_.socket.c_str(), &status), 0);
}

}  // namespace
}  // namespace podwire::engine
