// A memif client that breaks the protocol in every way that is checked. Each way ends its connection, with
// the reason said, counted and shown; nothing leaks, and the next peer finds the port as good as new. Here:
// messages, regions, rings; in memif_hostile_rings_test.cpp: what it does in shared memory.
#include "tests/eal/ports/memif_hostile.hpp"

namespace podwire::engine::hostile {

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

namespace {

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

INSTANTIATE_TEST_SUITE_P(Message, HostileClient, testing::ValuesIn(kMessages), name_of);
INSTANTIATE_TEST_SUITE_P(Region, HostileClient, testing::ValuesIn(kRegions), name_of);
INSTANTIATE_TEST_SUITE_P(Ring, HostileClient, testing::ValuesIn(kRings), name_of);

}  // namespace
}  // namespace podwire::engine::hostile
