// Runs one program to its end: input from memory, bounded output, a deadline, and a way to give up early.
#pragma once

#include <atomic>
#include <chrono>
#include <string>
#include <vector>

#include "dataplane/base/result.hpp"

namespace podwire::control {

struct ProcessRequest {
  std::string path;                      // absolute; no search
  std::vector<std::string> arguments{};  // after argv[0], which is the path
  std::vector<std::string> environment;  // "KEY=VALUE"; nothing is inherited
  std::string input;
  std::chrono::milliseconds timeout{30000};
  const std::atomic<bool>* give_up = nullptr;  // looked at every 50 ms; may be null
};

struct ProcessOutcome {
  int exit = 0;             // the exit status, or 128 + the signal that ended it
  std::string output;       // at most kMaxOutputBytes; more is an error
  std::string diagnostics;  // the end of what it wrote to stderr
};

inline constexpr std::size_t kMaxOutputBytes = 1u << 20;
inline constexpr std::size_t kMaxDiagnosticBytes = 4096;

// kUnavailable on timeout or when given up (the program and what it started in its process group are killed),
// kIo when it cannot be started, kInvalid when it writes too much.
Result<ProcessOutcome> run_process(const ProcessRequest& request);

}  // namespace podwire::control
