// Fresh network namespaces for tests, and running code inside them. Needs root. The test program's own thread
// never leaves its namespace.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <functional>
#include <thread>

#include "dataplane/base/unique_fd.hpp"

namespace podwire::control {

// Runs `body` on a thread of its own, in the namespace behind `netns`, or in a new one when it is negative.
// Returns a descriptor of that namespace.
inline UniqueFd run_in_netns(int netns, const std::function<void()>& body) {
  UniqueFd fd;
  std::thread([&] {
    const int entered = netns >= 0 ? ::setns(netns, CLONE_NEWNET) : ::unshare(CLONE_NEWNET);
    ASSERT_EQ(entered, 0) << "run the unit tests as root: network namespaces cannot be made otherwise";
    fd.reset(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    body();
  }).join();
  return fd;
}

inline UniqueFd make_netns() {
  return run_in_netns(-1, [] {});
}

}  // namespace podwire::control
