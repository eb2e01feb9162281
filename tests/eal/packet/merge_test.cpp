#include "dataplane/packet/merge.hpp"

#include <functional>
#include <memory>
#include <random>

#include "dataplane/packet/access.hpp"
#include "dataplane/packet/checksum.hpp"
#include "dataplane/packet/offload.hpp"
#include "dataplane/packet/segment.hpp"
#include "tests/support/mbufs.hpp"

namespace podwire::engine::tests {
namespace {

// What one segment of the test flow may differ in.
struct Seg {
  std::uint32_t seq = 1000;
  std::size_t size = 100;
  std::uint8_t flags = TcpHeader::kAck;
  std::uint16_t id = 1;
  bool v6 = false;
  Ipv4Fields ip = {};
  Ipv6Fields ip6 = {};
  std::uint32_t ack = 2000;
  std::uint16_t window = 500;
  std::uint16_t port = 80;
  Bytes options = {1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2};
  MacAddr source = kMacA;
  std::size_t padding = 0;
  std::uint8_t extension = 0;
  bool damaged = false;
  std::vector<std::size_t> cuts = {};
};

rte_mbuf* make(const TestPool& pool, const Seg& seg) {
  Packet packet;
  packet.eth(kMacB, seg.source);
  if (seg.v6) {
    packet.ipv6(kIp6A, kIp6B, seg.ip6);
    if (seg.extension != 0) packet.extension(seg.extension);
  } else {
    Ipv4Fields ip = seg.ip;
    ip.id = seg.id;
    packet.ipv4(kIpA, kIpB, ip);
  }
  packet.tcp(
      seg.port, 90,
      {.seq = seg.seq, .ack = seg.ack, .flags = seg.flags, .window = seg.window, .options = seg.options});
  packet.payload(make_payload(seg.size, static_cast<std::uint8_t>(seg.seq))).padding(seg.padding, 0xee);
  Bytes bytes = packet.bytes();
  if (seg.damaged) bytes.back() ^= 1;
  return to_chain(pool.get(), bytes, seg.cuts);
}

PacketMeta tunnel_meta(rte_mbuf* mbuf) {
  PacketMeta meta = meta_of(mbuf);
  meta.egress = PortId(3);
  return meta;
}

// Offers all in order; returns what stays, in order.
std::vector<rte_mbuf*> merge(std::span<rte_mbuf* const> packets) {
  TcpMerger merger;
  std::vector<rte_mbuf*> kept;
  for (rte_mbuf* mbuf : packets) {
    if (!merger.offer(mbuf, tunnel_meta(mbuf))) kept.push_back(mbuf);
  }
  merger.finish();
  return kept;
}

void free_packets(const std::vector<rte_mbuf*>& packets) {
  for (rte_mbuf* mbuf : packets) rte_pktmbuf_free(mbuf);
}

std::size_t merged_count(const TestPool& pool, const std::vector<Seg>& segments) {
  std::vector<rte_mbuf*> packets;
  for (const auto& seg : segments) packets.push_back(make(pool, seg));
  const auto kept = merge(packets);
  const std::size_t count = kept.size();
  free_packets(kept);
  return count;
}

TEST(TcpMerger, JoinsConsecutiveSegments) {
  TestPool pool;
  for (const bool v6 : {false, true}) {
    std::vector<rte_mbuf*> packets;
    for (std::uint16_t i = 0; i < 5; ++i) {
      packets.push_back(
          make(pool, {.seq = 1000 + i * 100u, .id = static_cast<std::uint16_t>(7 + i), .v6 = v6}));
    }
    const auto kept = merge(packets);
    ASSERT_EQ(kept.size(), 1u);
    rte_mbuf* head = kept[0];
    EXPECT_EQ(head->nb_segs, 5);
    EXPECT_TRUE(needs_segmentation(head));
    EXPECT_TRUE(needs_l4_checksum(head));
    EXPECT_EQ(head->tso_segsz, 100);
    EXPECT_EQ(head->l2_len, 14);
    EXPECT_EQ(head->l3_len, v6 ? 40 : 20);
    EXPECT_EQ(head->l4_len, 32);
    EXPECT_EQ((head->ol_flags & RTE_MBUF_F_TX_IPV6) != 0, v6);
    if (!v6) {
      EXPECT_TRUE(ipv4_checksum_ok(header_at<Ipv4Header>(head, 14)));
    }
    // The partial checksum is right: completing it gives what a sender of one large packet would have sent.
    Bytes payload;
    for (std::uint32_t i = 0; i < 5; ++i) {
      const Bytes part = make_payload(100, static_cast<std::uint8_t>(1000 + i * 100));
      payload.insert(payload.end(), part.begin(), part.end());
    }
    head->ol_flags &= ~RTE_MBUF_F_TX_TCP_SEG;
    ASSERT_TRUE(complete_l4(head));
    Packet expected;
    expected.eth(kMacB, kMacA);
    if (v6)
      expected.ipv6(kIp6A, kIp6B);
    else
      expected.ipv4(kIpA, kIpB, {.id = 7});
    expected.tcp(80, 90, {.options = Seg{}.options}).payload(payload);
    EXPECT_EQ(difference(to_bytes(head), expected.bytes()), "");
    free_packets(kept);
  }
}

TEST(TcpMerger, SegmentingGivesTheSegmentsBack) {
  TestPool pool(8192);
  std::mt19937 random(7);
  auto pieces = std::make_unique<PieceList>();
  for (int round = 0; round < 200; ++round) {
    const bool v6 = random() % 2 == 0;
    const std::size_t size = 8 + random() % 1440;
    const auto count = static_cast<std::uint32_t>(2 + random() % 60);
    std::vector<rte_mbuf*> packets;
    std::vector<Bytes> sent;
    std::uint32_t seq = static_cast<std::uint32_t>(random());
    for (std::uint32_t i = 0; i < count; ++i) {
      const bool last = i + 1 == count;
      Seg seg{.seq = seq,
              .size = last ? 1 + random() % size : size,
              .id = static_cast<std::uint16_t>(0xfff0 + i),
              .v6 = v6};
      if (last) seg.flags |= TcpHeader::kPsh;
      if (seg.size < kMinSegmentPayload) seg.size = kMinSegmentPayload;
      if (round % 3 == 0) seg.ip.flags_fragment = 0;
      if (round % 4 == 0) seg.cuts = {70 + 20 + random() % seg.size};
      packets.push_back(make(pool, seg));
      sent.push_back(to_bytes(packets.back()));
      seq += static_cast<std::uint32_t>(seg.size);
    }
    const auto kept = merge(packets);
    std::vector<Bytes> restored;
    for (rte_mbuf* mbuf : kept) {
      if (!needs_segmentation(mbuf)) {
        restored.push_back(to_bytes(mbuf));
        continue;
      }
      EXPECT_LE(mbuf->nb_segs, TcpMerger::kMaxChain);
      EXPECT_LE(mbuf->pkt_len, 65535u + 14u);
      ASSERT_EQ(segment_tcp(mbuf, pool.get(), *pieces), PieceOutcome::kDone);
      for (rte_mbuf* piece : pieces->span()) restored.push_back(to_bytes(piece));
      pieces->free_all();
    }
    EXPECT_LE(kept.size(), 4u);
    ASSERT_EQ(restored, sent) << "round " << round;
    free_packets(kept);
  }
}

TEST(TcpMerger, LonePacketsPassUntouched) {
  TestPool pool;
  const Seg lone[] = {
      {}, {.damaged = true}, {.flags = TcpHeader::kAck | TcpHeader::kPsh}, {.size = 0}, {.padding = 9}};
  for (const auto& seg : lone) {
    rte_mbuf* mbuf = make(pool, seg);
    const Bytes before = to_bytes(mbuf);
    const auto kept = merge(std::vector{mbuf});
    ASSERT_EQ(kept.size(), 1u);
    EXPECT_EQ(to_bytes(mbuf), before);
    EXPECT_EQ(mbuf->ol_flags, 0u);
    free_packets(kept);
  }
}

TEST(TcpMerger, JoinsOnlyWhatIsEqual) {
  TestPool pool;
  const Seg first{.ip = {.flags_fragment = 0}};
  const Seg first6{.v6 = true};
  const auto second = [](const Seg& base, auto&& change) {
    Seg seg = base;
    seg.seq += 100;
    seg.id += 1;
    change(seg);
    return seg;
  };
  EXPECT_EQ(merged_count(pool, {first, second(first, [](Seg&) {})}), 1u);
  EXPECT_EQ(merged_count(pool, {first6, second(first6, [](Seg&) {})}), 1u);
  using Change = std::function<void(Seg&)>;
  const std::vector<std::pair<const char*, Change>> changes = {
      {"gap", [](Seg& s) { s.seq += 1; }},
      {"overlap", [](Seg& s) { s.seq -= 1; }},
      {"ack", [](Seg& s) { s.ack += 1; }},
      {"window", [](Seg& s) { s.window += 1; }},
      {"other port", [](Seg& s) { s.port += 1; }},
      {"options", [](Seg& s) { s.options[7] += 1; }},
      {"options length", [](Seg& s) { s.options.clear(); }},
      {"larger", [](Seg& s) { s.size = 101; }},
      {"empty", [](Seg& s) { s.size = 0; }},
      {"damaged", [](Seg& s) { s.damaged = true; }},
      {"source MAC", [](Seg& s) { s.source = kMacB; }},
      {"FIN", [](Seg& s) { s.flags |= TcpHeader::kFin; }},
      {"SYN", [](Seg& s) { s.flags |= TcpHeader::kSyn; }},
      {"RST", [](Seg& s) { s.flags |= TcpHeader::kRst; }},
      {"URG", [](Seg& s) { s.flags |= TcpHeader::kUrg; }},
      {"ECE", [](Seg& s) { s.flags |= TcpHeader::kEce; }},
      {"CWR", [](Seg& s) { s.flags |= TcpHeader::kCwr; }},
      {"no ACK", [](Seg& s) { s.flags = TcpHeader::kPsh; }},
  };
  for (const auto& [name, change] : changes) {
    EXPECT_EQ(merged_count(pool, {first, second(first, change)}), 2u) << name;
    EXPECT_EQ(merged_count(pool, {first6, second(first6, change)}), 2u) << name << " v6";
  }
  const std::vector<std::pair<const char*, Change>> changes4 = {
      {"TTL", [](Seg& s) { s.ip.ttl -= 1; }},
      {"TOS", [](Seg& s) { s.ip.tos = 1; }},
      {"DF", [](Seg& s) { s.ip.flags_fragment = 0x4000; }},
      {"fragment", [](Seg& s) { s.ip.flags_fragment = 0x2000; }},
      {"IP options", [](Seg& s) { s.ip.options = {1}; }},
      {"identification", [](Seg& s) { s.id += 1; }},
  };
  for (const auto& [name, change] : changes4)
    EXPECT_EQ(merged_count(pool, {first, second(first, change)}), 2u) << name;
  const std::vector<std::pair<const char*, Change>> changes6 = {
      {"hop limit", [](Seg& s) { s.ip6.hop_limit -= 1; }},
      {"traffic class", [](Seg& s) { s.ip6.traffic_class = 1; }},
      {"flow label", [](Seg& s) { s.ip6.flow_label = 1; }},
      {"extension", [](Seg& s) { s.extension = ip_proto::kDestinationOptions; }},
  };
  for (const auto& [name, change] : changes6)
    EXPECT_EQ(merged_count(pool, {first6, second(first6, change)}), 2u) << name;
}

TEST(TcpMerger, IdentificationDoesNotMatterWithDontFragment) {
  TestPool pool;
  EXPECT_EQ(merged_count(pool, {{.id = 0}, {.seq = 1100, .id = 0}, {.seq = 1200, .id = 99}}), 1u);
}

TEST(TcpMerger, ADamagedHeadJoinsNobodyButTheRestDoes) {
  TestPool pool;
  EXPECT_EQ(merged_count(pool, {{.damaged = true}, {.seq = 1100, .id = 2}, {.seq = 1200, .id = 3}}), 2u);
}

TEST(TcpMerger, TrustsTheNicOnTheInnerChecksum) {
  TestPool pool;
  std::vector<rte_mbuf*> packets{make(pool, {.damaged = true}), make(pool, {.seq = 1100, .damaged = true})};
  for (rte_mbuf* mbuf : packets) mbuf->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_GOOD;
  const auto kept = merge(packets);
  EXPECT_EQ(kept.size(), 1u);
  free_packets(kept);
}

TEST(TcpMerger, PushEndsAJoinAndStandsOnIt) {
  TestPool pool;
  std::vector<rte_mbuf*> packets{make(pool, {}), make(pool, {.seq = 1100, .flags = 0x18}),
                                 make(pool, {.seq = 1200}), make(pool, {.seq = 1300})};
  const auto kept = merge(packets);
  ASSERT_EQ(kept.size(), 2u);
  EXPECT_EQ(header_at<TcpHeader>(kept[0], 34)->flags, 0x18);
  EXPECT_EQ(header_at<TcpHeader>(kept[1], 34)->flags, 0x10);
  free_packets(kept);
}

TEST(TcpMerger, SmallerSegmentEndsAJoin) {
  TestPool pool;
  EXPECT_EQ(merged_count(pool, {{}, {.seq = 1100, .size = 50}, {.seq = 1150, .size = 50}}), 2u);
}

TEST(TcpMerger, KeepsOrderWithinAFlow) {
  TestPool pool;
  // A pure ACK between two segments must not be overtaken.
  EXPECT_EQ(merged_count(pool, {{}, {.seq = 1100, .size = 0}, {.seq = 1100}, {.seq = 1200}}), 3u);
  // Nor must what the merger does not see (a fragment).
  std::vector<rte_mbuf*> packets{make(pool, {}), make(pool, {.seq = 1100})};
  TcpMerger merger;
  EXPECT_FALSE(merger.offer(packets[0], tunnel_meta(packets[0])));
  merger.barrier();
  EXPECT_FALSE(merger.offer(packets[1], tunnel_meta(packets[1])));
  merger.finish();
  EXPECT_EQ(packets[0]->ol_flags, 0u);
  free_packets(packets);
}

TEST(TcpMerger, KeepsManyFlowsApart) {
  TestPool pool;
  std::vector<rte_mbuf*> packets;
  for (std::uint32_t i = 0; i < 4; ++i) {
    for (std::uint16_t flow = 0; flow < 16; ++flow) {
      packets.push_back(make(
          pool, {.seq = 1000 + i * 100, .v6 = flow % 2 == 1, .port = static_cast<std::uint16_t>(flow / 2)}));
    }
  }
  const auto kept = merge(packets);
  EXPECT_EQ(kept.size(), 16u);
  for (rte_mbuf* mbuf : kept) EXPECT_EQ(mbuf->nb_segs, 4);
  free_packets(kept);
}

TEST(TcpMerger, KeepsDomainsAndPortsApart) {
  TestPool pool;
  for (const bool domain : {false, true}) {
    std::vector<rte_mbuf*> packets{make(pool, {}), make(pool, {.seq = 1100})};
    TcpMerger merger;
    PacketMeta meta = tunnel_meta(packets[0]);
    EXPECT_FALSE(merger.offer(packets[0], meta));
    (domain ? meta.domain = DomainId(9), 0 : (meta.egress = PortId(9), 0));
    EXPECT_FALSE(merger.offer(packets[1], meta));
    merger.finish();
    free_packets(packets);
  }
}

TEST(TcpMerger, TrimsPadding) {
  TestPool pool;
  std::vector<rte_mbuf*> packets{make(pool, {.size = 8, .padding = 6}),
                                 make(pool, {.seq = 1008, .size = 8, .padding = 6})};
  const auto kept = merge(packets);
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_EQ(to_bytes(kept[0]).size(), 14u + 20 + 32 + 16);
  free_packets(kept);
}

TEST(TcpMerger, StaysBelow64KiBAnd64Mbufs) {
  TestPool pool;
  std::vector<rte_mbuf*> packets;
  for (std::uint32_t i = 0; i < 64; ++i)
    packets.push_back(make(pool, {.seq = 1000 + i * 1448, .size = 1448}));
  auto kept = merge(packets);
  ASSERT_EQ(kept.size(), 2u);
  EXPECT_EQ(kept[0]->nb_segs, 45);  // 45 * 1448 + 52 <= 65535
  free_packets(kept);
  packets.clear();
  for (std::uint32_t i = 0; i < 40; ++i)
    packets.push_back(make(pool, {.seq = 1000 + i * 100, .cuts = {100}}));
  kept = merge(packets);
  ASSERT_EQ(kept.size(), 2u);
  EXPECT_EQ(kept[0]->nb_segs, 64);
  free_packets(kept);
}

TEST(TcpMerger, LeavesSharedAndUnfinishedPacketsAlone) {
  TestPool pool;
  std::vector<rte_mbuf*> packets{make(pool, {}), make(pool, {.seq = 1100}), make(pool, {.seq = 1200})};
  rte_mbuf* clone = rte_pktmbuf_clone(packets[0], pool.get());
  make_partial(packets[2], meta_of(packets[2]));
  const auto kept = merge(packets);
  EXPECT_EQ(kept.size(), 3u);
  free_packets(kept);
  rte_pktmbuf_free(clone);
}

TEST(TcpMerger, SurvivesTruncatedAndInconsistentHeaders) {
  TestPool pool;
  for (const bool v6 : {false, true}) {
    rte_mbuf* whole = make(pool, {.seq = 1100, .v6 = v6});
    const PacketMeta meta = tunnel_meta(whole);
    const Bytes bytes = to_bytes(whole);
    rte_pktmbuf_free(whole);
    std::mt19937 random(5);
    for (std::size_t i = 14; i < bytes.size() + 2000; ++i) {
      rte_mbuf* head = make(pool, {.v6 = v6});
      Bytes changed = bytes;
      if (i < bytes.size())
        changed.resize(i);
      else
        changed[14 + random() % (bytes.size() - 14 - 100)] = static_cast<std::uint8_t>(random());
      rte_mbuf* second = to_mbuf(pool.get(), changed);
      TcpMerger merger;
      ASSERT_FALSE(merger.offer(head, meta));
      const bool taken = merger.offer(second, meta);
      merger.finish();
      if (taken) {
        EXPECT_EQ(to_bytes(head).size(), bytes.size() + 100);
      } else {
        EXPECT_EQ(to_bytes(second), changed);
        rte_pktmbuf_free(second);
      }
      rte_pktmbuf_free(head);
    }
  }
}

}  // namespace
}  // namespace podwire::engine::tests
