#include "bench/trafficgen/eal.hpp"

#include <rte_eal.h>
#include <rte_errno.h>
#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "dataplane/ports/devargs.hpp"

namespace podwire::trafficgen {
namespace {

constexpr unsigned kHugeMib = 2;

std::atomic<bool> stop_asked{false};
std::atomic<bool> shared_memory_in_use{false};

void ask_to_stop(int) {
  stop_asked.store(true, std::memory_order_relaxed);
}

void explain_fault(int signal) {
  if (shared_memory_in_use.load(std::memory_order_relaxed)) {
    static constexpr char kText[] =
        "podwire-trafficgen: a port's shared memory went away while frames were exchanged: the switch has "
        "closed the "
        "connection or has died; start it and run this again\n";
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, kText, sizeof kText - 1);
    ::_exit(1);
  }
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

bool uses_pci(const Settings& settings) {
  for (const auto& side : settings.sides) {
    if (!engine::Devargs::parse(side.device.devargs).is_virtual()) return true;
  }
  return false;
}

unsigned free_hugepage_mib() {
  unsigned pages = 0;
  std::ifstream("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages") >> pages;
  return pages * kHugeMib;
}

// "0@2", or "0@(0,1,2)" with all CPUs that this process may use.
Result<std::string> lcores_of(const Settings& settings) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return errno_error("sched_getaffinity");
  std::string all;
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed)) all += (all.empty() ? "" : ",") + std::to_string(cpu);
  }
  if (!settings.cpu) return "0@(" + all + ")";
  if (*settings.cpu >= CPU_SETSIZE || !CPU_ISSET(*settings.cpu, &allowed))
    return invalid("--cpu is " + std::to_string(*settings.cpu) + ", but this process may use " + all +
                   " only");
  return "0@" + std::to_string(*settings.cpu);
}

Result<bool> use_hugepages(const Settings& settings, const Tell& tell) {
  if (!settings.no_huge && free_hugepage_mib() >= settings.memory_mib) return true;
  const auto mend =
      "sysctl -w vm.nr_hugepages=" + std::to_string((settings.memory_mib + kHugeMib - 1) / kHugeMib);
  if (uses_pci(settings))
    return unavailable("PCI devices need " + std::to_string(settings.memory_mib) +
                       " MiB of free 2 MiB hugepages, there are " + std::to_string(free_hugepage_mib()) +
                       " MiB: type `" + mend + "` or lower --memory, and leave --no-huge out");
  if (!settings.no_huge) tell("on 4 KiB pages, which costs speed: `" + mend + "` sets hugepages aside");
  return false;
}

Result<std::vector<std::string>> arguments_for(const Settings& settings, const Tell& tell) {
  PODWIRE_TRY(const auto lcores, lcores_of(settings));
  PODWIRE_TRY(const bool hugepages, use_hugepages(settings, tell));
  const auto prefix =
      settings.file_prefix.empty() ? "trafficgen-" + std::to_string(::getpid()) : settings.file_prefix;
  std::vector<std::string> out{"podwire-trafficgen", "--lcores", lcores, "-m",
                               std::to_string(settings.memory_mib), "--file-prefix", prefix, "--no-telemetry",
                               "--log-level", "*:error",
                               // A vhost-user switch takes eight files at most, net_memif's zero-copy one.
                               "--single-file-segments"};
  const auto add = [&](std::initializer_list<const char*> words) {
    out.insert(out.end(), words.begin(), words.end());
  };
  if (hugepages)
    add({"--in-memory"});
  else
    add({"--no-huge", "--no-shconf"});
  if (uses_pci(settings))
    add({"--allow", "ffff:ff:1f.7"});  // nothing is probed but what is named later
  else
    add({"--no-pci", "--iova-mode", "va"});
  out.insert(out.end(), settings.eal_arguments.begin(), settings.eal_arguments.end());
  return out;
}

}  // namespace

Result<std::unique_ptr<Eal>> Eal::start(const Settings& settings, const Tell& tell) {
  if (::geteuid() != 0)
    return Error{ErrorCode::kDenied, "DPDK's devices and memory need root: run it with sudo"};
  if (settings.realtime && !Realtime(true).applied())
    return errno_error("--realtime: SCHED_FIFO is refused; run it with CAP_SYS_NICE, or without that option");
  // EAL keeps pointers into its arguments and moves them about.
  static std::vector<std::string> arguments;
  PODWIRE_TRY(arguments, arguments_for(settings, tell));
  std::vector<char*> raw;
  for (auto& argument : arguments) raw.push_back(argument.data());
  raw.push_back(nullptr);
  if (rte_eal_init(static_cast<int>(arguments.size()), raw.data()) < 0)
    return unavailable("DPDK's EAL did not start: " + std::string(rte_strerror(rte_errno)) +
                       "; what it says stands above, --eal and --memory change its arguments");
  return std::unique_ptr<Eal>(new Eal);
}

Eal::~Eal() {
  const std::filesystem::path directory = rte_eal_get_runtime_dir();
  rte_eal_cleanup();
  std::error_code ignored;
  std::filesystem::remove_all(directory, ignored);
}

Realtime::Realtime(bool wanted) noexcept {
  sched_param parameters{};
  parameters.sched_priority = kPriority;
  applied_ = wanted && ::sched_setscheduler(0, SCHED_FIFO, &parameters) == 0;
}

Realtime::~Realtime() {
  const sched_param parameters{};
  if (applied_) ::sched_setscheduler(0, SCHED_OTHER, &parameters);
}

void catch_signals() {
  struct sigaction action {};
  action.sa_handler = ask_to_stop;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  action.sa_handler = explain_fault;
  ::sigaction(SIGSEGV, &action, nullptr);
  ::sigaction(SIGBUS, &action, nullptr);
}

bool interrupted() noexcept {
  return stop_asked.load(std::memory_order_relaxed);
}

SharedMemoryInUse::SharedMemoryInUse(bool in_use) noexcept {
  shared_memory_in_use.store(in_use, std::memory_order_relaxed);
}

SharedMemoryInUse::~SharedMemoryInUse() {
  shared_memory_in_use.store(false, std::memory_order_relaxed);
}

}  // namespace podwire::trafficgen
