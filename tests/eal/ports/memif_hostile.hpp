// What the tests of hostile memif peers share: cases, and the ways to break something.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>

#include <string>
#include <vector>

#include "tests/eal/ports/memif_fixture.hpp"

namespace podwire::engine::hostile {

using memif::Descriptor;
using memif::Message;
using memif::MessageType;
using test::MemifPeer;
using test::MemifShape;

// What a case can use.
struct Stage {
  MemifFixture& fixture;
  MemifPeer& peer;
  std::function<void()> receive;   // one burst
  std::function<void()> transmit;  // one frame
  MemifShape shape;
};

struct Case {
  const char* name;
  const char* reason;     // part of what is said
  bool violation = true;  // or a refusal, which is no crime
  std::function<void(Stage&)> act;
  MemifShape shape = {};
  const char* secret = "";
};

inline std::ostream& operator<<(std::ostream& out, const Case& one) {
  return out << one.name;
}

inline std::size_t open_descriptors() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

class Hostile : public MemifFixture, public testing::WithParamInterface<Case> {
 protected:
  void expect_verdict(MemifPeer& peer, std::size_t descriptors_before) {
    const Case& one = GetParam();
    const auto said = peer.await_disconnect();
    ASSERT_TRUE(wait_for([&] { return !port_->link_up(); }));
    const auto device = facts();
    EXPECT_NE(device["last_disconnect"].get<std::string>().find(one.reason), std::string::npos)
        << device.dump();
    EXPECT_TRUE(said == "closed" || said.find(one.reason) != std::string::npos) << said;
    EXPECT_EQ(device["violations"], one.violation ? 1 : 0) << device.dump();
    peer.close();
    EXPECT_LE(open_descriptors(), descriptors_before) << "a descriptor leaked";
  }
  Stage stage(MemifPeer& peer) {
    return {*this, peer,
            [this] {
              std::array<rte_mbuf*, 64> out;
              const auto count = port_->rx_burst(0, out);
              rte_pktmbuf_free_bulk(out.data(), count);
            },
            [this] { static_cast<void>(transmit(frame(60))); }, GetParam().shape};
  }
};

// A peer that plays the client. The table of cases is in two files.
class HostileClient : public Hostile {};

inline std::function<void(Stage&)> first(Message message) {
  return [message](Stage& s) { s.peer.send(message); };
}
inline std::function<void(Stage&)> first(MessageType type) {
  return first(MemifPeer::of_type(type));
}
// The handshake, with this done to every message of a type.
inline std::function<void(Stage&)> with(MessageType type,
                                        std::function<void(Message&, std::vector<int>&)> change) {
  return [type, change](Stage& s) {
    s.peer.shake_hands([&](Message& message, std::vector<int>& descriptors) {
      if (message.type == type) change(message, descriptors);
    });
  };
}
inline std::function<void(Stage&)> with_init(std::function<void(memif::Init&)> change) {
  return with(MessageType::kInit, [change](Message& message, auto&) { change(message.init); });
}
inline std::function<void(Stage&)> with_region(std::function<void(memif::AddRegion&)> change) {
  return with(MessageType::kAddRegion, [change](Message& message, auto&) { change(message.add_region); });
}
inline std::function<void(Stage&)> with_ring(std::function<void(memif::AddRing&)> change) {
  return with(MessageType::kAddRing, [change](Message& message, auto&) { change(message.add_ring); });
}
// With this descriptor instead of the right one.
inline std::function<void(Stage&)> sending(MessageType type, std::function<UniqueFd()> make) {
  return [type, make](Stage& s) {
    const auto own = make();
    s.peer.shake_hands([&](Message& message, std::vector<int>& descriptors) {
      if (message.type == type) descriptors = {own.get()};
    });
  };
}
// After a good handshake.
inline std::function<void(Stage&)> connected(std::function<void(Stage&)> act) {
  return [act](Stage& s) {
    ASSERT_TRUE(s.peer.shake_hands());
    act(s);
  };
}
// A first descriptor in the ring that the port reads, changed.
inline std::function<void(Stage&)> in_descriptor(std::function<void(Descriptor&)> change) {
  return connected([change](Stage& s) {
    ASSERT_TRUE(s.peer.put(test::Bytes(64, 1)));
    change(s.peer.descriptor(false, 0, 0));
    s.receive();
  });
}
// A first empty buffer in the ring that the port writes, changed.
inline std::function<void(Stage&)> out_descriptor(std::function<void(Descriptor&)> change) {
  return connected([change](Stage& s) {
    change(s.peer.descriptor(true, 0, 0));
    s.transmit();
  });
}

inline UniqueFd memory(std::size_t bytes, int seals = 0) {
  UniqueFd fd(::memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(bytes)), 0);
  if (seals != 0) {
    EXPECT_EQ(::fcntl(fd.get(), F_ADD_SEALS, seals), 0);
  }
  return fd;
}
inline UniqueFd pipe_end() {
  int ends[2];
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  ::close(ends[0]);
  return UniqueFd(ends[1]);
}
inline std::string name_of(const testing::TestParamInfo<Case>& info) {
  return info.param.name;
}

}  // namespace podwire::engine::hostile
