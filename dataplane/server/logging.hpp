// Logging of the engine: spdlog on standard error, and DPDK's own log lines routed into it. Set up once by
// main before EAL starts; DPDK's threads write through it too. The hot path never logs.
#pragma once

#include <memory>
#include <string>

namespace podwire::engine {

// `level` as in Options::log_level.
void set_up_logging(const std::string& level);

// Makes rte_log write into spdlog while it lives. Keeps the last errors, so that a failed start can say why.
class DpdkLog {
 public:
  DpdkLog();
  ~DpdkLog();
  DpdkLog(const DpdkLog&) = delete;
  DpdkLog& operator=(const DpdkLog&) = delete;
  // EAL has started: from here on warnings are shown. While it looks round, they are about what it does not
  // need.
  void show_warnings();
  // The last errors DPDK logged, one after another; empty when there were none.
  std::string last_errors() const;

 private:
  struct Sink;
  std::unique_ptr<Sink> sink_;
};

}  // namespace podwire::engine
