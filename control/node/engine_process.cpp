#include "control/node/engine_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "dataplane/base/rpc.hpp"

namespace podwire::control {
namespace {

constexpr int kProbeTimeoutMs = 5000;
constexpr int kFirstPauseMs = 100;
constexpr int kLongestPauseMs = 5000;
// An engine that lived this long was well; its successor starts without a pause.
constexpr auto kHealthyTime = std::chrono::seconds(5);

std::string how_it_ended(int pid) {
  int status = 0;
  if (::waitpid(pid, &status, 0) != pid) return "ended";
  if (WIFSIGNALED(status))
    return std::string("was killed by signal ") + std::to_string(WTERMSIG(status)) + " (" +
           strsignal(WTERMSIG(status)) + ")";
  return "exited with status " + std::to_string(WEXITSTATUS(status));
}

}  // namespace

Result<void> probe_engine(const std::string& socket) {
  PODWIRE_TRY(RpcClient client, RpcClient::connect(socket));
  PODWIRE_TRY(const Json status, client.call("status", Json::object(), {}, kProbeTimeoutMs));
  return {};
}

EngineProcess::EngineProcess(const EngineConfig& config, std::string log_path)
    : config_(config),
      log_path_(std::move(log_path)),
      stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      thread_([this] { loop(); }) {}

EngineProcess::~EngineProcess() {
  stop_watching();
}

void EngineProcess::stop_watching() {
  const std::uint64_t one = 1;
  // An eventfd that was never read takes a second write as well.
  [[maybe_unused]] const auto n = ::write(stop_.get(), &one, sizeof one);
  if (thread_.joinable()) thread_.join();
}

std::string EngineProcess::last_error() const {
  const std::lock_guard lock(mutex_);
  return last_error_;
}

void EngineProcess::set_error(std::string error) {
  if (!error.empty()) spdlog::error("engine: {}", error);
  const std::lock_guard lock(mutex_);
  last_error_ = std::move(error);
}

bool EngineProcess::pause(int ms) {
  pollfd stop{stop_.get(), POLLIN, 0};
  return ::poll(&stop, 1, ms) == 0;
}

bool EngineProcess::wait_for_end(int pidfd) {
  pollfd watched[2] = {{pidfd, POLLIN, 0}, {stop_.get(), POLLIN, 0}};
  for (;;) {
    if (::poll(watched, 2, -1) < 0 && errno != EINTR) return pause(kLongestPauseMs);
    if (watched[1].revents != 0) return false;
    if (watched[0].revents != 0) return true;
  }
}

// The process that listens at the socket, when it answers.
Result<UniqueFd> EngineProcess::adopt() const {
  PODWIRE_TRY(RpcClient client, RpcClient::connect(config_.socket));
  PODWIRE_TRY(const auto peer, peer_credentials(client.fd()));
  PODWIRE_TRY(const Json status, client.call("status", Json::object(), {}, kProbeTimeoutMs));
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, peer.pid, 0)));
  if (!pidfd) return errno_error("pidfd_open of the engine " + std::to_string(peer.pid));
  spdlog::info("engine: adopted the running one, pid {}", peer.pid);
  return pidfd;
}

Result<int> EngineProcess::spawn() const {
  std::vector<std::string> words{config_.binary, "--socket", config_.socket};
  if (::access(config_.config.c_str(), R_OK) == 0) {
    words.insert(words.end(), {"--config", config_.config});
  } else {
    spdlog::warn("engine: no configuration file {}, starting with the defaults", config_.config);
  }
  std::vector<char*> arguments;
  for (auto& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log_path_.c_str(), O_WRONLY | O_CREAT | O_APPEND,
                                   0640);
  posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  // A session of its own: no signal meant for us or our terminal reaches it.
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
  pid_t pid = -1;
  const int error =
      ::posix_spawnp(&pid, config_.binary.c_str(), &actions, &attributes, arguments.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    return io_error("cannot start " + config_.binary + ": " + std::strerror(error) +
                    "; set engine.binary in podwired.json to its full path");
  }
  return pid;
}

void EngineProcess::loop() {
  int pause_ms = kFirstPauseMs;
  for (;;) {
    const auto begun = std::chrono::steady_clock::now();
    std::string ended;
    if (auto adopted = adopt()) {
      set_error("");
      if (!wait_for_end(adopted->get())) return;
      ended = "the adopted engine ended";
    } else if (auto pid = spawn()) {
      spdlog::info("engine: started {} as pid {}, output in {}", config_.binary, *pid, log_path_);
      const UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, *pid, 0)));
      if (!wait_for_end(pidfd.get())) return;
      ended = config_.binary + " (pid " + std::to_string(*pid) + ") " + how_it_ended(*pid) +
              "; its last words are in " + log_path_;
    } else {
      ended = pid.error().message;
    }
    set_error(ended);
    const bool healthy = std::chrono::steady_clock::now() - begun > kHealthyTime;
    pause_ms = healthy ? kFirstPauseMs : std::min(pause_ms * 2, kLongestPauseMs);
    if (!healthy && !pause(pause_ms)) return;
  }
}

}  // namespace podwire::control
