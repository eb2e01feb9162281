// A switch without workers: the real Programmer and the real Pipeline over ports that only record. One node
// as a podwired would program it: uplink, host port, a routed domain with two pods and a remote node, an L2
// domain with two pods. Every test ends on the ledger and on the mbufs.
#pragma once

#include <gtest/gtest.h>

#include <map>

#include "dataplane/pipeline/express.hpp"
#include "dataplane/pipeline/pipeline.hpp"
#include "dataplane/tables/programmer.hpp"
#include "dataplane/telemetry/counter_set.hpp"
#include "tests/support/mbufs.hpp"
#include "tests/support/silent_port.hpp"

namespace podwire::engine::tests {

class RecordingPort final : public SilentPort {
 public:
  RecordingPort(const api::Port& config, bool large) {
    mac_ = config.mac;
    mtu_ = config.mtu != 0 ? config.mtu : std::uint16_t{1500};
    capabilities_ = {.l4_checksum = large,
                     .segmentation = large,
                     .multi_segment = large,
                     .max_frame = static_cast<std::uint16_t>(mtu_ + 18)};
  }
};

struct Sent {
  PortId port;
  Bytes bytes;
  bool partial = false;  // checksum left to the port
  bool large = false;    // segmentation left to the port
};

// Ids and addresses of the node below.
inline constexpr PortId kUplink{1}, kHost{2}, kPod1{11}, kPod2{12}, kBridge1{21}, kBridge2{22};
inline constexpr DomainId kRouted{2}, kBridged{3};
inline constexpr Vni kRoutedVni{100}, kBridgedVni{200};
inline constexpr MacAddr kGatewayMac{{0x02, 0x70, 0x77, 0, 0, 1}};
inline constexpr MacAddr kUplinkMac{{0x02, 0, 0, 0, 1, 1}}, kPeerNodeMac{{0x02, 0, 0, 0, 1, 2}};
inline constexpr MacAddr kOurVtepMac{{0x02, 0, 0, 0, 2, 1}}, kPeerVtepMac{{0x02, 0, 0, 0, 2, 2}};
inline constexpr MacAddr kPod1Mac{{0x02, 0, 0, 0, 3, 1}}, kPod2Mac{{0x02, 0, 0, 0, 3, 2}};
inline constexpr MacAddr kBridge1Mac{{0x02, 0, 0, 0, 4, 1}}, kBridge2Mac{{0x02, 0, 0, 0, 4, 2}};
inline constexpr Ipv4 kNodeIp{{192, 168, 100, 1}}, kPeerIp{{192, 168, 100, 2}};
inline constexpr Ipv4 kGateway4{{10, 244, 1, 1}}, kPod1Ip{{10, 244, 1, 11}}, kPod2Ip{{10, 244, 1, 12}};
inline constexpr Ipv4 kRemoteIp{{10, 244, 2, 20}};

class SwitchTest : public ::testing::Test, protected EgressSink, protected EventSink, protected Injector {
 protected:
  explicit SwitchTest(FlowTable* flows = nullptr);
  ~SwitchTest() override;

  // What every test starts from; a test changes it with program() before or after.
  static api::ObjectSet node();
  void program(const char* put, const char* remove = "{}");  // JSON
  // A neighbour on the uplink answers; what waited for it is sent.
  void resolve(const IpAddr& address, const MacAddr& mac);
  // The peer answers ARP, so that its VTEP is resolved; nothing is kept in sent_.
  void resolve_peer();

  // Runs one frame (or several as one burst) in from `port`; what left is in sent_.
  void receive(PortId port, const Packet& packet) { receive(port, to_mbuf(pool_.get(), packet.bytes())); }
  void receive(PortId port, rte_mbuf* mbuf) { receive(port, std::vector<rte_mbuf*>{mbuf}); }
  void receive(PortId port, const std::vector<rte_mbuf*>& mbufs);

  // What the main thread sends of its own accord leaves; receive() does it too.
  void run_injected();

  std::uint64_t drops(DropReason reason) const {
    return counters_.all.front()->drops[static_cast<std::size_t>(reason)].get() + main_drops(reason);
  }
  std::uint64_t all_drops() const;
  // One packet to `port`, byte for byte.
  void expect_sent(PortId port, const Packet& expected);
  void expect_dropped(DropReason reason, std::uint64_t count = 1);
  // A VXLAN packet as the peer sends it.
  static Packet from_peer(Vni vni, std::uint16_t udp_port = 4789);

  TestPool pool_;
  CounterSet counters_{1};
  Publisher publisher_{1};
  Context ctx_;
  std::unique_ptr<Programmer> programmer_;
  std::vector<Sent> sent_;
  std::vector<Event> events_;  // parked mbufs go to the programmer at once
  std::vector<std::pair<rte_mbuf*, PacketMeta>> injected_;
  bool events_full_ = false;
  bool express_ = true;  // received packets try the express lane first, as in a worker
  std::uint64_t now_ms_ = 1000;

 private:
  std::uint64_t main_drops(DropReason reason) const {
    return counters_.all.back()->drops[static_cast<std::size_t>(reason)].get();
  }
  void check_ledger() const;
  void record(rte_mbuf* mbuf, PortId egress, const PacketMeta& booked_on) noexcept;
  void take(Burst& burst) noexcept override;
  EgressQueue* queue(PortId port) noexcept override;
  void settle() noexcept override;
  bool push(const Event& event) noexcept override;
  bool inject(rte_mbuf* mbuf, const PacketMeta& meta) override;

  std::map<PortId, EgressQueue> queues_;
};

}  // namespace podwire::engine::tests
