#include "dataplane/packet/icmp_error.hpp"

#include <functional>

#include "dataplane/packet/access.hpp"
#include "dataplane/packet/offload.hpp"
#include "tests/support/mbufs.hpp"

namespace podwire::engine::tests {
namespace {

constexpr MacAddr kGatewayMac{{0x02, 0x70, 0x77, 0, 0, 1}};
constexpr Ipv4 kGateway4{{10, 244, 1, 1}};
constexpr Ipv6 kGateway6{{0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};
constexpr std::size_t kNoLimit = 70000;

Bytes first_bytes(const Bytes& bytes, std::size_t from, std::size_t length) {
  const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(from);
  return Bytes(begin, begin + static_cast<std::ptrdiff_t>(std::min(length, bytes.size() - from)));
}

// Turns `packet` into an error and compares with the one built from scratch.
void expect_error4(const Packet& packet, std::uint16_t l2, const std::vector<std::size_t>& cuts = {}) {
  TestPool pool;
  const Bytes bytes = packet.bytes();
  rte_mbuf* mbuf = to_chain(pool.get(), bytes, cuts);
  PacketMeta meta = meta_of(mbuf, l2);
  ASSERT_TRUE(make_icmp4_error(mbuf, meta, kGatewayMac, kGateway4, icmp::kUnreachable,
                               icmp::kCodeFragmentationNeeded, 1400));
  Packet expected;
  expected.eth(kMacA, kGatewayMac);
  if (l2 == 18) expected.vlan(9);
  expected.ipv4(kGateway4, kIpA, {.tos = 0xc0, .id = 0})
      .icmp(3, 4, 1400)
      .payload(first_bytes(bytes, l2, 548));
  EXPECT_EQ(difference(to_bytes(mbuf), expected.bytes()), "");
  EXPECT_EQ(meta.l3_offset, l2);
  EXPECT_EQ(meta.l4_offset, l2 + 20);
  EXPECT_EQ(meta.ip_proto, ip_proto::kIcmp);
  EXPECT_FALSE(meta.is_fragment);
  rte_pktmbuf_free(mbuf);
}

void expect_error6(const Packet& packet, const std::vector<std::size_t>& cuts = {}) {
  TestPool pool;
  const Bytes bytes = packet.bytes();
  rte_mbuf* mbuf = to_chain(pool.get(), bytes, cuts);
  PacketMeta meta = meta_of(mbuf);
  ASSERT_TRUE(make_icmp6_error(mbuf, meta, kGatewayMac, kGateway6, icmp6::kPacketTooBig, 0, 1400));
  const Bytes expected = Packet()
                             .eth(kMacA, kGatewayMac)
                             .ipv6(kGateway6, kIp6A)
                             .icmp(2, 0, 1400)
                             .payload(first_bytes(bytes, 14, 1232))
                             .bytes();
  EXPECT_EQ(difference(to_bytes(mbuf), expected), "");
  EXPECT_EQ(meta.l4_offset, 54);
  EXPECT_EQ(meta.ip_proto, ip_proto::kIcmpv6);
  rte_pktmbuf_free(mbuf);
}

Packet v4() {
  return Packet().eth(kMacB, kMacA).ipv4(kIpA, kIpB);
}
Packet v6() {
  return Packet().eth(kMacB, kMacA).ipv6(kIp6A, kIp6B);
}

TEST(IcmpError, QuotesShortAndLongIpv4Packets) {
  for (const std::size_t size : {0u, 1u, 8u, 519u, 520u, 521u, 1480u})
    expect_error4(v4().udp(1, 2).payload(size), 14);
  expect_error4(Packet().eth(kMacB, kMacA).vlan(9).ipv4(kIpA, kIpB).tcp(1, 2).payload(1400), 18);
  expect_error4(
      Packet().eth(kMacB, kMacA).ipv4(kIpA, kIpB, {.options = {7, 7, 4, 0, 0, 0, 0}}).tcp(1, 2).payload(1400),
      14);
  expect_error4(v4().icmp(icmp::kEchoRequest, 0, 5).payload(56), 14);
  expect_error4(
      Packet().eth(kMacB, kMacA).ipv4(kIpA, kIpB, {.flags_fragment = 0x2000}).udp(1, 2).payload(1400), 14);
}

TEST(IcmpError, QuotesChains) {
  for (std::size_t cut = 34; cut < 620; cut += 13) {
    expect_error4(v4().tcp(1, 2).payload(1400), 14, {cut});
    expect_error4(v4().tcp(1, 2).payload(1401), 14, {cut, cut + 1, cut + 30});
  }
  for (std::size_t cut = 54; cut < 1330; cut += 31)
    expect_error6(v6().tcp(1, 2).payload(1400), {cut, cut + 7});
  expect_error4(v4().tcp(1, 2).payload(60000), 14, {2000, 3000});
}

TEST(IcmpError, QuotesShortAndLongIpv6Packets) {
  for (const std::size_t size : {0u, 1u, 1183u, 1184u, 1185u, 1440u})
    expect_error6(v6().udp(1, 2).payload(size));
  expect_error6(v6().extension(ip_proto::kHopByHop).extension(ip_proto::kRouting, 2).tcp(1, 2).payload(1400));
  expect_error6(v6().fragment6(1, 99).udp(1, 2).payload(900));
  expect_error6(v6().icmp(icmp6::kEchoRequest, 0, 5).payload(56));
}

TEST(IcmpError, QuotesNoPadding) {
  TestPool pool;
  rte_mbuf* mbuf = to_mbuf(pool.get(), v4().udp(1, 2).payload(3).padding(15, 0x99).bytes());
  PacketMeta meta = meta_of(mbuf);
  ASSERT_TRUE(make_icmp4_error(mbuf, meta, kGatewayMac, kGateway4, icmp::kTimeExceeded, 0));
  const Bytes quoted = v4().udp(1, 2).payload(3).bytes();
  EXPECT_EQ(difference(to_bytes(mbuf), Packet()
                                           .eth(kMacA, kGatewayMac)
                                           .ipv4(kGateway4, kIpA, {.tos = 0xc0, .id = 0})
                                           .icmp(11, 0)
                                           .payload(first_bytes(quoted, 14, kNoLimit))
                                           .bytes()),
            "");
  rte_pktmbuf_free(mbuf);
}

TEST(IcmpError, ForgetsOffloadWork) {
  TestPool pool;
  rte_mbuf* mbuf = to_chain(pool.get(), v4().tcp(1, 2).payload(30000).bytes(), {2000});
  PacketMeta meta = meta_of(mbuf);
  make_tso(mbuf, meta, 1448);
  ASSERT_TRUE(make_icmp4_error(mbuf, meta, kGatewayMac, kGateway4, icmp::kUnreachable, 4, 1400));
  EXPECT_EQ(mbuf->ol_flags, 0u);
  EXPECT_EQ(mbuf->tx_offload, 0u);
  EXPECT_EQ(mbuf->pkt_len, 14u + 576u);
  rte_pktmbuf_free(mbuf);
}

TEST(IcmpError, IsNotSentWhereRfc1122ForbidsIt) {
  const Ipv4 broadcast{{255, 255, 255, 255}}, group{{224, 0, 0, 5}}, zero{}, loopback{{127, 0, 0, 1}},
      reserved{{240, 0, 0, 1}};
  const MacAddr everybody{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
  const std::vector<Packet> packets = {
      v4().icmp(icmp::kUnreachable, 1).payload(28),
      v4().icmp(icmp::kTimeExceeded, 0).payload(28),
      v4().icmp(5, 0).payload(28),
      v4().icmp(icmp::kParameterProblem, 0).payload(28),
      v4().icmp(4, 0).payload(28),
      v4().icmp(99, 0).payload(28),
      v4(),
      Packet().eth(kMacB, kMacA).ipv4(kIpA, kIpB, {.flags_fragment = 1}).payload(100),
      Packet().eth(kMacB, kMacA).ipv4(kIpA, broadcast).udp(1, 2),
      Packet().eth(kMacB, kMacA).ipv4(kIpA, group).udp(1, 2),
      Packet().eth(kMacB, kMacA).ipv4(zero, kIpB).udp(1, 2),
      Packet().eth(kMacB, kMacA).ipv4(loopback, kIpB).udp(1, 2),
      Packet().eth(kMacB, kMacA).ipv4(group, kIpB).udp(1, 2),
      Packet().eth(kMacB, kMacA).ipv4(broadcast, kIpB).udp(1, 2),
      Packet().eth(kMacB, kMacA).ipv4(reserved, kIpB).udp(1, 2),
      Packet().eth(everybody, kMacA).ipv4(kIpA, kIpB).udp(1, 2)};
  TestPool pool;
  for (std::size_t i = 0; i < packets.size(); ++i) {
    const Bytes bytes = packets[i].bytes();
    rte_mbuf* mbuf = to_mbuf(pool.get(), bytes);
    // A packet that ends with its IP header claims ICMP without having it.
    if (i == 6) header_at<Ipv4Header>(mbuf, 14)->protocol = ip_proto::kIcmp;
    const Bytes before = to_bytes(mbuf);
    PacketMeta meta = meta_of(mbuf);
    EXPECT_FALSE(make_icmp4_error(mbuf, meta, kGatewayMac, kGateway4, icmp::kUnreachable, 1)) << i;
    EXPECT_EQ(to_bytes(mbuf), before);
    rte_pktmbuf_free(mbuf);
  }
}

TEST(IcmpError, IsNotSentWhereRfc4443ForbidsIt) {
  const Ipv6 group{{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}}, zero{};
  const MacAddr many{{0x33, 0x33, 0, 0, 0, 1}};
  struct Refused {
    Packet packet;
    bool too_big_too;  // forbidden for packet too big as well
  };
  const std::vector<Refused> cases = {
      {v6().icmp(icmp6::kUnreachable, 0).payload(48), true},
      {v6().icmp(icmp6::kPacketTooBig, 0).payload(48), true},
      {v6().extension(ip_proto::kHopByHop).icmp(icmp6::kTimeExceeded, 0).payload(48), true},
      {v6().icmp(127, 0).payload(48), true},
      {v6().icmp(137, 0).payload(48), true},
      {v6().fragment6(8, 1).payload(100), true},
      {Packet().eth(kMacB, kMacA).ipv6(zero, kIp6B).udp(1, 2), true},
      {Packet().eth(kMacB, kMacA).ipv6(group, kIp6B).udp(1, 2), true},
      {Packet().eth(kMacB, kMacA).ipv6(kIp6A, group).udp(1, 2), false},
      {Packet().eth(many, kMacA).ipv6(kIp6A, kIp6B).udp(1, 2), false},
  };
  TestPool pool;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    for (const std::uint8_t type : {icmp6::kUnreachable, icmp6::kPacketTooBig}) {
      const bool forbidden = type == icmp6::kUnreachable || cases[i].too_big_too;
      const Bytes bytes = cases[i].packet.bytes();
      rte_mbuf* mbuf = to_mbuf(pool.get(), bytes);
      PacketMeta meta = meta_of(mbuf);
      EXPECT_EQ(make_icmp6_error(mbuf, meta, kGatewayMac, kGateway6, type, 0), !forbidden) << i;
      if (forbidden) {
        EXPECT_EQ(to_bytes(mbuf), bytes);
      }
      rte_pktmbuf_free(mbuf);
    }
  }
}

TEST(IcmpError, SurvivesEveryTruncationAndMissingHeadroom) {
  TestPool pool;
  const Bytes bytes4 = v4().tcp(1, 2).payload(30).bytes();
  const Bytes bytes6 = v6().extension(ip_proto::kHopByHop, 2).icmp(128, 0).payload(30).bytes();
  for (std::size_t length = 14; length < bytes6.size(); ++length) {
    const auto cut = [&](const Bytes& bytes) { return first_bytes(bytes, 0, length); };
    rte_mbuf* mbuf = to_mbuf(pool.get(), cut(bytes4));
    PacketMeta meta = meta_of(mbuf);
    meta.l3_offset = 14;
    EXPECT_EQ(make_icmp4_error(mbuf, meta, kGatewayMac, kGateway4, 3, 1), length >= 34);
    rte_pktmbuf_free(mbuf);
    mbuf = to_mbuf(pool.get(), cut(bytes6));
    meta = meta_of(mbuf);
    meta.l3_offset = 14;
    EXPECT_EQ(make_icmp6_error(mbuf, meta, kGatewayMac, kGateway6, 1, 0), length > 70) << length;
    rte_pktmbuf_free(mbuf);
  }
  rte_mbuf* mbuf = to_mbuf(pool.get(), bytes4);
  mbuf->data_off = 27;
  PacketMeta meta;
  meta.l3_offset = 14;
  EXPECT_FALSE(make_icmp4_error(mbuf, meta, kGatewayMac, kGateway4, 3, 1));
  mbuf->data_off = 47;
  EXPECT_FALSE(make_icmp6_error(mbuf, meta, kGatewayMac, kGateway6, 3, 1));
  rte_pktmbuf_free(mbuf);
}

}  // namespace
}  // namespace podwire::engine::tests
