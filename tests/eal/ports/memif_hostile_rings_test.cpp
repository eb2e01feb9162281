// A connected memif client that breaks the rules of shared memory: descriptors, heads, the memory itself.
#include "tests/eal/ports/memif_hostile.hpp"

namespace podwire::engine::hostile {
namespace {

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

INSTANTIATE_TEST_SUITE_P(Receive, HostileClient, testing::ValuesIn(kReceive), name_of);
INSTANTIATE_TEST_SUITE_P(Transmit, HostileClient, testing::ValuesIn(kTransmit), name_of);
INSTANTIATE_TEST_SUITE_P(Memory, HostileClient, testing::ValuesIn(kMemory), name_of);

}  // namespace
}  // namespace podwire::engine::hostile
