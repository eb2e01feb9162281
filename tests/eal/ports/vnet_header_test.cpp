// What the virtio header of a tap means for a packet, and what a hostile one may not do.
#include "dataplane/ports/vnet_header.hpp"

#include <gtest/gtest.h>

#include "dataplane/headers/headers.hpp"
#include "dataplane/packet/access.hpp"
#include "dataplane/packet/checksum.hpp"
#include "dataplane/packet/offload.hpp"
#include "tests/eal/ports/test_pools.hpp"

namespace podwire::engine {
namespace {

using test::TestPools;

constexpr std::size_t kEther = sizeof(EtherHeader);

// Ethernet, IP and TCP or UDP around `payload` bytes, checksums left as the pseudo-header sum.
std::vector<unsigned char> partial_frame(bool v6, std::uint8_t protocol, std::size_t payload) {
  const std::size_t ip_bytes = v6 ? sizeof(Ipv6Header) : sizeof(Ipv4Header);
  const std::size_t l4_bytes = protocol == ip_proto::kTcp ? sizeof(TcpHeader) : sizeof(UdpHeader);
  std::vector<unsigned char> frame(kEther + ip_bytes + l4_bytes + payload);
  auto& ether = *reinterpret_cast<EtherHeader*>(frame.data());
  ether = {{{2, 0, 0, 0, 0, 2}}, {{2, 0, 0, 0, 0, 1}}, Be16(v6 ? ether_type::kIpv6 : ether_type::kIpv4)};
  const auto l4_length = static_cast<std::uint16_t>(l4_bytes + payload);
  std::uint64_t sum = 0;
  if (v6) {
    auto& ip = *reinterpret_cast<Ipv6Header*>(frame.data() + kEther);
    ip.version_class_flow = Be32(0x60000000);
    ip.payload_length = Be16(l4_length);
    ip.next_header = protocol;
    ip.source.bytes[15] = 1;
    ip.destination.bytes[15] = 2;
    sum = pseudo_header_sum(ip.source, ip.destination, protocol, l4_length);
  } else {
    auto& ip = *reinterpret_cast<Ipv4Header*>(frame.data() + kEther);
    ip.version_ihl = 0x45;
    ip.total_length = Be16(static_cast<std::uint16_t>(ip_bytes + l4_length));
    ip.protocol = protocol;
    ip.ttl = 64;
    ip.source = Ipv4::from_u32(0x0a000001);
    ip.destination = Ipv4::from_u32(0x0a000002);
    set_ipv4_checksum(&ip);
    sum = pseudo_header_sum(ip.source, ip.destination, protocol, l4_length);
  }
  unsigned char* l4 = frame.data() + kEther + ip_bytes;
  const Be16 pseudo = Be16::from_raw(fold_sum(sum));
  if (protocol == ip_proto::kTcp) {
    auto& tcp = *reinterpret_cast<TcpHeader*>(l4);
    tcp.data_offset = 0x50;
    tcp.checksum = pseudo;
  } else {
    auto& udp = *reinterpret_cast<UdpHeader*>(l4);
    udp.length = Be16(l4_length);
    udp.checksum = pseudo;
  }
  for (std::size_t i = 0; i < payload; ++i) l4[l4_bytes + i] = static_cast<unsigned char>(i * 13);
  return frame;
}

VnetHeader needs_checksum(bool v6, std::uint8_t protocol) {
  VnetHeader header{};
  header.flags = VnetHeader::kNeedsChecksum;
  header.checksum_start = static_cast<std::uint16_t>(kEther + (v6 ? 40 : 20));
  header.checksum_offset = protocol == ip_proto::kTcp ? 16 : 6;
  return header;
}

VnetHeader tso(bool v6, std::uint16_t size) {
  auto header = needs_checksum(v6, ip_proto::kTcp);
  header.gso_type = v6 ? VnetHeader::kGsoTcp6 : VnetHeader::kGsoTcp4;
  header.gso_size = size;
  header.header_length = static_cast<std::uint16_t>(header.checksum_start + 20);
  return header;
}

class VnetHeaderTest : public ::testing::Test {
 protected:
  // The mbuf that `header` in front of `frame` gives; freed by the fixture.
  rte_mbuf* apply(const VnetHeader& header, const std::vector<unsigned char>& frame, bool expected) {
    rte_pktmbuf_free(packet_);
    packet_ = pools_.packet(frame);
    EXPECT_EQ(apply_vnet_header(header, packet_), expected);
    if (!expected) {
      EXPECT_FALSE(needs_l4_checksum(packet_));
      EXPECT_FALSE(needs_segmentation(packet_));
    }
    return packet_;
  }
  ~VnetHeaderTest() override { rte_pktmbuf_free(packet_); }

  TestPools pools_;
  rte_mbuf* packet_ = nullptr;
};

TEST_F(VnetHeaderTest, PlainPacketHasNoWork) {
  auto* packet = apply({}, partial_frame(false, ip_proto::kUdp, 10), true);
  EXPECT_EQ(packet->ol_flags, 0u);
  VnetHeader valid{};
  valid.flags = VnetHeader::kDataValid;
  packet = apply(valid, partial_frame(false, ip_proto::kUdp, 10), true);
  EXPECT_EQ(packet->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK, RTE_MBUF_F_RX_L4_CKSUM_GOOD);
  EXPECT_EQ(make_vnet_header(packet).flags, VnetHeader::kDataValid);
}

TEST_F(VnetHeaderTest, PartialChecksumsAreCarriedBothWays) {
  for (const bool v6 : {false, true}) {
    for (const auto protocol : {ip_proto::kTcp, ip_proto::kUdp}) {
      const auto header = needs_checksum(v6, protocol);
      auto* packet = apply(header, partial_frame(v6, protocol, 77), true);
      EXPECT_TRUE(needs_l4_checksum(packet));
      EXPECT_EQ(packet->l2_len, 14);
      EXPECT_EQ(packet->l3_len, v6 ? 40 : 20);
      const auto back = make_vnet_header(packet);
      EXPECT_EQ(back.flags, header.flags);
      EXPECT_EQ(back.checksum_start, header.checksum_start);
      EXPECT_EQ(back.checksum_offset, header.checksum_offset);
      EXPECT_EQ(back.gso_type, VnetHeader::kGsoNone);
      ASSERT_TRUE(complete_l4(packet));
      EXPECT_TRUE(verify_l4(packet, 14, header.checksum_start, protocol));
    }
  }
}

TEST_F(VnetHeaderTest, SegmentationIsCarriedBothWays) {
  for (const bool v6 : {false, true}) {
    auto* packet = apply(tso(v6, 500), partial_frame(v6, ip_proto::kTcp, 1600), true);
    EXPECT_TRUE(needs_segmentation(packet));
    EXPECT_EQ(packet->tso_segsz, 500);
    EXPECT_EQ(packet->l4_len, 20);
    const auto back = make_vnet_header(packet);
    EXPECT_EQ(back.gso_type, v6 ? VnetHeader::kGsoTcp6 : VnetHeader::kGsoTcp4);
    EXPECT_EQ(back.gso_size, 500);
    EXPECT_EQ(back.header_length, back.checksum_start + 20);
  }
}

TEST_F(VnetHeaderTest, CongestionWindowReducedIsAnnounced) {
  auto frame = partial_frame(false, ip_proto::kTcp, 1600);
  frame[kEther + 20 + offsetof(TcpHeader, flags)] = TcpHeader::kAck | TcpHeader::kCwr;
  auto header = tso(false, 500);
  header.gso_type |= VnetHeader::kGsoEcn;
  EXPECT_EQ(make_vnet_header(apply(header, frame, true)).gso_type,
            VnetHeader::kGsoTcp4 | VnetHeader::kGsoEcn);
}

TEST_F(VnetHeaderTest, OneSegmentNeedsNoSegmentation) {
  auto* packet = apply(tso(false, 1448), partial_frame(false, ip_proto::kTcp, 1448), true);
  EXPECT_TRUE(needs_l4_checksum(packet));
  EXPECT_FALSE(needs_segmentation(packet));
}

TEST_F(VnetHeaderTest, OtherChecksumsAreCompletedAtOnce) {
  // ICMP-like: the sum over everything behind checksum_start, at an offset that is neither TCP's nor UDP's.
  auto frame = partial_frame(false, ip_proto::kUdp, 64);
  frame[kEther + offsetof(Ipv4Header, protocol)] = ip_proto::kIcmp;
  std::fill(frame.begin() + 34, frame.begin() + 42, static_cast<unsigned char>(0));
  frame[34] = icmp::kEchoRequest;
  VnetHeader header{};
  header.flags = VnetHeader::kNeedsChecksum;
  header.checksum_start = 34;
  header.checksum_offset = 2;
  auto* packet = apply(header, frame, true);
  EXPECT_FALSE(needs_l4_checksum(packet));
  EXPECT_TRUE(verify_l4(packet, 14, 34, ip_proto::kIcmp));
}

TEST_F(VnetHeaderTest, FragmentIsCompletedNotCarried) {
  auto frame = partial_frame(false, ip_proto::kUdp, 64);
  reinterpret_cast<Ipv4Header*>(frame.data() + kEther)->flags_fragment = Be16(Ipv4Header::kMoreFragments);
  EXPECT_FALSE(needs_l4_checksum(apply(needs_checksum(false, ip_proto::kUdp), frame, true)));
}

TEST_F(VnetHeaderTest, UdpChecksumNeverBecomesZero) {
  auto frame = partial_frame(false, ip_proto::kUdp, 2);
  frame[kEther + offsetof(Ipv4Header, flags_fragment)] = 0x20;  // completed here, as it is a fragment
  std::uint16_t sum = 0;
  auto* probe = pools_.packet(frame);
  ASSERT_TRUE(sum_mbuf(probe, 34, 10, sum));
  rte_pktmbuf_free(probe);
  // Make everything sum to all ones, whose complement is zero.
  const auto missing = static_cast<std::uint16_t>(~sum);
  const auto payload =
      fold_sum(std::uint64_t{*reinterpret_cast<std::uint16_t*>(frame.data() + 42)} + missing);
  std::memcpy(frame.data() + 42, &payload, 2);
  auto* packet = apply(needs_checksum(false, ip_proto::kUdp), frame, true);
  EXPECT_EQ(header_at<UdpHeader>(packet, 34)->checksum.raw(), 0xffff);
}

TEST_F(VnetHeaderTest, HostileOffsetsAreRefused) {
  const auto frame = partial_frame(false, ip_proto::kTcp, 100);
  auto header = needs_checksum(false, ip_proto::kTcp);
  header.checksum_start = static_cast<std::uint16_t>(frame.size());
  apply(header, frame, false);
  header.checksum_start = 0xffff;
  apply(header, frame, false);
  header = needs_checksum(false, ip_proto::kTcp);
  header.checksum_offset = static_cast<std::uint16_t>(frame.size() - 34 - 1);
  apply(header, frame, false);
  header.checksum_offset = 0xffff;
  apply(header, frame, false);
}

TEST_F(VnetHeaderTest, HostileSegmentationIsRefused) {
  const auto frame = partial_frame(false, ip_proto::kTcp, 1600);
  auto header = tso(false, 500);
  header.flags = 0;
  apply(header, frame, false);  // without a partial checksum
  header = tso(false, 500);
  header.gso_type = VnetHeader::kGsoTcp6;
  apply(header, frame, false);  // the other family
  header.gso_type = 5;          // UDP segmentation was not offered
  apply(header, frame, false);
  header.gso_type = 77;
  apply(header, frame, false);
  apply(tso(false, 0), frame, false);
  apply(tso(false, 1), frame, false);  // a flood of tiny segments
  auto udp = tso(false, 500);
  udp.checksum_offset = 6;
  apply(udp, partial_frame(false, ip_proto::kUdp, 1600), false);
  auto bad_offset = frame;
  bad_offset[34 + offsetof(TcpHeader, data_offset)] = 0x40;  // header of 16 bytes
  apply(tso(false, 500), bad_offset, false);
}

TEST_F(VnetHeaderTest, TruncationAtEveryLengthIsSafe) {
  for (const bool v6 : {false, true}) {
    const auto frame = partial_frame(v6, ip_proto::kTcp, 40);
    for (std::size_t length = 1; length < frame.size(); ++length) {
      const std::vector<unsigned char> cut(frame.begin(), frame.begin() + static_cast<long>(length));
      rte_mbuf* packet = pools_.packet(cut);
      EXPECT_TRUE(apply_vnet_header(tso(v6, 8), packet) || !needs_l4_checksum(packet));
      rte_pktmbuf_free(packet);
      packet = pools_.packet(cut);
      if (apply_vnet_header(needs_checksum(v6, ip_proto::kTcp), packet) && needs_l4_checksum(packet)) {
        EXPECT_GE(length, 14u + (v6 ? 40u : 20u) + sizeof(TcpHeader));
      }
      rte_pktmbuf_free(packet);
    }
  }
}

}  // namespace
}  // namespace podwire::engine
