// SIGTERM and SIGINT as something to wait for.
#pragma once

#include <sys/poll.h>
#include <sys/signalfd.h>

#include <chrono>
#include <csignal>

#include "dataplane/base/unique_fd.hpp"

namespace podwire::control {

// Made before any thread, so that every thread has them blocked.
class StopSignal {
 public:
  StopSignal() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    fd_.reset(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
    ::signal(SIGPIPE, SIG_IGN);
  }
  int fd() const { return fd_.get(); }
  bool came(std::chrono::milliseconds wait) const {
    pollfd p{fd_.get(), POLLIN, 0};
    return ::poll(&p, 1, static_cast<int>(wait.count())) > 0;
  }

 private:
  UniqueFd fd_;
};

}  // namespace podwire::control
