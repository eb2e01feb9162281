// podwire-trafficgen: reads its options, measures, writes the reports. Exit status: 0 measured, 1 failed, 2
// the command line is wrong.
#include <fstream>
#include <iostream>

#include "bench/trafficgen/eal.hpp"
#include "bench/trafficgen/session.hpp"

namespace podwire::trafficgen {
namespace {

Result<void> write_to(const std::string& file, const std::string& text) {
  if (file.empty()) return {};
  if (file == "-") {
    std::cout << text << std::flush;
    return {};
  }
  std::ofstream out(file, std::ios::trunc);
  out << text << std::flush;
  if (!out) return errno_error(file + " cannot be written; choose another place");
  return {};
}

Result<void> run(const Settings& settings) {
  const Tell tell = [&](const std::string& line) {
    if (!settings.quiet) std::cerr << line << "\n";
  };
  // Now rather than after an hour.
  for (const auto& file : {settings.json, settings.markdown, settings.svg}) {
    if (file != "-") PODWIRE_CHECK(write_to(file, ""));
  }
  PODWIRE_TRY(const auto eal, Eal::start(settings, tell));
  catch_signals();
  PODWIRE_TRY(const Report report, run_session(settings, tell));
  PODWIRE_CHECK(write_to(settings.json, to_json(report).dump(2) + "\n"));
  PODWIRE_CHECK(write_to(settings.markdown, to_markdown(report)));
  return write_to(settings.svg, to_svg(report));
}

int main_with(int argc, char** argv) {
  const auto line = parse_command_line({argv + 1, argv + argc});
  if (!line) {
    std::cerr << "podwire-trafficgen: " << line.error().message << "\n";
    return 2;
  }
  if (line->action == CommandLine::Action::kHelp) std::cout << help_text();
  if (line->action == CommandLine::Action::kVersion) std::cout << "podwire-trafficgen " PODWIRE_VERSION "\n";
  if (line->action != CommandLine::Action::kRun) return 0;
  if (const auto done = run(line->settings); !done) {
    std::cerr << "podwire-trafficgen: " << done.error().message << "\n";
    return done.error().code == ErrorCode::kInvalid ? 2 : 1;
  }
  return 0;
}

}  // namespace
}  // namespace podwire::trafficgen

int main(int argc, char** argv) {
  return podwire::trafficgen::main_with(argc, argv);
}
