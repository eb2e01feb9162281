// memif ports as servers, against a peer that does everything right.
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <fstream>
#include <thread>

#include "tests/eal/ports/memif_fixture.hpp"

namespace podwire::engine {
namespace {

using test::Bytes;
using test::MemifPeer;
using test::MemifShape;

class MemifServerTest : public MemifFixture {
 protected:
  std::unique_ptr<MemifPeer> connected(MemifShape shape = {}) {
    auto peer = std::make_unique<MemifPeer>(pump_function(), std::move(shape));
    EXPECT_TRUE(peer->connect(path_));
    EXPECT_TRUE(peer->shake_hands()) << facts().dump();
    return peer;
  }
};

TEST_F(MemifServerTest, CarriesFramesBothWays) {
  open();
  EXPECT_FALSE(port_->link_up());
  const auto peer = connected();
  EXPECT_TRUE(port_->link_up());
  expect_traffic(*peer);
  const auto counters = port_->queue_counters(0);
  EXPECT_EQ(counters.received_packets, 40u);
  EXPECT_EQ(counters.sent_packets, 40u);
  EXPECT_EQ(counters.received_bytes, 40u * 60 + 39 * 20);
}

TEST_F(MemifServerTest, SaysWhatWasNegotiated) {
  config_.queues = 4;
  config_.memif_id = 9;
  config_.secret = "open sesame";
  open();
  const auto peer = connected({3, 2, 6, 1024, 9, "open sesame"});
  const auto device = facts();
  EXPECT_EQ(device["state"], "connected");
  EXPECT_EQ(device["peer"]["name"], "test peer");
  EXPECT_EQ(device["peer"]["version"], "2.0");
  EXPECT_EQ(device["rings_in"].size(), 3u);
  EXPECT_EQ(device["rings_out"].size(), 2u);
  EXPECT_EQ(device["rings_in"][2]["ring_size"], 64);
  EXPECT_EQ(device["buffer_size"], 1024);
  EXPECT_EQ(device["sealed"], true);
  EXPECT_EQ(device["connects"], 1);
  EXPECT_EQ(device["violations"], 0);
  EXPECT_EQ(device["last_disconnect"], "");
}

TEST_F(MemifServerTest, EveryRingIsAQueue) {
  config_.queues = 3;
  open(2);
  EXPECT_EQ(port_->tx_queues(), 2);  // down: any worker may find out
  const auto peer = connected({3, 3, 4, 2048});
  EXPECT_EQ(port_->rx_queues(), 3);
  for (unsigned queue = 0; queue < 3; ++queue) {
    const auto bytes = frame(64, static_cast<unsigned char>(queue));
    ASSERT_TRUE(peer->put(bytes, 2048, queue));
    EXPECT_EQ(receive(static_cast<std::uint16_t>(queue)), bytes);
  }
  for (std::uint16_t worker = 0; worker < 2; ++worker) {
    const auto bytes = frame(64, static_cast<unsigned char>(worker + 7));
    ASSERT_TRUE(transmit(bytes, 2048, worker));
    EXPECT_EQ(peer->take(worker), bytes);
  }
}

TEST_F(MemifServerTest, APeerOfOneRingHasOneProducer) {
  config_.queues = 4;
  open(3);
  const auto peer = connected();
  EXPECT_EQ(port_->tx_queues(), 1);
  EXPECT_EQ(receive(3), Bytes());  // a queue without ring
}

TEST_F(MemifServerTest, ReceivesFramesOfManyBuffers) {
  config_.mtu = 9000;
  open();
  const auto peer = connected({1, 1, 8, 256});
  for (const std::size_t size : {1u, 255u, 256u, 257u, 2047u, 2048u, 2049u, 9014u}) {
    const auto bytes = frame(size);
    ASSERT_TRUE(peer->put(bytes));
    EXPECT_EQ(receive(), bytes) << size;
  }
}

TEST_F(MemifServerTest, SendsFramesOfManyMbufsIntoManyBuffers) {
  config_.mtu = 9000;
  open();
  const auto peer = connected({1, 1, 8, 256});
  for (const std::size_t segment : {64u, 255u, 256u, 257u, 2048u}) {
    for (const std::size_t size : {60u, 256u, 512u, 9014u}) {
      const auto bytes = frame(size);
      ASSERT_TRUE(transmit(bytes, segment)) << size;
      EXPECT_EQ(peer->take(), bytes) << size << " " << segment;
    }
  }
}

TEST_F(MemifServerTest, AFullRingRefusesAndLosesNothing) {
  open();
  const auto peer = connected({1, 1, 3, 512});
  for (unsigned round = 0; round < 100; ++round) {
    unsigned taken = 0;
    while (transmit(frame(600, static_cast<unsigned char>(taken)))) ++taken;
    EXPECT_EQ(taken, 4u);  // two buffers each
    EXPECT_EQ(port_->tx_stop(0), TxStop::kFull);
    for (unsigned i = 0; i < taken; ++i) EXPECT_EQ(peer->take(), frame(600, static_cast<unsigned char>(i)));
  }
}

TEST_F(MemifServerTest, TakesABurstAtOnceAndGivesEverySlotBack) {
  open();
  const auto peer = connected({1, 1, 7, 2048});
  for (unsigned round = 0; round < 50; ++round) {
    for (unsigned i = 0; i < 100; ++i)
      ASSERT_TRUE(peer->put(frame(64, static_cast<unsigned char>(i)))) << round;
    std::array<rte_mbuf*, 64> out;
    EXPECT_EQ(port_->rx_burst(0, out), 64);
    rte_pktmbuf_free_bulk(out.data(), 64);
    EXPECT_EQ(port_->rx_burst(0, out), 36);
    rte_pktmbuf_free_bulk(out.data(), 36);
    EXPECT_EQ(port_->rx_burst(0, out), 0);
  }
}

TEST_F(MemifServerTest, WithoutBuffersFramesWait) {
  open();
  const auto peer = connected();
  std::vector<rte_mbuf*> hoard;
  while (rte_mbuf* packet = rte_pktmbuf_alloc(pools_.get().packets)) hoard.push_back(packet);
  ASSERT_TRUE(peer->put(frame(64)));
  EXPECT_EQ(receive(), Bytes());
  rte_pktmbuf_free_bulk(hoard.data(), static_cast<unsigned>(hoard.size()));
  EXPECT_EQ(receive(), frame(64));
  EXPECT_GT(facts()["receive_without_buffers"], 0);
}

// Of the jumbo buffers that are free, one poll takes a quarter at most; the frames wait, none is lost.
TEST_F(MemifServerTest, LongFramesOfOnePollTakeAShareOfTheJumboBuffers) {
  config_.mtu = 9000;
  open();
  const auto peer = connected({1, 1, 7, 4096});
  for (unsigned i = 0; i < 100; ++i) ASSERT_TRUE(peer->put(frame(3000, static_cast<unsigned char>(i))));
  std::array<rte_mbuf*, 64> out;
  unsigned received = 0;
  for (unsigned poll = 0; poll < 20 && received < 100; ++poll) {
    const auto got = port_->rx_burst(0, out);
    EXPECT_GT(got, 0);
    EXPECT_LE(pools_.occupancy().jumbo_in_use, pools_.occupancy().jumbo_size / 4);
    for (rte_mbuf* packet : std::span(out).first(got))
      EXPECT_EQ(test::TestPools::bytes(packet), frame(3000, static_cast<unsigned char>(received++)));
    rte_pktmbuf_free_bulk(out.data(), got);
  }
  EXPECT_EQ(received, 100u);
  EXPECT_GT(facts()["receive_held"], 0);
  EXPECT_EQ(facts()["receive_without_buffers"], 0);
}

TEST_F(MemifServerTest, OversizedFramesAreRefusedAndCounted) {
  open();
  const auto peer = connected();
  ASSERT_TRUE(peer->put(frame(1523)));
  ASSERT_TRUE(peer->put(frame(1522)));
  std::array<rte_mbuf*, 64> out;
  ASSERT_EQ(port_->rx_burst(0, out), 2);
  EXPECT_NE(out[0]->ol_flags & kBadOffloadFlag, 0u);
  EXPECT_EQ(refusal_of(out[0]), DropReason::too_big);
  EXPECT_EQ(out[0]->pkt_len, 1523u);
  EXPECT_EQ(out[1]->ol_flags & kBadOffloadFlag, 0u);
  EXPECT_EQ(out[1]->pkt_len, 1522u);
  rte_pktmbuf_free_bulk(out.data(), 2);
  EXPECT_EQ(facts()["oversized"], 1);
  EXPECT_EQ(port_->queue_counters(0).received_packets, 2u);
  EXPECT_TRUE(port_->link_up());
}

TEST_F(MemifServerTest, EveryRingIsCounted) {
  config_.queues = 2;
  open(2);
  const auto peer = connected({2, 2, 4, 2048});
  ASSERT_TRUE(peer->put(frame(100), 65536, 1));
  ASSERT_TRUE(peer->put(frame(2000), 65536, 1));
  std::array<rte_mbuf*, 64> out;
  ASSERT_EQ(port_->rx_burst(1, out), 2);
  rte_pktmbuf_free_bulk(out.data(), 2);
  for (int i = 0; i < 16; ++i) ASSERT_TRUE(transmit(frame(60), 2048, 1));
  EXPECT_FALSE(transmit(frame(60), 2048, 1));  // the ring is full
  const auto device = facts();
  const auto expect = [&](const char* ring, int index, int packets, int bytes, int refused) {
    const auto& one = device[ring][index];
    EXPECT_EQ(one["packets"], packets) << ring << index;
    EXPECT_EQ(one["bytes"], bytes) << ring << index;
    EXPECT_EQ(one["refused"], refused) << ring << index;
  };
  expect("rings_in", 0, 0, 0, 0);
  expect("rings_in", 1, 2, 2100, 1);
  expect("rings_out", 0, 0, 0, 0);
  expect("rings_out", 1, 16, 960, 1);
}

TEST_F(MemifServerTest, IsDownWithoutPeer) {
  open();
  EXPECT_FALSE(transmit(frame(60)));
  EXPECT_EQ(port_->tx_stop(0), TxStop::kDown);
  EXPECT_EQ(facts()["state"], "listening");
}

TEST_F(MemifServerTest, APeerComesAndGoes) {
  open();
  for (unsigned round = 0; round < 20; ++round) {
    auto peer = connected({1, 1, 4 + round % 4, 2048});
    expect_traffic(*peer);
    if (round % 2 == 0) peer->send(test::memif::Message{test::memif::MessageType::kDisconnect, {}});
    peer->close();
    ASSERT_TRUE(wait_for([&] { return !port_->link_up(); }));
    EXPECT_EQ(grace_periods_, round + 1);  // nobody used the memory when it was unmapped
  }
  EXPECT_EQ(facts()["connects"], 20);
  EXPECT_EQ(facts()["last_disconnect"], "the peer closed the connection");
  EXPECT_EQ(facts()["violations"], 0);
}

TEST_F(MemifServerTest, ASecondPeerIsToldThatThereIsOne) {
  open();
  const auto peer = connected();
  MemifPeer second(pump_function());
  ASSERT_TRUE(second.connect(path_));
  EXPECT_EQ(second.await_disconnect(), "another peer is connected already");
  expect_traffic(*peer);
  // A successor that connects before we have looked at the first one's end is let in.
  peer->close();
  expect_usable();
}

TEST_F(MemifServerTest, AClosedPortTellsItsPeer) {
  open();
  const auto peer = connected();
  port_.reset();
  const auto last = peer->receive();
  ASSERT_TRUE(last);
  EXPECT_EQ(last->type, test::memif::MessageType::kDisconnect);
  EXPECT_STREQ(last->disconnect.reason.data(), "the port is closed");
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(MemifServerTest, SignalsOnlyAPeerThatAsks) {
  open();
  const auto peer = connected();
  peer->ask_signals(false);
  ASSERT_TRUE(transmit(frame(60)));
  EXPECT_FALSE(peer->signalled());
  peer->ask_signals(true);
  ASSERT_TRUE(transmit(frame(60)));
  EXPECT_TRUE(peer->signalled());
  EXPECT_EQ(facts()["rings_out"][0]["mode"], "interrupt");
}

TEST_F(MemifServerTest, SleepsUntilAFrameComes) {
  open();
  const auto readable = [&] {
    pollfd query{port_->poll_fd(0), POLLIN, 0};
    return ::poll(&query, 1, 0) == 1;
  };
  EXPECT_TRUE(port_->arm(0));  // asleep while the peer connects
  const auto peer = connected();
  EXPECT_FALSE(readable());
  ASSERT_TRUE(peer->put(frame(60)));
  EXPECT_TRUE(readable());
  port_->disarm(0);
  EXPECT_EQ(receive(), frame(60));
  ASSERT_TRUE(peer->put(frame(61)));  // polled: no signal
  EXPECT_FALSE(port_->arm(0));        // work waits
  EXPECT_EQ(receive(), frame(61));
  for (unsigned i = 0; i < 100; ++i) {
    EXPECT_TRUE(port_->arm(0));
    EXPECT_FALSE(readable()) << i;  // it does not stay readable
    ASSERT_TRUE(peer->put(frame(62)));
    EXPECT_TRUE(readable());
    port_->disarm(0);
    EXPECT_EQ(receive(), frame(62));
  }
}

TEST_F(MemifServerTest, AStaleSocketFileIsReplaced) {
  {
    const UniqueFd dead(::socket(AF_UNIX, SOCK_SEQPACKET, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path_.c_str(), sizeof address.sun_path - 1);
    ASSERT_EQ(::bind(dead.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  ASSERT_TRUE(std::filesystem::exists(path_));
  config_.socket_permissions = 0640;
  open();
  struct stat status {};
  ASSERT_EQ(::stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0640u);
  expect_usable();
}

TEST_F(MemifServerTest, ALiveSocketIsNotTaken) {
  open();
  auto second = config_;
  second.name = "thief";
  const auto refused = open_memif_port(second, {}, environment());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kConflict);
  EXPECT_NE(refused.error().message.find("port thief: socket " + path_ + ": another process listens"),
            std::string::npos)
      << refused.error().message;
  expect_usable();
}

TEST_F(MemifServerTest, AFileThatIsNoSocketIsNotTaken) {
  std::ofstream{path_};
  const auto refused = open_memif_port(config_, {}, environment());
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("no socket"), std::string::npos);
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(MemifServerTest, ASuccessorsSocketFileIsNotRemoved) {
  open();
  std::filesystem::remove(path_);
  std::ofstream{path_};
  port_.reset();
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(MemifServerTest, AMissingDirectoryIsNamed) {
  config_.socket = directory_ + "/missing/socket";
  const auto refused = open_memif_port(config_, {}, environment());
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("directory is missing"), std::string::npos)
      << refused.error().message;
}

// The worker is in the midst of it when the peer truncates its memory (which no seal forbids here).
TEST_F(MemifServerTest, TruncatedUnderTraffic) {
  open();
  for (unsigned round = 0; round < 3; ++round) {
    const auto peer = connected({1, 1, 6, 2048, 0, "", 0});
    EXPECT_EQ(facts()["sealed"], false);
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> bursts{0};
    std::uint64_t received = 0;
    await_worker_ = [&] {
      const auto now = bursts.load();
      while (bursts.load() < now + 2) std::this_thread::yield();
    };
    std::thread worker([&] {
      for (; !stop; ++bursts) {
        std::array<rte_mbuf*, 64> out;
        const auto count = port_->rx_burst(0, out);
        received += count;
        const auto sent = port_->tx_burst(0, {out.data(), count});
        if (sent < count) rte_pktmbuf_free_bulk(out.data() + sent, count - sent);
      }
    });
    std::thread producer([&] {
      // On its own mapping this test would fault as well: so it stops before.
      for (unsigned i = 0; i < 500; ++i) {
        if (!peer->put(frame(64))) std::this_thread::yield();
        while (!peer->take().empty()) {
        }
      }
    });
    producer.join();
    ASSERT_EQ(::ftruncate(peer->region_file(), 0), 0);
    EXPECT_TRUE(wait_for([&] { return !port_->link_up(); }));
    await_worker_ = [] {};
    stop = true;
    worker.join();
    EXPECT_GT(received, 0u);
    EXPECT_EQ(facts()["last_disconnect"], "region: memory vanished while it was used");
    EXPECT_EQ(facts()["violations"], round + 1);
  }
  expect_usable();
}

}  // namespace
}  // namespace podwire::engine
