// Probes of other nodes' gateways through the tunnel: what is sent, which answers count, and what an answer
// that nobody asked for does.
#include "dataplane/tables/prober.hpp"
#include "tests/eal/pipeline/switch_fixture.hpp"

namespace podwire::engine::tests {
namespace {

constexpr std::size_t kOuterBytes = 50;  // Ethernet, IPv4, UDP, VXLAN
constexpr std::size_t kIp4 = 14, kIcmp4 = 34, kIcmp6 = 54;

class ProbeTest : public SwitchTest {
 protected:
  Json ask(const char* to, unsigned bytes, unsigned domain = 2) {
    auto reply =
        programmer_->probe({{"probes", {{{"domain", domain}, {"to", to}, {"bytes", bytes}}}}}, now_ms_);
    EXPECT_TRUE(reply) << reply.error().message;
    run_injected();
    return reply ? reply->at("probes").at(0) : Json::object();
  }
  Json outcome(const Json& asked) {
    auto reply = programmer_->probe_results({{"ids", {asked.at("id")}}}, now_ms_);
    EXPECT_TRUE(reply) << reply.error().message;
    return reply->at("results").at(0);
  }
  std::string state(const Json& asked) { return outcome(asked).at("state"); }

  // What the peer's gateway makes of the probe that was sent last.
  Bytes answer_to_last(bool v4 = true) const {
    EXPECT_FALSE(sent_.empty());
    Bytes frame(sent_.back().bytes.begin() + kOuterBytes, sent_.back().bytes.end());
    const std::size_t address = v4 ? 4 : 16, source = v4 ? kIp4 + 12 : kIp4 + 8;
    std::swap_ranges(frame.begin() + source, frame.begin() + source + address,
                     frame.begin() + source + address);
    const std::size_t icmp = v4 ? kIcmp4 : kIcmp6;
    // 8 becomes 0, or 128 becomes 129: the checksum changes by as much, the other way.
    const std::uint32_t gained = v4 ? 0x0800u : 0xffffu - 0x0100u;
    frame[icmp] = v4 ? 0 : 129;
    std::uint32_t sum = (frame[icmp + 2] << 8 | frame[icmp + 3]) + gained;
    sum = (sum & 0xffff) + (sum >> 16);
    frame[icmp + 2] = static_cast<std::uint8_t>(sum >> 8);
    frame[icmp + 3] = static_cast<std::uint8_t>(sum);
    return frame;
  }
  void from_tunnel(const Bytes& inner, Vni vni = kRoutedVni) {
    receive(kUplink, from_peer(vni).payload(inner));
  }
};

TEST_F(ProbeTest, GoesThroughTheTunnelAndItsAnswerIsTaken) {
  resolve_peer();
  const auto asked = ask("10.244.2.1", 1450);
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].port, kUplink);
  EXPECT_EQ(sent_[0].bytes.size(), kOuterBytes + 14 + 1450);
  EXPECT_EQ(asked.at("vtep"), 2);
  EXPECT_EQ(outcome(asked).at("state"), "waiting");
  EXPECT_EQ(outcome(asked).at("next_hop"), "resolved");
  from_tunnel(answer_to_last());
  EXPECT_EQ(state(asked), "answered");
  EXPECT_TRUE(outcome(asked).contains("rtt_us"));
  EXPECT_EQ(sent_.size(), 1u);
  EXPECT_EQ(all_drops(), 0u);
}

TEST_F(ProbeTest, DoesTheSameOverIpv6) {
  resolve_peer();
  const auto asked = ask("fd00:10:244:2::1", 200);
  from_tunnel(answer_to_last(false));
  EXPECT_EQ(state(asked), "answered");
}

TEST_F(ProbeTest, PassesTheRulesOfAStatefulDomain) {
  program(
      R"({"domains": [{"id": 2, "name": "routed", "vni": 100, "gateway_mac": "02:70:77:00:00:01", "mtu": 1450,
     "host_access": true, "gateways": ["10.244.1.1/24", "fd00:10:244:1::1/64"], "stateful": true,
     "rules": [{"action": "deny"}]}]})");
  resolve_peer();
  const auto asked = ask("10.244.2.1", 100);
  from_tunnel(answer_to_last());
  EXPECT_EQ(state(asked), "answered");
}

TEST_F(ProbeTest, IsNotAnsweredByWhoHasNotSeenIt) {
  resolve_peer();
  const auto asked = ask("10.244.2.1", 100);
  const auto good = answer_to_last();
  auto forged = good;
  forged[kIcmp4 + 8] ^= 1;  // of the nonce
  from_tunnel(forged);
  EXPECT_EQ(state(asked), "waiting");
  auto elsewhere = good;
  elsewhere[kIp4 + 15] ^= 1;  // of the source
  from_tunnel(elsewhere);
  EXPECT_EQ(state(asked), "waiting");
}

TEST_F(ProbeTest, TellsOfADamagedAnswerAndCountsItOnce) {
  resolve_peer();
  const auto asked = ask("10.244.2.1", 100);
  auto damaged = answer_to_last();
  damaged.back() ^= 0x40;
  from_tunnel(damaged);
  EXPECT_EQ(state(asked), "damaged");
  from_tunnel(answer_to_last());
  EXPECT_EQ(state(asked), "damaged");
}

TEST_F(ProbeTest, IsLostInTheEndAndThenForgotten) {
  resolve_peer();
  const auto asked = ask("10.244.2.1", 100);
  now_ms_ += Prober::kTimeoutMs;
  programmer_->tick(now_ms_);
  EXPECT_EQ(state(asked), "lost");
  from_tunnel(answer_to_last());
  EXPECT_EQ(state(asked), "lost");
  EXPECT_EQ(outcome({{"id", 77}}).at("state"), "unknown");
}

TEST_F(ProbeTest, SaysWhyItCannotBeSent) {
  resolve_peer();
  EXPECT_EQ(ask("10.244.2.1", 100, 9).at("problem"), "no_domain");
  EXPECT_EQ(ask("10.244.2.1", 100, 3).at("problem"), "no_gateway");
  EXPECT_EQ(ask("10.77.0.1", 100).at("problem"), "no_tunnel");
  EXPECT_EQ(ask("10.244.1.11", 100).at("problem"), "no_tunnel");
  EXPECT_EQ(ask("10.244.2.1", 20).at("problem"), "too_short");
  EXPECT_EQ(ask("10.244.2.1", 1451).at("problem"), "too_long");
  EXPECT_TRUE(sent_.empty());
}

TEST_F(ProbeTest, NamesANextHopThatDoesNotAnswer) {
  const auto asked = ask("10.244.2.1", 100);
  EXPECT_EQ(outcome(asked).at("next_hop"), "unresolved");
  resolve_peer();
}

TEST_F(ProbeTest, IsBoundedInNumber) {
  resolve_peer();
  Json probes = Json::array();
  for (std::size_t i = 0; i < Prober::kMostAtOnce; ++i)
    probes.push_back({{"domain", 2}, {"to", "10.244.2.1"}, {"bytes", 100}});
  for (std::size_t sent = 0; sent < ProbeWindow::kSlots; sent += Prober::kMostAtOnce) {
    ASSERT_TRUE(programmer_->probe({{"probes", probes}}, now_ms_));
    run_injected();
  }
  EXPECT_EQ(ask("10.244.2.1", 100).at("problem"), "busy");
  probes.push_back(probes.front());
  EXPECT_FALSE(programmer_->probe({{"probes", probes}}, now_ms_));
  now_ms_ += Prober::kTimeoutMs;
  programmer_->tick(now_ms_);
  EXPECT_TRUE(ask("10.244.2.1", 100).contains("id"));
}

TEST_F(ProbeTest, UnknownVnisOfPeersAreKept) {
  const auto ping = Packet().eth(kOurVtepMac, kPeerVtepMac).ipv4(kRemoteIp, kPod1Ip).udp(1, 2).bytes();
  from_tunnel(ping, Vni(4711));
  expect_dropped(DropReason::vni_unknown);
  now_ms_ += 40;
  const auto seen = programmer_->unknown_vnis(now_ms_).at("unknown_vnis");
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].at("address"), "192.168.100.2");
  EXPECT_EQ(seen[0].at("vni"), 4711);
  EXPECT_EQ(seen[0].at("age_ms"), 40);
}

}  // namespace
}  // namespace podwire::engine::tests
