// A memif server that breaks the protocol, and peers that hold up instead of breaking.
#include "tests/eal/ports/memif_hostile.hpp"

namespace podwire::engine::hostile {
namespace {

class HostileServer : public Hostile {
 protected:
  HostileServer() { config_.socket_mode = api::SocketMode::kClient; }
};

TEST_P(HostileServer, LosesOnlyItsOwn) {
  const Case& one = GetParam();
  MemifPeer peer(pump_function(), one.shape);
  ASSERT_TRUE(peer.listen(path_));
  open();
  ASSERT_TRUE(peer.accept());
  auto all = stage(peer);
  one.act(all);
  const auto said = peer.await_disconnect();
  ASSERT_TRUE(wait_for([&] { return !port_->link_up(); }));
  const auto device = facts();
  EXPECT_NE(device["last_disconnect"].get<std::string>().find(one.reason), std::string::npos)
      << device.dump();
  EXPECT_TRUE(said == "closed" || said.find(one.reason) != std::string::npos) << said;
  EXPECT_EQ(device["violations"], one.violation ? 1 : 0) << device.dump();

  ASSERT_TRUE(peer.accept());  // the port is back by itself
  peer.send(peer.hello());
  ASSERT_TRUE(peer.serve_handshake());
  ASSERT_TRUE(wait_for([&] { return port_->link_up(); })) << facts().dump();
  expect_traffic(peer);
}

std::function<void(Stage&)> hello_with(std::function<void(memif::Hello&)> change) {
  return [change](Stage& s) {
    auto message = s.peer.hello();
    change(message.hello);
    s.peer.send(message);
  };
}
std::function<void(Stage&)> served(std::function<void(Stage&)> act) {
  return [act](Stage& s) {
    s.peer.send(s.peer.hello());
    ASSERT_TRUE(s.peer.serve_handshake());
    act(s);
  };
}

const Case kServers[] = {
    {"OlderVersions", "version: 2.0", false,
     hello_with([](auto& hello) { hello.min_version = 0x0100, hello.max_version = 0x01FF; })},
    {"NewerVersions", "version: 2.0", false,
     hello_with([](auto& hello) { hello.min_version = 0x0300, hello.max_version = 0x03FF; })},
    {"NoRingSize", "rings of one descriptor", true,
     hello_with([](auto& hello) { hello.max_log2_ring_size = 0; })},
    {"AckFirst", "type 1 is not expected now", true, first(MessageType::kAck)},
    {"ConnectedFirst", "type 7 is not expected now", true, first(MessageType::kConnected)},
    {"InitToAClient", "type 3 is not expected now", true, first(MessageType::kInit)},
    {"HelloTwice", "type 2 is not expected now", true,
     [](Stage& s) {
       s.peer.send(s.peer.hello());
       s.peer.send(s.peer.hello());
     }},
    {"ConnectedTooEarly", "type 7 is not expected now", true,
     [](Stage& s) {
       s.peer.send(s.peer.hello());
       s.peer.send(MemifPeer::of_type(MessageType::kConnected));
     }},
    {"AckTooMany", "type 1 is not expected now", true,
     served([](Stage& s) { s.peer.send(MemifPeer::of_type(MessageType::kAck)); })},
    {"ConnectedTwice", "type 7 is not expected now", true,
     served([](Stage& s) { s.peer.send(MemifPeer::of_type(MessageType::kConnected)); })},
    {"DescriptorWithHello", "1 descriptors came, expected 0", true,
     [](Stage& s) { s.peer.send(s.peer.hello(), {0}); }},
    {"ShortHello", "60 bytes came", true,
     [](Stage& s) {
       const auto message = s.peer.hello();
       s.peer.send_bytes(&message, 60);
     }},
    {"TailTooFar", "further apart than its size", true, served([](Stage& s) {
       s.peer.ring(false).tail = 17;
       s.receive();
     })},
    {"LengthBeyondBuffer", "its length is beyond its buffer", true, served([](Stage& s) {
       ASSERT_TRUE(s.peer.put(test::Bytes(64, 1)));
       s.peer.descriptor(false, 0, 0).length = 2049;
       s.receive();
     })},
    {"ChainWithoutEnd", "goes on where the ring ends", true, served([](Stage& s) {
       ASSERT_TRUE(s.peer.put(test::Bytes(64, 1)));
       s.peer.descriptor(false, 0, 0).flags = Descriptor::kNext;
       s.receive();
     })},
    {"EmptyFrame", "a frame has no bytes", true, served([](Stage& s) {
       ASSERT_TRUE(s.peer.put(test::Bytes(64, 1)));
       s.peer.descriptor(false, 0, 0).length = 0;
       s.receive();
     })},
    {"TailAheadOfHead", "further apart than its size", true, served([](Stage& s) {
       s.peer.ring(true).tail = 1;
       s.transmit();
     })},
};
INSTANTIATE_TEST_SUITE_P(Case, HostileServer, testing::ValuesIn(kServers), name_of);

// What needs no verdict: a server that scribbles over places and heads gets its own frames garbled, no more.
class ScribblingServer : public MemifFixture {};

TEST_F(ScribblingServer, MovesNothing) {
  config_.socket_mode = api::SocketMode::kClient;
  MemifPeer peer(pump_function());
  ASSERT_TRUE(peer.listen(path_));
  open();
  ASSERT_TRUE(peer.accept());
  peer.send(peer.hello());
  ASSERT_TRUE(peer.serve_handshake());
  ASSERT_TRUE(wait_for([&] { return port_->link_up(); }));
  ASSERT_TRUE(peer.put(frame(64)));
  peer.descriptor(false, 0, 0).region = 9;
  peer.descriptor(false, 0, 0).offset = 0xFFFFFF00;
  peer.ring(true).head = 1000;
  peer.descriptor(true, 0, 0) = {0xFFFF, 9, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF};
  EXPECT_EQ(receive(), frame(64));
  EXPECT_TRUE(transmit(frame(64)));
  EXPECT_EQ(peer.take(), frame(64));
  EXPECT_TRUE(port_->link_up());
}

// A peer that falls silent in the handshake holds the place for a while only.
class SilentPeer : public MemifFixture {};

TEST_F(SilentPeer, MakesRoomInTime) {
  open();
  MemifPeer silent(pump_function());
  ASSERT_TRUE(silent.connect(path_));
  ASSERT_TRUE(silent.receive());  // HELLO
  MemifPeer eager(pump_function());
  ASSERT_TRUE(eager.connect(path_));
  EXPECT_EQ(eager.await_disconnect(), "another peer is connected already");
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (facts()["state"] == "handshake" && std::chrono::steady_clock::now() < deadline)
    static_cast<void>(reactor_->run_once(100));
  EXPECT_NE(facts()["last_disconnect"].get<std::string>().find("more than 5000 ms"), std::string::npos);
  EXPECT_EQ(facts()["violations"], 0);
  expect_usable();
}

// A peer that makes the eventfd blocking and fills it to the brim: who writes it now, waits.
TEST_F(SilentPeer, ThatBlocksItsSignalHoldsNobody) {
  open();
  MemifPeer peer(pump_function());
  ASSERT_TRUE(peer.connect(path_));
  ASSERT_TRUE(peer.shake_hands());
  peer.ask_signals(true);
  const int signal = peer.ring_signal(false, 0);
  ASSERT_EQ(::fcntl(signal, F_SETFL, 0), 0);
  const std::uint64_t full = ~std::uint64_t{0} - 1;
  ASSERT_EQ(::write(signal, &full, sizeof full), static_cast<ssize_t>(sizeof full));
  for (int i = 0; i < 8; ++i) EXPECT_TRUE(transmit(frame(60)));
  EXPECT_EQ(peer.take(), frame(60));
}

// Peers that connect and leave in a hurry, and one that never reads.
TEST_F(SilentPeer, AStormOfConnectionsLeavesTheNextOneRoom) {
  open();
  for (int i = 0; i < 200; ++i) {
    MemifPeer peer(pump_function());
    static_cast<void>(peer.connect(path_));
    if (i % 3 == 0) peer.send(peer.init());
    if (i % 2 == 0) pump();
  }
  pump();
  expect_usable();
}

}  // namespace
}  // namespace podwire::engine::hostile
