#include "dataplane/options.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

namespace podwire::engine {
namespace {

constexpr const char* kNoFile = "/nonexistent/podwire-engine.json";

Result<CommandLine> parse(const std::vector<std::string>& arguments) {
  return parse_command_line(arguments, kNoFile);
}

std::string refusal(const std::vector<std::string>& arguments) {
  const auto parsed = parse(arguments);
  return parsed ? "accepted" : parsed.error().message;
}

class ConfigFile {
 public:
  explicit ConfigFile(const std::string& text) { std::ofstream(path) << text; }
  ~ConfigFile() { ::unlink(path.c_str()); }
  const std::string path = "/tmp/podwire-options-test-" + std::to_string(::getpid()) + ".json";
};

TEST(Options, DefaultsAreValid) {
  const auto parsed = parse({});
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(parsed->action, Action::kRun);
  EXPECT_EQ(parsed->options, Options{});
  EXPECT_EQ(parsed->config_path, "");
}

TEST(Options, EveryKeyIsAnOption) {
  const auto json = to_json(Options{});
  const auto help = help_text();
  for (const auto& [key, value] : json.items()) {
    std::string option = "--" + key;
    std::replace(option.begin(), option.end(), '_', '-');
    EXPECT_NE(help.find(option), std::string::npos) << option;
    EXPECT_NE(refusal({option, ""}), "accepted") << option << " is known and checked";
    EXPECT_EQ(refusal({option, ""}).find("unknown option"), std::string::npos) << option;
  }
}

TEST(Options, ReadBothSpellings) {
  const auto parsed =
      parse({"--memory-mib",  "512",    "--idle=busy", "--cpus=2,3", "--hugepages", "never",
             "--file-prefix", "node-a", "--log-level", "debug",      "--socket",    "/tmp/e.sock",
             "--spin-us",     "0",      "--burst",     "16",         "--mbufs",     "4096",
             "--jumbo-mbufs", "64",     "--max-flows", "4096"});
  ASSERT_TRUE(parsed) << parsed.error().message;
  const auto& o = parsed->options;
  EXPECT_EQ(o.memory_mib, 512u);
  EXPECT_EQ(o.idle, IdleMode::kBusy);
  EXPECT_EQ(o.cpus, (std::vector<unsigned>{2, 3}));
  EXPECT_EQ(o.workers, 2u) << "one a CPU";
  EXPECT_EQ(o.max_flows, 4096u);
  EXPECT_EQ(o.hugepages, HugepageMode::kNever);
  EXPECT_EQ(o.file_prefix, "node-a");
  EXPECT_EQ(o.log_level, "debug");
  EXPECT_EQ(o.socket, "/tmp/e.sock");
  EXPECT_EQ(o.spin_us, 0u);
  EXPECT_EQ(o.burst, 16u);
  EXPECT_EQ(o.mbufs, 4096u);
  EXPECT_EQ(o.jumbo_mbufs, 64u);
}

TEST(Options, WinOverTheFile) {
  const ConfigFile file(R"({"workers":2,"cpus":[0,1],"log_level":"warn","memory_mib":300})");
  const auto parsed = parse({"--config", file.path, "--cpus", "none", "--memory-mib=400"});
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(parsed->config_path, file.path);
  EXPECT_EQ(parsed->options.workers, 2u);
  EXPECT_FALSE(parsed->options.cpus);
  EXPECT_EQ(parsed->options.log_level, "warn");
  EXPECT_EQ(parsed->options.memory_mib, 400u);
}

TEST(Options, MayMendWhatTheFileAloneGotWrongBetweenKeys) {
  const ConfigFile file(R"({"mbufs":1000000})");
  EXPECT_NE(refusal({"--config", file.path}).find("memory_mib"), std::string::npos);
  EXPECT_EQ(refusal({"--config", file.path, "--memory-mib", "4096"}), "accepted");
}

TEST(Options, ReadTheDefaultFileWhenItExists) {
  const ConfigFile file(R"({"spin_us":7})");
  const auto parsed = parse_command_line({}, file.path);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->options.spin_us, 7u);
  EXPECT_EQ(parsed->config_path, file.path);
}

TEST(Options, RoundTripThroughPrintConfig) {
  Options options;
  options.cpus = {{3, 5}};
  options.workers = 2;
  options.file_prefix = "x";
  options.idle = IdleMode::kBusy;
  options.hugepages = HugepageMode::kRequire;
  Options again;
  ASSERT_TRUE(read_value(to_json(options), "", again));
  EXPECT_EQ(options, again);
}

TEST(Options, NameWhatIsWrongOnTheCommandLine) {
  const std::pair<std::vector<std::string>, const char*> cases[] = {
      {{"--worker", "2"}, "unknown option --worker; did you mean --workers?"},
      {{"--hugepage=auto"}, "unknown option --hugepage; did you mean --hugepages?"},
      {{"--frobnicate"}, "unknown option --frobnicate; see podwire-engine --help"},
      {{"-w", "2"}, "see podwire-engine --help"},
      {{"stray"}, "see podwire-engine --help"},
      {{"--workers"}, "'--workers' is missing"},
      {{"--workers", "two"}, "--workers is \"two\", must be an integer"},
      {{"--workers", "1.5"}, "--workers is \"1.5\", must be an integer"},
      {{"--workers", "0"}, "--workers: workers is 0, must be from 1 to 16"},
      {{"--workers", "17"}, "workers is 17, must be from 1 to 16"},
      {{"--workers", "99999999999999999999"}, "must be an integer"},
      {{"--workers", "1", "--workers", "2"}, "--workers is given 2 times"},
      {{"--memory-mib", "63"}, "memory_mib is 63, must be from 64 to 1048576"},
      {{"--mbufs", "1023"}, "mbufs is 1023, must be from 1024"},
      {{"--jumbo-mbufs", "15"}, "jumbo_mbufs is 15, must be from 16"},
      {{"--spin-us", "-1"}, "spin_us is -1, must be from 0 to 1000000"},
      {{"--burst", "0"}, "burst is 0, must be from 1 to 64"},
      {{"--burst", "65"}, "burst is 65, must be from 1 to 64"},
      {{"--max-flows", "1023"}, "max_flows is 1023, must be from 1024 to 16777216"},
      {{"--max-flows", "16777217"}, "max_flows is 16777217, must be from 1024 to 16777216"},
      {{"--idle", "lazy"}, "idle is \"lazy\", must be one of \"adaptive\", \"busy\""},
      {{"--hugepages", "maybe"}, "must be one of \"auto\", \"require\", \"never\""},
      {{"--log-level", "loud"}, "log_level is \"loud\""},
      {{"--cpus", "1,x"}, "--cpus is \"x\", must be an integer"},
      {{"--cpus", "1,"}, "--cpus is \"\", must be an integer"},
      {{"--cpus", "-1"}, "cpus[0] is -1"},
      {{"--cpus", "100000"}, "cpus names CPU 100000, must be from 0 to 1023"},
      {{"--cpus", "1,1"}, "cpus names CPU 1 twice"},
      {{"--cpus", "0,1", "--workers", "3"}, "cpus names 2 CPUs for 3 workers"},
      {{"--socket", "relative.sock"}, "must be an absolute path of at most 107"},
      {{"--socket", "/" + std::string(107, 's')},
       "(108 characters), must be an absolute path of at most 107"},
      {{"--file-prefix", "a/b"}, "file_prefix is \"a/b\""},
      {{"--file-prefix", "../up"}, "file_prefix is \"../up\""},
      {{"--mbufs", "1000000"}, "give memory_mib at least"},
      {{"--config", "/nonexistent/engine.json"}, "cannot open /nonexistent/engine.json"},
  };
  for (const auto& [arguments, message] : cases) {
    EXPECT_NE(refusal(arguments).find(message), std::string::npos)
        << arguments[0] << " gave: " << refusal(arguments);
  }
}

TEST(Options, NameWhatIsWrongInTheFile) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "parse error"},
      {"[]", "the document must be an object, not an array"},
      {"null", "the document must be an object, not null"},
      {R"({"worker":1})", "unknown key \"worker\"; did you mean \"workers\"?"},
      {R"({"workers":"1"})", "workers must be an integer, not a string"},
      {R"({"cpus":3})", "cpus must be an array, not an integer"},
      {R"({"cpus":[]})", "cpus names 0 CPUs"},
      {R"({"socket":1})", "socket must be a string, not an integer"},
      {R"({"mbufs":"many"})", "mbufs must be an integer, not a string"},
      {R"({"hugepages":true})", "hugepages must be one of"},
  };
  for (const auto& [text, message] : cases) {
    const ConfigFile file(text);
    const auto said = refusal({"--config", file.path, "--check-config"});
    EXPECT_EQ(said.rfind(file.path, 0), 0u) << "the file is named: " << said;
    EXPECT_NE(said.find(message), std::string::npos) << text << " gave: " << said;
  }
}

TEST(Options, HelpNeedsNoValidConfiguration) {
  for (const auto& [word, action] : {std::pair{"--help", Action::kHelp},
                                     {"--version", Action::kVersion},
                                     {"--help-verbs", Action::kHelpVerbs}}) {
    const auto parsed = parse({word, "--config", "/nonexistent/engine.json"});
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->action, action);
  }
  EXPECT_NE(help_text().find("--check-config"), std::string::npos);
}

}  // namespace
}  // namespace podwire::engine
