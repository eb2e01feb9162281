// A memif peer that breaks the protocol in every way that is checked. Each way ends its connection, with the
// reason said, counted and shown; nothing leaks, and the next peer finds the port as good as new.
#include <fcntl.h>
#include <sys/mman.h>

#include "tests/eal/ports/memif_fixture.hpp"

namespace podwire::engine {
namespace {

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

std::ostream& operator<<(std::ostream& out, const Case& one) {
  return out << one.name;
}

std::size_t open_descriptors() {
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

// ---- to a server

class HostileClient : public Hostile {};

TEST_P(HostileClient, LosesOnlyItsOwn) {
  const Case& one = GetParam();
  config_.queues = 2;
  config_.secret = one.secret;
  open();
  {
    MemifPeer peer(pump_function(), one.shape);
    peer.make_memory();
    const auto before = open_descriptors();
    ASSERT_TRUE(peer.connect(path_));
    auto all = stage(peer);
    one.act(all);
    expect_verdict(peer, before);
  }
  MemifShape good;
  good.secret = one.secret;
  expect_usable(good);
}

std::function<void(Stage&)> first(Message message) {
  return [message](Stage& s) { s.peer.send(message); };
}
std::function<void(Stage&)> first(MessageType type) {
  return first(MemifPeer::of_type(type));
}
// The handshake, with this done to every message of a type.
std::function<void(Stage&)> with(MessageType type, std::function<void(Message&, std::vector<int>&)> change) {
  return [type, change](Stage& s) {
    s.peer.shake_hands([&](Message& message, std::vector<int>& descriptors) {
      if (message.type == type) change(message, descriptors);
    });
  };
}
std::function<void(Stage&)> with_init(std::function<void(memif::Init&)> change) {
  return with(MessageType::kInit, [change](Message& message, auto&) { change(message.init); });
}
std::function<void(Stage&)> with_region(std::function<void(memif::AddRegion&)> change) {
  return with(MessageType::kAddRegion, [change](Message& message, auto&) { change(message.add_region); });
}
std::function<void(Stage&)> with_ring(std::function<void(memif::AddRing&)> change) {
  return with(MessageType::kAddRing, [change](Message& message, auto&) { change(message.add_ring); });
}
// With this descriptor instead of the right one.
std::function<void(Stage&)> sending(MessageType type, std::function<UniqueFd()> make) {
  return [type, make](Stage& s) {
    const auto own = make();
    s.peer.shake_hands([&](Message& message, std::vector<int>& descriptors) {
      if (message.type == type) descriptors = {own.get()};
    });
  };
}
// After a good handshake.
std::function<void(Stage&)> connected(std::function<void(Stage&)> act) {
  return [act](Stage& s) {
    ASSERT_TRUE(s.peer.shake_hands());
    act(s);
  };
}
// A first descriptor in the ring that the port reads, changed.
std::function<void(Stage&)> in_descriptor(std::function<void(Descriptor&)> change) {
  return connected([change](Stage& s) {
    ASSERT_TRUE(s.peer.put(test::Bytes(64, 1)));
    change(s.peer.descriptor(false, 0, 0));
    s.receive();
  });
}
// A first empty buffer in the ring that the port writes, changed.
std::function<void(Stage&)> out_descriptor(std::function<void(Descriptor&)> change) {
  return connected([change](Stage& s) {
    change(s.peer.descriptor(true, 0, 0));
    s.transmit();
  });
}

UniqueFd memory(std::size_t bytes, int seals = 0) {
  UniqueFd fd(::memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(bytes)), 0);
  if (seals != 0) {
    EXPECT_EQ(::fcntl(fd.get(), F_ADD_SEALS, seals), 0);
  }
  return fd;
}
UniqueFd pipe_end() {
  int ends[2];
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  ::close(ends[0]);
  return UniqueFd(ends[1]);
}

const Case kMessages[] = {
    {"TypeNone", "type 0 is not expected now", true, first(MessageType::kNone)},
    {"TypeUnknown", "type 99 is not expected now", true, first(static_cast<MessageType>(99))},
    {"AckFirst", "type 1 is not expected now", true, first(MessageType::kAck)},
    {"HelloFirst", "type 2 is not expected now", true, first(MessageType::kHello)},
    {"RegionBeforeInit", "type 4 is not expected now", true,
     [](Stage& s) { s.peer.send(s.peer.add_region(), {s.peer.region_file()}); }},
    {"RingBeforeInit", "type 5 is not expected now", true,
     [](Stage& s) { s.peer.send(s.peer.add_ring(true, 0), {s.peer.ring_signal(true, 0)}); }},
    {"ConnectBeforeInit", "type 6 is not expected now", true, first(MessageType::kConnect)},
    {"InitTwice", "type 3 is not expected now", true,
     [](Stage& s) {
       s.peer.send(s.peer.init());
       s.peer.send(s.peer.init());
     }},
    {"HelloAfterInit", "type 2 is not for a server", true,
     [](Stage& s) {
       s.peer.send(s.peer.init());
       s.peer.send(s.peer.hello());
     }},
    {"ConnectedToAServer", "type 7 is not for a server", true,
     [](Stage& s) {
       s.peer.send(s.peer.init());
       s.peer.send(MemifPeer::of_type(MessageType::kConnected));
     }},
    {"ShortMessage", "127 bytes came", true,
     [](Stage& s) {
       const auto message = s.peer.init();
       s.peer.send_bytes(&message, 127);
     }},
    {"LongMessage", "129 bytes came", true,
     [](Stage& s) {
       const std::array<char, 129> message{};
       s.peer.send_bytes(message.data(), message.size());
     }},
    {"HugeMessage", "65536 bytes came", true,
     [](Stage& s) {
       const std::vector<char> message(65536);
       s.peer.send_bytes(message.data(), message.size());
     }},
    {"OneByte", "1 bytes came", true, [](Stage& s) { s.peer.send_bytes("x", 1); }},
    {"InitWithDescriptor", "1 descriptors came, expected 0", true,
     [](Stage& s) { s.peer.send(s.peer.init(), {s.peer.region_file()}); }},
    {"Version1", "version: 2.0", false, with_init([](auto& init) { init.version = 0x0100; })},
    {"Version2Dot1", "version: 2.0", false, with_init([](auto& init) { init.version = 0x0201; })},
    {"WrongId", "id: 77 is not here", false, with_init([](auto& init) { init.id = 77; })},
    {"IpMode", "mode: only Ethernet", false,
     with_init([](auto& init) { init.mode = memif::InterfaceMode::kIp; })},
    {"UnknownMode", "mode: only Ethernet", false,
     with_init([](auto& init) { init.mode = static_cast<memif::InterfaceMode>(200); })},
    {"NoSecret",
     "secret: it is not the one",
     false,
     with_init([](auto& init) { init.secret = {}; }),
     {},
     "s3cret"},
    {"SecretsBeginning",
     "secret: it is not the one",
     false,
     with_init([](auto& init) { init.secret = {"s3cre"}; }),
     {},
     "s3cret"},
    {"SecretAndMore",
     "secret: it is not the one",
     false,
     with_init([](auto& init) { init.secret = {"s3crets"}; }),
     {},
     "s3cret"},
    {"ConnectTwice", "type 6 is not expected now", true,
     connected([](Stage& s) { s.peer.send(MemifPeer::of_type(MessageType::kConnect)); })},
    {"RegionAfterConnect", "type 4 is not expected now", true,
     connected([](Stage& s) { s.peer.send(s.peer.add_region(), {s.peer.region_file()}); })},
    {"RingAfterConnect", "type 5 is not expected now", true,
     connected([](Stage& s) { s.peer.send(s.peer.add_ring(true, 1), {s.peer.ring_signal(true, 0)}); })},
    {"AckAfterConnect", "type 1 is not expected now", true,
     connected([](Stage& s) { s.peer.send(MemifPeer::of_type(MessageType::kAck)); })},
    {"UnprintableGoodbye", "the peer disconnects: ??? ?(", false, connected([](Stage& s) {
       auto message = MemifPeer::of_type(MessageType::kDisconnect);
       message.disconnect.reason = {"\xff\xfe\x01 \xc3\x28"};
       s.peer.send(message);
     })},
    {"EndlessGoodbye", "the peer disconnects: AAAA", false, connected([](Stage& s) {
       auto message = MemifPeer::of_type(MessageType::kDisconnect);
       message.disconnect.reason.fill('A');
       s.peer.send(message);
     })},
};

const Case kRegions[] = {
    {"IndexGap", "index 1 came, expected 0", true, with_region([](auto& region) { region.index = 1; })},
    {"IndexTwice", "index 0 came, expected 1", true,
     [](Stage& s) {
       s.peer.send(s.peer.init());
       for (int i = 0; i < 2; ++i) s.peer.send(s.peer.add_region(), {s.peer.region_file()});
     }},
    {"TooMany", "index 32 came", true,
     [](Stage& s) {
       s.peer.send(s.peer.init());
       for (std::uint16_t i = 0; i < 33; ++i) {
         auto message = s.peer.add_region();
         message.add_region.index = i;
         s.peer.ask(message, {s.peer.region_file()});
       }
     }},
    {"Empty", "region has no bytes", true, with_region([](auto& region) { region.bytes = 0; })},
    {"LargerThanItsFile", "but its file has", true, with_region([](auto& region) { region.bytes += 1; })},
    {"AllAddresses", "region announces 18446744073709551615 bytes", true,
     with_region([](auto& region) { region.bytes = ~0ull; })},
    {"HalfTheAddresses", "region announces 9223372036854775808 bytes", true,
     with_region([](auto& region) { region.bytes = 1ull << 63; })},
    {"NoDescriptor", "0 descriptors came, expected 1", true,
     with(MessageType::kAddRegion, [](auto&, auto& descriptors) { descriptors.clear(); })},
    {"TwoDescriptors", "2 descriptors came, expected 1", true,
     with(MessageType::kAddRegion, [](auto&, auto& descriptors) { descriptors.push_back(0); })},
    {"ManyDescriptors", "more descriptors came than it can have", true,
     with(MessageType::kAddRegion,
          [](auto&, auto& descriptors) { descriptors.assign(200, descriptors.front()); })},
    {"Pipe", "is no memory file", true, sending(MessageType::kAddRegion, pipe_end)},
    {"Device", "is no memory file", true,
     sending(MessageType::kAddRegion, [] { return UniqueFd(::open("/dev/zero", O_RDWR | O_CLOEXEC)); })},
    {"FileOfTheDisk", "is no memory file", true,
     sending(MessageType::kAddRegion,
             [] { return UniqueFd(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)); })},
    {"Directory", "region", true,
     sending(MessageType::kAddRegion, [] { return UniqueFd(::open("/proc", O_RDONLY | O_CLOEXEC)); })},
    {"SealedAgainstWriting", "cannot be mapped", true,
     sending(MessageType::kAddRegion, [] { return memory(1 << 20, F_SEAL_WRITE); })},
    {"ReadOnlyDescriptor", "cannot be", true,
     sending(MessageType::kAddRegion,
             [] {
               const auto whole = memory(1 << 20);
               return UniqueFd(
                   ::open(("/proc/self/fd/" + std::to_string(whole.get())).c_str(), O_RDONLY | O_CLOEXEC));
             })},
    {"TooMuchInOne", "more than 1024 MiB of plain pages", true,
     [](Stage& s) {
       const auto file = memory((1ull << 30) + 4096);
       s.peer.send(s.peer.init());
       auto message = s.peer.add_region();
       message.add_region.bytes = (1ull << 30) + 4096;
       s.peer.ask(message, {file.get()});
     }},
    {"TooMuchTogether", "more than 1024 MiB of plain pages", true,
     [](Stage& s) {
       const auto file = memory(600ull << 20);
       s.peer.send(s.peer.init());
       for (std::uint16_t i = 0; i < 2; ++i) {
         auto message = s.peer.add_region();
         message.add_region = {i, 600ull << 20};
         s.peer.ask(message, {file.get()});
       }
     }},
    {"TruncatedBeforeItsRings",
     "memory vanished",
     true,
     [](Stage& s) {
       s.peer.shake_hands([&](Message& message, auto&) {
         if (message.type == MessageType::kAddRing) {
           EXPECT_EQ(::ftruncate(s.peer.region_file(), 0), 0);
         }
       });
     },
     {1, 1, 4, 2048, 0, "", 0}},
};

const Case kRings[] = {
    {"IndexTooLarge", "index 2 came, there are at most 2", true,
     with_ring([](auto& ring) { ring.index = 2; })},
    {"IndexLargest", "index 65535 came", true, with_ring([](auto& ring) { ring.index = 65535; })},
    {"Twice", "index 0 came twice", true,
     with_ring([](auto& ring) { ring.flags = memif::AddRing::kToServer, ring.index = 0; })},
    {"UnknownRegion", "region 3 is not there", true, with_ring([](auto& ring) { ring.region = 3; })},
    {"UnknownRegionLargest", "region 65535 is not there", true,
     with_ring([](auto& ring) { ring.region = 65535; })},
    {"BehindItsRegion", "does not lie within its region", true,
     with_ring([](auto& ring) { ring.offset = 1u << 30; })},
    {"AtTheEndOfAddresses", "does not lie within its region", true,
     with_ring([](auto& ring) { ring.offset = 0xFFFFFFF8; })},
    {"OverTheEnd", "does not lie within its region", true,
     [](Stage& s) {
       s.peer.shake_hands([&](Message& message, auto&) {
         if (message.type == MessageType::kAddRing)
           message.add_ring.offset = static_cast<std::uint32_t>(s.peer.add_region().add_region.bytes - 64);
       });
     }},
    {"Unaligned", "is not a multiple of 8", true, with_ring([](auto& ring) { ring.offset += 4; })},
    {"OneSlot", "its size is 2^0", true, with_ring([](auto& ring) { ring.log2_ring_size = 0; })},
    {"TooManySlots", "its size is 2^9", true, with_ring([](auto& ring) { ring.log2_ring_size = 9; })},
    {"ShiftedAway", "its size is 2^255", true, with_ring([](auto& ring) { ring.log2_ring_size = 255; })},
    {"PrivateHeaders", "private headers", true, with_ring([](auto& ring) { ring.private_header_bytes = 8; })},
    {"UnknownFlags", "unknown flags", true, with_ring([](auto& ring) { ring.flags |= 0x8000; })},
    {"NoDescriptor", "0 descriptors came, expected 1", true,
     with(MessageType::kAddRing, [](auto&, auto& descriptors) { descriptors.clear(); })},
    {"PipeForSignals", "is no eventfd", true, sending(MessageType::kAddRing, pipe_end)},
    {"MemoryForSignals", "is no eventfd", true, sending(MessageType::kAddRing, [] { return memory(4096); })},
    {"TerminalForSignals", "is no eventfd", true,
     sending(MessageType::kAddRing,
             [] { return UniqueFd(::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)); })},
    {"WrongCookie", "its cookie is wrong", true,
     [](Stage& s) {
       s.peer.ring(true).cookie = 0x12345678;
       s.peer.shake_hands();
     }},
    {"CookieGoneBeforeConnect", "its cookie is wrong", true,
     [](Stage& s) {
       s.peer.shake_hands([&](Message& message, auto&) {
         if (message.type == MessageType::kConnect) s.peer.ring(true).cookie = 0;
       });
     }},
    {"None", "there is none in one direction", true,
     with(MessageType::kAddRing, [](Message& message, auto&) { message.type = MessageType::kNone; })},
    {"OneDirectionOnly", "there is none in one direction", true,
     with(MessageType::kAddRing,
          [](Message& message, auto&) {
            if (message.add_ring.flags == 0) message.type = MessageType::kNone;
          })},
    {"IndicesWithAGap", "there is none in one direction", true, with_ring([](auto& ring) {
       if (ring.flags == 0) ring.index = 1;
     })},
};

const Case kReceive[] = {
    {"HeadTooFar", "further apart than its size", true, connected([](Stage& s) {
       s.peer.ring(false).head = 17;
       s.receive();
     })},
    {"HeadBehindTail", "further apart than its size", true, connected([](Stage& s) {
       s.peer.ring(false).head = 65535;
       s.receive();
     })},
    {"HeadFarAway", "further apart than its size", true, connected([](Stage& s) {
       s.peer.ring(false).head = 0x8000;
       s.receive();
     })},
    {"UnknownRegion", "its buffer is not inside a region", true,
     in_descriptor([](auto& descriptor) { descriptor.region = 1; })},
    {"UnknownRegionBeyondAll", "its buffer is not inside a region", true,
     in_descriptor([](auto& descriptor) { descriptor.region = 32; })},
    {"UnknownRegionLargest", "its buffer is not inside a region", true,
     in_descriptor([](auto& descriptor) { descriptor.region = 65535; })},
    {"OffsetBehindRegion", "its buffer is not inside a region", true,
     in_descriptor([](auto& descriptor) { descriptor.offset = 1u << 30; })},
    {"OffsetLargest", "its buffer is not inside a region", true,
     in_descriptor([](auto& descriptor) { descriptor.offset = 0xFFFFFFFF; })},
    {"LengthBehindRegion", "its buffer is not inside a region", true,
     in_descriptor([](auto& descriptor) { descriptor.length = 1u << 30; })},
    {"LengthLargest", "its buffer is not inside a region", true,
     in_descriptor([](auto& descriptor) { descriptor.length = 0xFFFFFFFF; })},
    {"OffsetAndLengthWrap", "its buffer is not inside a region", true,
     in_descriptor([](auto& descriptor) { descriptor.offset = 0xFFFFFFC0, descriptor.length = 0x80; })},
    {"LastByteOutside", "its buffer is not inside a region", true, connected([](Stage& s) {
       ASSERT_TRUE(s.peer.put(test::Bytes(64, 1)));
       const auto bytes = static_cast<std::uint32_t>(s.peer.add_region().add_region.bytes);
       s.peer.descriptor(false, 0, 0).offset = bytes - 63;
       s.receive();
     })},
    {"ChainWithoutEnd", "goes on where the ring ends", true,
     in_descriptor([](auto& descriptor) { descriptor.flags = Descriptor::kNext; })},
    {"ChainAroundTheRing", "goes on where the ring ends", true, connected([](Stage& s) {
       for (unsigned i = 0; i < 16; ++i) s.peer.descriptor(false, 0, i).flags = Descriptor::kNext;
       s.peer.ring(false).head = 16;
       s.receive();
     })},
    {"ChainOfTooMany",
     "more than 128 descriptors",
     true,
     connected([](Stage& s) {
       for (unsigned i = 0; i < 256; ++i) {
         s.peer.descriptor(false, 0, i).flags = Descriptor::kNext;
         s.peer.descriptor(false, 0, i).length = 1;
       }
       s.peer.ring(false).head = 256;
       s.receive();
     }),
     {1, 1, 8, 256}},
    {"ChainOfNothing",
     "more than 128 descriptors",
     true,
     connected([](Stage& s) {
       for (unsigned i = 0; i < 256; ++i) {
         s.peer.descriptor(false, 0, i).flags = Descriptor::kNext;
         s.peer.descriptor(false, 0, i).length = 0;
       }
       s.peer.ring(false).head = 256;
       s.receive();
     }),
     {1, 1, 8, 256}},
    {"FrameTooLong",
     "more than 65553 bytes",
     true,
     connected([](Stage& s) {
       for (unsigned i = 0; i < 64; ++i) {
         s.peer.descriptor(false, 0, i).flags = i == 63 ? std::uint16_t{0} : Descriptor::kNext;
         s.peer.descriptor(false, 0, i).length = 2048;
       }
       s.peer.ring(false).head = 64;
       s.receive();
     }),
     {1, 1, 6, 2048}},
    {"FrameTooLongInOne",
     "more than 65553 bytes",
     true,
     connected([](Stage& s) {
       s.peer.descriptor(false, 0, 0).length = 65554;
       s.peer.ring(false).head = 1;
       s.receive();
     }),
     {1, 1, 6, 2048}},
    {"EmptyFrame", "a frame has no bytes", true,
     in_descriptor([](auto& descriptor) { descriptor.length = 0; })},
    {"GoodFramesThenABadOne", "its buffer is not inside a region", true, connected([](Stage& s) {
       for (int i = 0; i < 5; ++i) ASSERT_TRUE(s.peer.put(test::Bytes(64, 1)));
       s.peer.descriptor(false, 0, 4).region = 9;
       s.receive();
     })},
};

const Case kTransmit[] = {
    {"HeadTooFar", "further apart than its size", true, connected([](Stage& s) {
       s.peer.ring(true).head = 17;
       s.transmit();
     })},
    {"HeadBehindTail", "further apart than its size", true, connected([](Stage& s) {
       s.peer.ring(true).head = 65535;
       s.transmit();
     })},
    {"UnknownRegion", "an empty buffer", true,
     out_descriptor([](auto& descriptor) { descriptor.region = 1; })},
    {"UnknownRegionLargest", "an empty buffer", true,
     out_descriptor([](auto& descriptor) { descriptor.region = 65535; })},
    {"OffsetBehindRegion", "an empty buffer", true,
     out_descriptor([](auto& descriptor) { descriptor.offset = 1u << 30; })},
    {"OffsetAndLengthWrap", "an empty buffer", true,
     out_descriptor([](auto& descriptor) { descriptor.offset = 0xFFFFFFC0, descriptor.length = 0x80; })},
    {"LengthLargest", "an empty buffer", true,
     out_descriptor([](auto& descriptor) { descriptor.length = 0xFFFFFFFF; })},
    {"NoBytes", "an empty buffer", true, out_descriptor([](auto& descriptor) { descriptor.length = 0; })},
    {"SecondOfAChain", "an empty buffer", true, connected([](Stage& s) {
       s.peer.descriptor(true, 0, 0).length = 30;
       s.peer.descriptor(true, 0, 1).offset = 0xFFFFFFFF;
       s.transmit();
     })},
};

const Case kMemory[] = {
    {"TruncatedBeforeReceive",
     "memory vanished",
     true,
     connected([](Stage& s) {
       ASSERT_TRUE(s.peer.put(test::Bytes(64, 1)));
       ASSERT_EQ(::ftruncate(s.peer.region_file(), 0), 0);
       s.receive();
     }),
     {1, 1, 4, 2048, 0, "", 0}},
    {"TruncatedBeforeTransmit",
     "memory vanished",
     true,
     connected([](Stage& s) {
       ASSERT_EQ(::ftruncate(s.peer.region_file(), 0), 0);
       s.transmit();
     }),
     {1, 1, 4, 2048, 0, "", 0}},
    {"BuffersTruncatedBeforeReceive",
     "memory vanished",
     true,
     connected([](Stage& s) {
       for (int i = 0; i < 2; ++i) ASSERT_TRUE(s.peer.put(test::Bytes(64, 1)));
       ASSERT_EQ(::ftruncate(s.peer.region_file(), 4096), 0);  // the rings stay
       s.receive();
     }),
     {1, 1, 4, 4096, 0, "", 0}},
    {"BuffersTruncatedBeforeTransmit",
     "memory vanished",
     true,
     connected([](Stage& s) {
       ASSERT_EQ(::ftruncate(s.peer.region_file(), 4096), 0);
       s.transmit();
     }),
     {1, 1, 4, 4096, 0, "", 0}},
};

std::string name_of(const testing::TestParamInfo<Case>& info) {
  return info.param.name;
}
INSTANTIATE_TEST_SUITE_P(Message, HostileClient, testing::ValuesIn(kMessages), name_of);
INSTANTIATE_TEST_SUITE_P(Region, HostileClient, testing::ValuesIn(kRegions), name_of);
INSTANTIATE_TEST_SUITE_P(Ring, HostileClient, testing::ValuesIn(kRings), name_of);
INSTANTIATE_TEST_SUITE_P(Receive, HostileClient, testing::ValuesIn(kReceive), name_of);
INSTANTIATE_TEST_SUITE_P(Transmit, HostileClient, testing::ValuesIn(kTransmit), name_of);
INSTANTIATE_TEST_SUITE_P(Memory, HostileClient, testing::ValuesIn(kMemory), name_of);

// ---- to a client

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
}  // namespace podwire::engine
