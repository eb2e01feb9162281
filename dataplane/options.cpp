#include "dataplane/options.hpp"

#include <unistd.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <charconv>

namespace podwire::engine {
namespace {

namespace po = boost::program_options;

const std::vector<std::string> kHugepageModes{"auto", "require", "never"};
const std::vector<std::string> kIdleModes{"adaptive", "busy"};
const std::vector<std::string> kLogLevels{"trace", "debug", "info", "warn", "error"};

constexpr unsigned kMaxWorkerOption = 16;
constexpr unsigned kMaxCpu = 1023;
constexpr std::size_t kMaxSocketPath = 107;
// What EAL and drivers take beside the packet buffers.
constexpr unsigned kDriverMib = 40;

enum class Kind { kText, kInteger, kIntegerList };

// Every key once: the command line, its help and --print-config are made from this.
struct Key {
  const char* name;
  const char* value_name;
  Kind kind;
  const char* help;
};
constexpr Key kKeys[] = {
    {"socket", "PATH", Kind::kText, "where to listen for podwired; absolute, at most 107 characters"},
    {"memory_mib", "MIB", Kind::kInteger, "memory set aside for packets and drivers, 64 to 1048576"},
    {"hugepages", "auto|require|never", Kind::kText,
     "2 MiB pages: auto takes them when enough are free, else 4 KiB pages; require refuses to start without"},
    {"mbufs", "N", Kind::kInteger, "packets (of up to 2 KiB) in the engine at a time, 1024 to 8388608"},
    {"jumbo_mbufs", "N", Kind::kInteger, "64 KiB buffers for large TCP packets from pods, 16 to 65536"},
    {"workers", "N", Kind::kInteger, "forwarding threads, 1 to 16; default: as many as cpus, or 1"},
    {"cpus", "LIST", Kind::kIntegerList,
     "CPUs to pin the workers to, one each, such as 2,3; default: workers float over the allowed CPUs"},
    {"idle", "adaptive|busy", Kind::kText,
     "adaptive lets workers without packets sleep, busy polls without end (give cpus too)"},
    {"spin_us", "US", Kind::kInteger,
     "adaptive: microseconds of polling after the last packet, 0 to 1000000"},
    {"burst", "N", Kind::kInteger,
     "packets taken from a queue at a time, 1 to 64; fewer leave the first of them sooner and cost more "
     "each"},
    {"max_flows", "N", Kind::kInteger,
     "connections of stateful domains at a time, 1024 to 16777216; up to 243 bytes each, taken as they come"},
    {"file_prefix", "NAME", Kind::kText, "EAL's name for this process; default: podwire-<pid>"},
    {"log_level", "trace|debug|info|warn|error", Kind::kText, "what to log on standard error"},
};

// memory_mib is --memory-mib on the command line.
std::string option_name(std::string key) {
  std::replace(key.begin(), key.end(), '_', '-');
  return key;
}

po::options_description key_options() {
  po::options_description out("Configuration (each is also a key of the file, with _ for -)");
  for (const auto& key : kKeys) {
    out.add_options()(option_name(key.name).c_str(),
                      po::value<std::vector<std::string>>()->value_name(key.value_name), key.help);
  }
  return out;
}

po::options_description action_options() {
  po::options_description out("Actions");
  out.add_options()("config", po::value<std::vector<std::string>>()->value_name("FILE"),
                    "JSON configuration file; default: /etc/podwire/engine.json if it exists")(
      "check-config", "validate file and options, say what is wrong, exit with 0 or 1")(
      "print-config", "print the configuration that file and options amount to, then exit")(
      "help", "this text")("help-verbs", "what the socket understands")("version", "print the version");
  return out;
}

Result<Json> integer_of(const std::string& text, const std::string& option) {
  std::int64_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty()) {
    return invalid("--" + option + " is \"" + text.substr(0, 64) + "\", must be an integer");
  }
  return Json(n);
}

Result<Json> value_of(const Key& key, const std::string& text) {
  const auto option = option_name(key.name);
  if (key.kind == Kind::kText) return Json(text);
  if (key.kind == Kind::kInteger) return integer_of(text, option);
  if (text == "none") return Json(nullptr);
  Json list = Json::array();
  for (std::size_t begin = 0; begin <= text.size();) {
    const auto comma = std::min(text.find(',', begin), text.size());
    PODWIRE_TRY(Json n, integer_of(text.substr(begin, comma - begin), option));
    list.push_back(std::move(n));
    begin = comma + 1;
  }
  return list;
}

Result<po::variables_map> parse_words(const std::vector<std::string>& arguments) {
  po::options_description all;
  all.add(action_options()).add(key_options());
  using Style = po::command_line_style::style_t;
  const int style = Style::allow_long | Style::long_allow_adjacent | Style::long_allow_next;
  try {
    po::variables_map map;
    // No positional words are described, so each one is an error.
    po::store(po::command_line_parser(arguments).options(all).positional({}).style(style).run(), map);
    return map;
  } catch (const po::unknown_option& e) {
    std::vector<std::string> known;
    for (const auto& option : all.options()) known.push_back(option->long_name());
    auto word = e.get_option_name();
    word.erase(0, word.find_first_not_of('-'));
    word.resize(std::min(word.size(), word.find('=')));
    const auto near = closest_match(word, known);
    return invalid("unknown option --" + word.substr(0, 64) +
                   (near.empty() ? "; see podwire-engine --help" : "; did you mean --" + near + "?"));
  } catch (const po::error& e) {
    return invalid(std::string(e.what()) + "; see podwire-engine --help");
  }
}

// The one value of an option that may be given once.
Result<std::optional<std::string>> single(const po::variables_map& map, const std::string& option) {
  const auto at = map.find(option);
  if (at == map.end()) return std::optional<std::string>();
  const auto& values = at->second.as<std::vector<std::string>>();
  if (values.size() != 1)
    return invalid("--" + option + " is given " + std::to_string(values.size()) + " times");
  return std::optional(values.front());
}

// Adds what the command line says to `document`.
Result<void> overlay(const po::variables_map& map, Json& document) {
  for (const auto& key : kKeys) {
    const auto option = option_name(key.name);
    PODWIRE_TRY(const auto text, single(map, option));
    if (!text) continue;
    PODWIRE_TRY(Json value, value_of(key, *text));
    Options ignored;
    if (auto read = read_value(Json{{key.name, value}}, "", ignored); !read) {
      return invalid("--" + option + ": " + read.error().message);
    }
    document[key.name] = std::move(value);
  }
  return {};
}

Result<void> check_text_fields(const Options& o) {
  if (o.socket.empty() || o.socket.front() != '/' || o.socket.size() > kMaxSocketPath) {
    return invalid("socket is \"" + o.socket.substr(0, 200) + "\" (" + std::to_string(o.socket.size()) +
                   " characters), must be an absolute path of at most " + std::to_string(kMaxSocketPath));
  }
  if (!o.file_prefix) return {};
  const auto& prefix = *o.file_prefix;
  const bool plain = std::all_of(prefix.begin(), prefix.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           c == '-' || c == '.';
  });
  if (prefix.empty() || prefix.size() > 63 || !plain || prefix.front() == '.' || prefix.front() == '-') {
    return invalid("file_prefix is \"" + prefix.substr(0, 80) +
                   "\", must be 1 to 63 letters, digits, '.', '_' or '-', and begin with a letter or digit");
  }
  return {};
}

Result<void> check_cpus(const Options& o) {
  if (!o.cpus) return {};
  auto sorted = *o.cpus;
  std::sort(sorted.begin(), sorted.end());
  if (const auto twice = std::adjacent_find(sorted.begin(), sorted.end()); twice != sorted.end()) {
    return invalid("cpus names CPU " + std::to_string(*twice) + " twice; every worker needs one of its own");
  }
  if (o.cpus->size() == o.workers) return {};
  return invalid("cpus names " + std::to_string(o.cpus->size()) + " CPUs for " + std::to_string(o.workers) +
                 " workers; give one CPU a worker, or leave workers out");
}

}  // namespace

Result<void> read_value(const Json& value, const std::string& path, Options& out) {
  ObjectReader r(value, path);
  r.optional("socket", out.socket);
  r.optional_in("memory_mib", out.memory_mib, 64, 1048576);
  r.choice("hugepages", out.hugepages, kHugepageModes);
  r.optional_in("mbufs", out.mbufs, 1024, 8388608);
  r.optional_in("jumbo_mbufs", out.jumbo_mbufs, 16, 65536);
  const bool has_workers = r.optional_in("workers", out.workers, 1, kMaxWorkerOption);
  r.optional("cpus", out.cpus);
  r.choice("idle", out.idle, kIdleModes);
  r.optional_in("spin_us", out.spin_us, 0, 1000000);
  r.optional_in("burst", out.burst, 1, 64);
  r.optional_in("max_flows", out.max_flows, 1024, 1 << 24);
  r.optional("file_prefix", out.file_prefix);
  auto level = static_cast<std::size_t>(std::find(kLogLevels.begin(), kLogLevels.end(), out.log_level) -
                                        kLogLevels.begin());
  r.choice("log_level", level, kLogLevels);
  PODWIRE_CHECK(r.finish());
  out.log_level = kLogLevels[level];
  if (out.cpus) {
    if (out.cpus->empty() || out.cpus->size() > kMaxWorkerOption) {
      return invalid(r.child("cpus") + " names " + std::to_string(out.cpus->size()) +
                     " CPUs, must name 1 to " + std::to_string(kMaxWorkerOption) +
                     ", or be null to let the workers float");
    }
    for (const auto cpu : *out.cpus) {
      if (cpu > kMaxCpu) {
        return invalid(r.child("cpus") + " names CPU " + std::to_string(cpu) + ", must be from 0 to " +
                       std::to_string(kMaxCpu));
      }
    }
    if (!has_workers) out.workers = static_cast<unsigned>(out.cpus->size());
  }
  return check_text_fields(out);
}

Json to_json(const Options& o) {
  return {{"socket", o.socket},
          {"memory_mib", o.memory_mib},
          {"hugepages", kHugepageModes[static_cast<std::size_t>(o.hugepages)]},
          {"mbufs", o.mbufs},
          {"jumbo_mbufs", o.jumbo_mbufs},
          {"workers", o.workers},
          {"cpus", o.cpus ? Json(*o.cpus) : Json(nullptr)},
          {"idle", kIdleModes[static_cast<std::size_t>(o.idle)]},
          {"spin_us", o.spin_us},
          {"burst", o.burst},
          {"max_flows", o.max_flows},
          {"file_prefix", o.file_prefix ? Json(*o.file_prefix) : Json(nullptr)},
          {"log_level", o.log_level}};
}

unsigned buffer_mib(const Options& o) {
  constexpr std::uint64_t kPacketBytes =
      2048 + 128 + 128 + 64 + 64;  // room, headroom, mbuf, private area, pool header
  constexpr std::uint64_t kJumboBytes = 65536 + 128 + 64 + 64;
  const auto bytes = std::uint64_t{o.mbufs} * kPacketBytes + std::uint64_t{o.jumbo_mbufs} * kJumboBytes;
  return static_cast<unsigned>((bytes >> 20) + 1);
}

Result<void> check_options(const Options& o) {
  PODWIRE_CHECK(check_cpus(o));
  const auto needed = buffer_mib(o) + kDriverMib;
  if (o.memory_mib >= needed) return {};
  return invalid("memory_mib is " + std::to_string(o.memory_mib) + ", but mbufs " + std::to_string(o.mbufs) +
                 " and jumbo_mbufs " + std::to_string(o.jumbo_mbufs) + " need " +
                 std::to_string(buffer_mib(o)) + " MiB and drivers " + std::to_string(kDriverMib) +
                 " more: give memory_mib at least " + std::to_string(needed));
}

Result<CommandLine> parse_command_line(const std::vector<std::string>& arguments,
                                       const std::string& default_config) {
  PODWIRE_TRY(const auto map, parse_words(arguments));
  CommandLine out;
  if (map.contains("help"))
    out.action = Action::kHelp;
  else if (map.contains("help-verbs"))
    out.action = Action::kHelpVerbs;
  else if (map.contains("version"))
    out.action = Action::kVersion;
  else if (map.contains("check-config"))
    out.action = Action::kCheckConfig;
  else if (map.contains("print-config"))
    out.action = Action::kPrintConfig;
  if (out.action == Action::kHelp || out.action == Action::kHelpVerbs || out.action == Action::kVersion)
    return out;

  PODWIRE_TRY(const auto named, single(map, "config"));
  if (named)
    out.config_path = *named;
  else if (::access(default_config.c_str(), F_OK) == 0)
    out.config_path = default_config;
  Json document = Json::object();
  if (!out.config_path.empty()) {
    PODWIRE_TRY(document, read_json_file(out.config_path));
    Options alone;
    if (auto read = read_value(document, "", alone); !read) {
      return invalid(out.config_path + ": " + read.error().message);
    }
  }
  PODWIRE_CHECK(overlay(map, document));
  PODWIRE_CHECK(read_value(document, "", out.options));
  PODWIRE_CHECK(check_options(out.options));
  return out;
}

std::string help_text() {
  std::ostringstream out;
  out << "podwire-engine " PODWIRE_VERSION
         " - the Podwire switch: forwards packets between pods, tunnels and NICs.\n\n"
         "podwired starts it, programs it over its socket and starts it again when it ends; run it by hand "
         "to look at\n"
         "it or to measure. It needs root and prefers 2 MiB hugepages:\n\n"
         "  sysctl -w vm.nr_hugepages=256       set 512 MiB aside for hugepages\n"
         "  podwire-engine --check-config       is /etc/podwire/engine.json right?\n"
         "  podwire-engine --hugepages never    run without hugepages (slower)\n"
         "  podwire-engine --cpus 2,3 --idle busy   two workers that own CPUs 2 and 3\n"
         "  echo '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"stats\"}' | socat - /run/podwire/engine.sock\n\n"
      << action_options() << "\n"
      << key_options()
      << "\nSIGTERM and SIGINT end it cleanly with exit status 0. Logs go to standard error.\n";
  return out.str();
}

}  // namespace podwire::engine
