// EtcdCluster: its two threads.
#include <spdlog/spdlog.h>

#include <algorithm>

#include "control/cluster/etcd_cluster.hpp"

namespace podwire::control {
namespace {

std::int64_t unix_time_s() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

void EtcdCluster::note_failure(const Error& error) {
  const std::lock_guard lock(mutex_);
  if (!failing_since_) failing_since_ = Clock::now();
  const bool told = last_failure_ && last_failure_->message == error.message;
  if (!told && !threads_.stopping()) spdlog::warn("cluster: {}", error.message);
  last_failure_ = error;
}

// From a listing to the end of the watch that begins there. No error: list again.
Result<void> EtcdCluster::session() {
  const auto begun = Clock::now();
  PODWIRE_TRY(auto all, client_.list(table_.keys().all()));
  sections_.take_out(all.items);
  ClusterChange change;
  {
    const std::lock_guard lock(mutex_);
    change = table_.replace(all.items);
    claims_lost_.clear();
  }
  const auto listed = Clock::now();
  PODWIRE_CHECK(claim_name());
  PODWIRE_CHECK(claim_prefixes());
  const auto claimed = Clock::now();
  changed_(change);
  const auto ms = [](Clock::duration time) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(time).count();
  };
  spdlog::info("cluster: {} other nodes: read in {} ms, own claims {} ms, programmed in {} ms",
               change.put.size(), ms(listed - begun), ms(claimed - listed), ms(Clock::now() - claimed));
  const auto programmed = Clock::now();
  PODWIRE_CHECK(sections_.tell_listed());
  spdlog::info("cluster: what nodes share is taken over in {} ms", ms(Clock::now() - programmed));
  {
    const std::lock_guard lock(mutex_);
    failing_since_.reset();
    last_failure_.reset();
  }
  auto watched = client_.watch(table_.keys().all(), all.revision + 1,
                               [this](const auto& events) { return take(events); });
  if (watched) return {};
  // Compaction is nobody's failure: the listing that follows tells what was missed.
  if (watched.error().code == ErrorCode::kNotFound) return {};
  return watched.error();
}

bool EtcdCluster::take(const std::vector<EtcdEvent>& events) {
  ClusterChange change;
  bool robbed = false;
  const auto of_nodes = sections_.take_out(events);
  {
    const std::lock_guard lock(mutex_);
    if (threads_.stopping()) return false;
    change = table_.apply(of_nodes);
    robbed = table_.was_robbed();
  }
  if (!change.put.empty() || !change.gone.empty()) changed_(change);
  sections_.tell_changed();
  return !robbed;
}

// Liveness with a new lease, the record, and the end of any silence, in one step.
Result<void> EtcdCluster::claim_name() {
  const auto& keys = table_.keys();
  const auto alive = keys.alive(config_.node);
  const auto* other = table_.instance(config_.node);
  if (other != nullptr && *other != instance_) {
    return conflict(
        "node \"" + config_.node +
        "\" is alive on another machine too; give one of the two another \"node\" in podwired.json");
  }
  PODWIRE_TRY(const auto lease, client_.grant(times_.lease_s));
  const EtcdTransaction claim{{{alive, table_.revision(alive)}},
                              {{alive, instance_, lease}, {keys.node(config_.node), to_value(record_)}},
                              {keys.silent(config_.node)}};
  PODWIRE_TRY(const bool ours, client_.commit(claim));
  if (!ours) return unavailable("the liveness of this node changed in the store meanwhile; trying again");
  lease_ = lease;
  return {};
}

Result<void> EtcdCluster::claim_prefixes() {
  std::vector<std::string> lost;
  for (const auto& [domain, prefixes] : own_) {
    for (const auto& prefix : prefixes) {
      const auto owner = table_.owner(domain, prefix);
      if (owner == config_.node) continue;
      if (owner.empty()) {
        // The store lost it, or this node was forgotten. Nobody else has it, so it still is ours.
        const auto key = table_.keys().prefix(domain, prefix);
        PODWIRE_TRY(const bool ours, client_.commit({{{key, 0}}, {{key, owner_value(config_.node)}}, {}}));
        if (!ours) return unavailable("prefix " + to_string(prefix) + " was taken meanwhile; looking again");
        continue;
      }
      lost.push_back(
          "prefix " + to_string(prefix) + " of domain \"" + domain + "\" belongs to node \"" + owner +
          "\" by now, because this one had been forgotten: delete this node's pods, stop podwired, remove " +
          config_.state_dir + "/podwire.db and start it again");
    }
  }
  for (const auto& text : lost) spdlog::error("cluster: {}", text);
  const std::lock_guard lock(mutex_);
  claims_lost_ = std::move(lost);
  return {};
}

// The store has to answer every beat; if it does not, the watch would not tell.
void EtcdCluster::beat() {
  auto lease = lease_.load();
  if (lease == 0) return;
  auto kept = beat_client_.keep_alive(lease);
  changed_({});
  if (kept && *kept) {
    look_after_silent();
    return;
  }
  if (!kept) note_failure(kept.error());
  lease_.compare_exchange_strong(lease, 0);  // unless a new one has been claimed meanwhile
  client_.cancel();
}

// One that does not answer ends the round, so that the own liveness does not wait for it again and again.
void EtcdCluster::look_after_silent() {
  std::vector<NodeView> views;
  {
    const std::lock_guard lock(mutex_);
    views = table_.nodes();
  }
  std::optional<EtcdTable> now;  // as the store has it, when somebody is to be forgotten
  for (const auto& task : silence_.round(views, Clock::now(), unix_time_s())) {
    Result<void> done;
    if (!task.forget) {
      done = note_silence(beat_client_, task.node);
    } else {
      if (!now) {
        auto listed = list_with(beat_client_);
        if (listed) now.emplace(std::move(*listed));
        if (!listed) done = listed.error();
      }
      if (now) done = forget_with(beat_client_, *now, task.node);
    }
    if (done || done.error().code == ErrorCode::kNotFound) continue;
    spdlog::warn("cluster: {}", done.error().message);
    if (done.error().code == ErrorCode::kUnavailable) return;
  }
}

Result<void> EtcdCluster::note_silence(EtcdClient& client, const std::string& name) {
  const auto& keys = table_.keys();
  // Not done: it is alive again, or another node was faster.
  PODWIRE_TRY(const bool done, client.commit({{{keys.alive(name), 0}, {keys.silent(name), 0}},
                                              {{keys.silent(name), silence_value(unix_time_s())}},
                                              {}}));
  if (done)
    spdlog::warn(
        "cluster: node \"{}\" has fallen silent; its pods keep their routes, and it is forgotten after {} h",
        name, times_.silence.forget_after.count() / 3600);
  return {};
}

}  // namespace podwire::control
