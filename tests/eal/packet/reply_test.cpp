#include "dataplane/packet/reply.hpp"

#include "dataplane/packet/access.hpp"
#include "dataplane/packet/checksum.hpp"
#include "dataplane/packet/neighbor_frames.hpp"
#include "tests/support/mbufs.hpp"

namespace podwire::engine::tests {
namespace {

constexpr MacAddr kOurs{{0x02, 0x70, 0x77, 0, 0, 1}};
constexpr MacAddr kBroadcastMac{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

// The bytes after the ICMP header's first eight: target, then what follows it.
Bytes with_target(const Ipv6& target, const Bytes& more) {
  Bytes bytes(16 + more.size());
  std::copy(target.bytes.begin(), target.bytes.end(), bytes.begin());
  std::copy(more.begin(), more.end(), bytes.begin() + 16);
  return bytes;
}

Bytes link_layer(std::uint8_t type, const MacAddr& mac) {
  return {type, 1, mac.bytes[0], mac.bytes[1], mac.bytes[2], mac.bytes[3], mac.bytes[4], mac.bytes[5]};
}

Packet solicitation(const Ipv6& source, const Ipv6& destination, const Ipv6& target, bool option,
                    std::uint8_t hop_limit = 255) {
  const Bytes rest = with_target(target, option ? link_layer(1, kMacA) : Bytes{});
  const MacAddr group{{0x33, 0x33, destination.bytes[12], destination.bytes[13], destination.bytes[14],
                       destination.bytes[15]}};
  return Packet()
      .eth(group, kMacA)
      .ipv6(source, destination, {.hop_limit = hop_limit})
      .icmp(icmp6::kNeighborSolicitation, 0)
      .payload(rest);
}

Bytes advertisement(const MacAddr& to_mac, const Ipv6& to, const Ipv6& target, std::uint32_t flags) {
  const Bytes rest = with_target(target, link_layer(2, kOurs));
  return Packet()
      .eth(to_mac, kOurs)
      .ipv6(target, to, {.hop_limit = 255})
      .icmp(icmp6::kNeighborAdvertisement, 0, flags)
      .payload(rest)
      .bytes();
}

TEST(EchoReply, AnswersIpv4) {
  TestPool pool;
  for (const std::size_t size : {0u, 1u, 56u, 1472u, 5000u}) {
    rte_mbuf* mbuf = to_chain(
        pool.get(),
        Packet().eth(kMacB, kMacA).ipv4(kIpA, kIpB, {.ttl = 3}).icmp(8, 0, 0x12340001).payload(size).bytes(),
        {60});
    PacketMeta meta = meta_of(mbuf);
    ASSERT_TRUE(make_echo4_reply(mbuf, meta, kOurs));
    EXPECT_EQ(
        difference(to_bytes(mbuf),
                   Packet().eth(kMacA, kOurs).ipv4(kIpB, kIpA).icmp(0, 0, 0x12340001).payload(size).bytes()),
        "");
    rte_pktmbuf_free(mbuf);
  }
}

TEST(EchoReply, AnswersIpv6) {
  TestPool pool;
  rte_mbuf* mbuf = to_mbuf(pool.get(), Packet()
                                           .eth(kMacB, kMacA)
                                           .vlan(3)
                                           .ipv6(kIp6A, kIp6B, {.hop_limit = 9})
                                           .icmp(128, 0, 77)
                                           .payload(57)
                                           .bytes());
  PacketMeta meta = meta_of(mbuf, 18);
  ASSERT_TRUE(make_echo6_reply(mbuf, meta, kOurs));
  EXPECT_EQ(
      difference(to_bytes(mbuf),
                 Packet().eth(kMacA, kOurs).vlan(3).ipv6(kIp6B, kIp6A).icmp(129, 0, 77).payload(57).bytes()),
      "");
  rte_pktmbuf_free(mbuf);
}

TEST(EchoReply, LeavesDamageVisible) {
  TestPool pool;
  Bytes bytes = Packet().eth(kMacB, kMacA).ipv4(kIpA, kIpB).icmp(8, 0, 1).payload(20).bytes();
  bytes.back() ^= 1;
  rte_mbuf* mbuf = to_mbuf(pool.get(), bytes);
  PacketMeta meta = meta_of(mbuf);
  ASSERT_TRUE(make_echo4_reply(mbuf, meta, kOurs));
  EXPECT_FALSE(verify_l4(mbuf, 14, 34, ip_proto::kIcmp));
  rte_pktmbuf_free(mbuf);
}

TEST(EchoReply, AnswersNothingElse) {
  TestPool pool;
  const Packet packets[] = {
      Packet().eth(kMacB, kMacA).ipv4(kIpA, kIpB).icmp(0, 0),
      Packet().eth(kMacB, kMacA).ipv4(kIpA, kIpB).icmp(8, 1),
      Packet().eth(kMacB, kMacA).ipv4(kIpA, kIpB).udp(8, 1),
      Packet().eth(kMacB, kMacA).ipv4(kIpA, kIpB, {.flags_fragment = 0x2000}).icmp(8, 0).payload(64),
      Packet().eth(kMacB, kMacA).ipv4(Ipv4{{224, 0, 0, 1}}, kIpB).icmp(8, 0),
      Packet().eth(kMacB, kMacA).ipv6(kIp6A, kIp6B).icmp(129, 0),
      Packet().eth(kMacB, kMacA).ipv6(kIp6A, kIp6B).udp(1, 2),
      Packet().eth(kMacB, kMacA).ipv6(Ipv6{}, kIp6B).icmp(128, 0)};
  for (const auto& packet : packets) {
    const Bytes bytes = packet.bytes();
    rte_mbuf* mbuf = to_mbuf(pool.get(), bytes);
    PacketMeta meta = meta_of(mbuf);
    if (meta.ether_type == ether_type::kIpv4) {
      EXPECT_FALSE(make_echo4_reply(mbuf, meta, kOurs));
    } else {
      EXPECT_FALSE(make_echo6_reply(mbuf, meta, kOurs));
    }
    EXPECT_EQ(to_bytes(mbuf), bytes);
    rte_pktmbuf_free(mbuf);
  }
}

TEST(ArpReply, Answers) {
  TestPool pool;
  rte_mbuf* mbuf = to_mbuf(
      pool.get(), Packet().eth(kBroadcastMac, kMacA).arp(1, kMacA, kIpA, {}, kIpB).padding(18).bytes());
  ASSERT_TRUE(make_arp_reply(mbuf, meta_of(mbuf), kOurs));
  EXPECT_EQ(difference(to_bytes(mbuf),
                       Packet().eth(kMacA, kOurs).arp(2, kOurs, kIpB, kMacA, kIpA).padding(18).bytes()),
            "");
  rte_pktmbuf_free(mbuf);
}

TEST(ArpReply, AnswersNoReplyAndNothingMalformedOrTruncated) {
  TestPool pool;
  const Bytes request = Packet().eth(kBroadcastMac, kMacA).arp(1, kMacA, kIpA, {}, kIpB).bytes();
  const auto refused = [&](const Bytes& bytes) {
    rte_mbuf* mbuf = to_mbuf(pool.get(), bytes);
    PacketMeta meta;
    meta.l3_offset = 14;
    EXPECT_FALSE(make_arp_reply(mbuf, meta, kOurs));
    EXPECT_EQ(to_bytes(mbuf), bytes);
    rte_pktmbuf_free(mbuf);
  };
  for (std::size_t length = 0; length < request.size(); ++length) {
    refused(Bytes(request.begin(), request.begin() + static_cast<std::ptrdiff_t>(length)));
  }
  for (const std::size_t at : {15u, 17u, 18u, 19u, 21u}) {
    Bytes bytes = request;
    ++bytes[at];
    refused(bytes);
  }
}

TEST(NeighborAdvertisement, AnswersWithAndWithoutOption) {
  TestPool pool;
  for (const bool option : {true, false}) {
    rte_mbuf* mbuf = to_mbuf(pool.get(), solicitation(kIp6A, kIp6B.solicited_node(), kIp6B, option).bytes());
    PacketMeta meta = meta_of(mbuf);
    ASSERT_TRUE(make_neighbor_advertisement(mbuf, meta, kOurs, icmp6::kNaRouter | icmp6::kNaOverride));
    EXPECT_EQ(difference(to_bytes(mbuf), advertisement(kMacA, kIp6A, kIp6B, 0xe0000000)), "");
    EXPECT_EQ(meta.l4_offset, 54);
    rte_pktmbuf_free(mbuf);
  }
}

TEST(NeighborAdvertisement, AnswersDuplicateAddressDetectionToAllNodes) {
  TestPool pool;
  const Ipv6 all_nodes{{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};
  rte_mbuf* mbuf = to_mbuf(pool.get(), solicitation(Ipv6{}, kIp6B.solicited_node(), kIp6B, false).bytes());
  PacketMeta meta = meta_of(mbuf);
  ASSERT_TRUE(make_neighbor_advertisement(mbuf, meta, kOurs, icmp6::kNaOverride));
  EXPECT_EQ(difference(to_bytes(mbuf),
                       advertisement(MacAddr{{0x33, 0x33, 0, 0, 0, 1}}, all_nodes, kIp6B, 0x20000000)),
            "");
  rte_pktmbuf_free(mbuf);
}

TEST(NeighborAdvertisement, TrimsPaddingAndOtherOptions) {
  TestPool pool;
  Bytes other(32);  // a nonce option (RFC 3971) of 32 bytes
  other[0] = 14;
  other[1] = 4;
  const Bytes rest = with_target(kIp6B, other);
  rte_mbuf* mbuf = to_chain(pool.get(),
                            Packet()
                                .eth(kMacB, kMacA)
                                .ipv6(kIp6A, kIp6B, {.hop_limit = 255})
                                .icmp(icmp6::kNeighborSolicitation, 0)
                                .payload(rest)
                                .padding(30, 7)
                                .bytes(),
                            {120});
  PacketMeta meta = meta_of(mbuf);
  ASSERT_TRUE(make_neighbor_advertisement(mbuf, meta, kOurs, 0));
  EXPECT_EQ(difference(to_bytes(mbuf), advertisement(kMacA, kIp6A, kIp6B, 0x40000000)), "");
  rte_pktmbuf_free(mbuf);
}

TEST(NeighborAdvertisement, RefusesWhatRfc4861SaysIsInvalid) {
  TestPool pool;
  const Ipv6 group = kIp6B.solicited_node();
  const auto refused = [&](const Bytes& bytes, const char* why) {
    rte_mbuf* mbuf = to_mbuf(pool.get(), bytes);
    PacketMeta meta = meta_of(mbuf);
    meta.l3_offset = 14;
    EXPECT_FALSE(make_neighbor_advertisement(mbuf, meta, kOurs, 0)) << why;
    EXPECT_EQ(valid_solicitation(mbuf, meta), nullptr);
    EXPECT_EQ(to_bytes(mbuf), bytes);
    rte_pktmbuf_free(mbuf);
  };
  refused(solicitation(kIp6A, group, kIp6B, true, 254).bytes(), "hop limit");
  refused(solicitation(kIp6A, group, group, true).bytes(), "multicast target");
  refused(solicitation(Ipv6{}, group, kIp6B, true).bytes(), "unspecified source with option");
  refused(solicitation(Ipv6{}, kIp6B, kIp6B, false).bytes(), "unspecified source to unicast");
  refused(solicitation(group, group, kIp6B, true).bytes(), "multicast source");
  Bytes bytes = solicitation(kIp6A, group, kIp6B, true).bytes();
  bytes[56] ^= 1;
  refused(bytes, "checksum");
  for (const Bytes& option : {Bytes{1, 0, 1, 1, 1, 1, 1, 1}, Bytes{1, 2, 1, 1, 1, 1, 1, 1}, Bytes{1}}) {
    const Bytes rest = with_target(kIp6B, option);
    refused(
        Packet().eth(kMacB, kMacA).ipv6(kIp6A, group, {.hop_limit = 255}).icmp(135, 0).payload(rest).bytes(),
        "option");
  }
  refused(Packet()
              .eth(kMacB, kMacA)
              .ipv6(kIp6A, group, {.hop_limit = 255})
              .icmp(135, 1)
              .payload(Bytes(kIp6B.bytes.begin(), kIp6B.bytes.end()))
              .bytes(),
          "code");
  refused(Packet().eth(kMacB, kMacA).ipv6(kIp6A, group, {.hop_limit = 255}).icmp(135, 0).payload(15).bytes(),
          "short");
  const Bytes good = solicitation(kIp6A, group, kIp6B, true).bytes();
  for (std::size_t length = 16; length < good.size(); ++length) {
    refused(Bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(length)), "truncated");
  }
}

TEST(NeighborFrames, BuildsArpRequests) {
  TestPool pool;
  for (const std::uint16_t vlan : {std::uint16_t{0}, std::uint16_t{42}}) {
    for (const bool probe : {false, true}) {
      rte_mbuf* mbuf = rte_pktmbuf_alloc(pool.get());
      PacketMeta meta;
      NeighborQuestion question{.source_mac = kMacA, .destination = probe ? kMacB : MacAddr{}, .vlan = vlan};
      ASSERT_TRUE(build_arp_request(mbuf, meta, question, kIpA, kIpB));
      Packet expected;
      expected.eth(probe ? kMacB : kBroadcastMac, kMacA);
      if (vlan != 0) expected.vlan(vlan);
      expected.arp(1, kMacA, kIpA, {}, kIpB).padding(18);
      EXPECT_EQ(difference(to_bytes(mbuf), expected.bytes()), "");
      EXPECT_EQ(meta.l3_offset, vlan == 0 ? 14 : 18);
      EXPECT_EQ(meta.ether_type, ether_type::kArp);
      EXPECT_FALSE(build_arp_request(mbuf, meta, question, kIpA, kIpB)) << "not empty";
      rte_pktmbuf_free(mbuf);
    }
  }
}

TEST(NeighborFrames, BuildsSolicitationsThatPassOurOwnCheck) {
  TestPool pool;
  for (const std::uint16_t vlan : {std::uint16_t{0}, std::uint16_t{42}}) {
    for (const bool probe : {false, true}) {
      rte_mbuf* mbuf = rte_pktmbuf_alloc(pool.get());
      PacketMeta meta;
      NeighborQuestion question{.source_mac = kMacA, .destination = probe ? kMacB : MacAddr{}, .vlan = vlan};
      ASSERT_TRUE(build_neighbor_solicitation(mbuf, meta, question, kIp6A, kIp6B));
      const Bytes rest = with_target(kIp6B, link_layer(1, kMacA));
      Packet expected;
      expected.eth(probe ? kMacB : MacAddr{{0x33, 0x33, 0xff, 0, 0, 0x0b}}, kMacA);
      if (vlan != 0) expected.vlan(vlan);
      expected.ipv6(kIp6A, probe ? kIp6B : kIp6B.solicited_node(), {.hop_limit = 255})
          .icmp(135, 0)
          .payload(rest);
      EXPECT_EQ(difference(to_bytes(mbuf), expected.bytes()), "");
      EXPECT_NE(valid_solicitation(mbuf, meta), nullptr);
      rte_pktmbuf_free(mbuf);
    }
  }
}

}  // namespace
}  // namespace podwire::engine::tests
