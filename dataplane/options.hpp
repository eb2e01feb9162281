// Options of podwire-engine: one set of keys that a JSON configuration file and the command line share.
// Options win over the file, the file over the defaults. Read once at start by the main thread; no DPDK in
// here.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "dataplane/base/json.hpp"

namespace podwire::engine {

inline constexpr const char* kDefaultConfigPath = "/etc/podwire/engine.json";

enum class HugepageMode {
  kAuto,     // 2 MiB pages when enough are free, else 4 KiB pages
  kRequire,  // 2 MiB pages or no start
  kNever,
};
enum class IdleMode {
  kAdaptive,  // a worker without packets sleeps
  kBusy,      // workers poll without end
};

struct Options {
  std::string socket = "/run/podwire/engine.sock";
  unsigned memory_mib = 256;
  HugepageMode hugepages = HugepageMode::kAuto;
  unsigned mbufs = 16384;      // packets of up to 2 KiB in the engine at a time
  unsigned jumbo_mbufs = 256;  // 64 KiB buffers for segmentation-offload packets of taps
  unsigned workers = 1;
  std::optional<std::vector<unsigned>> cpus;  // one a worker; none: workers float over the allowed CPUs
  IdleMode idle = IdleMode::kAdaptive;
  unsigned spin_us = 50;  // adaptive: polls this long after the last packet before it sleeps
  unsigned burst = 64;    // packets taken from a queue at a time
  // Connections of stateful domains at a time. At most 243 bytes each, beside memory_mib, touched as they
  // come.
  unsigned max_flows = 1u << 20;
  std::optional<std::string> file_prefix;  // EAL's name for this process; none: podwire-<pid>
  std::string log_level = "info";

  bool operator==(const Options&) const = default;
};

// The configuration document. Reads single fields strictly; check_options() has the rules between them.
Result<void> read_value(const Json& value, const std::string& path, Options& out);
Json to_json(const Options& options);
Result<void> check_options(const Options& options);

// MiB that the packet buffers of `options` need.
unsigned buffer_mib(const Options& options);

enum class Action { kRun, kCheckConfig, kPrintConfig, kHelp, kHelpVerbs, kVersion };

struct CommandLine {
  Action action = Action::kRun;
  Options options;
  std::string config_path;  // the file that was read; empty when none was
};

// `arguments` without the program's name. Without --config the file at `default_config` is read if it exists.
Result<CommandLine> parse_command_line(const std::vector<std::string>& arguments,
                                       const std::string& default_config = kDefaultConfigPath);

std::string help_text();

}  // namespace podwire::engine
