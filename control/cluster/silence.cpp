#include "control/cluster/silence.hpp"

#include <functional>
#include <utility>

namespace podwire::control {

bool SilenceWatch::is_due(const NodeView& view, Clock::duration silent_for, std::int64_t unix_time_s) const {
  const auto turn =
      limits_.notice_within * (std::hash<std::string>{}(own_ + "/" + view.node.name) % 1000) / 1000;
  if (silent_for < turn) return false;
  if (!view.silent_since_s) return true;
  return unix_time_s - *view.silent_since_s >= limits_.forget_after.count() && silent_for >= limits_.seen_for;
}

std::vector<SilenceWatch::Task> SilenceWatch::round(const std::vector<NodeView>& views, Clock::time_point now,
                                                    std::int64_t unix_time_s) {
  std::map<std::string, Clock::time_point> silent;
  std::vector<Task> ahead, behind;  // of last_: those ahead of it have their turn first
  for (const auto& view : views) {
    const auto& name = view.node.name;
    if (view.alive || name == own_) continue;
    const auto known = silent_.find(name);
    const auto since = silent[name] = known == silent_.end() ? now : known->second;
    if (!is_due(view, now - since, unix_time_s)) continue;
    auto& list = name > last_ ? ahead : behind;
    if (list.size() < limits_.at_once) list.push_back({name, view.silent_since_s.has_value()});
  }
  silent_ = std::move(silent);
  for (auto& task : behind) {
    if (ahead.size() == limits_.at_once) break;
    ahead.push_back(std::move(task));
  }
  if (!ahead.empty()) last_ = ahead.back().node;
  return ahead;
}

}  // namespace podwire::control
