#include "control/cli/stats.hpp"

#include <gtest/gtest.h>

#include "tests/unit/cli/replies.hpp"

namespace podwire::control::cli {
namespace {

Stats read(const Json& reply, const char* section) {
  auto stats = read_stats(reply, section);
  EXPECT_TRUE(stats) << (stats ? "" : stats.error().message);
  return stats ? *stats : Stats{};
}

std::string totals(const char* section) {
  return totals_view(read(stats_reply(), section), section, {});
}

TEST(StatsTotals, Ports) {
  EXPECT_EQ(totals("ports"),
            "ID  NAME    ROLE    RECEIVED    BYTES  SENT    BYTES  DROPPED\n"
            " 1  uplink  uplink     1,000  1.5 KiB    90  8.8 KiB        7\n");
}

TEST(StatsTotals, StagesWithoutPacketsHaveNoCost) {
  EXPECT_EQ(totals("stages"),
            "STAGE  PACKETS  PER BURST  CYCLES/PACKET  OF ALL CYCLES  DROPPED\n"
            "parse      190        1.9          100.0        100.0 %        2\n"
            "flood        0          -              -          0.0 %        0\n"
            "Workers: 400 polls, 25.0 % of them empty, 3 sleeps.\n");
}

TEST(StatsTotals, DropsWithTheirMeaning) {
  EXPECT_EQ(totals("drops"),
            "REASON    PACKETS  MEANING\n"
            "no_route        2  no route covers the destination\n");
  EXPECT_EQ(totals_view(Stats{}, "drops", {}), "Nothing was dropped.\n");
}

TEST(StatsTotals, LedgerTellsWhetherItBalances) {
  EXPECT_NE(totals("ledger").find("received   1,234,567  came in by a port\n"), std::string::npos)
      << totals("ledger");
  EXPECT_NE(totals("ledger").find("Balance 0: every packet is accounted for.\n"), std::string::npos);
  Stats stats;
  stats.ledger.balance = -3;
  EXPECT_NE(totals_view(stats, "ledger", {}).find("Balance -3: packets in flight"), std::string::npos);
}

TEST(StatsTotals, AllShowsEverySectionUnderItsTitle) {
  const auto page = totals("all");
  for (const char* title : {"Ports\n", "\nStages\n", "\nDrops\n", "\nDomains\n", "\nLedger\n"}) {
    EXPECT_NE(page.find(title), std::string::npos) << title;
  }
}

TEST(StatsRates, AreTheDifferencePerSecond) {
  const auto before = read(stats_reply(), "ports");
  Json later = stats_reply();
  later["ports"][0]["received_packets"] = 1000 + 5000;
  later["ports"][0]["received_bytes"] = 1536 + 2'500'000;
  later["ports"][0]["dropped_packets"] = 7 + 3;
  EXPECT_EQ(rates_view(before, read(later, "ports"), 2.0, "ports", {}),
            "ID  NAME    ROLE    RECEIVED/S  MBIT/S  SENT/S  MBIT/S  DROPPED/S\n"
            " 1  uplink  uplink       2.50k   10.00       0    0.00        1.5\n");
}

TEST(StatsRates, CyclesPerPacketAreThoseOfTheInterval) {
  const auto before = read(stats_reply(), "stages");
  Json later = stats_reply();
  later["stages"][0]["packets"] = 190 + 100;
  later["stages"][0]["bursts"] = 100 + 10;
  later["stages"][0]["cycles"] = 19000 + 5000;
  later["worker"]["polls"] = 500;
  const auto page = rates_view(before, read(later, "stages"), 1.0, "stages", {});
  EXPECT_NE(page.find("parse        100       10.0           50.0        100.0 %          0\n"),
            std::string::npos)
      << page;
  EXPECT_NE(page.find("Workers: 100 polls/s, 0.0 % of them empty, 0 sleeps/s.\n"), std::string::npos) << page;
}

TEST(StatsRates, RestartedEngineAndNewPortsHaveNoRateYet) {
  const auto before = read(stats_reply(), "ports");
  Json later = stats_reply();
  later["ports"][0]["received_packets"] = 1;
  Json fresh = later["ports"][0];
  fresh["name"] = "fresh";
  later["ports"].push_back(fresh);
  EXPECT_EQ(rates_view(before, read(later, "ports"), 1.0, "ports", {}),
            "ID  NAME    ROLE    RECEIVED/S  MBIT/S  SENT/S  MBIT/S  DROPPED/S\n"
            " 1  uplink  uplink           -    0.00       0    0.00          0\n"
            " 1  fresh   uplink           -       -       -       -          -\n");
}

TEST(StatsRates, ADropReasonThatIsNewStartedFromZero) {
  const auto before = read(stats_reply(), "drops");
  Json later = stats_reply();
  later["drops"].push_back({{"reason", "ttl_expired"}, {"packets", 10}, {"help", "hop limit reached 0"}});
  const auto page = rates_view(before, read(later, "drops"), 1.0, "drops", {});
  EXPECT_NE(page.find("ttl_expired         10       10  hop limit reached 0\n"), std::string::npos) << page;
}

TEST(StatsRead, OnlyTheSectionAskedForMustBeThere) {
  Json reply = stats_reply();
  reply.erase("ports");
  EXPECT_TRUE(read_stats(reply, "drops"));
  EXPECT_EQ(read_stats(reply, "ports").error().message, "ports is missing");
}

TEST(StatsFilter, KeepsTheSectionAndWhatItIsReadWith) {
  const auto kept = filter_stats(stats_reply(), "drops");
  EXPECT_TRUE(kept.contains("generation") && kept.contains("tsc_hz") && kept.contains("drops"));
  EXPECT_FALSE(kept.contains("ports") || kept.contains("ledger") || kept.contains("worker"));
  EXPECT_TRUE(filter_stats(stats_reply(), "stages").contains("worker"));
  EXPECT_EQ(filter_stats(stats_reply(), "all"), stats_reply());
}

}  // namespace
}  // namespace podwire::control::cli
