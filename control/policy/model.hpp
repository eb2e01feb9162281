// Network policies, pods and namespaces → the engine's policies. Pods that no selector can tell apart (same
// namespace, labels and named ports) share an identity; the policies that select an identity together become
// one api::Policy, their union. Changes are cheap: a change marks what it touches, compile() redoes that and
// no more. Copies share what neither has changed since, so that a change may be tried on a copy. No I/O; one
// thread at a time.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "control/policy/objects.hpp"
#include "control/policy/rendering.hpp"
#include "control/policy/snapshot.hpp"

namespace podwire::control {

class PolicyModel {
 public:
  // Persistent ids for names of a noun ("identity", "policy"), in their order.
  using Allot = std::function<Result<std::vector<std::uint32_t>>(const std::string& noun,
                                                                 const std::vector<std::string>& names)>;

  // Whether pods of these two namespaces share addresses: the same one is the same pod to both. Absent: all
  // do. Before anything else.
  using Meets = std::function<bool(const std::string&, const std::string&)>;
  void set_meets(Meets meets) { meets_ = std::move(meets); }

  // Begins a change of this many objects, up to the next compile(): many are cheaper with everything redone.
  void expect(std::size_t changes);
  void put(NamespaceFacts facts);
  void put(PodFacts pod);
  void put(NetworkPolicy policy);
  // No error when there is none.
  void erase_namespace(const std::string& name);
  void erase_pod(const ObjectKey& key);
  void erase_policy(const ObjectKey& key);

  // kExhausted when a policy is larger than a message to the engine may be.
  Result<std::shared_ptr<const PolicySnapshot>> compile(const Allot& allot);

  // The names that have ids after compile(): all others of the noun may be forgotten. Whether the last change
  // left some behind.
  std::vector<std::string> identity_names() const;
  std::vector<std::string> policy_names() const;
  bool lost_identities() const { return lost_identities_; }
  bool lost_policies() const { return lost_policies_; }

  std::vector<std::shared_ptr<const NetworkPolicy>> policies() const;  // by key
  std::shared_ptr<const PodFacts> find_pod(const ObjectKey& key) const;
  // The names of the policies in its namespace that select it.
  std::set<std::string> selecting(const ObjectKey& pod) const;
  std::size_t policies_recompiled() const { return recompiled_; }  // by the last compile()

 private:
  struct PodEntry {
    std::shared_ptr<const PodFacts> facts;
    std::string identity;  // its name; empty: none
  };
  // All of one namespace, by name. Copies of the model share it until one of them changes it.
  struct Space {
    NamespaceFacts facts;
    std::map<std::string, std::shared_ptr<const NetworkPolicy>> policies;
    std::map<std::string, std::shared_ptr<const ResolvedPolicy>> resolved;
    std::map<std::string, PodEntry> pods;
    std::map<std::string, std::shared_ptr<PolicyIdentity>> identities;
    std::map<std::string, std::shared_ptr<const RenderedPolicy>> sets;
    std::shared_ptr<const PolicySnapshot::Space> marks;  // null: changed since the last compile()
  };
  // What a set of policies is made of.
  struct WantedSet {
    const PolicyIdentity* identity = nullptr;  // null: the isolation of pods without labels
    std::vector<std::shared_ptr<const ResolvedPolicy>> members;
  };
  using WantedSets = std::map<std::string, WantedSet>;

  Space& edit(const std::string& space);
  static PolicyIdentity& edit(Space& space, const std::string& identity);
  const Space* find_space(const std::string& name) const;
  void join(Space& home, const PodFacts& pod, const std::string& identity);
  void part(Space& home, const PodEntry& entry);
  void touch(const Space& home, const PolicyIdentity& identity);
  std::shared_ptr<const PolicyIdentity> as_seen_from(const std::string& space,
                                                     std::shared_ptr<const PolicyIdentity> identity) const;
  void resolve_peers(const std::string& space, const Space& home, const PolicyPeer& peer,
                     PolicyPeers& out) const;
  PolicyPeers resolve_peers(const NetworkPolicy& policy, const std::vector<PolicyPeer>& peers) const;
  std::shared_ptr<const ResolvedPolicy> resolve(std::shared_ptr<const NetworkPolicy> policy) const;
  void own_stale();
  Result<void> allot_identities(const Allot& allot);
  void resolve_dirty();
  static WantedSets wanted_sets(Space& home);
  Result<void> render(Space& home, WantedSets wanted, const std::map<std::string, std::uint32_t>& fresh);
  static std::shared_ptr<const PolicySnapshot::Space> marks_of(const Space& home);

  Meets meets_;
  std::map<std::string, std::shared_ptr<Space>> spaces_;
  std::set<ObjectKey> dirty_;  // policies to look up anew
  bool all_dirty_ = false;
  bool lost_identities_ = false, lost_policies_ = false;
  std::size_t recompiled_ = 0;
};

}  // namespace podwire::control
