// Packets with other ends: every expected packet is built from scratch, so that each checksum is checked
// against an implementation that knows no differences.
#include "dataplane/packet/translate.hpp"

#include "dataplane/packet/checksum.hpp"
#include "dataplane/packet/offload.hpp"
#include "dataplane/packet/tcp_reset.hpp"
#include "tests/support/mbufs.hpp"

namespace podwire::engine::tests {
namespace {

constexpr Ipv4 kNode{{192, 168, 100, 1}}, kWorld{{203, 0, 113, 9}}, kRouter{{198, 51, 100, 1}};
constexpr Ipv6 kNode6{{0xfd, 0, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}},
    kWorld6{{0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9}},
    kRouter6{{0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};

std::uint32_t ports(std::uint16_t source, std::uint16_t destination) {
  return Be16(source).raw() | std::uint32_t{Be16(destination).raw()} << 16;
}
PacketEnds ends(const Ipv4& source, const Ipv4& destination, std::uint32_t raw_ports) {
  PacketEnds all;
  std::copy(source.bytes.begin(), source.bytes.end(), all.addresses.begin());
  std::copy(destination.bytes.begin(), destination.bytes.end(), all.addresses.begin() + 4);
  all.ports = raw_ports;
  return all;
}
PacketEnds ends(const Ipv6& source, const Ipv6& destination, std::uint32_t raw_ports) {
  PacketEnds all;
  std::copy(source.bytes.begin(), source.bytes.end(), all.addresses.begin());
  std::copy(destination.bytes.begin(), destination.bytes.end(), all.addresses.begin() + 16);
  all.ports = raw_ports;
  return all;
}

class Translate : public ::testing::Test {
 protected:
  // `from` becomes `to`, also when it lies in a chain.
  void expect(const Packet& from, const Packet& to, const PacketEnds& before, const PacketEnds& after) {
    for (const bool chained : {false, true}) {
      auto* mbuf = chained ? to_chain(pool_.get(), from.bytes(), {100}) : to_mbuf(pool_.get(), from.bytes());
      auto meta = meta_of(mbuf);
      EXPECT_TRUE(translate(mbuf, meta, before, after));
      EXPECT_EQ(difference(to_bytes(mbuf), to.bytes()), "");
      EXPECT_TRUE(translate(mbuf, meta, after, before));
      EXPECT_EQ(difference(to_bytes(mbuf), from.bytes()), "") << "and back";
      rte_pktmbuf_free(mbuf);
    }
  }
  void expect_error(const Packet& from, const Packet& to, const PacketEnds& before, const PacketEnds& after,
                    bool hide = false) {
    auto* mbuf = to_mbuf(pool_.get(), from.bytes());
    auto meta = meta_of(mbuf);
    EXPECT_TRUE(translate_error(mbuf, meta, before, after, hide));
    EXPECT_EQ(difference(to_bytes(mbuf), to.bytes()), "");
    rte_pktmbuf_free(mbuf);
  }

  TestPool pool_;
};

Packet eth() {
  return Packet().eth(kMacB, kMacA);
}

TEST_F(Translate, TcpAndUdpOverIpv4) {
  const auto before = ends(kIpA, kWorld, ports(4000, 80)), after = ends(kNode, kWorld, ports(20001, 80));
  for (const std::size_t size : {0u, 1u, 7u, 300u}) {
    expect(eth().ipv4(kIpA, kWorld).tcp(4000, 80).payload(size),
           eth().ipv4(kNode, kWorld).tcp(20001, 80).payload(size), before, after);
    expect(eth().ipv4(kIpA, kWorld, {.options = {1, 1, 1, 1}}).udp(4000, 80).payload(size),
           eth().ipv4(kNode, kWorld, {.options = {1, 1, 1, 1}}).udp(20001, 80).payload(size), before, after);
  }
  expect(eth().ipv4(kIpA, kWorld).udp_without_checksum(4000, 80).payload(9),
         eth().ipv4(kNode, kWorld).udp_without_checksum(20001, 80).payload(9), before, after);
}

TEST_F(Translate, TcpUdpAndEchoOverIpv6) {
  const auto before = ends(kIp6A, kWorld6, ports(4000, 80)), after = ends(kNode6, kWorld6, ports(20001, 80));
  expect(eth().ipv6(kIp6A, kWorld6).tcp(4000, 80).payload(33),
         eth().ipv6(kNode6, kWorld6).tcp(20001, 80).payload(33), before, after);
  expect(eth().ipv6(kIp6A, kWorld6).extension(ip_proto::kDestinationOptions).udp(4000, 80).payload(33),
         eth().ipv6(kNode6, kWorld6).extension(ip_proto::kDestinationOptions).udp(20001, 80).payload(33),
         before, after);
  expect(eth().ipv6(kIp6A, kWorld6).icmp(icmp6::kEchoRequest, 0, 0x00070001).payload(8),
         eth().ipv6(kNode6, kWorld6).icmp(icmp6::kEchoRequest, 0, 0x40000001).payload(8),
         ends(kIp6A, kWorld6, ports(7, 7)), ends(kNode6, kWorld6, ports(0x4000, 0x4000)));
}

TEST_F(Translate, EchoOverIpv4AndWhatHasNoPorts) {
  expect(eth().ipv4(kIpA, kWorld).icmp(icmp::kEchoRequest, 0, 0x00070001).payload(8),
         eth().ipv4(kNode, kWorld).icmp(icmp::kEchoRequest, 0, 0x40000001).payload(8),
         ends(kIpA, kWorld, ports(7, 7)), ends(kNode, kWorld, ports(0x4000, 0x4000)));
  // Timestamp: its identifier is not touched.
  expect(eth().ipv4(kIpA, kWorld).icmp(13, 0, 0x00070001).payload(12),
         eth().ipv4(kNode, kWorld).icmp(13, 0, 0x00070001).payload(12), ends(kIpA, kWorld, 0),
         ends(kNode, kWorld, 0));
}

TEST_F(Translate, UdpChecksumsThatBecomeZeroAreAllOnes) {
  // Some pair of payload bytes makes the new checksum zero.
  unsigned ones = 0;
  for (unsigned word = 0; word < 65536 && ones == 0; ++word) {
    const Bytes payload{static_cast<std::uint8_t>(word >> 8), static_cast<std::uint8_t>(word)};
    const auto to = eth().ipv4(kNode, kWorld).udp(20001, 80).payload(payload).bytes();
    if (to[40] != 0xff || to[41] != 0xff) continue;
    ++ones;
    expect(eth().ipv4(kIpA, kWorld).udp(4000, 80).payload(payload),
           eth().ipv4(kNode, kWorld).udp(20001, 80).payload(payload), ends(kIpA, kWorld, ports(4000, 80)),
           ends(kNode, kWorld, ports(20001, 80)));
  }
  EXPECT_NE(ones, 0u);
}

TEST_F(Translate, PartialChecksumsStayRight) {
  const auto before = ends(kIpA, kWorld, ports(4000, 80)), after = ends(kNode, kWorld, ports(20001, 80));
  for (const bool tcp : {true, false}) {
    const auto l4 = [tcp](Packet packet, std::uint16_t port) {
      return (tcp ? packet.tcp(port, 80) : packet.udp(port, 80)).payload(600).bytes();
    };
    auto* mbuf = to_mbuf(pool_.get(), l4(eth().ipv4(kIpA, kWorld), 4000));
    auto meta = meta_of(mbuf);
    make_partial(mbuf, meta);
    ASSERT_TRUE(translate(mbuf, meta, before, after));
    EXPECT_TRUE(needs_l4_checksum(mbuf));
    ASSERT_TRUE(complete_l4(mbuf));
    EXPECT_EQ(difference(to_bytes(mbuf), l4(eth().ipv4(kNode, kWorld), 20001)), "");
    rte_pktmbuf_free(mbuf);
  }
}

TEST_F(Translate, LaterFragmentsGetAddressesOnly) {
  expect(eth().ipv4(kIpA, kWorld, {.flags_fragment = 4}).payload(64),
         eth().ipv4(kNode, kWorld, {.flags_fragment = 4}).payload(64), ends(kIpA, kWorld, ports(4000, 80)),
         ends(kNode, kWorld, ports(20001, 80)));
}

// CRC32c bit by bit (RFC 9260 appendix A).
std::uint32_t slow_crc32c(const Bytes& bytes, std::size_t from) {
  std::uint32_t crc = ~0u;
  for (std::size_t at = from; at < bytes.size(); ++at) {
    crc ^= bytes[at];
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
  }
  return ~crc;
}

Bytes sctp(const Ipv4& source, std::uint16_t port, std::size_t size) {
  Bytes chunk(12 + size);
  const auto content = make_payload(size);
  std::copy(content.begin(), content.end(), chunk.begin() + 12);
  const auto raw = ports(port, 80);
  std::memcpy(chunk.data(), &raw, 4);
  chunk[7] = 5;  // verification tag
  auto frame = eth().ipv4(source, kWorld).payload(chunk).bytes();
  auto* ip = reinterpret_cast<Ipv4Header*>(frame.data() + 14);
  ip->protocol = ip_proto::kSctp;
  set_ipv4_checksum(ip);
  const auto crc = slow_crc32c(frame, 34);
  std::memcpy(frame.data() + 34 + 8, &crc, 4);
  return frame;
}

TEST_F(Translate, SctpGetsANewCrcWithNewPortsOnly) {
  for (const std::size_t size : {0u, 4u, 61u, 1000u}) {
    for (const std::uint16_t port : {std::uint16_t{4000}, std::uint16_t{20001}}) {
      auto* mbuf = to_mbuf(pool_.get(), sctp(kIpA, 4000, size));
      auto meta = meta_of(mbuf);
      ASSERT_TRUE(
          translate(mbuf, meta, ends(kIpA, kWorld, ports(4000, 80)), ends(kNode, kWorld, ports(port, 80))));
      EXPECT_EQ(difference(to_bytes(mbuf), sctp(kNode, port, size)), "");
      rte_pktmbuf_free(mbuf);
    }
  }
}

TEST_F(Translate, ErrorsFromOutsideAreAboutThePodsPacket) {
  // Quoted: all of a TCP packet, no more than eight bytes of it, UDP with and without checksum, an echo.
  const auto quoted = [](bool inside, int kind) {
    auto packet = Packet().ipv4(inside ? kIpA : kNode, kWorld);
    const std::uint16_t port = inside ? 4000 : 20001;
    switch (kind) {
      case 0:
      case 1:
        packet.tcp(port, 80).payload(40);
        break;
      case 2:
        packet.udp(port, 80).payload(40);
        break;
      case 3:
        packet.udp_without_checksum(port, 80).payload(40);
        break;
      default:
        packet.icmp(icmp::kEchoRequest, 0, std::uint32_t{port} << 16 | 1).payload(40);
    }
    auto bytes = packet.bytes();
    if (kind == 1) bytes.resize(28);
    return bytes;
  };
  for (int kind = 0; kind < 5; ++kind) {
    const auto both = kind == 4;
    const auto before = ends(kWorld, kNode, ports(both ? 20001 : 80, 20001));
    const auto after = ends(kWorld, kIpA, ports(both ? 4000 : 80, 4000));
    for (const auto& from : {kRouter, kWorld}) {
      expect_error(eth().ipv4(from, kNode).icmp(icmp::kTimeExceeded, 0).payload(quoted(false, kind)),
                   eth().ipv4(from, kIpA).icmp(icmp::kTimeExceeded, 0).payload(quoted(true, kind)), before,
                   after);
    }
  }
}

TEST_F(Translate, ErrorsOverIpv6BothWays) {
  const auto quoted = [](const Ipv6& from, const Ipv6& to, std::uint16_t source, std::uint16_t destination) {
    return Packet().ipv6(from, to).udp(source, destination).payload(30).bytes();
  };
  expect_error(eth()
                   .ipv6(kRouter6, kNode6)
                   .icmp(icmp6::kPacketTooBig, 0, 1280)
                   .payload(quoted(kNode6, kWorld6, 20001, 80)),
               eth()
                   .ipv6(kRouter6, kIp6A)
                   .icmp(icmp6::kPacketTooBig, 0, 1280)
                   .payload(quoted(kIp6A, kWorld6, 4000, 80)),
               ends(kWorld6, kNode6, ports(80, 20001)), ends(kWorld6, kIp6A, ports(80, 4000)));
  // A pod's own, about a packet from outside.
  expect_error(
      eth().ipv6(kIp6A, kWorld6).icmp(icmp6::kUnreachable, 4).payload(quoted(kWorld6, kIp6A, 80, 4000)),
      eth().ipv6(kNode6, kWorld6).icmp(icmp6::kUnreachable, 4).payload(quoted(kWorld6, kNode6, 80, 20001)),
      ends(kIp6A, kWorld6, ports(4000, 80)), ends(kNode6, kWorld6, ports(20001, 80)), true);
}

TEST_F(Translate, ErrorsOnTheWayOutHideTheirSource) {
  const auto from = eth()
                        .ipv4(kIpB, kWorld)
                        .icmp(icmp::kUnreachable, 1)
                        .payload(Packet().ipv4(kWorld, kIpA).udp(80, 4000).payload(9).bytes());
  const auto to = eth()
                      .ipv4(kNode, kWorld)
                      .icmp(icmp::kUnreachable, 1)
                      .payload(Packet().ipv4(kWorld, kNode).udp(80, 20001).payload(9).bytes());
  expect_error(from, to, ends(kIpA, kWorld, ports(4000, 80)), ends(kNode, kWorld, ports(20001, 80)), true);
}

TEST_F(Translate, ErrorsCutAnywhereAreHandledOrRefused) {
  const auto whole = eth()
                         .ipv4(kRouter, kNode)
                         .icmp(icmp::kTimeExceeded, 0)
                         .payload(Packet().ipv4(kNode, kWorld).tcp(20001, 80).payload(5).bytes())
                         .bytes();
  for (std::size_t quoted = 28; quoted + 42 <= whole.size(); ++quoted) {
    if (quoted == 20 + 17) continue;  // half a checksum stays as it is
    const auto cut = [&](const Ipv4& to, const Ipv4& from, std::uint16_t port) {
      auto bytes = Packet().ipv4(from, kWorld).tcp(port, 80).payload(5).bytes();
      bytes.resize(quoted);
      return eth().ipv4(kRouter, to).icmp(icmp::kTimeExceeded, 0).payload(bytes).padding(20, 0xaa);
    };
    expect_error(cut(kNode, kNode, 20001), cut(kIpA, kIpA, 4000), ends(kWorld, kNode, ports(80, 20001)),
                 ends(kWorld, kIpA, ports(80, 4000)));
  }
}

TEST_F(Translate, ResetsAnswerEverySegmentThatIsNone) {
  struct Case {
    std::uint8_t flags;
    std::size_t payload;
    TcpFields expected;
  };
  const std::uint8_t syn = TcpHeader::kSyn, ack = TcpHeader::kAck, fin = TcpHeader::kFin,
                     rst = TcpHeader::kRst;
  const auto reset = static_cast<std::uint8_t>(rst | ack);
  for (const auto& [flags, size, expected] :
       {Case{syn, 0, {.seq = 0, .ack = 1001, .flags = reset, .window = 0}},
        Case{ack, 50, {.seq = 2000, .ack = 0, .flags = rst, .window = 0}},
        Case{fin, 7, {.seq = 0, .ack = 1008, .flags = reset, .window = 0}}}) {
    auto* mbuf = to_mbuf(
        pool_.get(), eth().ipv4(kIpA, kIpB).tcp(4000, 80, {.flags = flags}).payload(size).padding(9).bytes());
    auto meta = meta_of(mbuf);
    ASSERT_TRUE(make_tcp_reset(mbuf, meta, kMacB));
    EXPECT_EQ(
        difference(to_bytes(mbuf),
                   Packet().eth(kMacA, kMacB).ipv4(kIpB, kIpA, {.id = 0}).tcp(80, 4000, expected).bytes()),
        "");
    rte_pktmbuf_free(mbuf);
    mbuf =
        to_mbuf(pool_.get(), eth().ipv6(kIp6A, kIp6B).tcp(4000, 80, {.flags = flags}).payload(size).bytes());
    meta = meta_of(mbuf);
    ASSERT_TRUE(make_tcp_reset(mbuf, meta, kMacB));
    EXPECT_EQ(difference(to_bytes(mbuf),
                         Packet().eth(kMacA, kMacB).ipv6(kIp6B, kIp6A).tcp(80, 4000, expected).bytes()),
              "");
    rte_pktmbuf_free(mbuf);
  }
  auto* mbuf = to_mbuf(pool_.get(), eth().ipv4(kIpA, kIpB).tcp(4000, 80, {.flags = rst}).bytes());
  auto meta = meta_of(mbuf);
  EXPECT_FALSE(make_tcp_reset(mbuf, meta, kMacB));
  rte_pktmbuf_free(mbuf);
}

}  // namespace
}  // namespace podwire::engine::tests
