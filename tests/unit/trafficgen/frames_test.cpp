#include "bench/trafficgen/frames.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "tests/support/packet_builder.hpp"

namespace podwire::trafficgen {
namespace {

using engine::tests::Bytes;
using engine::tests::Ipv4Fields;
using engine::tests::Packet;

constexpr MacAddr kMacA{{2, 0, 0, 0, 3, 1}}, kMacB{{2, 0, 0, 0, 3, 2}};
constexpr Ipv4 kA4{{198, 18, 0, 1}}, kB4{{198, 18, 0, 2}};

Ipv6 ipv6(std::uint8_t last) {
  Ipv6 a;
  a.bytes = {0x20, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last};
  return a;
}

Conversation conversation(bool is_ipv6, Vary vary = Vary::kPorts) {
  Conversation c{kMacA, kMacB, IpAddr(kA4), IpAddr(kB4)};
  if (is_ipv6) {
    c.source = IpAddr(ipv6(1));
    c.destination = IpAddr(ipv6(2));
  }
  c.flows = 1000000;
  c.vary = vary;
  return c;
}

// A whole frame as it goes out.
Bytes frame(const FrameWriter& writer, std::uint32_t flow, std::uint32_t number, std::uint64_t time) {
  Bytes bytes(writer.frame_bytes());
  writer.write(bytes.data(), flow, number, time);
  return bytes;
}

Bytes payload_of(std::size_t bytes, Signature signature) {
  Bytes payload(bytes);
  std::memcpy(payload.data(), &signature, sizeof signature);
  return payload;
}

Ipv4Fields ours4() {
  Ipv4Fields fields;
  fields.id = 0;
  return fields;
}

TEST(FrameWriter, WritesIpv4UdpByteForByte) {
  for (const std::size_t bytes : {60, 61, 124, 1514, 8996}) {
    const FrameWriter writer(conversation(false), bytes, 9, 1);
    for (const std::uint32_t flow : {0u, 1u, 49999u, 50000u, 123456u}) {
      const auto expected =
          Packet()
              .eth(kMacB, kMacA)
              .ipv4(kA4, kB4, ours4())
              .udp(static_cast<std::uint16_t>(10000 + flow % 50000),
                   static_cast<std::uint16_t>(20000 + flow / 50000))
              .payload(payload_of(bytes - 42, {Signature::kMagic, 9, 1, 77, 0xfedcba9876543210}))
              .bytes();
      EXPECT_EQ(frame(writer, flow, 77, 0xfedcba9876543210), expected) << bytes << " bytes, flow " << flow;
    }
  }
}

TEST(FrameWriter, WritesIpv6UdpByteForByte) {
  for (const std::size_t bytes : {78, 79, 1514}) {
    const FrameWriter writer(conversation(true), bytes, 1, 0);
    const auto expected = Packet()
                              .eth(kMacB, kMacA)
                              .ipv6(ipv6(1), ipv6(2))
                              .udp(10003, 20000)
                              .payload(payload_of(bytes - 62, {Signature::kMagic, 1, 0, 5, 123456789}))
                              .bytes();
    EXPECT_EQ(frame(writer, 3, 5, 123456789), expected) << bytes;
  }
}

TEST(FrameWriter, VariesAddresses) {
  const FrameWriter sources(conversation(false, Vary::kSources), 60, 1, 0);
  EXPECT_EQ(frame(sources, 0x10203, 0, 0), Packet()
                                               .eth(kMacB, kMacA)
                                               .ipv4({{198, 19, 2, 4}}, kB4, ours4())
                                               .udp(10000, 20000)
                                               .payload(payload_of(18, {Signature::kMagic, 1, 0, 0, 0}))
                                               .bytes());
  const FrameWriter destinations(conversation(true, Vary::kDestinations), 78, 1, 0);
  auto moved = ipv6(2);
  moved.bytes[14] = 1;
  EXPECT_EQ(frame(destinations, 256, 0, 0), Packet()
                                                .eth(kMacB, kMacA)
                                                .ipv6(ipv6(1), moved)
                                                .udp(10000, 20000)
                                                .payload(payload_of(16, {Signature::kMagic, 1, 0, 0, 0}))
                                                .bytes());
}

TEST(FrameWriter, NeverSendsUdpChecksumZero) {
  const FrameWriter writer(conversation(true), 78, 1, 0);
  unsigned all_ones = 0;
  for (std::uint32_t number = 0; number < 200000; ++number) {
    const auto bytes = frame(writer, 0, number, 0);
    EXPECT_FALSE(bytes[60] == 0 && bytes[61] == 0);
    all_ones += bytes[60] == 0xff && bytes[61] == 0xff ? 1 : 0;
  }
  EXPECT_GT(all_ones, 0u);
}

TEST(FrameWriter, MakesEveryFlowDifferent) {
  const FrameWriter writer(conversation(false), 60, 1, 0);
  std::set<Bytes> tuples;
  for (std::uint32_t flow = 0; flow < 120000; ++flow) {
    const auto bytes = frame(writer, flow, 0, 0);
    tuples.insert(Bytes(bytes.begin() + 26, bytes.begin() + 38));
  }
  EXPECT_EQ(tuples.size(), 120000u);
}

TEST(Signature, IsReadBackFromOurFramesOnly) {
  for (const bool is_ipv6 : {false, true}) {
    const FrameWriter writer(conversation(is_ipv6), 100, 200, 1);
    auto bytes = frame(writer, 0, 0xdeadbeef, 42);
    const auto read = read_signature(bytes, is_ipv6);
    ASSERT_TRUE(read);
    EXPECT_EQ(read->trial, 200);
    EXPECT_EQ(read->direction, 1);
    EXPECT_EQ(read->number, 0xdeadbeef);
    EXPECT_EQ(read->time, 42u);
    EXPECT_FALSE(read_signature(bytes, !is_ipv6));
    for (std::size_t length = 0; length < head_bytes(is_ipv6); ++length)
      EXPECT_FALSE(read_signature(std::span(bytes).first(length), is_ipv6)) << length;
    bytes[head_bytes(is_ipv6) - sizeof(Signature)] ^= 1;
    EXPECT_FALSE(read_signature(bytes, is_ipv6));
  }
  EXPECT_FALSE(
      read_signature(Packet().eth(kMacB, kMacA).arp(1, kMacA, kA4, {}, kB4).padding(60).bytes(), false));
}

TEST(FrameSize, OfImixIsSevenToFourToOne) {
  std::map<unsigned, unsigned> count;
  for (const auto size : sizes_in_turn(FrameSize::imix(), false)) ++count[size];
  EXPECT_EQ(count, (std::map<unsigned, unsigned>{{64, 7}, {594, 4}, {1518, 1}}));
  EXPECT_NEAR(mean_size(FrameSize::imix(), false), 361.8, 0.1);
  EXPECT_EQ(largest_size(FrameSize::imix(), false), 1518u);
  EXPECT_EQ(sizes_in_turn(FrameSize::imix(), true).front(), 82u);
  EXPECT_EQ(sizes_in_turn({512}, false), std::vector<unsigned>{512});
  EXPECT_EQ(to_string(FrameSize::imix()), "imix");
  EXPECT_EQ(to_string(FrameSize{1518}), "1518");
}

}  // namespace
}  // namespace podwire::trafficgen
