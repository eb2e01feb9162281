// Starts the engine where no service manager does (engine.spawn), adopts one that already answers, and starts
// it again when it dies. Owns one thread that only waits. The engine outlives this object and the daemon: it
// has a session of its own, and nothing here ends it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "control/config.hpp"
#include "dataplane/base/unique_fd.hpp"

namespace podwire::control {

class EngineProcess {
 public:
  // `log_path`: where the engine's output goes (appended).
  EngineProcess(const EngineConfig& config, std::string log_path);
  ~EngineProcess();  // stops watching

  // From now on a dead engine stays dead. Returns when the thread has taken note.
  void stop_watching();
  // Why there is no engine, or empty.
  std::string last_error() const;

 private:
  void loop();
  // Until the process behind the descriptor ends. False: stop_watching was called.
  bool wait_for_end(int pidfd);
  bool pause(int ms);
  void set_error(std::string error);
  Result<UniqueFd> adopt() const;
  Result<int> spawn() const;

  const EngineConfig config_;
  const std::string log_path_;
  UniqueFd stop_;
  mutable std::mutex mutex_;
  std::string last_error_;
  std::thread thread_;
};

// Whether an engine answers at `socket`; kUnavailable otherwise.
Result<void> probe_engine(const std::string& socket);

}  // namespace podwire::control
