// podwirectl: the person's view of Podwire on this node.
#include <unistd.h>

#include <cstdlib>
#include <iostream>

#include "control/cli/run.hpp"

int main(int argc, char** argv) {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value ? value : "");
  };
  const bool terminal = ::isatty(STDOUT_FILENO) == 1 && variable("TERM") != "dumb";
  podwire::control::cli::Terminal streams{std::cout, std::cerr, terminal && variable("NO_COLOR").empty(),
                                          terminal};
  const std::vector<std::string> args(argv + (argc > 0 ? 1 : 0), argv + argc);
  const int status = podwire::control::cli::run(args, variable("PODWIRE_SOCKET"), streams);
  std::cout.flush();
  if (!std::cout) {
    std::cerr << "podwirectl: cannot write to standard output\n";
    return podwire::control::cli::kExitRefused;
  }
  return status;
}
