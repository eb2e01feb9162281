// podwire-engine: reads its options, starts EAL, runs the engine until it is told to leave, and leaves
// nothing behind.
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_memory.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <iostream>

#include "dataplane/options.hpp"
#include "dataplane/ports/fault_guard.hpp"
#include "dataplane/server/eal_plan.hpp"
#include "dataplane/server/engine.hpp"
#include "dataplane/server/logging.hpp"

namespace podwire::engine {
namespace {

// SIGTERM and SIGINT as something to wait for. Before any thread starts, so that all of them have the signals
// blocked.
Result<UniqueFd> block_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  UniqueFd fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) return errno_error("signalfd");
  return fd;
}

// Every pod has descriptors here, and podwired sends them by hundreds.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// EAL from start to end, with its runtime directory.
class Eal {
 public:
  static Result<std::unique_ptr<Eal>> start(const EalPlan& plan, const DpdkLog& log) {
    // EAL keeps pointers into its arguments and moves them about.
    static std::vector<std::string> arguments;
    arguments = plan.arguments;
    std::vector<char*> raw;
    for (auto& argument : arguments) raw.push_back(argument.data());
    raw.push_back(nullptr);
    if (rte_eal_init(static_cast<int>(arguments.size()), raw.data()) < 0) {
      const auto errors = log.last_errors();
      return unavailable("DPDK's EAL did not start (" + std::string(rte_strerror(rte_errno)) + ")" +
                         (errors.empty() ? "" : ": " + errors) + "; more with --log-level debug");
    }
    return std::unique_ptr<Eal>(new Eal);
  }
  ~Eal() {
    const std::filesystem::path directory = rte_eal_get_runtime_dir();
    rte_eal_cleanup();
    std::error_code error;
    std::filesystem::remove_all(directory, error);
    if (error) spdlog::warn("cannot remove {}: {}", directory.string(), error.message());
  }
  Eal(const Eal&) = delete;
  Eal& operator=(const Eal&) = delete;

 private:
  Eal() = default;
};

// EAL's directories of engines that were killed: empty, and named after a process that is no more.
void remove_stale_directories() {
  constexpr std::string_view kPrefix = "podwire-";
  std::error_code error;
  const auto all = std::filesystem::path(rte_eal_get_runtime_dir()).parent_path();
  for (const auto& entry : std::filesystem::directory_iterator(all, error)) {
    const auto name = entry.path().filename().string();
    const auto pid = name.starts_with(kPrefix) ? name.substr(kPrefix.size()) : "";
    const bool is_number = !pid.empty() && pid.find_first_not_of("0123456789") == std::string::npos;
    if (is_number && !std::filesystem::exists("/proc/" + pid, error)) ::rmdir(entry.path().c_str());
  }
}

// Hugepages that were free when we looked may be another process's by the time EAL takes them. EAL cannot be
// started twice in one process, so this begins anew without them.
[[noreturn]] void begin_anew_without_hugepages(char** argv) {
  std::vector<char*> arguments;
  for (char** argument = argv; *argument != nullptr; ++argument) {
    if (std::strncmp(*argument, "--hugepages", 11) == 0) {
      if (argument[0][11] == '\0' && argument[1] != nullptr) ++argument;
      continue;
    }
    arguments.push_back(*argument);
  }
  char never[] = "--hugepages=never";
  arguments.push_back(never);
  arguments.push_back(nullptr);
  ::execv("/proc/self/exe", arguments.data());
  spdlog::error("cannot begin anew: {}", std::strerror(errno));
  std::_Exit(1);
}

Result<void> run_engine(const CommandLine& line, char** argv) {
  const auto& options = line.options;
  spdlog::info("podwire-engine {} starts, configuration {}", PODWIRE_VERSION,
               line.config_path.empty() ? "from options and defaults" : line.config_path);
  PODWIRE_TRY(const auto signal_fd, block_signals());
  raise_descriptor_limit();
  PODWIRE_TRY(const auto machine, inspect_machine());
  PODWIRE_TRY(const auto plan, plan_eal(options, machine, ::getpid()));
  for (const auto& warning : plan.warnings) spdlog::warn("{}", warning);

  DpdkLog log;
  auto eal = Eal::start(plan, log);
  if (!eal && plan.hugepages && options.hugepages == HugepageMode::kAuto) {
    spdlog::warn("{}; trying again without hugepages", eal.error().message);
    begin_anew_without_hugepages(argv);
  }
  if (!eal) return eal.error();
  install_fault_guard();
  log.show_warnings();
  remove_stale_directories();
  spdlog::info("memory: {} MiB in {}, of which {} MiB are for {} packet buffers and {} jumbo buffers",
               rte_eal_get_physmem_size() >> 20, plan.memory_mode, buffer_mib(options), options.mbufs,
               options.jumbo_mbufs);

  PODWIRE_TRY(const auto engine, Engine::create({options, plan.lcores, plan.memory_mode, signal_fd.get()}));
  spdlog::info("{} {} {}, listening on {}", options.workers,
               options.idle == IdleMode::kBusy ? "busy" : "adaptive",
               options.workers == 1 ? "worker" : "workers", options.socket);
  return engine->run();
}

int main_with(int argc, char** argv) {
  const auto parsed = parse_command_line({argv + 1, argv + argc});
  if (!parsed) {
    std::cerr << "podwire-engine: " << parsed.error().message << "\n";
    return 1;
  }
  switch (parsed->action) {
    case Action::kHelp:
      std::cout << help_text();
      return 0;
    case Action::kHelpVerbs:
      std::cout << VerbServer::help();
      return 0;
    case Action::kVersion:
      std::cout << "podwire-engine " PODWIRE_VERSION "\n";
      return 0;
    case Action::kPrintConfig:
      std::cout << to_json(parsed->options).dump(2) << "\n";
      return 0;
    case Action::kCheckConfig:
      std::cout << (parsed->config_path.empty() ? "the configuration" : parsed->config_path) << " is valid\n";
      return 0;
    case Action::kRun:
      break;
  }
  set_up_logging(parsed->options.log_level);
  if (const auto result = run_engine(*parsed, argv); !result) {
    spdlog::critical("{}", result.error().message);
    return 1;
  }
  spdlog::info("stopped");
  return 0;
}

}  // namespace
}  // namespace podwire::engine

int main(int argc, char** argv) {
  return podwire::engine::main_with(argc, argv);
}
