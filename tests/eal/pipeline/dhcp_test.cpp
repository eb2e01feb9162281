// DHCP and router discovery of endpoints with dhcp: what gets past the guard, what is answered and how it
// leaves, what is dropped, and that nobody else's traffic is touched.
#include "dataplane/packet/dhcp4.hpp"
#include "tests/eal/pipeline/switch_fixture.hpp"

namespace podwire::engine::tests::dhcp_cases {
namespace {

constexpr MacAddr kAllMac{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
constexpr Ipv4 kAll{{255, 255, 255, 255}};
constexpr std::size_t kMessage = 42;  // of a DHCPv4 message in its frame

Ipv6 v6(const char* text) {
  return *podwire::parse_ipv6(text);
}

class Dhcp : public SwitchTest {
 protected:
  Dhcp() {
    program(
        R"({"domains": [{"id": 2, "name": "routed", "vni": 100, "gateway_mac": "02:70:77:00:00:01", "mtu": 1400,
                             "host_access": true, "gateways": ["10.244.1.1/24", "fd00:10:244:1::1/64"],
                             "dns_servers": ["10.96.0.10", "fd00::53"], "search_domains": ["svc.cluster.local"]}],
                "endpoints": [{"id": 1, "name": "pod1", "domain": 2, "port": 11, "mac": "02:00:00:00:03:01",
                               "addresses": ["10.244.1.11", "fd00:10:244:1::11"], "dhcp": true, "hostname": "web"}]})");
    run_injected();  // the advertisement of the new lease
    sent_.clear();
  }

  static Bytes discover(std::uint8_t type = 1, const Bytes& more = {}, const MacAddr& mac = kPod1Mac,
                        const Ipv4& client = {}) {
    Dhcp4Header header{};
    header.op = header.hardware = 1;
    header.hardware_length = 6;
    header.transaction = Be32(7);
    header.client = client;
    header.mac = mac;
    header.magic = Be32(dhcp4::kMagic);
    const auto* raw = reinterpret_cast<const std::uint8_t*>(&header);
    Bytes out(raw, raw + sizeof header);
    out.insert(out.end(), {53, 1, type});
    out.insert(out.end(), more.begin(), more.end());
    out.push_back(255);
    return out;
  }
  static Packet broadcast(const Bytes& message, const MacAddr& from = kPod1Mac) {
    return Packet().eth(kAllMac, from).ipv4({}, kAll).udp(68, 67).payload(message);
  }
  static Packet solicitation(const Ipv6& from, std::uint8_t hop_limit = 255) {
    return Packet()
        .eth({{0x33, 0x33, 0, 0, 0, 2}}, kPod1Mac)
        .ipv6(from, v6("ff02::2"), {.hop_limit = hop_limit})
        .icmp(133, 0);
  }
  static Packet solicit(const Ipv6& from, const MacAddr& mac = kPod1Mac) {
    return Packet()
        .eth({{0x33, 0x33, 0, 1, 0, 2}}, mac)
        .ipv6(from, v6("ff02::1:2"))
        .udp(546, 547)
        .payload(Bytes{1, 1, 2, 3, 0, 1, 0, 4, 0, 1, 2, 3, 0, 3, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0});
  }
  // The one frame sent, as its own headers would be written by the packet builder.
  void expect_well_formed(const Packet& as) {
    ASSERT_EQ(sent_.size(), 1u);
    EXPECT_EQ(sent_[0].port, kPod1);
    EXPECT_FALSE(sent_[0].partial);
    EXPECT_EQ(difference(sent_[0].bytes, as.bytes()), "");
  }
  Bytes sent_from(std::size_t offset) const {
    return {sent_[0].bytes.begin() + static_cast<std::ptrdiff_t>(offset), sent_[0].bytes.end()};
  }
};

TEST_F(Dhcp, OffersToAClientWithoutAddress) {
  receive(kPod1, broadcast(discover()));
  expect_well_formed(Packet()
                         .eth(kPod1Mac, kGatewayMac)
                         .ipv4(kGateway4, kPod1Ip, {.id = 0})
                         .udp(67, 68)
                         .payload(sent_from(kMessage)));
  EXPECT_EQ(sent_[0].bytes[kMessage + 242], 2) << "offer";
  EXPECT_EQ(all_drops(), 0u);
  const auto& ledger = counters_.worker(0).ports[kPod1.value()].ledger;
  EXPECT_EQ(ledger.consumed.get(), 1u);
  EXPECT_EQ(ledger.generated.get(), 1u);
}

TEST_F(Dhcp, RefusesByBroadcast) {
  receive(kPod1, broadcast(discover(3, {50, 4, 10, 244, 1, 12})));
  expect_well_formed(Packet()
                         .eth(kAllMac, kGatewayMac)
                         .ipv4(kGateway4, kAll, {.id = 0})
                         .udp(67, 68)
                         .payload(sent_from(kMessage)));
  EXPECT_EQ(sent_[0].bytes[kMessage + 242], 6) << "nak";
}

TEST_F(Dhcp, RenewsByUnicastToTheGateway) {
  receive(kPod1, Packet()
                     .eth(kGatewayMac, kPod1Mac)
                     .ipv4(kPod1Ip, kGateway4)
                     .udp(68, 67)
                     .payload(discover(3, {}, kPod1Mac, kPod1Ip)));
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].bytes[kMessage + 242], 5) << "ack";
}

TEST_F(Dhcp, ConsumesARelease) {
  receive(kPod1, Packet()
                     .eth(kGatewayMac, kPod1Mac)
                     .ipv4(kPod1Ip, kGateway4)
                     .udp(68, 67)
                     .payload(discover(7, {}, kPod1Mac, kPod1Ip)));
  EXPECT_TRUE(sent_.empty());
  EXPECT_EQ(all_drops(), 0u);
}

TEST_F(Dhcp, LeavesUnicastToOtherServersAlone) {
  receive(kPod1, Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod1Ip, kPod2Ip).udp(68, 67).payload(discover()));
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].port, kPod2);
}

TEST_F(Dhcp, AnswersSolicitationsFromAnyLinkLocalAddressOfTheEndpoint) {
  for (const char* from : {"fe80::3:1", "fe80::1234:5678:9abc:def0"}) {
    sent_.clear();
    receive(kPod1, solicit(v6(from)));
    expect_well_formed(Packet()
                           .eth(kPod1Mac, kGatewayMac)
                           .ipv6(Ipv6::link_local_of(kGatewayMac), v6(from))
                           .udp(547, 546)
                           .payload(sent_from(62)));
    EXPECT_EQ(sent_[0].bytes[62], 2) << "advertise";
    sent_.clear();
    receive(kPod1, solicitation(v6(from)));
    const auto body = sent_from(62);
    expect_well_formed(Packet()
                           .eth(kPod1Mac, kGatewayMac)
                           .ipv6(Ipv6::link_local_of(kGatewayMac), v6(from), {.hop_limit = 255})
                           .icmp(134, 0, 0x40c02328)
                           .payload(body));
  }
  EXPECT_EQ(all_drops(), 0u);
}

TEST_F(Dhcp, AnswersTheUnspecifiedAddressToAllNodes) {
  receive(kPod1, solicitation({}));
  expect_well_formed(Packet()
                         .eth({{0x33, 0x33, 0, 0, 0, 1}}, kGatewayMac)
                         .ipv6(Ipv6::link_local_of(kGatewayMac), v6("ff02::1"), {.hop_limit = 255})
                         .icmp(134, 0, 0x40c02328)
                         .payload(sent_from(62)));
}

TEST_F(Dhcp, TellsTheSmallerMtuTheSubnetAndDns) {
  receive(kPod1, solicitation({}));
  const auto body = sent_from(62);
  const Bytes expected{0, 0, 0, 0, 0, 0, 0, 0, 1,         1,          2, 0x70, 0x77, 0,
                       0, 1, 5, 1, 0, 0, 0, 0, 1400 >> 8, 1400 & 255, 3, 4,    64,   0x80};
  EXPECT_EQ(Bytes(body.begin(), body.begin() + 28), expected);
  EXPECT_EQ(body.size(), 24u + 32 + 24 + 32);
}

TEST_F(Dhcp, GuardLetsNothingElsePassFromForeignSources) {
  receive(kPod1, broadcast(discover(1, {}, kPod2Mac)));  // for another's MAC
  receive(kPod1, Packet().eth(kAllMac, kPod1Mac).ipv4({}, kAll).udp(69, 67).payload(discover()));
  receive(kPod1, Packet().eth(kAllMac, kPod1Mac).ipv4({}, kPod2Ip).udp(68, 67).payload(discover()));
  receive(kPod1, Packet().eth(kAllMac, kPod1Mac).ipv4({}, kAll).udp(1000, 2000).payload(9));
  receive(kPod1, Packet().eth(kAllMac, kPod1Mac).ipv4(kPod2Ip, kAll).udp(68, 67).payload(discover()));
  receive(kPod1, Packet().eth(kPod2Mac, kPod1Mac).ipv6(v6("fe80::1234"), v6("ff02::1")).udp(1, 2).payload(9));
  receive(kPod1,
          Packet().eth(kPod2Mac, kPod1Mac).ipv6(v6("fe80::1234"), v6("fe80::1")).udp(546, 547).payload(9));
  expect_dropped(DropReason::spoofed_ip, 7);
  receive(kPod1, broadcast(discover(), kPod2Mac));
  EXPECT_EQ(drops(DropReason::spoofed_mac), 1u);
  EXPECT_TRUE(sent_.empty());
}

TEST_F(Dhcp, WithoutItEverythingIsAsEver) {
  receive(kPod2, broadcast(discover(1, {}, kPod2Mac), kPod2Mac));
  receive(kPod2, solicit(v6("fe80::1234"), kPod2Mac));
  expect_dropped(DropReason::spoofed_ip, 2);
  // A segment's own server hears and answers its clients.
  receive(kBridge2, Packet().eth(kAllMac, kBridge2Mac).ipv4({}, kAll).udp(68, 67).payload(discover()));
  const bool to_bridge1 =
      std::any_of(sent_.begin(), sent_.end(), [](const auto& s) { return s.port == kBridge1; });
  EXPECT_TRUE(to_bridge1);
}

TEST_F(Dhcp, AnswersNobodyBehindATunnel) {
  resolve_peer();
  receive(kUplink,
          from_peer(kBridgedVni).eth(kAllMac, kPod1Mac).ipv4({}, kAll).udp(68, 67).payload(discover()));
  ASSERT_EQ(sent_.size(), 2u) << "flooded";
  sent_.clear();
  receive(kUplink, from_peer(kBridgedVni)
                       .eth(kAllMac, kPod2Mac)
                       .ipv4({{10, 9, 0, 9}}, kAll)
                       .udp(67, 68)
                       .payload(discover()));
  EXPECT_EQ(sent_.size(), 2u) << "an outside server's answer passes";
  EXPECT_EQ(all_drops(), 0u);
}

TEST_F(Dhcp, PodsAreNeitherServersNorRouters) {
  const auto offer = Packet().eth(kPod1Mac, kPod2Mac).ipv4(kPod2Ip, kPod1Ip).udp(67, 68).payload(discover(2));
  const auto advertise = Packet()
                             .eth(kPod1Mac, kPod2Mac)
                             .ipv6(v6("fd00:10:244:1::12"), v6("fd00:10:244:1::11"))
                             .udp(547, 546)
                             .payload(20);
  const auto advert = Packet()
                          .eth({{0x33, 0x33, 0, 0, 0, 1}}, kPod2Mac)
                          .ipv6(Ipv6::link_local_of(kPod2Mac), v6("ff02::1"), {.hop_limit = 255})
                          .icmp(134, 0)
                          .payload(8);
  receive(kPod2, offer);
  receive(kPod2, advertise);
  receive(kPod2, advert);
  EXPECT_EQ(drops(DropReason::rogue_dhcp), 2u);
  EXPECT_EQ(drops(DropReason::rogue_ra), 1u);
  EXPECT_TRUE(sent_.empty());
  // One that stands for others is trusted; one that nothing guards is, too.
  program(R"({"endpoints": [{"id": 2, "name": "pod2", "domain": 2, "port": 12, "mac": "02:00:00:00:03:02",
                             "addresses": ["10.244.1.12", "fd00:10:244:1::12"],
                             "allowed_pairs": [{"address": "10.50.0.0/16"}]}]})");
  receive(kPod2, offer);
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].port, kPod1);
  sent_.clear();
  receive(kBridge2,
          Packet().eth(kAllMac, kBridge2Mac).ipv4({{10, 9, 0, 2}}, kAll).udp(67, 68).payload(discover(2)));
  EXPECT_FALSE(sent_.empty());
}

TEST_F(Dhcp, DropsWhatIsMalformedByName) {
  auto relayed = discover();
  relayed[24] = 10;
  receive(kPod1, broadcast(relayed));
  receive(kPod1, solicitation(v6("fe80::3:1"), 64));
  receive(kPod1, broadcast(discover(1, Bytes(1600, 0))));  // longer than any client's
  auto damaged = broadcast(discover()).bytes();
  damaged.back() ^= 0x55;
  receive(kPod1, to_mbuf(pool_.get(), damaged));
  receive(kPod1, Packet()
                     .eth({{0x33, 0x33, 0, 1, 0, 2}}, kPod1Mac)
                     .ipv6({}, v6("ff02::1:2"))
                     .udp(546, 547)
                     .payload(Bytes{11, 1, 2, 3}));
  expect_dropped(DropReason::bad_dhcp, 5);
  EXPECT_TRUE(sent_.empty());
}

TEST_F(Dhcp, ReadsQuestionsInPiecesAndUnfinishedOnes) {
  const auto bytes = broadcast(discover(1, {12, 3, 'a', 'b', 'c'})).bytes();
  receive(kPod1, to_chain(pool_.get(), bytes, {100}));
  receive(kPod1, to_chain(pool_.get(), bytes, {256, 282, 283}));
  auto* partial = to_mbuf(pool_.get(), bytes);
  make_partial(partial, meta_of(partial));
  receive(kPod1, partial);
  EXPECT_EQ(sent_.size(), 3u);
  for (const auto& sent : sent_) {
    EXPECT_EQ(difference(sent.bytes, sent_[0].bytes), "");
    EXPECT_FALSE(sent.partial);
  }
}

TEST_F(Dhcp, AnswersFromANewBufferWhereTheQuestionsHasNoRoom) {
  TestPool small(64, 160 + RTE_PKTMBUF_HEADROOM);
  receive(kPod1, to_mbuf(small.get(), solicit(v6("fe80::3:1")).bytes()));
  auto* full = to_mbuf(small.get(), solicitation({}).bytes());
  receive(kPod1, full);
  EXPECT_EQ(sent_.size(), 2u);
  EXPECT_EQ(small.in_use(), 0u);
}

TEST_F(Dhcp, SurvivesEveryTruncation) {
  for (const auto& whole : {broadcast(discover(3, {61, 3, 1, 2, 3})).bytes(),
                            solicit(v6("fe80::3:1")).bytes(), solicitation({}).bytes()}) {
    for (std::size_t length = 1; length < whole.size(); ++length)
      receive(kPod1, to_mbuf(pool_.get(),
                             Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length))));
  }
  EXPECT_TRUE(sent_.empty());
}

TEST_F(Dhcp, AdvertisesAgainWhenTheLeaseChangesAndBeforeItRunsOut) {
  program(
      R"({"domains": [{"id": 2, "name": "routed", "vni": 100, "gateway_mac": "02:70:77:00:00:01", "mtu": 1300,
                           "host_access": true, "gateways": ["10.244.1.1/24", "fd00:10:244:1::1/64"]}]})");
  run_injected();
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].port, kPod1);
  EXPECT_EQ(sent_[0].bytes[54], 134);
  EXPECT_EQ(sent_[0].bytes[84] << 8 | sent_[0].bytes[85], 1300);
  sent_.clear();
  for (std::uint32_t second = 0; second < 2 * kAdvertiseSeconds; ++second) {
    now_ms_ += 1000;
    programmer_->tick(now_ms_);
    run_injected();
  }
  const auto adverts = std::count_if(sent_.begin(), sent_.end(), [](const auto& sent) {
    return sent.port == kPod1 && sent.bytes[12] == 0x86 && sent.bytes[54] == 134;
  });
  EXPECT_EQ(adverts, 2);
}

TEST_F(Dhcp, StopsWithTheEndpointsDhcp) {
  program(R"({"endpoints": [{"id": 1, "name": "pod1", "domain": 2, "port": 11, "mac": "02:00:00:00:03:01",
                             "addresses": ["10.244.1.11", "fd00:10:244:1::11"]}]})");
  receive(kPod1, broadcast(discover()));
  expect_dropped(DropReason::spoofed_ip);
}

}  // namespace
}  // namespace podwire::engine::tests::dhcp_cases
