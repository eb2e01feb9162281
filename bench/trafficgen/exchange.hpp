// Exchange: sends and receives on both ports alternately, on the calling thread, for the length of one trial,
// and counts. It owns the loop and the buffers' use; ports and pools are the session's. Main thread only;
// nothing in the loop allocates, locks or calls the system.
#pragma once

#include <rte_mempool.h>

#include <array>
#include <memory>
#include <vector>

#include "bench/trafficgen/options.hpp"
#include "bench/trafficgen/port.hpp"

namespace podwire::trafficgen {

class Exchange {
 public:
  // Every buffer of `pool` is zero behind the head: what the frames end in.
  Exchange(const Settings& settings, const std::array<Port*, 2>& ports, rte_mempool* pool);

  void set_traffic(FrameSize size, std::uint32_t flows);
  // A trial as planned, in the directions that the settings name.
  Result<TrialResult> run(const TrialPlan& plan);
  // The same in both directions, from which a switch learns where both sides are.
  Result<TrialResult> learn(const TrialPlan& plan);

 private:
  struct Way;  // one direction in a trial
  Result<TrialResult> run(const TrialPlan& plan, std::array<bool, 2> active);
  void send(Way& way, unsigned frames, std::uint64_t now);
  unsigned receive(std::array<Way, 2>& ways, unsigned port, std::uint64_t& foreign);
  void exchange(std::array<Way, 2>& ways, TrialResult& result);
  void settle(std::array<Way, 2>& ways, TrialResult& result);

  const Settings& settings_;
  std::array<Port*, 2> ports_;
  rte_mempool* pool_;
  FrameSize size_;
  std::uint32_t flows_ = 1;
  std::uint8_t trial_ = 0;
};

}  // namespace podwire::trafficgen
