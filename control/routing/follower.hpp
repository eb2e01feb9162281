// Keeps the engine's routes, and the permanent neighbours that they may lead to, in step with the kernel's.
// Owns one thread, which listens to the kernel from before its first list on, so that nothing is missed, and
// hands over what has changed as it comes, a bounded number at a time; where the kernel had to drop
// notifications, or says that a link or an address has changed, it lists anew and hands over the difference
// only. A routing daemon that dies or starts anew changes nothing here as long as the kernel keeps its
// routes. Works in the network namespace of the thread that starts it.
#pragma once

#include <atomic>
#include <functional>
#include <future>
#include <string>
#include <thread>

#include "control/routing/mirror.hpp"
#include "control/routing/neighbor_mirror.hpp"
#include "dataplane/base/unique_fd.hpp"

namespace podwire::control {

class RouteFollower {
 public:
  struct Options {
    std::string interface;              // the host interface's name
    std::vector<std::uint32_t> tables;  // as RouteMirror has it
    PortId uplink;
    // Called for one after the other, on another thread; what comes meanwhile waits to be the next.
    std::function<void(RoutePatch)> changed;
    std::function<void(NeighborPatch)> neighbors_changed;  // what has changed at once comes before the routes
  };
  // The first list has been handed over when this returns.
  static Result<std::unique_ptr<RouteFollower>> start(Options options);
  ~RouteFollower();
  RouteFollower(const RouteFollower&) = delete;
  RouteFollower& operator=(const RouteFollower&) = delete;

  std::uint64_t lists() const { return lists_; }  // made so far

 private:
  RouteFollower(Options options, netlink::Monitor monitor, netlink::Netlink netlink);
  Result<void> list();
  Result<netlink::Changes> read();
  void hand_over();
  void follow();
  // Whether the thread is to go on after `pause_ms`, or as soon as there is something to read (negative).
  bool wait(int pause_ms);

  const Options options_;
  netlink::Monitor monitor_;
  netlink::Netlink netlink_;
  RouteMirror mirror_;
  NeighborMirror neighbors_;
  UniqueFd stop_;
  std::atomic<std::uint64_t> lists_ = 0;
  std::future<void> handing_over_;
  std::thread thread_;
};

}  // namespace podwire::control
