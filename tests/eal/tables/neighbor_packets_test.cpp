// Programmer with real packets: the questions it sends, and what becomes of packets that wait for an answer.
// Every test ends on the ledger of the main thread's counters and on the pool being full again.
#include <rte_mbuf.h>

#include "dataplane/headers/headers.hpp"
#include "dataplane/pipeline/accounting.hpp"
#include "dataplane/tables/neighbors.hpp"
#include "dataplane/tables/parking.hpp"
#include "tests/unit/tables/programmer_fixture.hpp"

namespace podwire::engine {
namespace {

using namespace testing_objects;

constexpr unsigned kPoolSize = 2047;

rte_mempool* pool() {
  static rte_mempool* const made = rte_pktmbuf_pool_create("tables_test", kPoolSize, 0, kMbufPrivateBytes,
                                                           RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
  return made;
}

struct RecordingInjector : Injector {
  bool inject(rte_mbuf* mbuf, const PacketMeta& meta) override {
    if (full) return false;
    packets.emplace_back(mbuf, meta);
    return true;
  }
  void clear() {
    for (auto& [mbuf, meta] : packets) rte_pktmbuf_free(mbuf);
    packets.clear();
  }
  bool full = false;
  std::vector<std::pair<rte_mbuf*, PacketMeta>> packets;
};

struct InjectorHolder {
  RecordingInjector injector;
};

class NeighborPackets : private InjectorHolder, public ProgrammerTest {
 protected:
  NeighborPackets() : ProgrammerTest(std::addressof(InjectorHolder::injector), pool()) {}
  void SetUp() override { start({}); }
  void TearDown() override {
    injector.clear();
    programmer.reset();
    EXPECT_EQ(rte_mempool_avail_count(pool()), kPoolSize);
    const auto& ledger = counters.engine;
    EXPECT_EQ(ledger.parked_in.get(), ledger.parked_out.get());
    EXPECT_EQ(counters.ports[3].ledger.parked_out.get(), ledger.parked_out.get());
    EXPECT_EQ(counters.domains[2].parked_out.get(), ledger.parked_out.get());
    EXPECT_EQ(ledger.generated.get(), counters.ports[1].ledger.generated.get());
    std::uint64_t by_reason = 0;
    for (const auto& drop : counters.drops) by_reason += drop.get();
    EXPECT_EQ(ledger.dropped.get(), by_reason);
  }
  void start(const api::ObjectSet& more) {
    api::ObjectSet put{.ports = {uplink(1), tap(3)},
                       .vteps = {vtep(1, "192.168.100.1", true), vtep(2, "192.168.100.2")},
                       .domains = {domain()},
                       .routes = {route(1, "192.168.100.0/24", {via_port(1)}, 1)}};
    patch(put);
    patch(more);
  }
  std::uint64_t dropped(DropReason reason) const {
    return counters.drops[static_cast<std::size_t>(reason)].get();
  }
  std::uint32_t slot_of(const std::string& address) const {
    return tables().vtep4->find(vtep4_key(ip(address).v4(), 4789));
  }

  // As the encap stage and the driver do it.
  void park(std::uint32_t slot, std::uint16_t mark = 0) {
    rte_mbuf* mbuf = rte_pktmbuf_alloc(pool());
    ASSERT_NE(mbuf, nullptr);
    rte_pktmbuf_append(mbuf, 64);
    PacketMeta meta;
    meta.ingress = PortId(3);
    meta.domain = DomainId(2);
    meta.verdict = Verdict::kTunnel;
    meta.vtep = slot;
    meta.flow_hash = mark;
    save_meta(mbuf, meta);
    book(counters, meta, &LedgerCounters::parked_in);
    Event event;
    event.kind = Event::Kind::kPark;
    event.vtep = slot;
    event.mbuf = mbuf;
    programmer->on_event(event, now);
  }
  void answer(const std::string& address, const MacAddr& from) {
    Event event;
    event.kind = Event::Kind::kNeighbor;
    event.solicited = true;
    event.port = PortId(1);
    event.domain = kUnderlayDomain;
    event.address = ip(address);
    event.mac = from;
    programmer->on_event(event, now);
    programmer->flush(now);
  }
  void pass(std::uint64_t ms) {
    for (const auto end = now + ms; now < end;) programmer->tick(now += 100);
  }

  using InjectorHolder::injector;
};

TEST_F(NeighborPackets, AsksByArpFromTheLocalVtep) {
  ASSERT_EQ(injector.packets.size(), 1u);
  auto& [mbuf, meta] = injector.packets[0];
  EXPECT_EQ(meta.verdict, Verdict::kForward);
  EXPECT_EQ(meta.egress, PortId(1));
  EXPECT_EQ(meta.ingress, PortId(1));
  EXPECT_EQ(meta.domain, kUnderlayDomain);
  EXPECT_TRUE(meta.generated);
  EXPECT_TRUE(meta.resolved);
  const auto* ether = rte_pktmbuf_mtod(mbuf, const EtherHeader*);
  const auto uplink_mac = tables().port(PortId(1))->mac;
  EXPECT_TRUE(ether->destination.is_broadcast());
  EXPECT_EQ(ether->source, uplink_mac);
  EXPECT_EQ(ether->type.host(), ether_type::kArp);
  const auto* arp = rte_pktmbuf_mtod_offset(mbuf, const ArpHeader*, sizeof(EtherHeader));
  EXPECT_EQ(arp->operation.host(), ArpHeader::kRequest);
  EXPECT_EQ(arp->sender_mac, uplink_mac);
  EXPECT_EQ(arp->sender_ip, ip("192.168.100.1").v4());
  EXPECT_EQ(arp->target_ip, ip("192.168.100.2").v4());
  EXPECT_EQ(counters.engine.generated.get(), 1u);
  EXPECT_EQ(counters.domains[1].generated.get(), 1u);
}

TEST_F(NeighborPackets, AsksBySolicitationWithTheUplinksTag) {
  auto tagged = uplink(1);
  tagged.vlan = 100;
  injector.clear();
  patch({.ports = {tagged},
         .vteps = {vtep(4, "fd00:100::1", true), vtep(5, "fd00:100::2")},
         .routes = {route(2, "fd00:100::/64", {via_port(1)}, 1)}});
  ASSERT_EQ(injector.packets.size(), 1u);
  auto* mbuf = injector.packets[0].first;
  const auto* ether = rte_pktmbuf_mtod(mbuf, const EtherHeader*);
  EXPECT_EQ(ether->type.host(), ether_type::kVlan);
  const auto* ip_header =
      rte_pktmbuf_mtod_offset(mbuf, const Ipv6Header*, sizeof(EtherHeader) + sizeof(VlanTag));
  EXPECT_EQ(ip_header->source, ip("fd00:100::1").v6());
  EXPECT_EQ(ip_header->destination, ip("fd00:100::2").v6().solicited_node());
  EXPECT_EQ(ip_header->hop_limit, 255);
}

TEST_F(NeighborPackets, KnownNeighborIsProbedByUnicast) {
  answer("192.168.100.2", mac(0x22));
  injector.clear();
  pass(31'000);
  ASSERT_FALSE(injector.packets.empty());
  EXPECT_EQ(rte_pktmbuf_mtod(injector.packets[0].first, const EtherHeader*)->destination, mac(0x22));
}

TEST_F(NeighborPackets, ParkedPacketsGoInOrderOnceTheNextHopIsKnown) {
  injector.clear();
  const auto slot = slot_of("192.168.100.2");
  for (std::uint16_t i = 1; i <= 5; ++i) park(slot, i);
  EXPECT_TRUE(injector.packets.empty());
  EXPECT_EQ((*programmer->neighbors(Json::object(), now))["neighbors"][0], (Json{{"port", 1},
                                                                                 {"address", "192.168.100.2"},
                                                                                 {"mac", nullptr},
                                                                                 {"state", "incomplete"},
                                                                                 {"age_s", 0},
                                                                                 {"parked", 5}}));
  answer("192.168.100.2", mac(0x22));
  EXPECT_TRUE(tables().vteps.at(slot).resolved);
  ASSERT_EQ(injector.packets.size(), 5u);
  for (std::uint16_t i = 1; i <= 5; ++i) {
    EXPECT_EQ(injector.packets[i - 1u].second.flow_hash, i);
    EXPECT_EQ(injector.packets[i - 1u].second.verdict, Verdict::kTunnel);
  }
  EXPECT_EQ(counters.engine.parked_out.get(), 5u);
  const auto view = (*programmer->neighbors(Json::object(), now))["neighbors"][0];
  EXPECT_EQ(view["state"], "reachable");
  EXPECT_EQ(view["mac"], to_string(mac(0x22)));
  EXPECT_EQ(view["parked"], 0);
  park(slot);  // one that was on its way meanwhile goes at once
  EXPECT_EQ(injector.packets.size(), 6u);
}

TEST_F(NeighborPackets, UnansweredPacketsAreDroppedAndLaterOnesAtOnce) {
  const auto slot = slot_of("192.168.100.2");
  park(slot);
  park(slot);
  pass(2900);
  EXPECT_EQ(dropped(DropReason::neighbor_unresolved), 0u);
  pass(300);
  EXPECT_EQ(dropped(DropReason::neighbor_unresolved), 2u);
  park(slot);
  EXPECT_EQ(dropped(DropReason::neighbor_unresolved), 3u);
  answer("192.168.100.2", mac(0x22));
  injector.clear();
  park(slot);
  EXPECT_EQ(injector.packets.size(), 1u);
}

TEST_F(NeighborPackets, KeepsABoundedNumberPerNextHopAndInAll) {
  const auto slot = slot_of("192.168.100.2");
  for (int i = 0; i < 70; ++i) park(slot);
  EXPECT_EQ(dropped(DropReason::neighbor_queue_full), 6u);
  api::ObjectSet many;
  for (std::uint32_t i = 0; i < 20; ++i)
    many.vteps.push_back(vtep(100 + i, "192.168.100." + std::to_string(100 + i)));
  patch(many);
  for (std::uint32_t i = 0; i < 20; ++i) {
    for (int n = 0; n < 60; ++n) park(slot_of("192.168.100." + std::to_string(100 + i)));
  }
  EXPECT_EQ(dropped(DropReason::neighbor_queue_full),
            6u + 20 * 60 - (Parking::kInAll - Parking::kPerNextHop));
}

TEST_F(NeighborPackets, PacketsWithoutAWaySayWhy) {
  patch({.vteps = {vtep(4, "192.168.100.4", false, 8472), vtep(5, "10.9.9.9")}});
  park(tables().vtep4->find(vtep4_key(ip("192.168.100.4").v4(), 8472)));
  EXPECT_EQ(dropped(DropReason::vtep_no_source), 1u);
  park(slot_of("10.9.9.9"));
  EXPECT_EQ(dropped(DropReason::no_route), 1u);
  park(4711);
  EXPECT_EQ(dropped(DropReason::vtep_unknown), 1u);
}

TEST_F(NeighborPackets, RemovedVtepTakesItsWaitingPacketsAlong) {
  park(slot_of("192.168.100.2"));
  patch({}, {.vteps = {VtepId(2)}});
  EXPECT_EQ(dropped(DropReason::vtep_unknown), 1u);
}

TEST_F(NeighborPackets, ChangedNextHopTakesTheWaitingPacketsOver) {
  const auto slot = slot_of("192.168.100.2");
  park(slot);
  injector.clear();
  patch({.routes = {route(1, "192.168.100.0/24", {via_port(1, "192.168.100.254")}, 1)}});
  injector.clear();
  answer("192.168.100.2", mac(0x22));  // nobody's next hop any longer
  EXPECT_TRUE(injector.packets.empty());
  answer("192.168.100.254", mac(0xfe));
  EXPECT_EQ(injector.packets.size(), 1u);
}

TEST_F(NeighborPackets, FullRingLosesPacketsByName) {
  park(slot_of("192.168.100.2"));
  injector.full = true;
  answer("192.168.100.2", mac(0x22));
  EXPECT_EQ(dropped(DropReason::handover_full), 1u);
  const auto generated = counters.engine.generated.get();
  pass(31'000);  // the probe does not get out either
  EXPECT_GT(counters.engine.generated.get(), generated);
  EXPECT_GT(dropped(DropReason::handover_full), 1u);
}

TEST_F(NeighborPackets, EmptyPoolIsCountedAndAskedAgainLater) {
  injector.clear();
  std::vector<rte_mbuf*> all(kPoolSize);
  ASSERT_EQ(rte_pktmbuf_alloc_bulk(pool(), all.data(), kPoolSize), 0);
  pass(1100);
  EXPECT_GE(dropped(DropReason::no_mbufs), 1u);
  rte_pktmbuf_free_bulk(all.data(), kPoolSize);
  pass(1100);
  EXPECT_FALSE(injector.packets.empty());
}

TEST_F(NeighborPackets, PacketsStillWaitingAtTheEndAreFreedAndBooked) {
  park(slot_of("192.168.100.2"));
  programmer.reset();
  EXPECT_EQ(dropped(DropReason::neighbor_unresolved), 1u);
}

}  // namespace
}  // namespace podwire::engine
