// Network namespaces: opening one by path, telling one from another, and being inside one for a while.
// Used by threads of the daemon's request pool and by the reconciler; never by the main thread.
#pragma once

#include <cstdint>
#include <string>

#include "dataplane/base/result.hpp"
#include "dataplane/base/unique_fd.hpp"

namespace podwire::control {

// Tells whether a path still leads to the namespace it led to. The kernel does not reuse an inode while
// anything (process, mount, descriptor) keeps the namespace alive; afterwards it may.
struct NetnsIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  bool operator==(const NetnsIdentity&) const = default;
};

// Opens a path such as /run/netns/x or /proc/PID/ns/net. kNotFound when there is no such file or it is not
// (or no longer) a network namespace: a leftover mount point of a namespace that is gone is an ordinary empty
// file.
Result<UniqueFd> open_netns(const std::string& path);
// Fails with kInvalid unless `fd` is a network namespace.
Result<void> check_is_netns(int fd);
Result<NetnsIdentity> identity(int fd);
// Of the calling thread's current namespace.
Result<NetnsIdentity> current_netns_identity();

// The calling thread is inside `netns` for this object's life. Create and destroy it on the same thread. The
// process aborts if the way back is barred: a pool thread left in a pod's namespace would serve other pods
// from there.
class NetnsGuard {
 public:
  static Result<NetnsGuard> enter(int netns);
  NetnsGuard(NetnsGuard&&) noexcept = default;
  NetnsGuard& operator=(NetnsGuard&&) = delete;
  ~NetnsGuard();

 private:
  explicit NetnsGuard(UniqueFd previous) : previous_(std::move(previous)) {}
  UniqueFd previous_;
};

}  // namespace podwire::control
