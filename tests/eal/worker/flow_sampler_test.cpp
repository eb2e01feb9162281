// FlowSampler: the key that a packet has as it was received, how much is looked at, and who is found when
// there are more connections than rows.
#include "dataplane/worker/flow_sampler.hpp"

#include "dataplane/packet/checksum.hpp"
#include "dataplane/tables/flow_table.hpp"
#include "tests/support/fake_switch.hpp"

namespace podwire::engine::tests {
namespace {

constexpr PortId kSampledPod{11}, kSampledUplink{1};
constexpr DomainId kSampledDomain{2}, kTunnelledDomain{3};
constexpr Ipv4 kOurIp{{192, 168, 100, 1}}, kPeersIp{{192, 168, 100, 2}};
constexpr std::uint64_t kSamplerHz = 1'000'000'000;

class FlowSamplerTest : public ::testing::Test {
 protected:
  FlowSamplerTest() {
    switch_.add_port(kSampledPod, {}, 1500);
    switch_.add_port(kSampledUplink, {}, 1500);
    switch_.tables.local_vteps = {{IpAddr(kOurIp), 4789, {}}};
    vnis_.put({7}, kTunnelledDomain.value());
    switch_.tables.vni_to_domain = &vnis_;
    pod_.ingress = kSampledPod;
    pod_.domain = kSampledDomain;
    pod_.ingress_role = static_cast<std::uint8_t>(api::PortRole::kPod);
    uplink_.ingress = kSampledUplink;
    uplink_.domain = kUnderlayDomain;
    uplink_.ingress_role = static_cast<std::uint8_t>(api::PortRole::kUplink);
  }
  ~FlowSamplerTest() override {
    for (auto* mbuf : mbufs_) rte_pktmbuf_free(mbuf);
  }

  rte_mbuf* made(const Packet& packet) { return made(packet.bytes()); }
  rte_mbuf* made(const Bytes& bytes) { return mbufs_.emplace_back(to_mbuf(pool_.get(), bytes)); }
  static Packet udp(std::uint16_t port, std::size_t payload = 20) {
    return Packet().eth(kMacB, kMacA).ipv4(kIpA, kIpB).udp(port, 53).payload(payload);
  }
  static FlowKey udp_key(std::uint16_t port, DomainId domain = kSampledDomain) {
    return make_flow_key(domain, ip_proto::kUdp, IpAddr(kIpA), IpAddr(kIpB), port, 53);
  }
  // Zero: not found.
  static FlowSampler::Row row_of(const FlowSampler& sampler, const FlowKey& key) {
    for (const auto& row : sampler.rows()) {
      if (row.key == key) return row;
    }
    return {};
  }
  void see(FlowSampler& sampler, std::vector<rte_mbuf*> burst, std::uint64_t now = 1) {
    sampler.see(switch_.tables, burst, pod_, now);
  }

  TestPool pool_;
  FakeSwitch switch_{pool_};
  LookupTable<Key64> vnis_{8};
  FlowTable flows_{1024, 42};
  PacketMeta pod_, uplink_;
  std::vector<rte_mbuf*> mbufs_;
};

TEST_F(FlowSamplerTest, CountsEveryPacketWhileThereAreFew) {
  FlowSampler sampler(flows_, kSamplerHz, 1);
  auto *const one = made(udp(1000)), *const other = made(udp(1001, 100)),
              *const not_ip = made(Packet().eth(kMacB, kMacA).arp(1, kMacA, kIpA, {}, kIpB));
  for (int i = 0; i < 10; ++i) see(sampler, {one, other, one, one, not_ip});
  EXPECT_EQ(row_of(sampler, udp_key(1000)).packets, 30u);
  EXPECT_EQ(row_of(sampler, udp_key(1000)).bytes, 30u * one->pkt_len);
  EXPECT_EQ(row_of(sampler, udp_key(1001)).packets, 10u);
  EXPECT_EQ(row_of(sampler, udp_key(1001)).bytes, 10u * other->pkt_len);
  EXPECT_EQ(sampler.totals().seen, 50u);
  EXPECT_EQ(sampler.totals().looked_at, 50u);
  EXPECT_EQ(sampler.totals().estimated, 50u);
  EXPECT_EQ(sampler.totals().not_ip, 10u);
  EXPECT_EQ(sampler.totals().displaced, 0u);
}

TEST_F(FlowSamplerTest, LooksAtSomeWhenThereAreMany) {
  FlowSampler sampler(flows_, kSamplerHz, 1);
  auto *const one = made(udp(1000)), *const other = made(udp(1001));
  constexpr std::uint64_t kBursts = 40'000;
  for (std::uint64_t i = 0; i < kBursts; ++i) {
    std::vector<rte_mbuf*> burst(64, other);
    std::fill_n(burst.begin(), 16, one);
    see(sampler, std::move(burst), 1 + i * (kSamplerHz / kBursts));
  }
  const auto& totals = sampler.totals();
  EXPECT_EQ(totals.seen, kBursts * 64);
  EXPECT_LT(totals.looked_at, 3u * FlowSampler::kPacketsPerSecond);
  EXPECT_GT(totals.looked_at, FlowSampler::kPacketsPerSecond / 3);
  const auto scale = static_cast<double>(totals.seen) / static_cast<double>(totals.estimated);
  EXPECT_NEAR(scale, 1.0, 0.2);
  const auto packets = [&](std::uint16_t port) {
    return static_cast<double>(row_of(sampler, udp_key(port)).packets) * scale;
  };
  EXPECT_NEAR(packets(1000), kBursts * 16, 1);  // its share of every burst is the same
  EXPECT_NEAR(packets(1001), kBursts * 48, 1);
}

TEST_F(FlowSamplerTest, FindsTheLargeOnesAmongMoreThanItHasRowsFor) {
  FlowSampler sampler(flows_, kSamplerHz, 1);
  auto* const large = made(udp(7, 1000));
  auto* const small = made(udp(0));
  auto* ports = rte_pktmbuf_mtod_offset(small, UdpHeader*, 34);
  std::uint64_t now = 1;
  for (std::uint32_t i = 0; i < 60'000; ++i, now += kSamplerHz / 50'000) {
    // As many connections as there are numbers, by source address and port.
    std::memcpy(rte_pktmbuf_mtod_offset(small, std::uint8_t*, 26), &i, 2);
    ports->source_port = Be16(static_cast<std::uint16_t>(1024 + i / 16));
    set_ipv4_checksum(rte_pktmbuf_mtod_offset(small, Ipv4Header*, 14));
    see(sampler, {small}, now);
    if (i % 100 == 0) see(sampler, {large}, now);
  }
  EXPECT_EQ(sampler.rows().size(), FlowSampler::kRows);
  EXPECT_EQ(sampler.totals().looked_at, 60'600u);
  EXPECT_GT(sampler.totals().displaced, 40'000u);
  const auto found = row_of(sampler, udp_key(7));
  EXPECT_EQ(found.packets, 600u);
  EXPECT_EQ(found.bytes, 600u * large->pkt_len);
}

TEST_F(FlowSamplerTest, KeysAreThoseOfTheConnection) {
  FlowKey key;
  std::uint64_t bytes = 0;
  const auto key_of = [&](const Packet& packet, const PacketMeta& from) {
    return key_as_received(switch_.tables, made(packet), from, key, bytes);
  };
  ASSERT_TRUE(key_of(udp(1000), pod_));
  EXPECT_EQ(key, udp_key(1000));
  EXPECT_EQ(bytes, 62u);
  // Out of a tunnel to us: what is in it.
  const auto outer = [](std::uint16_t port, const Ipv4& to) {
    return Packet().eth(kMacB, kMacA).ipv4(kPeersIp, to).udp(50'000, port);
  };
  ASSERT_TRUE(key_of(
      outer(4789, kOurIp).vxlan(Vni(7)).eth(kMacB, kMacA).ipv4(kIpA, kIpB).udp(9, 53).payload(20), uplink_));
  EXPECT_EQ(key, udp_key(9, kTunnelledDomain));
  EXPECT_EQ(bytes, 62u);
  EXPECT_FALSE(
      key_of(outer(4789, kOurIp).vxlan(Vni(8)).eth(kMacB, kMacA).ipv4(kIpA, kIpB).udp(9, 53), uplink_));
  // Not to us, or from a pod: as it is.
  for (const auto& [packet, from] :
       {std::pair{outer(4789, kPeersIp), uplink_}, std::pair{outer(4789, kOurIp), pod_}}) {
    ASSERT_TRUE(key_of(Packet(packet).vxlan(Vni(7)).eth(kMacB, kMacA).ipv4(kIpA, kIpB).udp(9, 53), from));
    EXPECT_EQ(key.source(), IpAddr(kPeersIp));
    EXPECT_EQ(key.domain(), from.domain);
  }
  // Later fragments, and what has no ports.
  ASSERT_TRUE(key_of(
      Packet().eth(kMacB, kMacA).ipv4(kIpA, kIpB, {.flags_fragment = 4}).udp(9, 53).payload(24), pod_));
  EXPECT_EQ(key, make_flow_key(kSampledDomain, ip_proto::kUdp, IpAddr(kIpA), IpAddr(kIpB), 0, 0));
  ASSERT_TRUE(key_of(Packet().eth(kMacB, kMacA).ipv6(kIp6A, kIp6B).tcp(5, 6), pod_));
  EXPECT_EQ(key, make_flow_key(kSampledDomain, ip_proto::kTcp, IpAddr(kIp6A), IpAddr(kIp6B), 5, 6));
}

TEST_F(FlowSamplerTest, StepsOverTheTagOfTheUplinksVlan) {
  switch_.entries[1]->vlan = 9;
  FlowKey key;
  std::uint64_t bytes = 0;
  auto* const tagged = made(Packet().eth(kMacB, kMacA).vlan(9).ipv4(kIpA, kIpB).udp(1000, 53).payload(20));
  const auto before = to_bytes(tagged);
  ASSERT_TRUE(key_as_received(switch_.tables, tagged, uplink_, key, bytes));
  EXPECT_EQ(key, udp_key(1000, kUnderlayDomain));
  EXPECT_EQ(to_bytes(tagged), before);
  EXPECT_FALSE(key_as_received(switch_.tables, made(udp(1)), uplink_, key, bytes));
}

TEST_F(FlowSamplerTest, FramesMayEndAnywhere) {
  const auto whole = Packet()
                         .eth(kMacB, kMacA)
                         .ipv4(kPeersIp, kOurIp)
                         .udp(50'000, 4789)
                         .vxlan(Vni(7))
                         .eth(kMacB, kMacA)
                         .ipv6(kIp6A, kIp6B)
                         .extension(0)
                         .tcp(5, 6)
                         .bytes();
  FlowSampler sampler(flows_, kSamplerHz, 1);
  for (std::size_t length = 0; length <= whole.size(); ++length) {
    auto* const cut = made(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)));
    for (const auto& from : {pod_, uplink_}) {
      rte_mbuf* burst[] = {cut};
      sampler.see(switch_.tables, burst, from, 1);
    }
  }
  EXPECT_EQ(sampler.totals().seen, 2 * (whole.size() + 1));
}

}  // namespace
}  // namespace podwire::engine::tests
