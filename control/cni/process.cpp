#include "control/cni/process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "dataplane/base/unique_fd.hpp"

namespace podwire::control {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kLookAroundMs = 50;

struct Pipe {
  UniqueFd read, write;
};

Result<Pipe> make_pipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return errno_error("pipe");
  return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

// The child and our ends of its three streams.
struct Child {
  pid_t pid = -1;
  UniqueFd handle;  // pidfd
  UniqueFd input, output, diagnostics;

  Child() = default;
  Child(Child&& other) noexcept
      : pid(std::exchange(other.pid, -1)),
        handle(std::move(other.handle)),
        input(std::move(other.input)),
        output(std::move(other.output)),
        diagnostics(std::move(other.diagnostics)) {}
  Child& operator=(Child&&) = delete;
  // Kills the process group and reaps the child if nobody has waited for it.
  ~Child() {
    if (pid <= 0) return;
    ::kill(-pid, SIGKILL);
    wait();
  }
  int wait() {
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    pid = -1;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }
};

Result<Child> start(const ProcessRequest& request) {
  PODWIRE_TRY(auto in, make_pipe());
  PODWIRE_TRY(auto out, make_pipe());
  PODWIRE_TRY(auto err, make_pipe());
  std::vector<char*> environment;
  for (const auto& entry : request.environment) environment.push_back(const_cast<char*>(entry.c_str()));
  environment.push_back(nullptr);
  std::vector<char*> arguments{const_cast<char*>(request.path.c_str())};
  for (const auto& argument : request.arguments) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in.read.get(), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out.write.get(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err.write.get(), STDERR_FILENO);
  // Our signal mask and handlers are our own; a group of its own lets one kill() take grandchildren too.
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  Child child;
  const int error = ::posix_spawn(&child.pid, request.path.c_str(), &actions, &attributes, arguments.data(),
                                  environment.data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    child.pid = -1;
    return io_error(request.path + ": " + std::strerror(error));
  }
  child.handle.reset(static_cast<int>(::syscall(SYS_pidfd_open, child.pid, 0)));
  if (!child.handle) return errno_error("pidfd_open");
  child.input = std::move(in.write);
  child.output = std::move(out.read);
  child.diagnostics = std::move(err.read);
  for (const auto* fd : {&child.input, &child.output, &child.diagnostics})
    ::fcntl(fd->get(), F_SETFL, O_NONBLOCK);
  return child;
}

// Reads what is there; closes at the end of the stream.
void drain(UniqueFd& fd, std::string& into) {
  char buffer[16384];
  while (fd) {
    const auto n = ::read(fd.get(), buffer, sizeof buffer);
    if (n > 0) {
      into.append(buffer, static_cast<std::size_t>(n));
      if (into.size() > kMaxOutputBytes) return;
    } else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
      fd.reset();
    } else if (errno == EAGAIN) {
      return;
    }
  }
}

// MSG_NOSIGNAL has no counterpart for pipes; the daemon ignores SIGPIPE, and a child that does not read is no
// error.
void push(UniqueFd& fd, const std::string& text, std::size_t& done) {
  while (fd && done < text.size()) {
    const auto n = ::write(fd.get(), text.data() + done, text.size() - done);
    if (n >= 0) {
      done += static_cast<std::size_t>(n);
    } else if (errno == EAGAIN) {
      return;
    } else if (errno != EINTR) {
      fd.reset();
    }
  }
  fd.reset();
}

}  // namespace

Result<ProcessOutcome> run_process(const ProcessRequest& request) {
  PODWIRE_TRY(auto child, start(request));
  ProcessOutcome outcome;
  const auto deadline = Clock::now() + request.timeout;
  std::size_t written = 0;
  for (bool ended = false; !ended;) {
    pollfd events[] = {{child.handle.get(), POLLIN, 0},
                       {child.input.get(), POLLOUT, 0},
                       {child.output.get(), POLLIN, 0},
                       {child.diagnostics.get(), POLLIN, 0}};
    // Negative descriptors, of streams that are closed, are passed over.
    if (::poll(events, std::size(events), kLookAroundMs) < 0 && errno != EINTR) return errno_error("poll");
    ended = (events[0].revents & POLLIN) != 0;
    if (events[1].revents != 0) push(child.input, request.input, written);
    // After its end too: what it wrote last is still in the pipe. What a grandchild may write later is not
    // awaited.
    drain(child.output, outcome.output);
    drain(child.diagnostics, outcome.diagnostics);
    if (outcome.output.size() > kMaxOutputBytes) {
      return invalid(request.path + " wrote more than " + std::to_string(kMaxOutputBytes) + " bytes");
    }
    if (outcome.diagnostics.size() > kMaxDiagnosticBytes) {
      outcome.diagnostics.erase(0, outcome.diagnostics.size() - kMaxDiagnosticBytes);
    }
    if (ended) break;
    if (request.give_up != nullptr && request.give_up->load(std::memory_order_relaxed)) {
      return unavailable(request.path + " was stopped: its result is no longer wanted");
    }
    if (Clock::now() >= deadline) {
      return unavailable(request.path + " did not end within " + std::to_string(request.timeout.count()) +
                         " ms");
    }
  }
  outcome.exit = child.wait();
  return outcome;
}

}  // namespace podwire::control
