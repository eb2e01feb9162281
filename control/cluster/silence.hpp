// Which nodes that have fallen silent this node should see to in a round: write down since when, or forget.
// Every node of a cluster does so, each in its turn, so that the first one saves the others the work. What a
// round does is bounded, however many nodes there are: the rounds share their thread with this node's own
// liveness. One thread; no I/O.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "control/cluster/cluster.hpp"

namespace podwire::control {

struct SilenceLimits {
  std::chrono::seconds forget_after{24 * 3600};  // of silence
  // That this daemon itself must have seen of it: its clock may have been wrong when it started.
  std::chrono::seconds seen_for{600};
  // Every node notices the silence of another, one after another within this time.
  std::chrono::milliseconds notice_within{30000};
  std::size_t at_once = 20;  // in a round
};

class SilenceWatch {
 public:
  using Clock = std::chrono::steady_clock;

  struct Task {
    std::string node;
    bool forget = false;  // else its silence is to be written down
    bool operator==(const Task&) const = default;
  };

  SilenceWatch(std::string own, SilenceLimits limits) : own_(std::move(own)), limits_(limits) {}

  // At most limits.at_once; the next round goes on behind the last of them, in the order of names. `views`
  // are in that order.
  std::vector<Task> round(const std::vector<NodeView>& views, Clock::time_point now,
                          std::int64_t unix_time_s);

 private:
  bool is_due(const NodeView& view, Clock::duration silent_for, std::int64_t unix_time_s) const;

  const std::string own_;
  const SilenceLimits limits_;
  std::map<std::string, Clock::time_point> silent_;  // noticed by this daemon
  std::string last_;
};

}  // namespace podwire::control
