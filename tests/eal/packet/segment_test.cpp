#include "dataplane/packet/segment.hpp"

#include <functional>
#include <memory>
#include <random>

#include "dataplane/packet/access.hpp"
#include "dataplane/packet/offload.hpp"
#include "tests/support/mbufs.hpp"

namespace podwire::engine::tests {
namespace {

constexpr std::uint8_t kAllFlags =
    TcpHeader::kAck | TcpHeader::kPsh | TcpHeader::kFin | TcpHeader::kCwr | TcpHeader::kEce;

struct Shape {
  const char* name;
  std::uint16_t l2 = 14;
  // The packet with this payload, identification `id` (IPv4), sequence and flags.
  std::function<Packet(const Bytes& payload, std::uint16_t id, std::uint32_t seq, std::uint8_t flags)> make;
};

std::vector<Shape> shapes() {
  const Bytes timestamps{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2};
  return {
      {"v4", 14,
       [](const Bytes& payload, std::uint16_t id, std::uint32_t seq, std::uint8_t flags) {
         return Packet()
             .eth(kMacB, kMacA)
             .ipv4(kIpA, kIpB, {.id = id})
             .tcp(80, 90, {.seq = seq, .flags = flags})
             .payload(payload);
       }},
      {"v4 vlan, IP and TCP options", 18,
       [=](const Bytes& payload, std::uint16_t id, std::uint32_t seq, std::uint8_t flags) {
         return Packet()
             .eth(kMacB, kMacA)
             .vlan(5)
             .ipv4(kIpA, kIpB, {.id = id, .flags_fragment = 0, .options = {7, 4, 4, 0}})
             .tcp(80, 90, {.seq = seq, .flags = flags, .options = timestamps})
             .payload(payload);
       }},
      {"v6", 14,
       [=](const Bytes& payload, std::uint16_t, std::uint32_t seq, std::uint8_t flags) {
         return Packet()
             .eth(kMacB, kMacA)
             .ipv6(kIp6A, kIp6B, {.flow_label = 0x12345})
             .tcp(80, 90, {.seq = seq, .flags = flags, .options = timestamps})
             .payload(payload);
       }},
      {"v6 extensions", 14,
       [](const Bytes& payload, std::uint16_t, std::uint32_t seq, std::uint8_t flags) {
         return Packet()
             .eth(kMacB, kMacA)
             .ipv6(kIp6A, kIp6B)
             .extension(ip_proto::kHopByHop)
             .extension(ip_proto::kDestinationOptions, 3)
             .tcp(80, 90, {.seq = seq, .flags = flags})
             .payload(payload);
       }},
  };
}

std::vector<Bytes> expected_segments(const Shape& shape, const Bytes& payload, std::size_t segment,
                                     std::uint32_t seq, std::uint8_t flags) {
  std::vector<Bytes> expected;
  for (std::size_t at = 0; at < payload.size(); at += segment) {
    const std::size_t end = std::min(at + segment, payload.size());
    std::uint8_t own = flags;
    if (at != 0) own &= static_cast<std::uint8_t>(~TcpHeader::kCwr);
    if (end != payload.size()) own &= static_cast<std::uint8_t>(~(TcpHeader::kFin | TcpHeader::kPsh));
    const Bytes part(payload.begin() + static_cast<std::ptrdiff_t>(at),
                     payload.begin() + static_cast<std::ptrdiff_t>(end));
    expected.push_back(shape
                           .make(part, static_cast<std::uint16_t>(0xfffe + expected.size()),
                                 seq + static_cast<std::uint32_t>(at), own)
                           .bytes());
  }
  return expected;
}

rte_mbuf* make_packet(const TestPool& pool, const Shape& shape, const Bytes& payload, std::uint16_t segment,
                      std::mt19937& random) {
  const Bytes bytes = shape.make(payload, 0xfffe, 0xffffff00, kAllFlags).bytes();
  const std::size_t first = bytes.size() - payload.size() + random() % 64;
  std::vector<std::size_t> cuts;
  for (std::size_t at = first; at < bytes.size(); at += 1 + random() % 3000) cuts.push_back(at);
  rte_mbuf* mbuf = to_chain(pool.get(), bytes, cuts);
  make_tso(mbuf, meta_of(mbuf, shape.l2), segment);
  return mbuf;
}

TEST(SegmentTcp, MakesTheSegmentsThatTheSenderWouldHave) {
  TestPool pool(8192);
  std::mt19937 random(1);
  auto pieces = std::make_unique<PieceList>();
  for (const auto& shape : shapes()) {
    SCOPED_TRACE(shape.name);
    for (const std::size_t size : {std::size_t{1}, std::size_t{100}, std::size_t{1448}, std::size_t{1449},
                                   std::size_t{2896}, std::size_t{17001}, std::size_t{65000}}) {
      for (const std::uint16_t segment :
           {std::uint16_t{48}, std::uint16_t{999}, std::uint16_t{1448}, std::uint16_t{1900}}) {
        if (size / segment + 1 > kMaxPieces) continue;
        SCOPED_TRACE(std::to_string(size) + " by " + std::to_string(segment));
        const Bytes payload = make_payload(size, 9);
        rte_mbuf* mbuf = make_packet(pool, shape, payload, segment, random);
        ASSERT_EQ(segment_tcp(mbuf, pool.get(), *pieces), PieceOutcome::kDone);
        const auto expected = expected_segments(shape, payload, segment, 0xffffff00, kAllFlags);
        ASSERT_EQ(pieces->count, expected.size());
        for (std::size_t i = 0; i < expected.size(); ++i) {
          ASSERT_EQ(difference(to_bytes(pieces->mbufs[i]), expected[i]), "") << "segment " << i;
          ASSERT_EQ(pieces->mbufs[i]->nb_segs, 1);
          ASSERT_EQ(pieces->mbufs[i]->ol_flags, 0u);
          ASSERT_GE(rte_pktmbuf_headroom(pieces->mbufs[i]), 128);
        }
        pieces->free_all();
        rte_pktmbuf_free(mbuf);
      }
    }
  }
}

TEST(SegmentTcp, ChainsSegmentsLargerThanAnMbuf) {
  TestPool pool;
  std::mt19937 random(2);
  auto pieces = std::make_unique<PieceList>();
  for (const auto& shape : shapes()) {
    const Bytes payload = make_payload(30001, 9);
    for (const std::uint16_t segment :
         {std::uint16_t{8947}, std::uint16_t{2049}, std::uint16_t{30001}, std::uint16_t{65535}}) {
      rte_mbuf* mbuf = make_packet(pool, shape, payload, segment, random);
      ASSERT_EQ(segment_tcp(mbuf, pool.get(), *pieces), PieceOutcome::kDone);
      const auto expected = expected_segments(shape, payload, segment, 0xffffff00, kAllFlags);
      ASSERT_EQ(pieces->count, expected.size());
      for (std::size_t i = 0; i < expected.size(); ++i) {
        ASSERT_EQ(difference(to_bytes(pieces->mbufs[i]), expected[i]), "") << shape.name << " segment " << i;
      }
      pieces->free_all();
      rte_pktmbuf_free(mbuf);
    }
  }
}

TEST(SegmentTcp, IgnoresPaddingBehindTheIpPacket) {
  TestPool pool;
  PieceList pieces;
  const auto shape = shapes()[0];
  const Bytes payload = make_payload(3000);
  rte_mbuf* mbuf =
      to_mbuf(pool.get(), shape.make(make_payload(1000), 0xfffe, 1, kAllFlags).padding(20, 0xee).bytes());
  make_tso(mbuf, meta_of(mbuf), 600);
  ASSERT_EQ(segment_tcp(mbuf, pool.get(), pieces), PieceOutcome::kDone);
  const auto expected = expected_segments(shape, make_payload(1000), 600, 1, kAllFlags);
  ASSERT_EQ(pieces.count, 2);
  EXPECT_EQ(difference(to_bytes(pieces.mbufs[1]), expected[1]), "");
  pieces.free_all();
  rte_pktmbuf_free(mbuf);
}

TEST(SegmentTcp, RefusesHostileFields) {
  TestPool pool;
  PieceList pieces;
  for (const auto& shape : shapes()) {
    SCOPED_TRACE(shape.name);
    int number = 0;
    const auto refused = [&](auto&& change) {
      const Bytes bytes = shape.make(make_payload(5000), 1, 1, TcpHeader::kAck).bytes();
      rte_mbuf* mbuf = to_mbuf(pool.get(), bytes);
      make_tso(mbuf, meta_of(mbuf, shape.l2), 1000);
      change(mbuf, header_at<std::uint8_t>(mbuf, shape.l2));
      EXPECT_EQ(segment_tcp(mbuf, pool.get(), pieces), PieceOutcome::kMalformed) << "change " << number;
      EXPECT_EQ(pieces.count, 0);
      rte_pktmbuf_free(mbuf);
      ++number;
    };
    const bool v6 = shape.name[1] == '6';
    refused([](rte_mbuf* mbuf, std::uint8_t*) { mbuf->tso_segsz = 0; });
    refused([](rte_mbuf* mbuf, std::uint8_t*) { mbuf->tso_segsz = 1; });
    refused([](rte_mbuf* mbuf, std::uint8_t*) { mbuf->tso_segsz = kMinSegmentPayload - 1; });
    refused([](rte_mbuf* mbuf, std::uint8_t*) { mbuf->l4_len = 0; });
    refused([](rte_mbuf* mbuf, std::uint8_t*) { mbuf->l4_len = 16; });
    refused([](rte_mbuf* mbuf, std::uint8_t*) { mbuf->l4_len = 60; });
    refused([](rte_mbuf* mbuf, std::uint8_t*) { mbuf->l4_len = 255; });
    refused([](rte_mbuf* mbuf, std::uint8_t*) { mbuf->l3_len = 0; });
    refused([](rte_mbuf* mbuf, std::uint8_t*) { mbuf->l3_len = 511; });
    refused([](rte_mbuf* mbuf, std::uint8_t*) { mbuf->l2_len = 127; });
    refused([](rte_mbuf* mbuf, std::uint8_t*) { mbuf->l2_len = 0; });
    refused([](rte_mbuf* mbuf, std::uint8_t*) { mbuf->ol_flags = 0; });
    refused([=](rte_mbuf*, std::uint8_t* ip) { ip[0] = v6 ? 0x45 : 0x60; });
    refused([=](rte_mbuf*, std::uint8_t* ip) { ip[0] = 0x25; });
    refused([=](rte_mbuf*, std::uint8_t* ip) { ip[v6 ? 6 : 9] = ip_proto::kUdp; });
    refused([=](rte_mbuf*, std::uint8_t* ip) { ip[v6 ? 4 : 2] = 0xff; });  // longer than the packet
    refused([=](rte_mbuf*, std::uint8_t* ip) { ip[v6 ? 4 : 2] = ip[v6 ? 5 : 3] = 0; });
    if (!v6) refused([](rte_mbuf*, std::uint8_t* ip) { ip[6] = 0x20; });
    if (!v6) refused([](rte_mbuf*, std::uint8_t* ip) { ip[0] = 0x4f; });
    refused([&](rte_mbuf* mbuf, std::uint8_t*) {
      header_at<TcpHeader>(mbuf, static_cast<std::uint32_t>(mbuf->l2_len + mbuf->l3_len))->data_offset = 0x40;
    });
  }
}

TEST(SegmentTcp, RefusesHeadersOutsideTheFirstSegmentAndEveryTruncation) {
  TestPool pool;
  PieceList pieces;
  for (const auto& shape : shapes()) {
    SCOPED_TRACE(shape.name);
    const Bytes bytes = shape.make(make_payload(300), 1, 1, TcpHeader::kAck).bytes();
    const std::size_t headers = bytes.size() - 300;
    rte_mbuf* whole = to_mbuf(pool.get(), bytes);
    make_tso(whole, meta_of(whole, shape.l2), 100);
    for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
      for (const bool truncated : {true, false}) {
        if (!truncated && cut >= headers) continue;
        rte_mbuf* mbuf =
            truncated
                ? to_mbuf(pool.get(), Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(cut)))
                : to_chain(pool.get(), bytes, {cut});
        mbuf->ol_flags = whole->ol_flags;
        mbuf->tx_offload = whole->tx_offload;
        ASSERT_EQ(segment_tcp(mbuf, pool.get(), pieces), PieceOutcome::kMalformed) << cut;
        rte_pktmbuf_free(mbuf);
      }
    }
    rte_pktmbuf_free(whole);
  }
}

TEST(SegmentTcp, RefusesMorePiecesThanAreAllowed) {
  TestPool pool(16384);
  std::mt19937 random(1);
  auto pieces = std::make_unique<PieceList>();
  rte_mbuf* mbuf = make_packet(pool, shapes()[0], make_payload(65000), kMinSegmentPayload, random);
  EXPECT_EQ(segment_tcp(mbuf, pool.get(), *pieces), PieceOutcome::kMalformed);
  rte_pktmbuf_free(mbuf);
}

TEST(SegmentTcp, ReportsAnEmptyPoolAndLeaksNothing) {
  TestPool source;
  std::mt19937 random(1);
  PieceList pieces;
  rte_mbuf* mbuf = make_packet(source, shapes()[0], make_payload(20000), 1000, random);
  for (const unsigned size : {1u, 10u, 19u}) {
    TestPool pool(size);
    EXPECT_EQ(segment_tcp(mbuf, pool.get(), pieces), PieceOutcome::kNoMbufs);
    EXPECT_EQ(pieces.count, 0);
  }
  TestPool pool(20);
  EXPECT_EQ(segment_tcp(mbuf, pool.get(), pieces), PieceOutcome::kDone);
  pieces.free_all();
  rte_pktmbuf_free(mbuf);
}

}  // namespace
}  // namespace podwire::engine::tests
