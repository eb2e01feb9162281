// FlannelCluster: its two threads.
#include <spdlog/spdlog.h>

#include "control/cluster/flannel_cluster.hpp"

namespace podwire::control {

// From a listing to the end of the watch that begins there. No error: list again.
Result<void> FlannelCluster::session() {
  PODWIRE_CHECK(load_network());
  PODWIRE_TRY(const auto revision, list());
  const auto key = to_key(*own_);
  const auto mine = held_.find(key);
  std::string lost;
  if (mine == held_.end() || is_ours(mine->second)) {
    // It ran out while the store was away, or is about to: the pods still have it.
    if (mine == held_.end() || lease_ == 0 || mine->second.lease != own_lease()) {
      PODWIRE_TRY(const bool done, claim(mine == held_.end() ? nullptr : &mine->second));
      if (!done) return unavailable("the lease " + key + " changed in the store meanwhile; trying again");
    }
  } else {
    lease_ = 0;  // nothing to keep alive
    lost = "the lease " + key +
           " ran out and belongs to another node by now: delete this node's pods, stop " +
           "podwired, remove " + config_.state_dir + "/podwire.db and start it again";
    spdlog::error("cluster: {}", lost);
  }
  {
    const std::lock_guard lock(mutex_);
    if (!last_failure_.empty()) spdlog::info("cluster: the store answers, {} leases are known", held_.size());
    last_failure_.clear();
    lost_ = lost;
  }
  tell({}, true);
  auto watched =
      client_.watch(root(), revision + 1, [this](const auto& events) { return on_events(events); });
  // Compaction is nobody's failure: the listing that follows tells what was missed.
  if (watched || watched.error().code == ErrorCode::kNotFound) return {};
  return watched.error();
}

bool FlannelCluster::on_events(const std::vector<EtcdEvent>& events) {
  std::vector<std::string> keys;
  bool robbed = false;
  {
    const std::lock_guard lock(mutex_);
    if (threads_.stopping()) return false;
    for (const auto& event : events) {
      if (!event.item.key.starts_with(root())) continue;
      take(event.item, event.erased);
      keys.push_back(event.item.key.substr(root().size()));
      if (keys.back() != to_key(*own_)) continue;
      const auto mine = held_.find(keys.back());
      robbed |= mine == held_.end() || !is_ours(mine->second);
    }
  }
  tell(keys, false);
  return !robbed;
}

// `everything`: of all keys.
void FlannelCluster::tell(const std::vector<std::string>& keys, bool everything) {
  ClusterChange change;
  change.everything = everything;
  {
    const std::lock_guard lock(mutex_);
    const auto add = [&](const std::string& key) {
      if (key == to_key(*own_)) return;
      const auto at = held_.find(key);
      const bool there = at != held_.end() && at->second.lease && at->second.lease->vni == network_.vni;
      if (!there) {
        const auto subnet = parse_flannel_key(key);
        if (!subnet) return;
        for (auto& name : flannel_node_names(*subnet)) change.gone.push_back(std::move(name));
        return;
      }
      for (auto& node : flannel_nodes(config_.domains.front().name, network_, *at->second.lease))
        change.put.push_back(std::move(node));
    };
    if (everything) {
      for (const auto& [key, held] : held_) add(key);
    } else {
      for (const auto& key : keys) add(key);
    }
  }
  changed_(change);
}

// The store has to answer every beat; if it does not, the watch would not tell.
void FlannelCluster::beat() {
  auto kept = keep();
  changed_({});
  if (kept && *kept) return;
  if (!kept) note_failure(kept.error());
  client_.cancel();
}

// False: the lease has run out.
Result<bool> FlannelCluster::keep() {
  const auto lease = lease_.load();
  if (lease != 0) return beat_client_.keep_alive(lease);
  PODWIRE_TRY(const auto item, beat_client_.get(root() + to_key(*own_)));
  return item.has_value();
}

}  // namespace podwire::control
