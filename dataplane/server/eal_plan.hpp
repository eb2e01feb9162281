// EalPlan: how DPDK's environment layer is started, decided from the options and the machine alone, or why it
// cannot be and what mends that. Pure; main.cpp carries it out.
#pragma once

#include <string>
#include <vector>

#include "dataplane/options.hpp"
#include "dataplane/server/machine.hpp"

namespace podwire::engine {

struct EalPlan {
  std::vector<std::string> arguments;  // of rte_eal_init, program name first
  bool hugepages = false;
  std::string memory_mode;            // as `status` says it
  std::vector<unsigned> lcores;       // of the workers; lcore 0 is the main thread
  std::vector<std::string> warnings;  // what a person should know, but is no error
};

// `pid` goes into the file prefix unless one is configured.
Result<EalPlan> plan_eal(const Options& options, const Machine& machine, int pid);

}  // namespace podwire::engine
