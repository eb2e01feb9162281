#include "control/cni/netns.hpp"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace podwire::control {
namespace {

constexpr const char* kOwnNetns = "/proc/thread-self/ns/net";

}  // namespace

Result<UniqueFd> open_netns(const std::string& path) {
  // O_NONBLOCK: the path comes from outside; opening a FIFO must not hang the thread.
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) {
    const int error = errno;
    const bool gone = error == ENOENT || error == ENOTDIR;
    return Error{gone ? ErrorCode::kNotFound : ErrorCode::kIo,
                 "network namespace " + path + ": " + std::strerror(error)};
  }
  if (!check_is_netns(fd.get())) return not_found(path + " is not, or no longer, a network namespace");
  return fd;
}

Result<void> check_is_netns(int fd) {
  if (::ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWNET) return {};
  return invalid("the descriptor is not a network namespace");
}

Result<NetnsIdentity> identity(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return errno_error("stat of a network namespace");
  return NetnsIdentity{status.st_dev, status.st_ino};
}

Result<NetnsIdentity> current_netns_identity() {
  struct stat status {};
  if (::stat(kOwnNetns, &status) != 0) return errno_error(kOwnNetns);
  return NetnsIdentity{status.st_dev, status.st_ino};
}

Result<NetnsGuard> NetnsGuard::enter(int netns) {
  UniqueFd previous(::open(kOwnNetns, O_RDONLY | O_CLOEXEC));
  if (!previous) return errno_error(kOwnNetns);
  if (::setns(netns, CLONE_NEWNET) != 0) return errno_error("enter network namespace");
  return NetnsGuard(std::move(previous));
}

NetnsGuard::~NetnsGuard() {
  if (!previous_ || ::setns(previous_.get(), CLONE_NEWNET) == 0) return;
  std::perror("podwired: cannot return to its own network namespace");
  std::abort();
}

}  // namespace podwire::control
