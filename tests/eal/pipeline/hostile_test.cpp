// Truncated and damaged packets from a pod and from the underlay: nothing crashes, everything is counted.
#include <random>

#include "tests/eal/pipeline/switch_fixture.hpp"

namespace podwire::engine::tests {
namespace {

using Hostile = SwitchTest;

std::vector<std::pair<PortId, Bytes>> samples() {
  const auto v6 = [](const char* text) { return *podwire::parse_ipv6(text); };
  const MacAddr all{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
  const auto outer = [] {
    return Packet().eth(kUplinkMac, kPeerNodeMac).ipv4(kPeerIp, kNodeIp).udp(50000, 4789);
  };
  return {
      {kPod1, Packet()
                  .eth(kGatewayMac, kPod1Mac)
                  .ipv4(kPod1Ip, kPod2Ip, {.options = {7, 4, 4, 0}})
                  .tcp(1, 2)
                  .payload(30)
                  .bytes()},
      {kPod1, Packet()
                  .eth(kGatewayMac, kPod1Mac)
                  .ipv6(v6("fd00:10:244:1::11"), v6("fd00:10:244:1::12"))
                  .extension(0, 2)
                  .extension(43)
                  .fragment6(1, 7)
                  .udp(1, 2)
                  .payload(30)
                  .bytes()},
      {kPod1, Packet()
                  .eth(kGatewayMac, kPod1Mac)
                  .ipv6(v6("fd00:10:244:1::11"), v6("fd00:10:244:1::1"))
                  .icmp(128, 0)
                  .payload(30)
                  .bytes()},
      {kPod1, Packet().eth(all, kPod1Mac).arp(1, kPod1Mac, kPod1Ip, {}, kGateway4).bytes()},
      {kBridge1,
       Packet().eth(all, kBridge1Mac).ipv4({{10, 9, 0, 1}}, {{10, 9, 0, 255}}).udp(1, 2).payload(30).bytes()},
      {kUplink, outer()
                    .vxlan(kRoutedVni)
                    .eth(kOurVtepMac, kPeerVtepMac)
                    .ipv4(kRemoteIp, kPod1Ip)
                    .tcp(1, 2)
                    .payload(30)
                    .bytes()},
      {kUplink, outer()
                    .vxlan(kBridgedVni)
                    .eth(all, kMacA)
                    .ipv6(v6("fe80::1"), v6("ff02::1:ff00:1"))
                    .icmp(135, 0)
                    .payload(24)
                    .bytes()},
      {kHost, Packet().eth(kGatewayMac, kUplinkMac).ipv4(kNodeIp, kPod1Ip).tcp(5, 6).payload(20).bytes()},
  };
}

TEST_F(Hostile, EveryTruncation) {
  resolve_peer();
  for (const auto& [port, bytes] : samples()) {
    for (std::size_t length = 1; length <= bytes.size(); ++length) {
      receive(port, to_mbuf(pool_.get(),
                            Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length))));
    }
  }
  EXPECT_GT(drops(DropReason::frame_too_short), 100u);
}

TEST_F(Hostile, EveryByteDamaged) {
  resolve_peer();
  std::mt19937 random(7);
  for (const auto& [port, bytes] : samples()) {
    for (std::size_t at = 0; at < bytes.size(); ++at) {
      for (const std::uint8_t value :
           {std::uint8_t{0}, std::uint8_t{0xff}, static_cast<std::uint8_t>(random())}) {
        auto damaged = bytes;
        damaged[at] = value;
        receive(port, to_mbuf(pool_.get(), damaged));
      }
    }
  }
}

TEST_F(Hostile, HeadersCutAcrossSegments) {
  resolve_peer();
  for (const auto& [port, bytes] : samples()) {
    for (std::size_t cut = 1; cut < bytes.size(); ++cut) receive(port, to_chain(pool_.get(), bytes, {cut}));
  }
}

TEST_F(Hostile, RandomBytes) {
  std::mt19937 random(11);
  for (int i = 0; i < 3000; ++i) {
    Bytes bytes(14 + random() % 200);
    for (auto& b : bytes) b = static_cast<std::uint8_t>(random());
    bytes[6] = static_cast<std::uint8_t>(bytes[6] & 0xfe);
    const std::uint16_t types[] = {0x0800, 0x86dd, 0x0806, 0x8100};
    bytes[12] = static_cast<std::uint8_t>(types[i % 4] >> 8);
    bytes[13] = static_cast<std::uint8_t>(types[i % 4]);
    receive(i % 2 == 0 ? kUplink : kBridge2, to_mbuf(pool_.get(), bytes));
  }
}

}  // namespace
}  // namespace podwire::engine::tests
