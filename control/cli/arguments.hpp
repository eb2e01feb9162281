// The command line: read, checked and refused with a suggestion. No I/O.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/cli/verbs.hpp"
#include "dataplane/base/json.hpp"
#include "dataplane/base/result.hpp"

namespace podwire::control::cli {

struct Command {
  const Verb* verb = nullptr;        // null with help: the general page
  const SubVerb* sub = nullptr;      // null when the verb has none
  std::string argument;              // of the sub-verb
  std::vector<std::string> further;  // what follows it
  std::string socket;
  int timeout_ms = 30000;
  bool help = false;
  bool json = false;
  bool colour = true;  // as far as the command line is concerned
  bool names = false;
  bool all = false;
  bool yes = false;
  double watch_s = 0;  // 0: once
  int count = 0;       // 0: for ever
  std::string domain;
  std::string file;                // of manifests
  Json question = Json::object();  // parameters of explain and of what changes something
};

// `args` without the program's name; `socket_variable` is $PODWIRE_SOCKET, empty when not set. Every error is
// a usage error (kInvalid) whose message says what to type.
Result<Command> parse_arguments(const std::vector<std::string>& args, const std::string& socket_variable);

}  // namespace podwire::control::cli
