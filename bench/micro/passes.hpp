// Passes: one stage of the pipeline, or all of it, over many bursts, with the cycles it takes. What comes
// before the stage is done first, and not measured. Warm: a burst's frames have just been read, as behind the
// stage before. Cold: 64 MiB of other frames have been written since, so they come from memory. Metadata is
// in the cache either way, as behind a receive. Flows take turns, so that more of them touch more of the
// tables.
#pragma once

#include <array>

#include "bench/micro/node.hpp"

namespace podwire::engine::bench {

inline constexpr unsigned kWarmPackets = 512;  // of a warm pass

struct Load {
  Traffic traffic = Traffic::kLocal;
  unsigned burst = kBurstMax;
  unsigned flows = 1;
  bool cold = false;
};

struct Spent {
  std::uint64_t packets = 0;          // that entered
  std::uint64_t cycles = 0;           // around every burst, less what the clock itself takes
  std::uint64_t counted_packets = 0;  // by the stage driver
  std::uint64_t counted_cycles = 0;   // by the stage driver

  double per_packet() const {
    return packets == 0 ? 0 : static_cast<double>(cycles) / static_cast<double>(packets);
  }
  double counted_per_packet() const {
    return counted_packets == 0 ? 0
                                : static_cast<double>(counted_cycles) / static_cast<double>(counted_packets);
  }
  void add(const Spent& other);
};

inline constexpr std::size_t kEgress = Pipeline::kCount;  // as a stage number: queueing and sending
// As a stage number: the express lane, with queueing and with sending where a queue fills; what it does not
// take goes through the stages, and counts.
inline constexpr std::size_t kExpressLane = kEgress + 1;

std::string_view stage_name(std::size_t stage);
// One pass of stage number `stage` (order of pipeline.hpp, or one of those above) alone.
Spent run_stage(std::size_t stage, const Load& load);
// One pass of the whole pipeline, and what its own counters say of each stage.
Spent run_pipeline(const Load& load, std::array<Spent, Pipeline::kCount>& by_stage);

}  // namespace podwire::engine::bench
