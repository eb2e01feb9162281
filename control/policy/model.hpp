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

  // How many changes come before the next compile(): many are cheaper with everything redone.
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

  // The names that have ids: all others of the noun may be forgotten after compile().
  std::vector<std::string> identity_names() const;
  std::vector<std::string> policy_names() const;

  std::vector<std::shared_ptr<const NetworkPolicy>> policies() const;  // by key
  std::shared_ptr<const PodFacts> find_pod(const ObjectKey& key) const;
  // The names of the policies in its namespace that select it.
  std::set<std::string> selecting(const ObjectKey& pod) const;
  std::size_t policies_recompiled() const { return recompiled_; }  // by the last compile()

 private:
  struct Space {
    NamespaceFacts facts;
    std::map<std::string, std::shared_ptr<const NetworkPolicy>> policies;
    std::set<std::string> identities;  // their names
  };
  struct PodEntry {
    std::shared_ptr<const PodFacts> facts;
    std::string identity;  // empty: none
  };

  Space& space(const std::string& name);
  PolicyIdentity& edit(const std::string& identity);
  void join(const PodFacts& pod, const std::string& identity);
  void part(const PodEntry& entry);
  void touch(const PolicyIdentity& identity);
  bool reaches(const NetworkPolicy& policy, const PolicyIdentity& identity) const;
  PolicyPeers resolve_peers(const NetworkPolicy& policy, const std::vector<PolicyPeer>& peers) const;
  std::shared_ptr<const ResolvedPolicy> resolve(const NetworkPolicy& policy) const;
  Result<void> allot_identities(const Allot& allot);
  void resolve_dirty();
  std::string set_name(const PolicyIdentity& identity) const;
  Result<void> render_sets(const Allot& allot);
  std::shared_ptr<const PolicySnapshot> snapshot() const;

  std::map<std::string, Space> spaces_;
  std::map<ObjectKey, PodEntry> pods_;
  std::map<std::string, std::shared_ptr<PolicyIdentity>> identities_;
  std::map<ObjectKey, std::shared_ptr<const ResolvedPolicy>> resolved_;
  std::map<std::string, std::shared_ptr<const RenderedPolicy>> sets_;  // by name
  std::set<ObjectKey> dirty_;
  bool all_dirty_ = false;
  std::size_t recompiled_ = 0;
};

}  // namespace podwire::control
