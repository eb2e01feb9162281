#include "dataplane/telemetry/stats.hpp"
#include "dataplane/tables/flow_table.hpp"

#include <gtest/gtest.h>

#include "dataplane/pipeline/accounting.hpp"
#include "tests/eal/pipeline/switch_fixture.hpp"

namespace podwire::engine::tests {
namespace {

PacketMeta meta_of(PortId port, DomainId domain) {
  PacketMeta meta;
  meta.ingress = port;
  meta.domain = domain;
  return meta;
}

TEST(LedgerBook, SumsAllWriters) {
  CounterSet counters(2);
  const LedgerBook book_of(counters);
  const auto meta = meta_of(PortId(4), DomainId(2));
  book(counters.worker(0), meta, &LedgerCounters::received, 5);
  book(counters.worker(1), meta, &LedgerCounters::sent, 2);
  book(counters.worker(1), meta, &LedgerCounters::parked_in, 3);
  book(counters.main(), meta, &LedgerCounters::parked_out, 1);
  book_drop(counters.main(), meta, DropReason::neighbor_unresolved);
  for (const auto& ledger : {book_of.engine(), book_of.port(PortId(4)), book_of.domain(DomainId(2))}) {
    EXPECT_EQ(ledger.received, 5);
    EXPECT_EQ(ledger.sent, 2);
    EXPECT_EQ(ledger.parked, 2);
    EXPECT_EQ(ledger.dropped, 1);
    EXPECT_EQ(ledger.balance(), 0);
  }
  EXPECT_EQ(book_of.port(PortId(5)), Ledger{});
}

TEST(LedgerBook, CountsAMovedPacketInTheDomainItBelongsTo) {
  CounterSet counters(1);
  const LedgerBook book_of(counters);
  auto meta = meta_of(PortId(1), kUnderlayDomain);
  book(counters.worker(0), meta, &LedgerCounters::received);
  move_to_domain(counters.worker(0), meta, DomainId(2));
  book(counters.worker(0), meta, &LedgerCounters::sent);
  EXPECT_EQ(book_of.domain(kUnderlayDomain), Ledger{});
  EXPECT_EQ(book_of.domain(DomainId(2)).received, 1);
  EXPECT_EQ(book_of.domain(DomainId(2)).balance(), 0);
}

TEST(LedgerBook, AnIdThatComesBackCountsFromZero) {
  CounterSet counters(1);
  LedgerBook book_of(counters);
  const auto meta = meta_of(PortId(4), DomainId(2));
  book(counters.worker(0), meta, &LedgerCounters::received, 5);
  book(counters.worker(0), meta, &LedgerCounters::sent, 5);
  book_of.port_added(PortId(4));
  book_of.domain_added(DomainId(2));
  EXPECT_EQ(book_of.port(PortId(4)), Ledger{});
  EXPECT_EQ(book_of.domain(DomainId(2)), Ledger{});
  EXPECT_EQ(book_of.engine().received, 5) << "the engine's goes on";
  book(counters.worker(0), meta, &LedgerCounters::received);
  EXPECT_EQ(book_of.port(PortId(4)).received, 1);
  EXPECT_EQ(book_of.port(PortId(4)).balance(), 1) << "one packet is under way";
}

TEST(StageNames, BeginWithReceiveAndEndWithTransmit) {
  const auto names = stage_names();
  EXPECT_EQ(names.front(), "receive");
  EXPECT_EQ(names.back(), "transmit");
  EXPECT_EQ(names.size(), Pipeline::kCount + 3);
  EXPECT_EQ(names[Pipeline::kStageCounterBase + kResumeStage], "encap");
}

class StatsTest : public SwitchTest {
 protected:
  Json stats(bool all = false) {
    const LedgerBook ledgers(counters_);
    return make_stats({*programmer_, counters_, ledgers, FlowTable(16, 1), 1000}, all);
  }
};

TEST_F(StatsTest, CountsWhatStagesAndReasonsSaw) {
  receive(kPod1, Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod1Ip, Ipv4{{10, 99, 0, 1}}).udp(1, 2));
  const auto s = stats();
  ASSERT_EQ(s.at("drops").size(), 1u);
  EXPECT_EQ(s.at("drops")[0].at("reason"), "blackhole_route");
  EXPECT_EQ(s.at("drops")[0].at("packets"), 1);
  EXPECT_EQ(s.at("drops")[0].at("help"), help_of(DropReason::blackhole_route));
  EXPECT_EQ(stats(true).at("drops").size(), kDropReasonCount);
  for (const auto& stage : s.at("stages")) {
    const bool seen = stage.at("name") == "parse" || stage.at("name") == "forward";
    if (seen) {
      EXPECT_EQ(stage.at("packets"), 1) << stage.dump();
    }
    EXPECT_EQ(stage.at("dropped"), stage.at("name") == "forward" ? 1 : 0) << stage.dump();
  }
  for (const auto& port : s.at("ports")) {
    EXPECT_EQ(port.at("dropped_packets"), port.at("name") == "pod1" ? 1 : 0);
    EXPECT_EQ(port.at("ledger").at("balance"), 0) << port.dump();
  }
  EXPECT_EQ(s.at("domains")[0].at("name"), "underlay");
  EXPECT_EQ(s.at("domains").size(), 3u);
}

TEST_F(StatsTest, HasTheShapeThatClientsRead) {
  const auto s = stats();
  for (const char* key :
       {"generation", "tsc_hz", "ports", "stages", "drops", "ledger", "domains", "flows", "worker"}) {
    EXPECT_TRUE(s.contains(key)) << key;
  }
  for (const char* key : {"received", "generated", "clones", "segments", "sent", "dropped", "consumed",
                          "parked", "merged", "balance"}) {
    EXPECT_TRUE(s.at("ledger").contains(key)) << key;
  }
  const auto& port = s.at("ports")[0];
  for (const char* key : {"id", "name", "kind", "role", "domain", "received_packets", "received_bytes",
                          "sent_packets", "sent_bytes", "dropped_packets", "queues", "ledger"}) {
    EXPECT_TRUE(port.contains(key)) << key;
  }
  EXPECT_EQ(port.at("queues").size(), 1u);
}

}  // namespace
}  // namespace podwire::engine::tests
