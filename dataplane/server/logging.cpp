#include "dataplane/server/logging.hpp"

#include <rte_log.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <deque>
#include <mutex>
#include <string_view>

namespace podwire::engine {
namespace {

constexpr std::size_t kKeptErrors = 4;

spdlog::level::level_enum to_spdlog(int dpdk_level) {
  switch (dpdk_level) {
    case RTE_LOG_EMERG:
    case RTE_LOG_ALERT:
    case RTE_LOG_CRIT:
    case RTE_LOG_ERR:
      return spdlog::level::err;
    case RTE_LOG_WARNING:
      return spdlog::level::warn;
    default:  // what EAL finds on the machine is nobody's news
      return spdlog::level::debug;
  }
}

}  // namespace

struct DpdkLog::Sink {
  std::mutex mutex;
  std::string partial;
  std::deque<std::string> errors;
  bool show_warnings = false;
  FILE* stream = nullptr;

  void take(std::string_view text) {
    auto level = to_spdlog(rte_log_cur_msg_loglevel());
    const std::lock_guard lock(mutex);
    if (level == spdlog::level::warn && !show_warnings) level = spdlog::level::debug;
    partial += text;
    for (std::size_t end; (end = partial.find('\n')) != std::string::npos; partial.erase(0, end + 1)) {
      const auto line = partial.substr(0, end);
      if (line.empty()) continue;
      spdlog::log(level, "dpdk: {}", line);
      if (level < spdlog::level::err) continue;
      errors.push_back(line);
      if (errors.size() > kKeptErrors) errors.pop_front();
    }
  }

  static ssize_t write(void* self, const char* text, std::size_t size) {
    static_cast<Sink*>(self)->take({text, size});
    return static_cast<ssize_t>(size);
  }
};

void set_up_logging(const std::string& level) {
  auto logger = spdlog::stderr_logger_mt("podwire-engine");
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %l %v");
  logger->set_level(spdlog::level::from_str(level));
  logger->flush_on(spdlog::level::trace);
  spdlog::set_default_logger(std::move(logger));
}

DpdkLog::DpdkLog() : sink_(std::make_unique<Sink>()) {
  sink_->stream = ::fopencookie(sink_.get(), "w", {nullptr, &Sink::write, nullptr, nullptr});
  if (sink_->stream == nullptr) return;
  std::setvbuf(sink_->stream, nullptr, _IOLBF, 1024);
  rte_openlog_stream(sink_->stream);
}

DpdkLog::~DpdkLog() {
  rte_openlog_stream(nullptr);
  if (sink_->stream != nullptr) std::fclose(sink_->stream);
}

void DpdkLog::show_warnings() {
  const std::lock_guard lock(sink_->mutex);
  sink_->show_warnings = true;
}

std::string DpdkLog::last_errors() const {
  const std::lock_guard lock(sink_->mutex);
  std::string text;
  for (const auto& error : sink_->errors) text += (text.empty() ? "" : "; ") + error;
  return text;
}

}  // namespace podwire::engine
