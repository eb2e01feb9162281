// Network policy as a person gives it: the verbs policy_apply, policy_del, policies and policy_explain, over
// the manifests of NetworkPolicies, Namespaces and Pods that were applied. Kept over restarts of daemon,
// engine and machine; in a cluster that shares them, on all nodes. Thread-safe; one change at a time, each
// all or nothing.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>

#include "control/cluster/manifest_sharing.hpp"
#include "control/cluster/remote_endpoints.hpp"
#include "control/config.hpp"
#include "control/policy/model.hpp"
#include "control/state/engine_reconciler.hpp"
#include "control/state/namespace_domains.hpp"
#include "control/state/store.hpp"

namespace podwire::control {

class Policies final : public ManifestOwner {
 public:
  // All must outlive it. `namespaces`: whose pods are in which domain; null: all in the default one.
  Policies(const Config& config, Store& store, EngineReconciler& reconciler,
           const NamespaceDomains* namespaces = nullptr)
      : config_(config),
        store_(store),
        reconciler_(reconciler),
        namespaces_(namespaces),
        setting_(std::make_shared<const Setting>(Setting{config, {}, {}})) {}

  // What was applied before, for the reconciler's first full replace. Call before its set_node.
  Result<void> load();

  // The same policies where there are these domains, namespaces of pods in them, and joins between them.
  // kUnavailable without an engine; then, and when the engine refuses, all stays as it was.
  Result<void> rebuild(const Config& config) { return rebuild_for(config, Source::kPerson); }
  // The same for what is so already: without an engine it is kept for the next one.
  Result<void> follow_domains(const Config& config) { return rebuild_for(config, Source::kOthers); }

  // What is applied and deleted goes to the other nodes as well. Before the first request; it must outlive
  // them.
  void share(ManifestSharing& with) { sharing_ = &with; }

  // {manifests, what}: text in YAML or JSON, and what to call it in messages (default "manifests"). Replies
  // {applied: [{kind, name, change}], not_enforced: [text], policies_changed} when the engine has it.
  Result<Json> apply(const Json& params);
  // {name} of a policy as NAMESPACE/NAME, or {manifests, what}: all objects of it. Replies {deleted: [name]}.
  Result<Json> remove(const Json& params);
  // {after, limit}. Replies {policies: [...]} in pages.
  Result<Json> list(const Json& params);
  // {from, to, protocol, port}: two pods as NAMESPACE/NAME. Replies {allowed, egress, ingress} with the
  // policies that decide. protocol: tcp (default), udp, sctp or any.
  Result<Json> explain(const Json& params);
  // Pods that a policy selects where nothing tracks connections, so that it does not apply to them: texts.
  Result<Json> unenforced() {
    const std::lock_guard lock(mutex_);
    return not_enforced();
  }

  // Where pods of other nodes are, as their nodes tell; no addresses: nobody tells any more. For those, what
  // what the status of a pod's manifest says does not count. Returns those for which all stays as it was,
  // because the engine or the disk did not take it; to be told of again.
  PodNames locate(const PodPlaces& changed);

  // policy_following.cpp
  std::vector<std::string> kinds() const override;
  std::map<ManifestKey, std::string> bodies() override;
  std::map<ManifestKey, LeftOut> follow(const std::vector<StoredManifest>& objects) override;

 private:
  struct Change {
    std::vector<PolicyManifest> put, erased;
  };
  struct Followed {
    bool erased;
    PolicyManifest manifest;
  };
  // The domains as the policies that are in force were made for them. While domains change it is ahead of the
  // daemon's own, or behind.
  struct Setting {
    Config config;
    std::set<std::string> homes;  // domains that pods join because of their namespace; none: nobody said so
    std::map<std::string, std::vector<std::string>> reaches;  // of the JoinPlan
  };
  // Who asks for a change: a person, who is told when there is no engine, or the other nodes.
  enum class Source { kPerson, kOthers };

  Result<void> rebuild_for(const Config& config, Source source);
  Result<void> give(const std::shared_ptr<const PolicySnapshot>& snapshot, Source source);
  Result<Change> read_change(const Json& params, bool erases, std::string& name) const;
  Result<void> take_into(const Change& change, PolicyModel& model) const;
  Result<void> put_into(const PolicyManifest& manifest, PolicyModel& model, const Setting& setting) const;
  Result<std::shared_ptr<const Setting>> setting_for(const Config& config) const;
  Result<PolicyModel> model_for(const Setting& setting) const;
  Result<std::shared_ptr<const PolicySnapshot>> compile(PolicyModel& model, const Config& config);
  static bool may_be_met(const std::string& home, const std::string& domain, const Setting& setting);
  std::string domain_of(const std::string& space, const Config& config) const;
  Result<void> commit(PolicyModel next, const Change& change, Source source);
  Result<void> take_over(const Change& change, Source source);
  Result<Json> apply_here(const Change& change);
  Result<PolicyManifest> read_shared(const StoredManifest& object) const;
  void follow_all(std::span<const Followed> news, std::map<ManifestKey, LeftOut>& left_out);
  void forget_ids();
  Result<Json> not_enforced();
  Result<std::vector<std::uint32_t>> allot(const std::string& noun, const std::vector<std::string>& names) {
    return store_.ids_for(noun, names);
  }

  const Config& config_;
  Store& store_;
  EngineReconciler& reconciler_;
  const NamespaceDomains* const namespaces_;
  ManifestSharing* sharing_ = nullptr;  // null: what is applied here is this node's alone
  std::mutex mutex_;
  std::shared_ptr<const Setting> setting_;
  PolicyModel model_;
  std::shared_ptr<const PolicySnapshot> snapshot_ = std::make_shared<PolicySnapshot>();
  PodPlaces located_;
  std::map<ManifestKey, std::string> bodies_;               // of what is applied
  bool stale_identities_ = false, stale_policies_ = false;  // the store may hold ids of some that are gone
};

ManifestKey key_of(const PolicyManifest& manifest);

// One policy as the verb `policies` replies it, without the pods.
Json to_json(const NetworkPolicy& policy);

}  // namespace podwire::control
