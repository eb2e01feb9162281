// podwire-micro: the benchmarks of stages and tables; arguments are Google Benchmark's, and
//   --cross-check [--json]   the stage driver's counters beside the stages alone (cross_check.hpp)
// Runs on the last CPU that it may use, without hugepages, and leaves nothing behind.
#include <benchmark/benchmark.h>
#include <rte_eal.h>
#include <sched.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "bench/micro/cross_check.hpp"

namespace {

int last_cpu() {
  cpu_set_t allowed;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 0;
  int last = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed)) last = cpu;
  }
  return last;
}

bool start_eal(char* program) {
  std::vector<std::string> arguments{program,
                                     "--no-huge",
                                     "--no-shconf",
                                     "--no-pci",
                                     "--no-telemetry",
                                     "-m",
                                     "3072",
                                     "--file-prefix",
                                     "podwire-micro-" + std::to_string(::getpid()),
                                     "--lcores",
                                     "0@" + std::to_string(last_cpu()),
                                     "--force-max-simd-bitwidth",
                                     "512",
                                     "--log-level",
                                     "error"};
  std::vector<char*> raw;
  for (auto& argument : arguments) raw.push_back(argument.data());
  raw.push_back(nullptr);
  return rte_eal_init(static_cast<int>(arguments.size()), raw.data()) >= 0;
}

// Takes `flag` out of the arguments.
bool take_flag(int& argc, char** argv, const char* flag) {
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], flag) != 0) continue;
    std::memmove(argv + i, argv + i + 1, sizeof(char*) * static_cast<std::size_t>(argc - i));
    --argc;
    return true;
  }
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  const bool cross_check = take_flag(argc, argv, "--cross-check"), json = take_flag(argc, argv, "--json");
  benchmark::AddCustomContext("march", PODWIRE_MARCH);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  if (!start_eal(argv[0])) {
    std::fprintf(stderr, "podwire-micro: EAL did not start\n");
    return 1;
  }
  const std::filesystem::path runtime_directory = rte_eal_get_runtime_dir();
  if (cross_check)
    podwire::engine::bench::cross_check(json);
  else
    benchmark::RunSpecifiedBenchmarks();
  rte_eal_cleanup();
  std::error_code ignored;
  std::filesystem::remove_all(runtime_directory, ignored);
  return 0;
}
