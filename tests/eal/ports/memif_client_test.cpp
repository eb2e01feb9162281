// memif ports as clients, against a peer that does everything right.
#include "tests/eal/ports/memif_fixture.hpp"

namespace podwire::engine {
namespace {

using test::MemifPeer;

class MemifClientTest : public MemifFixture {
 protected:
  MemifClientTest() { config_.socket_mode = api::SocketMode::kClient; }
};

TEST_F(MemifClientTest, CarriesFramesBothWays) {
  MemifPeer peer(pump_function());
  ASSERT_TRUE(peer.listen(path_));
  open();
  ASSERT_TRUE(peer.accept());
  peer.send(peer.hello());
  ASSERT_TRUE(peer.serve_handshake());
  ASSERT_TRUE(wait_for([&] { return port_->link_up(); }));
  expect_traffic(peer);
  EXPECT_EQ(facts()["peer"]["interface"], "test server port");
  EXPECT_EQ(facts()["buffer_size"], 2048);
}

TEST_F(MemifClientTest, TakesTheSmallerOfBothSidesWishes) {
  config_.queues = 4;
  config_.ring_size = 64;
  config_.buffer_size = 512;
  MemifPeer peer(pump_function(), {2, 3, 5});
  ASSERT_TRUE(peer.listen(path_));
  open();
  ASSERT_TRUE(peer.accept());
  peer.send(peer.hello());
  ASSERT_TRUE(peer.serve_handshake());
  ASSERT_TRUE(wait_for([&] { return port_->link_up(); }));
  const auto device = facts();
  EXPECT_EQ(device["rings_in"].size(), 3u);
  EXPECT_EQ(device["rings_out"].size(), 2u);
  EXPECT_EQ(device["rings_in"][0]["ring_size"], 32);
  expect_traffic(peer);
}

TEST_F(MemifClientTest, ComesBackForEver) {
  MemifPeer peer(pump_function());
  open();  // nobody listens yet
  EXPECT_EQ(facts()["state"], "connecting");
  EXPECT_NE(port_->last_error().find("No such file"), std::string::npos) << port_->last_error();
  ASSERT_TRUE(peer.listen(path_));
  for (unsigned round = 0; round < 5; ++round) {
    ASSERT_TRUE(peer.accept());
    peer.send(peer.hello());
    ASSERT_TRUE(peer.serve_handshake());
    ASSERT_TRUE(wait_for([&] { return port_->link_up(); }));
    EXPECT_EQ(port_->last_error(), "");
    peer.close();
    ASSERT_TRUE(wait_for([&] { return !port_->link_up(); }));
  }
  EXPECT_EQ(facts()["connects"], 5);
}

TEST_F(MemifClientTest, AServersPortAndAClientsPortUnderstandEachOther) {
  config_.socket_mode = api::SocketMode::kServer;
  config_.queues = 2;
  open();
  auto other = config_;
  other.name = "other";
  other.socket_mode = api::SocketMode::kClient;
  other.buffer_size = 300;
  const auto opened = open_memif_port(other, {}, environment());
  ASSERT_TRUE(opened);
  auto& client = **opened;
  ASSERT_TRUE(wait_for([&] { return port_->link_up() && client.link_up(); }));
  for (unsigned i = 0; i < 5000; ++i) {
    const auto bytes = frame(60 + i % 1400, static_cast<unsigned char>(i));
    auto& from = i % 2 == 0 ? client : *port_;
    auto& to = i % 2 == 0 ? *port_ : client;
    rte_mbuf* packet = pools_.packet(bytes);
    ASSERT_EQ(from.tx_burst(0, {&packet, 1}), 1) << i;
    std::array<rte_mbuf*, 2> out;
    ASSERT_EQ(to.rx_burst(0, out), 1);
    EXPECT_EQ(test::TestPools::bytes(out[0]), bytes);
    rte_pktmbuf_free(out[0]);
  }
}

TEST_F(MemifClientTest, TooMuchMemoryIsRefused) {
  config_.queues = 16;
  config_.ring_size = 16384;
  config_.buffer_size = 65536;
  const auto refused = open_memif_port(config_, {}, environment());
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("at most 1024 are possible"), std::string::npos)
      << refused.error().message;
}

}  // namespace
}  // namespace podwire::engine
