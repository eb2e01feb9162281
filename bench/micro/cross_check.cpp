#include "bench/micro/cross_check.hpp"

#include <cstdio>

#include "bench/micro/median.hpp"
#include "bench/micro/passes.hpp"

namespace podwire::engine::bench {
namespace {

constexpr unsigned kRounds = 101;

struct Row {
  std::string_view stage;
  double alone = 0, alone_counted = 0, inside = 0;
};

void print(Traffic traffic, const std::vector<Row>& rows, double whole, bool json) {
  double alone = 0, inside = 0;
  if (!json) {
    std::printf("\n%s: cycles per packet that enters the stage, bursts of %u, 1,000 flows, warm\n",
                name_of(traffic), unsigned{kBurstMax});
    std::printf("  %-10s %8s %14s %12s %8s\n", "stage", "alone", "alone, driver", "in pipeline", "ratio");
  }
  for (const auto& row : rows) {
    alone += row.alone;
    inside += row.inside;
    if (json) {
      std::printf(
          "{\"traffic\":\"%s\",\"stage\":\"%.*s\",\"alone\":%.1f,\"alone_driver\":%.1f,\"in_pipeline\":%.1f}"
          "\n",
          name_of(traffic), static_cast<int>(row.stage.size()), row.stage.data(), row.alone,
          row.alone_counted, row.inside);
    } else {
      std::printf("  %-10.*s %8.1f %14.1f %12.1f %8.2f\n", static_cast<int>(row.stage.size()),
                  row.stage.data(), row.alone, row.alone_counted, row.inside,
                  row.alone == 0 ? 0 : row.inside / row.alone);
    }
  }
  if (json) {
    std::printf("{\"traffic\":\"%s\",\"stage\":\"sum\",\"alone\":%.1f,\"in_pipeline\":%.1f,\"whole\":%.1f}\n",
                name_of(traffic), alone, inside, whole);
  } else {
    std::printf("  %-10s %8.1f %14s %12.1f          by the clock around the pipeline: %.1f\n", "sum", alone,
                "", inside, whole);
  }
}

void check(Traffic traffic, bool json) {
  const Load load{traffic, kBurstMax, 1000, false};
  constexpr auto kStages = Pipeline::kCount;
  std::array<std::vector<double>, kStages> alone, alone_counted, inside;
  std::vector<double> whole;
  for (unsigned round = 0; round < kRounds; ++round) {  // interleaved: what disturbs one disturbs all
    std::array<Spent, kStages> by_stage{};
    whole.push_back(run_pipeline(load, by_stage).per_packet());
    for (std::size_t stage = 0; stage < kStages; ++stage) {
      const auto spent = run_stage(stage, load);
      alone[stage].push_back(spent.per_packet());
      alone_counted[stage].push_back(spent.counted_per_packet());
      inside[stage].push_back(by_stage[stage].counted_per_packet());
    }
  }
  std::vector<Row> rows;
  for (std::size_t stage = 0; stage < kStages; ++stage) {
    rows.push_back(
        {stage_name(stage), median(alone[stage]), median(alone_counted[stage]), median(inside[stage])});
  }
  print(traffic, rows, median(whole), json);
}

}  // namespace

void cross_check(bool json) {
  for (const auto traffic : {Traffic::kLocal, Traffic::kBridge, Traffic::kEncap, Traffic::kEncap6,
                             Traffic::kDecap, Traffic::kTracked})
    check(traffic, json);
}

}  // namespace podwire::engine::bench
