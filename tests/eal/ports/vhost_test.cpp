// The vhost port against a guest made by hand: both socket roles, offloads both ways, memory that goes away,
// and every way of the protocol to be broken that is checked.
#include "dataplane/ports/vhost.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "dataplane/base/framing.hpp"
#include "dataplane/packet/offload.hpp"
#include "dataplane/ports/fault_guard.hpp"
#include "tests/eal/ports/test_pools.hpp"
#include "tests/eal/ports/vhost_peer.hpp"
#include "tests/support/mbufs.hpp"
#include "tests/support/packet_builder.hpp"

namespace podwire::engine {
namespace {

using test::TestPools;
using test::VhostPeer;
using testing::make_partial;
using testing::make_tso;
using testing::meta_of;
using testing::Packet;

constexpr std::uint64_t kBasic = feature_bits(VirtioFeature::kVersion1, VirtioFeature::kMergeableBuffers);
constexpr std::uint64_t kGuestOffloads =
    feature_bits(VirtioFeature::kGuestChecksum, VirtioFeature::kGuestTso4, VirtioFeature::kGuestTso6);
constexpr std::uint64_t kHostOffloads =
    feature_bits(VirtioFeature::kChecksum, VirtioFeature::kHostTso4, VirtioFeature::kHostTso6);

Packet tcp_packet(std::size_t payload) {
  Packet packet;
  packet.eth(MacAddr{{2, 0, 0, 0, 0, 1}}, MacAddr{{2, 0, 0, 0, 0, 2}})
      .ipv4(Ipv4::from_u32(0x0a000001), Ipv4::from_u32(0x0a000002))
      .tcp(80, 90)
      .payload(payload);
  return packet;
}

class VhostTest : public ::testing::Test {
 protected:
  VhostTest() {
    install_fault_guard();
    auto reactor = Reactor::create();
    EXPECT_TRUE(reactor);
    reactor_ = std::move(*reactor);
    directory_ = std::filesystem::temp_directory_path() / ("vhost-test-" + std::to_string(::getpid()));
    std::filesystem::create_directories(directory_);
    config_.id = PortId(7);
    config_.name = "vm";
    config_.kind = api::PortKind::kVhost;
    config_.mtu = 1500;
    config_.socket = directory_ / "vm.sock";
  }
  ~VhostTest() override {
    port_.reset();
    std::filesystem::remove_all(directory_);
  }
  void open() {
    auto opened = open_port(config_, {}, {pools_.get(), 1, reactor_.get(), [] {}});
    ASSERT_TRUE(opened) << opened.error().message;
    port_ = std::move(*opened);
  }
  // A port with a running guest.
  void open_with(VhostPeer& peer, std::uint64_t features) {
    open();
    ASSERT_TRUE(peer.connect(config_.socket));
    peer.start(features);
    ASSERT_TRUE(peer.run_until([this] { return port_->link_up(); }));
  }
  std::string last_disconnect() const { return port_->describe()["last_disconnect"]; }
  rte_mbuf* receive_one() {
    std::array<rte_mbuf*, 4> out{};
    return port_->rx_burst(0, out) == 1 ? out[0] : nullptr;
  }
  bool send(rte_mbuf* packet) { return port_->tx_burst(0, {&packet, 1}) == 1; }

  TestPools pools_;
  std::unique_ptr<Reactor> reactor_;
  std::filesystem::path directory_;
  api::Port config_;
  std::unique_ptr<Port> port_;
};

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

// One way to break the protocol after a good start, and what the port says of it.
struct Violation {
  const char* name;
  std::function<void(VhostPeer&)> commit;
  const char* says;
};

std::vector<Violation> violations() {
  using R = VhostRequest;
  const auto raw = [](R request) { return static_cast<std::uint32_t>(request); };
  static const char zeros[512]{};
  const auto table = [](std::vector<std::uint64_t> words, std::vector<int> (*fds)(VhostPeer&)) {
    return [words, fds](VhostPeer& p) { p.send(5, words.data(), words.size() * 8, fds(p)); };
  };
  const auto none = [](VhostPeer&) { return std::vector<int>{}; };
  const auto memory = [](VhostPeer& p) { return std::vector<int>{p.memory_fd()}; };
  const auto twice = [](VhostPeer& p) { return std::vector<int>{p.memory_fd(), p.memory_fd()}; };
  const auto event = [](VhostPeer& p) { return std::vector<int>{p.kick_fd(0)}; };
  constexpr std::uint64_t kBytes = VhostPeer::kMemory, kAll = ~std::uint64_t{0};
  return {
      {"UnknownRequest", [](VhostPeer& p) { p.send(77, nullptr, 0); }, "request 77 is not offered"},
      {"RequestZero", [](VhostPeer& p) { p.send(0, nullptr, 0); }, "request 0"},
      {"ResetOwner", [](VhostPeer& p) { p.send(4, nullptr, 0); }, "not offered"},
      {"LogBase", [](VhostPeer& p) { p.send(6, zeros, 16, {p.memory_fd()}); }, "request 6"},
      {"LogFd", [](VhostPeer& p) { p.send(7, nullptr, 0, {p.kick_fd(0)}); }, "request 7"},
      {"SendRarp", [](VhostPeer& p) { p.send(19, zeros, 8); }, "request 19"},
      {"BackendChannel", [](VhostPeer& p) { p.send(21, nullptr, 0, {p.socket()}); }, "not offered"},
      {"TranslationsWithoutIommu", [](VhostPeer& p) { p.send(22, zeros, 32); }, "not offered"},
      {"Postcopy", [](VhostPeer& p) { p.send(28, nullptr, 0); }, "request 28"},
      {"InflightRegion", [](VhostPeer& p) { p.send(32, zeros, 24, {p.memory_fd()}); }, "request 32"},
      {"GetInflight", [](VhostPeer& p) { p.send(31, zeros, 24); }, "request 31"},
      {"WrongVersion", [](VhostPeer& p) { p.send(1, nullptr, 0, {}, 2); }, "version 1"},
      {"AReply", [](VhostPeer& p) { p.send(1, nullptr, 0, {}, 5); }, "no reply"},
      {"TooLong", [](VhostPeer& p) { p.send(2, zeros, 16); }, "16 bytes"},
      {"TooShort", [](VhostPeer& p) { p.send(2, zeros, 4); }, "4 bytes"},
      {"PayloadWhereNoneBelongs", [](VhostPeer& p) { p.send(1, zeros, 8); }, "8 bytes"},
      {"HugePayload", [](VhostPeer& p) { p.send(5, zeros, 512); }, "512 bytes"},
      {"FeaturesInUse", [](VhostPeer& p) { p.send(R::kSetFeatures, 0); }, "rings are in use"},
      {"ProtocolFeatures", [](VhostPeer& p) { p.send(R::kSetProtocolFeatures, kAll); }, "not offered"},
      {"FeaturesWithDescriptor", [](VhostPeer& p) { p.send(R::kSetFeatures, 0, {p.kick_fd(0)}); },
       "brings descriptors"},
      {"RingSizeZero", [](VhostPeer& p) { p.send_ring(R::kSetVringNum, 0, 0); }, "power of two"},
      {"RingSizeOdd", [](VhostPeer& p) { p.send_ring(R::kSetVringNum, 0, 100); }, "power of two"},
      {"RingSizeHuge", [](VhostPeer& p) { p.send_ring(R::kSetVringNum, 0, 65536); }, "power of two"},
      {"RingGrowsInUse", [](VhostPeer& p) { p.send_ring(R::kSetVringNum, 1, 32768); }, "in use"},
      {"RingIndex", [](VhostPeer& p) { p.send_ring(R::kSetVringNum, 2, 256); }, "there are 2"},
      {"RingBaseIndex", [](VhostPeer& p) { p.send_ring(R::kSetVringBase, 200, 0); }, "there are 2"},
      {"RingBaseHuge", [](VhostPeer& p) { p.send_ring(R::kSetVringBase, 0, 65536); }, "no index"},
      {"GetBaseIndex", [](VhostPeer& p) { p.send_ring(R::kGetVringBase, ~0u, 0); }, "there are 2"},
      {"EnableIndex", [](VhostPeer& p) { p.send_ring(R::kSetVringEnable, 255, 1); }, "there are 2"},
      {"KickIndex", [](VhostPeer& p) { p.send(R::kSetVringKick, 99, {p.kick_fd(0)}); }, "there are 2"},
      {"KickWithoutEventfd", [](VhostPeer& p) { p.send(R::kSetVringKick, 0x100); }, "no eventfd"},
      {"KickWithoutDescriptor", [](VhostPeer& p) { p.send(R::kSetVringKick, 0); }, "0 descriptors"},
      {"CallWithTwo",
       [](VhostPeer& p) {
         p.send(R::kSetVringCall, 0, {p.kick_fd(0), p.kick_fd(1)});
       },
       "2 descriptors"},
      {"CallIsNoEventfd", [](VhostPeer& p) { p.send(R::kSetVringCall, 0, {p.memory_fd()}); }, "no eventfd"},
      {"CallIsASocket", [](VhostPeer& p) { p.send(R::kSetVringCall, 0, {p.socket()}); }, "no eventfd"},
      {"AddressesWithLog",
       [raw](VhostPeer& p) {
         const std::uint64_t words[5] = {1ull << 32};
         p.send(raw(R::kSetVringAddr), words, 40);
       },
       "logging"},
      {"AddressesIndex",
       [raw](VhostPeer& p) {
         const std::uint64_t words[5] = {9};
         p.send(raw(R::kSetVringAddr), words, 40);
       },
       "there are 2"},
      {"NoRegions", table({0}, none), "0 regions"},
      {"NineRegions", table({9, 0, 0, 0, 0}, none), "9 regions"},
      {"RegionWithoutDescriptor", table({1, 0, kBytes, 0, 0}, none), "0 descriptors"},
      {"RegionWithTwoDescriptors", table({1, 0, kBytes, 0, 0}, twice), "2 descriptors"},
      {"RegionsCutShort", table({2, 0, kBytes, 0, 0}, twice), "2 regions"},
      {"RegionEmpty", table({1, 0, 0, 0, 0}, memory), "0 bytes"},
      {"RegionBeyondItsFile", table({1, 0, kBytes + 4096, 0, 0}, memory), "its file has"},
      {"RegionOffsetBeyond", table({1, 0, 4096, 0, kBytes}, memory), "its file has"},
      {"RegionOffsetWraps", table({1, 0, 4096, 0, kAll - 100}, memory), "its file has"},
      {"RegionGuestWraps", table({1, kAll - 100, 4096, 0, 0}, memory), "bytes at"},
      {"RegionUserWraps", table({1, 0, 4096, kAll - 100, 0}, memory), "bytes at"},
      {"RegionHuge", table({1, 0, 1ull << 50, 0, 0}, memory), "bytes at"},
      {"RegionIsNoFile", table({1, 0, 4096, 0, 0}, event), "is no file"},
  };
}

TEST_F(VhostTest, ABrokenProtocolCostsTheConnectionOnly) {
  open();
  std::uint64_t count = 0;
  for (const auto& violation : violations()) {
    SCOPED_TRACE(violation.name);
    VhostPeer peer(*reactor_);
    ASSERT_TRUE(peer.connect(config_.socket));
    peer.start(kBasic);
    ASSERT_TRUE(peer.run_until([this] { return port_->link_up(); }));
    violation.commit(peer);
    EXPECT_TRUE(peer.closed());
    EXPECT_NE(last_disconnect().find(violation.says), std::string::npos) << last_disconnect();
    ASSERT_TRUE(peer.run_until([this] { return !port_->link_up(); }));
    EXPECT_EQ(port_->describe()["protocol_violations"], ++count);
  }
  EXPECT_GE(count, 40u);
}

}  // namespace
}  // namespace podwire::engine
