#include "dataplane/packet/checksum.hpp"

#include <random>

#include "dataplane/packet/access.hpp"
#include "dataplane/packet/offload.hpp"
#include "tests/support/mbufs.hpp"

namespace podwire::engine::tests {
namespace {

Packet tcp4(std::size_t payload) {
  return Packet().eth(kMacB, kMacA).ipv4(kIpA, kIpB).tcp(80, 90).payload(payload);
}

struct Case {
  const char* name;
  Packet packet;
};

std::vector<Case> good_packets() {
  return {
      {"tcp4", tcp4(101)},
      {"tcp4 options",
       Packet().eth(kMacB, kMacA).ipv4(kIpA, kIpB, {.options = {1, 1, 1, 1}}).tcp(80, 90).payload(9)},
      {"tcp6", Packet().eth(kMacB, kMacA).ipv6(kIp6A, kIp6B).tcp(80, 90).payload(100)},
      {"udp4", Packet().eth(kMacB, kMacA).ipv4(kIpA, kIpB).udp(80, 90).payload(55)},
      {"udp4 padded", Packet().eth(kMacB, kMacA).ipv4(kIpA, kIpB).udp(80, 90).payload(3).padding(15, 0x77)},
      {"udp6", Packet().eth(kMacB, kMacA).ipv6(kIp6A, kIp6B).udp(80, 90).payload(56)},
      {"udp6 extension", Packet()
                             .eth(kMacB, kMacA)
                             .ipv6(kIp6A, kIp6B)
                             .extension(ip_proto::kHopByHop, 2)
                             .udp(80, 90)
                             .payload(56)},
      {"icmp4", Packet().eth(kMacB, kMacA).ipv4(kIpA, kIpB).icmp(8, 0, 7).payload(57)},
      {"icmp6", Packet().eth(kMacB, kMacA).ipv6(kIp6A, kIp6B).icmp(128, 0, 7).payload(57)},
  };
}

TEST(Checksum, SumsLikeTheSlowWayAtEveryLengthAndAlignment) {
  const Bytes bytes = make_payload(600, 0xfe);
  for (std::size_t from = 0; from < 9; ++from) {
    for (std::size_t length = 0; length + from <= bytes.size(); ++length) {
      ASSERT_EQ(checksum_of(sum_bytes(bytes.data() + from, length)).host(),
                slow_checksum(bytes, from, length));
      Bytes copy(length + 2, 0x5a);
      ASSERT_EQ(checksum_of(copy_and_sum(copy.data() + 1, bytes.data() + from, length)).host(),
                slow_checksum(bytes, from, length));
      ASSERT_TRUE(
          std::equal(copy.begin() + 1, copy.end() - 1, bytes.begin() + static_cast<std::ptrdiff_t>(from)));
      ASSERT_EQ(copy.front(), 0x5a);
      ASSERT_EQ(copy.back(), 0x5a);
    }
  }
}

TEST(Checksum, KeepsCarriesOfLongRunsOfOnes) {
  const Bytes ones(65535, 0xff);
  EXPECT_EQ(checksum_of(sum_bytes(ones.data(), ones.size())).host(), slow_checksum(ones));
}

TEST(Checksum, SumsChainsCutAnywhere) {
  TestPool pool;
  std::mt19937 random(1);
  const Bytes bytes = make_payload(5000, 3);
  for (int round = 0; round < 300; ++round) {
    std::vector<std::size_t> cuts;
    for (std::size_t at = random() % 400; at < bytes.size(); at += 1 + random() % 900) cuts.push_back(at);
    rte_mbuf* mbuf = to_chain(pool.get(), bytes, cuts);
    const auto from = static_cast<std::uint32_t>(random() % bytes.size());
    const auto length = static_cast<std::uint32_t>(random() % (bytes.size() - from + 1));
    std::uint16_t sum = 0;
    ASSERT_TRUE(sum_mbuf(mbuf, from, length, sum));
    ASSERT_EQ(checksum_of(sum).host(), slow_checksum(bytes, from, length)) << from << "+" << length;
    rte_pktmbuf_free(mbuf);
  }
}

TEST(Checksum, RefusesToSumBeyondThePacket) {
  TestPool pool;
  rte_mbuf* mbuf = to_chain(pool.get(), make_payload(100), {30});
  std::uint16_t sum = 0;
  EXPECT_TRUE(sum_mbuf(mbuf, 0, 100, sum));
  EXPECT_TRUE(sum_mbuf(mbuf, 100, 0, sum));
  EXPECT_FALSE(sum_mbuf(mbuf, 0, 101, sum));
  EXPECT_FALSE(sum_mbuf(mbuf, 101, 0, sum));
  EXPECT_FALSE(sum_mbuf(mbuf, 50, ~std::uint32_t{0}, sum));
  rte_pktmbuf_free(mbuf);
}

TEST(Checksum, VerifiesEveryProtocolAndSeesEveryDamagedByte) {
  TestPool pool;
  for (const auto& [name, packet] : good_packets()) {
    SCOPED_TRACE(name);
    rte_mbuf* mbuf = to_mbuf(pool.get(), packet.bytes());
    const PacketMeta meta = meta_of(mbuf);
    EXPECT_TRUE(verify_l4(mbuf, meta.l3_offset, meta.l4_offset, meta.ip_proto));
    const auto* l3 = header_unchecked<std::uint8_t>(mbuf, meta.l3_offset);
    const std::uint32_t end = meta.ether_type == ether_type::kIpv4
                                  ? meta.l3_offset + (l3[2] * 256u + l3[3])
                                  : meta.l3_offset + 40 + (l3[4] * 256u + l3[5]);
    for (std::uint32_t at = meta.l4_offset; at < end; ++at) {
      auto* byte = header_unchecked<std::uint8_t>(mbuf, at);
      *byte ^= 0x10;
      EXPECT_FALSE(verify_l4(mbuf, meta.l3_offset, meta.l4_offset, meta.ip_proto)) << at;
      *byte ^= 0x10;
    }
    rte_pktmbuf_free(mbuf);
  }
}

TEST(Checksum, VerifiesNothingThatIsTruncated) {
  TestPool pool;
  for (const auto& [name, packet] : good_packets()) {
    SCOPED_TRACE(name);
    const Bytes bytes = packet.bytes();
    rte_mbuf* whole = to_mbuf(pool.get(), bytes);
    const PacketMeta meta = meta_of(whole);
    const auto* l3 = header_unchecked<std::uint8_t>(whole, meta.l3_offset);
    const std::size_t end = meta.ether_type == ether_type::kIpv4
                                ? meta.l3_offset + (l3[2] * 256u + l3[3])
                                : meta.l3_offset + 40 + (l3[4] * 256u + l3[5]);
    rte_pktmbuf_free(whole);
    for (std::size_t length = 0; length < end; ++length) {
      rte_mbuf* mbuf =
          to_mbuf(pool.get(), Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length)));
      ASSERT_FALSE(verify_l4(mbuf, meta.l3_offset, meta.l4_offset, meta.ip_proto)) << length;
      rte_pktmbuf_free(mbuf);
    }
  }
}

TEST(Checksum, TakesAbsentUdpChecksumOverIpv4Only) {
  TestPool pool;
  rte_mbuf* v4 = to_mbuf(
      pool.get(), Packet().eth(kMacB, kMacA).ipv4(kIpA, kIpB).udp_without_checksum(1, 2).payload(9).bytes());
  EXPECT_TRUE(verify_l4(v4, 14, 34, ip_proto::kUdp));
  rte_mbuf* v6 =
      to_mbuf(pool.get(),
              Packet().eth(kMacB, kMacA).ipv6(kIp6A, kIp6B).udp_without_checksum(1, 2).payload(9).bytes());
  EXPECT_FALSE(verify_l4(v6, 14, 54, ip_proto::kUdp));
  rte_pktmbuf_free(v4);
  rte_pktmbuf_free(v6);
}

TEST(Checksum, VerifiesNoFragmentAndNoUnknownProtocol) {
  TestPool pool;
  rte_mbuf* mbuf = to_mbuf(
      pool.get(),
      Packet().eth(kMacB, kMacA).ipv4(kIpA, kIpB, {.flags_fragment = 0x2000}).tcp(1, 2).payload(16).bytes());
  EXPECT_FALSE(verify_l4(mbuf, 14, 34, ip_proto::kTcp));
  rte_pktmbuf_free(mbuf);
  mbuf = to_mbuf(pool.get(), tcp4(10).bytes());
  EXPECT_FALSE(verify_l4(mbuf, 14, 34, ip_proto::kSctp));
  EXPECT_FALSE(verify_l4(mbuf, 34, 34, ip_proto::kTcp));
  EXPECT_FALSE(verify_l4(mbuf, 14, 60000, ip_proto::kTcp));
  rte_pktmbuf_free(mbuf);
}

TEST(Checksum, UdpLengthRules) {
  TestPool pool;
  rte_mbuf* mbuf =
      to_mbuf(pool.get(), Packet().eth(kMacB, kMacA).ipv4(kIpA, kIpB).udp(1, 2).payload(20).bytes());
  auto* udp = header_at<UdpHeader>(mbuf, 34);
  for (const int length : {0, 7, 29, 65535}) {
    udp->length = Be16(static_cast<std::uint16_t>(length));
    EXPECT_FALSE(verify_l4(mbuf, 14, 34, ip_proto::kUdp)) << length;
  }
  // Shorter than the IP payload is allowed (RFC 768 says what is covered).
  Bytes covered = Packet().eth(kMacB, kMacA).ipv4(kIpA, kIpB).udp(1, 2).payload(make_payload(11)).bytes();
  udp->length = Be16(19);
  udp->checksum = Be16(static_cast<std::uint16_t>(covered[40] << 8 | covered[41]));
  EXPECT_TRUE(verify_l4(mbuf, 14, 34, ip_proto::kUdp));
  rte_pktmbuf_free(mbuf);
}

TEST(Checksum, CompletesPartialChecksumsOfChains) {
  TestPool pool;
  std::mt19937 random(2);
  const Packet packets[] = {tcp4(3001),
                            Packet().eth(kMacB, kMacA).vlan(7).ipv4(kIpA, kIpB).tcp(1, 2).payload(70),
                            Packet().eth(kMacB, kMacA).ipv6(kIp6A, kIp6B).tcp(1, 2).payload(4000),
                            Packet().eth(kMacB, kMacA).ipv4(kIpA, kIpB).udp(1, 2).payload(999),
                            Packet().eth(kMacB, kMacA).ipv6(kIp6A, kIp6B).udp(1, 2).payload(0)};
  for (const auto& packet : packets) {
    const Bytes expected = packet.bytes();
    const auto l2 = static_cast<std::uint16_t>(expected[12] == 0x81 ? 18 : 14);
    for (int round = 0; round < 40; ++round) {
      std::vector<std::size_t> cuts;
      for (std::size_t at = 90; at < expected.size(); at += 1 + random() % 700) cuts.push_back(at);
      rte_mbuf* mbuf = to_chain(pool.get(), expected, cuts);
      make_partial(mbuf, meta_of(mbuf, l2));
      ASSERT_TRUE(complete_l4(mbuf));
      ASSERT_EQ(difference(to_bytes(mbuf), expected), "");
      ASSERT_FALSE(needs_l4_checksum(mbuf));
      ASSERT_EQ(mbuf->tx_offload, 0u);
      rte_pktmbuf_free(mbuf);
    }
  }
}

TEST(Checksum, CompletedUdpIsNeverZero) {
  TestPool pool;
  bool seen = false;
  // Two bytes of payload run through all values, so one of them makes the sum come out as zero.
  for (unsigned value = 0; value < 65536; ++value) {
    const Bytes payload{static_cast<std::uint8_t>(value >> 8), static_cast<std::uint8_t>(value)};
    const Bytes expected = Packet().eth(kMacB, kMacA).ipv4(kIpA, kIpB).udp(1, 2).payload(payload).bytes();
    if (expected[40] != 0xff || expected[41] != 0xff) continue;
    rte_mbuf* mbuf = to_mbuf(pool.get(), expected);
    make_partial(mbuf, meta_of(mbuf));
    ASSERT_TRUE(complete_l4(mbuf));
    EXPECT_EQ(difference(to_bytes(mbuf), expected), "");
    rte_pktmbuf_free(mbuf);
    seen = true;
  }
  EXPECT_TRUE(seen);
}

TEST(Checksum, RefusesOffloadWorkThatDoesNotFit) {
  TestPool pool;
  const Bytes bytes = tcp4(10).bytes();
  const auto refused = [&](auto&& change) {
    rte_mbuf* mbuf = to_mbuf(pool.get(), bytes);
    make_partial(mbuf, meta_of(mbuf));
    change(mbuf);
    const Bytes before = to_bytes(mbuf);
    EXPECT_FALSE(complete_l4(mbuf));
    EXPECT_EQ(to_bytes(mbuf), before);
    rte_pktmbuf_free(mbuf);
  };
  refused([](rte_mbuf* mbuf) { mbuf->l3_len = 511; });
  refused([](rte_mbuf* mbuf) { mbuf->l3_len = 33; });
  refused([](rte_mbuf* mbuf) { mbuf->ol_flags |= RTE_MBUF_F_TX_TCP_SEG; });
  refused([](rte_mbuf* mbuf) {
    mbuf->ol_flags = (mbuf->ol_flags & ~RTE_MBUF_F_TX_L4_MASK) | RTE_MBUF_F_TX_SCTP_CKSUM;
  });
}

TEST(Checksum, UpdatesIncrementally) {
  std::mt19937 random(3);
  for (int round = 0; round < 2000; ++round) {
    Bytes bytes = Packet()
                      .ipv4(Ipv4::from_u32(static_cast<std::uint32_t>(random())), kIpB,
                            {.ttl = static_cast<std::uint8_t>(1 + random() % 255),
                             .id = static_cast<std::uint16_t>(random())})
                      .tcp(1, 2)
                      .bytes();
    auto* ip = reinterpret_cast<Ipv4Header*>(bytes.data());
    ASSERT_TRUE(ipv4_checksum_ok(ip));
    const std::uint8_t ttl = ip->ttl;
    decrement_ttl(*ip);
    ASSERT_EQ(ip->ttl, ttl - 1);
    ASSERT_TRUE(ipv4_checksum_ok(ip));
    const Be16 before = ip->identification;
    ip->identification = Be16(static_cast<std::uint16_t>(random()));
    ip->checksum = update_checksum(ip->checksum, before, ip->identification);
    ASSERT_TRUE(ipv4_checksum_ok(ip));
  }
}

TEST(Checksum, WritesIpv4ChecksumWithOptions) {
  Bytes bytes = Packet().ipv4(kIpA, kIpB, {.options = {7, 7, 4, 0, 0, 0, 0, 0}}).tcp(1, 2).bytes();
  const Bytes expected = bytes;
  bytes[10] = bytes[11] = 0x55;
  auto* ip = reinterpret_cast<Ipv4Header*>(bytes.data());
  EXPECT_FALSE(ipv4_checksum_ok(ip));
  set_ipv4_checksum(ip);
  EXPECT_EQ(bytes, expected);
}

}  // namespace
}  // namespace podwire::engine::tests
