#include "control/cluster/etcd_cluster.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>

#include "control/cluster/endpoint_records.hpp"
#include "control/cluster/free_prefix.hpp"
#include "control/cluster/random_id.hpp"
#include "control/config_cluster.hpp"

namespace podwire::control {
namespace {

constexpr const char* kPrefixesFact = "cluster_prefixes";
constexpr const char* kInstanceFact = "cluster_instance";

bool fits(const DomainConfig& domain, const IpPrefix& range, const IpPrefix& prefix) {
  return prefix.length == lease_length(domain, range) && range.contains(prefix.address) &&
         range.address.is_v4() == prefix.address.is_v4();
}

const IpPrefix* fitting(const DomainConfig& domain, const IpPrefix& range,
                        const std::vector<IpPrefix>& prefixes) {
  const auto it = std::find_if(prefixes.begin(), prefixes.end(),
                               [&](const IpPrefix& p) { return fits(domain, range, p); });
  return it == prefixes.end() ? nullptr : &*it;
}

}  // namespace

EtcdCluster::EtcdCluster(const Config& config, Store& store, EtcdOptions options, EtcdTimes times)
    : config_(config),
      store_(store),
      times_(times),
      client_(options),
      beat_client_(options),
      admin_client_(std::move(options)),
      table_(config.cluster.prefix, config.node),
      silence_(config.node, times.silence) {}

void EtcdCluster::stop() {
  threads_.stop([this] {
    client_.cancel();
    beat_client_.cancel();
    admin_client_.cancel();
  });
}

Result<DomainPrefixes> EtcdCluster::saved_prefixes() const {
  DomainPrefixes out;
  PODWIRE_TRY(const auto text, store_.get_fact(kPrefixesFact));
  if (!text) return out;
  PODWIRE_TRY(const Json json, parse_json(*text, kPrefixesFact));
  for (const auto& [domain, prefixes] : json.items())
    PODWIRE_CHECK(podwire::read_value(prefixes, domain, out[domain]));
  return out;
}

Result<void> EtcdCluster::save_prefixes(const DomainPrefixes& prefixes) {
  Json json = Json::object();
  for (const auto& [domain, list] : prefixes) {
    json[domain] = Json::array();
    for (const auto& prefix : list) json[domain].push_back(to_string(prefix));
  }
  return store_.set_fact(kPrefixesFact, json.dump());
}

// Tells this node from another that has the same name.
Result<std::string> EtcdCluster::instance() {
  PODWIRE_TRY(const auto saved, store_.get_fact(kInstanceFact));
  if (saved) return *saved;
  PODWIRE_TRY(const auto fresh, random_id());
  PODWIRE_CHECK(store_.set_fact(kInstanceFact, fresh));
  return fresh;
}

std::vector<EtcdSpan> EtcdCluster::node_spans() const {
  std::vector<EtcdSpan> spans;
  for (const char* const section : EtcdKeys::kSections) spans.push_back(EtcdSpan::below(prefix() + section));
  return spans;
}

std::vector<EtcdSpan> EtcdCluster::spans_without_endpoints() const {
  const auto all = EtcdSpan::below(prefix()), endpoints = endpoint_span();
  return {{all.begin, endpoints.begin}, {endpoints.end, all.end}};
}

EtcdSpan EtcdCluster::endpoint_span() const {
  return EtcdSpan::below(prefix() + kEndpointSection);
}

Result<std::vector<EtcdItem>> EtcdCluster::list_nodes(EtcdClient& client) const {
  EtcdPages pages(client, node_spans());
  std::vector<EtcdItem> all;
  for (;;) {
    PODWIRE_TRY(auto some, pages.next());
    if (some.empty()) return all;
    std::move(some.begin(), some.end(), std::back_inserter(all));
  }
}

Result<void> EtcdCluster::list() {
  PODWIRE_TRY(const auto all, list_nodes(client_));
  const std::lock_guard lock(mutex_);
  table_.replace(all);
  return {};
}

Error EtcdCluster::used_up(const DomainConfig& domain, const IpPrefix& range) const {
  const auto length = std::to_string(lease_length(domain, range));
  return {ErrorCode::kExhausted, "domain \"" + domain.name + "\": no /" + length + " of " + to_string(range) +
                                     " is left, " + std::to_string(table_.taken(domain.name).size()) +
                                     " are taken; make prefixes wider or lease_" +
                                     (range.address.is_v4() ? "v4" : "v6") +
                                     " longer in podwired.json of every node, or free those of nodes that "
                                     "are gone: podwirectl node list, " +
                                     "podwirectl node forget NAME"};
}

// Whoever is faster has it; the others go on to the next.
Result<IpPrefix> EtcdCluster::lease_one(const DomainConfig& domain, const IpPrefix& range) {
  constexpr int kTries = 10000;
  for (int i = 0; i < kTries; ++i) {
    const auto mine = table_.taken_by(config_.node, domain.name);
    if (const auto* former = fitting(domain, range, mine)) return *former;
    const auto free = lowest_free_prefix(range, lease_length(domain, range), table_.taken(domain.name));
    if (!free) return used_up(domain, range);
    const auto key = table_.keys().prefix(domain.name, *free);
    PODWIRE_TRY(const bool ours, client_.commit({{{key, 0}}, {{key, owner_value(config_.node)}}, {}}));
    if (ours) return *free;
    PODWIRE_CHECK(list());
  }
  return unavailable("domain \"" + domain.name + "\": every free prefix of " + to_string(range) +
                     " was taken by another node while this one asked for it");
}

Result<DomainPrefixes> EtcdCluster::lease_prefixes() {
  PODWIRE_TRY(instance_, instance());
  PODWIRE_TRY(const auto saved, saved_prefixes());
  own_.clear();
  bool listed = false;
  for (const auto& domain : config_.domains) {
    for (const auto& range : domain.prefixes) {
      const auto at = saved.find(domain.name);
      const auto* held = at == saved.end() ? nullptr : fitting(domain, range, at->second);
      if (held == nullptr && !listed) {
        PODWIRE_CHECK(list());
        listed = true;
        const auto* other = table_.instance(config_.node);
        if (other != nullptr && *other != instance_) {
          return conflict(
              "node \"" + config_.node +
              "\" is alive on another machine, or was until a few seconds ago; give this one another "
              "\"node\" in podwired.json, or wait until that one is gone");
        }
      }
      if (held != nullptr) {
        own_[domain.name].push_back(*held);
        continue;
      }
      PODWIRE_TRY(const auto leased, lease_one(domain, range));
      own_[domain.name].push_back(leased);
      spdlog::info("cluster: this node has {} of domain \"{}\"", to_string(leased), domain.name);
    }
  }
  PODWIRE_CHECK(save_prefixes(own_));
  return own_;
}

void EtcdCluster::start(const NodeRecord& own, Changed changed) {
  record_ = own;
  changed_ = std::move(changed);
  threads_.start(
      {times_.first_retry, times_.longest_retry, instance_}, [this] { return session(); },
      [this](const Error& error) {
        note_failure(error);
        client_.change_server();
      },
      times_.beat, [this] { beat(); });
}

std::vector<NodeView> EtcdCluster::nodes() const {
  const std::lock_guard lock(mutex_);
  return table_.nodes();
}

std::vector<std::string> EtcdCluster::problems() const {
  const std::lock_guard lock(mutex_);
  auto out = claims_lost_;
  if (!failing_since_ || !last_failure_) return out;  // the first answer may take its time
  const auto seconds =
      std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - *failing_since_).count();
  const auto what =
      last_failure_->code == ErrorCode::kUnavailable ? "has not answered" : "has not been usable";
  out.push_back(std::string("the cluster's store ") + what + " for " + std::to_string(seconds) + " s (" +
                last_failure_->message +
                "); forwarding goes on as it last was: check etcd and the way to it");
  return out;
}

void EtcdCluster::follow(const std::string& section, SharedSection& by) {
  sections_.add(prefix() + section, by);
}

Result<void> EtcdCluster::ready() {
  const auto gone = [](const Error& error) {
    return unavailable("the cluster's store cannot be used now (" + error.message +
                       "); check etcd and the way to it");
  };
  {
    const std::lock_guard lock(mutex_);
    if (failing_since_ && last_failure_) return gone(*last_failure_);
    if (failing_since_) return unavailable("what the cluster's store has is still being read; wait a moment");
  }
  // It may have gone since the last beat.
  const std::lock_guard lock(admin_mutex_);
  const auto answer = admin_client_.get(table_.keys().alive(config_.node));
  return answer ? Result<void>() : Result<void>(gone(answer.error()));
}

Result<std::int64_t> EtcdCluster::write(const EtcdTransaction& transaction) {
  const std::lock_guard lock(admin_mutex_);
  return admin_client_.commit(transaction);
}

Result<void> EtcdCluster::forget(const std::string& name) {
  const std::lock_guard lock(admin_mutex_);
  if (name == config_.node) {
    return conflict("node \"" + name +
                    "\" is this one; to free its prefixes stop its podwired and forget it on another node");
  }
  PODWIRE_TRY(const auto now, list_with(admin_client_));
  return forget_with(admin_client_, now, name);
}

Result<EtcdTable> EtcdCluster::list_with(EtcdClient& client) const {
  PODWIRE_TRY(const auto all, list_nodes(client));
  EtcdTable now(config_.cluster.prefix, config_.node);
  now.replace(all);
  return now;
}

// A node that comes back meanwhile stops it: every step is on condition that its liveness key is not there.
Result<void> EtcdCluster::forget_with(EtcdClient& client, const EtcdTable& now, const std::string& name) {
  const auto& keys = now.keys();
  const auto views = now.nodes();
  const auto at =
      std::find_if(views.begin(), views.end(), [&](const NodeView& v) { return v.node.name == name; });
  if (at == views.end()) {
    std::vector<std::string> names;
    for (const auto& view : views) names.push_back(view.node.name);
    const auto near = closest_match(name, names);
    return not_found("the cluster has no node \"" + name + "\"" +
                     (near.empty() ? "; see: podwirectl node list" : "; did you mean \"" + near + "\"?"));
  }
  const auto back = conflict("node \"" + name + "\" is alive; stop podwired there, wait " +
                             std::to_string(times_.lease_s) + " s, and try again");
  if (at->alive) return back;
  const EtcdTransaction::Condition still_gone{keys.alive(name), 0};
  constexpr std::size_t kMostErased = 60;  // etcd takes 128 operations
  EtcdTransaction step;
  const auto commit = [&]() -> Result<void> {
    step.conditions.push_back(still_gone);
    PODWIRE_TRY(const bool done, client.commit(step));
    step = {};
    return done ? Result<void>() : Result<void>(back);
  };
  for (const auto& [domain, prefixes] : at->node.prefixes) {
    for (const auto& prefix : prefixes) {
      const auto key = keys.prefix(domain, prefix);
      step.conditions.push_back({key, now.revision(key)});
      step.erased.push_back(key);
      if (step.erased.size() == kMostErased) PODWIRE_CHECK(commit());
    }
  }
  step.erased.push_back(keys.node(name));
  step.erased.push_back(keys.silent(name));
  step.erased_below.push_back(keys.all() + kEndpointSection + name + "/");
  PODWIRE_CHECK(commit());
  spdlog::info("cluster: node \"{}\" is forgotten, its prefixes are free", name);
  return {};
}

}  // namespace podwire::control
