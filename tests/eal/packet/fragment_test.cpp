#include "dataplane/packet/fragment.hpp"

#include <map>
#include <memory>

#include "dataplane/packet/access.hpp"
#include "dataplane/packet/checksum.hpp"
#include "dataplane/packet/offload.hpp"
#include "tests/support/mbufs.hpp"

namespace podwire::engine::tests {
namespace {

Packet udp4(std::size_t payload, const Ipv4Fields& fields = {.flags_fragment = 0}) {
  return Packet().eth(kMacB, kMacA).ipv4(kIpA, kIpB, fields).udp(1, 2).payload(payload);
}

// Checks every fragment's header and returns the payload put together again.
Bytes reassemble(PieceList& pieces, const Bytes& original, std::uint16_t l3, std::uint16_t mtu,
                 bool more_follow = false) {
  std::map<std::size_t, Bytes> parts;
  const auto* whole = reinterpret_cast<const Ipv4Header*>(original.data() + l3);
  const std::size_t base = (whole->flags_fragment.host() & Ipv4Header::kOffsetMask) * std::size_t{8};
  for (rte_mbuf* piece : pieces.span()) {
    const Bytes bytes = to_bytes(piece);
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.begin() + l3, original.begin())) << "layer 2";
    const auto* ip = reinterpret_cast<const Ipv4Header*>(bytes.data() + l3);
    EXPECT_TRUE(ipv4_checksum_ok(ip));
    EXPECT_EQ(ip->total_length.host() + l3, bytes.size());
    EXPECT_LE(ip->total_length.host(), mtu);
    EXPECT_EQ(ip->identification, whole->identification);
    EXPECT_EQ(ip->source, whole->source);
    EXPECT_EQ(ip->destination, whole->destination);
    EXPECT_EQ(ip->ttl, whole->ttl);
    EXPECT_EQ(ip->dscp_ecn, whole->dscp_ecn);
    const bool last = piece == pieces.mbufs[pieces.count - 1];
    EXPECT_EQ((ip->flags_fragment.host() & Ipv4Header::kMoreFragments) != 0, !last || more_follow);
    EXPECT_FALSE(needs_l4_checksum(piece));
    EXPECT_GE(rte_pktmbuf_headroom(piece), 128 - l3);
    parts[(ip->flags_fragment.host() & Ipv4Header::kOffsetMask) * std::size_t{8} - base] =
        Bytes(bytes.begin() + l3 + ip->header_bytes(), bytes.end());
  }
  Bytes payload;
  for (const auto& [offset, part] : parts) {
    EXPECT_EQ(offset, payload.size());
    payload.insert(payload.end(), part.begin(), part.end());
  }
  return payload;
}

Bytes ip_payload(const Bytes& bytes, std::size_t l3, std::size_t header) {
  return Bytes(bytes.begin() + static_cast<std::ptrdiff_t>(l3 + header), bytes.end());
}

TEST(FragmentIpv4, CutsAndReassembles) {
  TestPool pool(8192);
  auto pieces = std::make_unique<PieceList>();
  for (const std::size_t size :
       {std::size_t{50}, std::size_t{1473}, std::size_t{1900}, std::size_t{9000}, std::size_t{60000}}) {
    for (const std::uint16_t mtu :
         {std::uint16_t{68}, std::uint16_t{576}, std::uint16_t{1400}, std::uint16_t{1500}}) {
      SCOPED_TRACE(std::to_string(size) + " at " + std::to_string(mtu));
      const Bytes bytes = udp4(size).bytes();
      for (const bool chained : {false, true}) {
        rte_mbuf* mbuf = to_chain(pool.get(), bytes,
                                  chained ? std::vector<std::size_t>{34, 301} : std::vector<std::size_t>{});
        ASSERT_EQ(fragment_ipv4(mbuf, 14, mtu, pool.get(), *pieces), PieceOutcome::kDone);
        EXPECT_EQ(to_bytes(mbuf), bytes);
        rte_pktmbuf_free(mbuf);  // fragments keep what they share
        ASSERT_EQ(difference(reassemble(*pieces, bytes, 14, mtu), ip_payload(bytes, 14, 20)), "");
        pieces->free_all();
      }
    }
  }
}

TEST(FragmentIpv4, CutsFragmentsFurther) {
  TestPool pool;
  PieceList pieces;
  const Bytes bytes = Packet()
                          .eth(kMacB, kMacA)
                          .vlan(9)
                          .ipv4(kIpA, kIpB, {.flags_fragment = 0x2000 | 100})
                          .payload(1480)
                          .bytes();
  rte_mbuf* mbuf = to_mbuf(pool.get(), bytes);
  ASSERT_EQ(fragment_ipv4(mbuf, 18, 700, pool.get(), pieces), PieceOutcome::kDone);
  rte_pktmbuf_free(mbuf);
  EXPECT_EQ(pieces.count, 3);
  EXPECT_EQ(difference(reassemble(pieces, bytes, 18, 700, true), ip_payload(bytes, 18, 20)), "");
  pieces.free_all();
}

TEST(FragmentIpv4, CopiesOnlyTheOptionsThatSaySo) {
  TestPool pool;
  PieceList pieces;
  // Record route (7) stays on the first; loose source route (131, copied flag set) goes on all.
  const Bytes bytes =
      udp4(3000, {.flags_fragment = 0, .options = {7, 7, 4, 0, 0, 0, 0, 131, 7, 4, 1, 2, 3, 4, 1, 0}})
          .bytes();
  rte_mbuf* mbuf = to_chain(pool.get(), bytes, {1500});
  ASSERT_EQ(fragment_ipv4(mbuf, 14, 1400, pool.get(), pieces), PieceOutcome::kDone);
  rte_pktmbuf_free(mbuf);
  EXPECT_EQ(header_at<Ipv4Header>(pieces.mbufs[0], 14)->header_bytes(), 36);
  for (std::uint16_t i = 1; i < pieces.count; ++i) {
    EXPECT_EQ(header_at<Ipv4Header>(pieces.mbufs[i], 14)->header_bytes(), 28);
    EXPECT_EQ(*header_at<std::uint8_t>(pieces.mbufs[i], 34), 131);
  }
  EXPECT_EQ(difference(reassemble(pieces, bytes, 14, 1400), ip_payload(bytes, 14, 36)), "");
  pieces.free_all();
}

TEST(FragmentIpv4, DropsPaddingBehindTheIpPacket) {
  TestPool pool;
  PieceList pieces;
  const Bytes bytes = udp4(200).bytes();
  rte_mbuf* mbuf = to_mbuf(pool.get(), udp4(200).padding(31, 0xdd).bytes());
  ASSERT_EQ(fragment_ipv4(mbuf, 14, 100, pool.get(), pieces), PieceOutcome::kDone);
  rte_pktmbuf_free(mbuf);
  EXPECT_EQ(difference(reassemble(pieces, bytes, 14, 100), ip_payload(bytes, 14, 20)), "");
  pieces.free_all();
}

TEST(FragmentIpv4, SurvivesEveryOptionByte) {
  TestPool pool;
  PieceList pieces;
  for (unsigned first = 0; first < 256; ++first) {
    for (const unsigned length : {0u, 1u, 2u, 3u, 4u, 5u, 39u, 255u}) {
      for (const bool at_end : {false, true}) {
        Bytes options{1, 1, 1, 1};
        options[at_end ? 3 : 0] = static_cast<std::uint8_t>(first);
        if (!at_end) options[1] = static_cast<std::uint8_t>(length);
        const Bytes bytes = udp4(300, {.flags_fragment = 0, .options = options}).bytes();
        rte_mbuf* mbuf = to_mbuf(pool.get(), bytes);
        ASSERT_EQ(fragment_ipv4(mbuf, 14, 100, pool.get(), pieces), PieceOutcome::kDone);
        rte_pktmbuf_free(mbuf);
        ASSERT_EQ(difference(reassemble(pieces, bytes, 14, 100), ip_payload(bytes, 14, 24)), "");
        pieces.free_all();
      }
    }
  }
}

TEST(FragmentIpv4, RefusesWhatMustNotBeCut) {
  TestPool pool;
  PieceList pieces;
  const auto refused = [&](const Packet& packet, std::uint16_t l3, std::uint16_t mtu, auto&& change) {
    rte_mbuf* mbuf = to_mbuf(pool.get(), packet.bytes());
    change(mbuf);
    EXPECT_EQ(fragment_ipv4(mbuf, l3, mtu, pool.get(), pieces), PieceOutcome::kMalformed);
    EXPECT_EQ(pieces.count, 0);
    rte_pktmbuf_free(mbuf);
  };
  const auto nothing = [](rte_mbuf*) {};
  refused(udp4(1000, {.flags_fragment = 0x4000}), 14, 500, nothing);
  refused(udp4(1000), 14, 67, nothing);
  refused(udp4(1000), 14, 0, nothing);
  refused(udp4(1000), 2000, 500, nothing);
  refused(Packet().eth(kMacB, kMacA).ipv6(kIp6A, kIp6B).udp(1, 2).payload(1000), 14, 500, nothing);
  refused(udp4(1000), 14, 500, [](rte_mbuf* mbuf) { make_partial(mbuf, meta_of(mbuf)); });
  refused(udp4(1000), 14, 500, [](rte_mbuf* mbuf) { header_at<Ipv4Header>(mbuf, 14)->version_ihl = 0x44; });
  refused(udp4(1000), 14, 500,
          [](rte_mbuf* mbuf) { header_at<Ipv4Header>(mbuf, 14)->total_length = Be16(20); });
  refused(udp4(1000), 14, 500,
          [](rte_mbuf* mbuf) { header_at<Ipv4Header>(mbuf, 14)->total_length = Be16(2000); });
}

TEST(FragmentIpv4, ReportsAnEmptyPoolAndLeaksNothing) {
  TestPool source;
  PieceList pieces;
  for (const bool chained : {false, true}) {
    rte_mbuf* mbuf = to_chain(source.get(), udp4(1900).bytes(),
                              chained ? std::vector<std::size_t>{900} : std::vector<std::size_t>{});
    for (unsigned size = 1; size < 4; ++size) {
      TestPool pool(size);
      EXPECT_EQ(fragment_ipv4(mbuf, 14, 500, pool.get(), pieces), PieceOutcome::kNoMbufs);
      EXPECT_EQ(pieces.count, 0);
    }
    EXPECT_TRUE(to_bytes(mbuf) == udp4(1900).bytes());
    rte_pktmbuf_free(mbuf);
  }
}

}  // namespace
}  // namespace podwire::engine::tests
