// EtcdCluster: its two threads.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>

#include "control/cluster/etcd_cluster.hpp"

namespace podwire::control {
namespace {

using SteadyTime = std::chrono::steady_clock::time_point;

// What is told of while the store is followed should be in force sooner than this.
constexpr auto kLongChange = std::chrono::milliseconds(100);

std::int64_t ms_between(SteadyTime from, SteadyTime to) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(to - from).count();
}

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
  PODWIRE_TRY(const auto revision, take_listing());
  {
    const std::lock_guard lock(mutex_);
    failing_since_.reset();
    last_failure_.reset();
  }
  auto watched =
      client_.watch(table_.keys().all(), revision + 1, [this](const auto& events) { return take(events); });
  if (watched) return {};
  // Compaction is nobody's failure: the listing that follows tells what was missed.
  if (watched.error().code == ErrorCode::kNotFound) return {};
  return watched.error();
}

// The nodes come first, because everything else is behind them; their endpoints are read while those are
// programmed, and taken over while more of them are read. Returns the revision of all of it.
Result<std::int64_t> EtcdCluster::take_listing() {
  const auto begun = Clock::now();
  sections_.begin_listing();
  std::vector<EtcdItem> of_nodes;
  std::int64_t revision = 0;
  {
    EtcdPages pages(client_, spans_without_endpoints());
    for (;;) {
      PODWIRE_TRY(auto page, pages.next());
      revision = pages.revision();
      if (page.empty()) break;
      sections_.take_out(page);
      std::move(page.begin(), page.end(), std::back_inserter(of_nodes));
    }
  }
  ClusterChange change;
  {
    const std::lock_guard lock(mutex_);
    change = table_.replace(of_nodes);
    claims_lost_.clear();
  }
  const auto listed = Clock::now();
  PODWIRE_CHECK(claim_name());
  PODWIRE_CHECK(claim_prefixes());
  const auto claimed = Clock::now();
  EtcdPages endpoints(client_, {endpoint_span()}, revision);
  changed_(change);
  const auto programmed = Clock::now();
  spdlog::info("cluster: {} other nodes: read in {} ms, own claims {} ms, programmed in {} ms",
               change.put.size(), ms_between(begun, listed), ms_between(listed, claimed),
               ms_between(claimed, programmed));
  PODWIRE_TRY(const auto shared, take_endpoints(endpoints));
  spdlog::info("cluster: what nodes share is taken over in {} ms, {} endpoints among it",
               ms_between(programmed, Clock::now()), shared);
  return revision;
}

// With the rest of what nodes share. How many endpoints there are.
Result<std::size_t> EtcdCluster::take_endpoints(EtcdPages& pages) {
  std::size_t count = 0;
  for (;;) {
    PODWIRE_TRY(auto page, pages.next());
    if (page.empty()) break;
    count += page.size();
    sections_.take_out(page);
    sections_.tell_parts();
  }
  PODWIRE_CHECK(sections_.tell_listed());
  return count;
}

bool EtcdCluster::take(const std::vector<EtcdEvent>& events) {
  ClusterChange change;
  bool robbed = false;
  const auto begun = Clock::now();
  const auto of_nodes = sections_.take_out(events);
  {
    const std::lock_guard lock(mutex_);
    if (threads_.stopping()) return false;
    change = table_.apply(of_nodes);
    robbed = table_.was_robbed();
  }
  if (!change.put.empty() || !change.gone.empty()) changed_(change);
  const auto known = Clock::now();
  sections_.tell_changed();
  const auto done = Clock::now();
  if (done - begun > kLongChange)
    spdlog::info("cluster: {} changes took {} ms of nodes and {} ms of what they share", events.size(),
                 ms_between(begun, known), ms_between(known, done));
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
