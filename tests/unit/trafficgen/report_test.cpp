#include "bench/trafficgen/report.hpp"

#include <gtest/gtest.h>

#include "tests/unit/trafficgen/simulated_device.hpp"

namespace podwire::trafficgen {
namespace {

#define EXPECT_HAS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

Report report_of(tests::SimulatedDevice device, Direction direction = Direction::kAToB) {
  Report report;
  const auto line =
      parse_command_line({"--port=memif:/a<b&.sock", "--port=net_ring0", "--loss=0,0.5", "--size=64,imix"});
  report.settings = line->settings;
  report.settings.direction = direction;
  report.drivers = {"net_memif", "net_ring"};
  report.date = "2026-11-23T12:00:00Z";
  report.machine = "a CPU";
  report.dpdk = "DPDK 22.11";
  report.cycles_per_second = 2e9;
  for (const auto size : report.settings.sizes) {
    auto cell = measure(
        report.settings.method, size, 1000, [&](const TrialPlan& plan) { return device.run(plan); },
        [](const auto&) {});
    report.cells.push_back(*cell);
  }
  return report;
}

TEST(TrafficgenReport, TellsEverythingAsJson) {
  const auto json = to_json(report_of({}));
  EXPECT_EQ(json["ports"][0]["device"], "memif:/a<b&.sock");
  EXPECT_EQ(json["method"]["direction"], "a-to-b");
  ASSERT_EQ(json["results"].size(), 2u);
  const auto& cell = json["results"][0];
  EXPECT_EQ(cell["size"], "64");
  EXPECT_EQ(json["results"][1]["size"], "imix");
  EXPECT_EQ(cell["flows"], 1000);
  ASSERT_EQ(cell["rates"].size(), 2u);
  const auto& ndr = cell["rates"][0];
  EXPECT_EQ(ndr["name"], "NDR");
  EXPECT_EQ(cell["rates"][1]["name"], "PDR");
  EXPECT_EQ(cell["rates"][1]["loss_percent"], 0.5);
  const double rate = ndr["pps_per_direction"];
  EXPECT_NEAR(rate, 5e6, 0.05e6);
  EXPECT_NEAR(ndr["mpps"].get<double>(), rate / 1e6, 0.001);
  EXPECT_NEAR(ndr["wire_gbit_s"].get<double>(), rate * 84 * 8 / 1e9, 0.001);
  EXPECT_EQ(ndr["noisy"], false);
  EXPECT_EQ(ndr["limited_by"], "the switch");
  ASSERT_EQ(ndr["searches"].size(), 3u);
  const auto& best = ndr["searches"][0]["best"]["directions"];
  ASSERT_EQ(best.size(), 1u);
  EXPECT_EQ(best[0]["sent"], best[0]["received"]);
  EXPECT_GT(ndr["searches"][0]["probes"].size(), 2u);
  const auto& latency = cell["latency"][1];
  EXPECT_EQ(latency["share_percent"], 90);
  const auto& us = latency["trial"]["directions"][0]["latency"];
  EXPECT_EQ(us["min_us"], 0.5);  // 1,000 cycles of 2 GHz
  EXPECT_NEAR(us["p50_us"].get<double>(), 250, 2.5);
  EXPECT_NEAR(us["p99_us"].get<double>(), 495, 5);
  EXPECT_EQ(us["max_us"], 500);
}

TEST(TrafficgenReport, AddsBothDirectionsUp) {
  const auto report = report_of({}, Direction::kBoth);
  EXPECT_EQ(total_rate(report, 2e6), 4e6);
}

TEST(TrafficgenReport, IsReadAsATable) {
  const auto text = to_markdown(report_of({}));
  EXPECT_HAS(text, "| 64 | 1000 | NDR 0 % | ");
  EXPECT_HAS(text, "| imix | 1000 | PDR 0.5 % | ");
  EXPECT_HAS(text, "| 64 | 1000 | 90 % | A to B | 0.5 | ");
  EXPECT_EQ(text.find("noisy"), std::string::npos);
  EXPECT_EQ(text.find("Other programs"), std::string::npos);
}

TEST(TrafficgenReport, SaysWhenItCannotConclude) {
  auto report = report_of({});
  report.cells[0].rates[0].searches[0].rate /= 2;
  report.cells[0].latency[0].trial.held_up = 0.2;
  EXPECT_HAS(to_markdown(report), "too noisy to conclude");
  EXPECT_HAS(to_markdown(report), "Other programs had up to 20.0 %");
  EXPECT_EQ(to_json(report)["results"][0]["rates"][0]["noisy"], true);
}

TEST(TrafficgenReport, NamesTheGeneratorAsTheLimit) {
  tests::SimulatedDevice device;
  device.capacity = 50e6;
  auto report = report_of(device);
  EXPECT_STREQ(limit_text(report.cells[0].rates[0].typical()), "the generator");
  report.cells[0].rates[0].searches[0].limit = Verdict::kPassed;
  EXPECT_STREQ(limit_text(report.cells[0].rates[0].searches[0]), "the highest rate asked for");
  for (auto& probe : report.cells[0].rates[0].searches[0].probes) probe.trial.behind = 0.9;
  EXPECT_STREQ(limit_text(report.cells[0].rates[0].searches[0]), "the generator");
}

TEST(TrafficgenReport, DrawsAnSvg) {
  const auto svg = to_svg(report_of({}));
  EXPECT_TRUE(svg.starts_with("<svg ")) << svg.substr(0, 100);
  EXPECT_TRUE(svg.ends_with("</svg>\n"));
  EXPECT_HAS(svg, "memif:/a&lt;b&amp;.sock");
  EXPECT_HAS(svg, "64 B, 1000");
  EXPECT_HAS(svg, "Latency");
  std::size_t bars = 0;
  for (std::size_t at = 0; (at = svg.find("<rect x=", at)) != svg.npos; ++at) ++bars;
  EXPECT_EQ(bars, 4u);
  EXPECT_EQ(svg.find("nan"), svg.npos);
  EXPECT_EQ(svg.find("inf"), svg.npos);
}

TEST(TrafficgenReport, IsWholeWithoutARate) {
  tests::SimulatedDevice device;
  device.noise = 1;
  const auto report = report_of(device);
  EXPECT_EQ(to_json(report)["results"][0]["rates"][0]["searches"][0]["best"], nullptr);
  EXPECT_HAS(to_markdown(report), "| 64 | 1000 | NDR 0 % | 0.000 |");
  EXPECT_EQ(to_svg(report).find("nan"), std::string::npos);
}

}  // namespace
}  // namespace podwire::trafficgen
