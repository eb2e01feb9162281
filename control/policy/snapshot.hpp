// What policy comes to for the engine: its policies, and which of them and which identity each pod's
// endpoints carry. Made by PolicyModel, never changed afterwards, so any thread may read it.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "control/policy/objects.hpp"
#include "dataplane/api/policy.hpp"

namespace podwire::control {

// 0: none.
struct PolicyMarks {
  PolicyId policy;
  IdentityId identity;
  bool operator==(const PolicyMarks&) const = default;
};

struct PolicySnapshot {
  struct Pod {
    PolicyMarks marks;
    std::string uid;  // of the pod whose labels these are; may be empty
  };
  struct Space {
    std::map<std::string, Pod> pods;  // whose labels are known, by name
    PolicyId isolated;                // what applies to the others
  };
  // What takes the place of `policy` (0: of none) for pods of a domain with DomainConfig::isolates_pods: the
  // same with nobody let in, where it says nothing of that. After add_isolation().
  PolicyId isolating(PolicyId policy) const {
    const auto id = PolicyId(kFirstIsolating | policy.value());
    return policies.contains(id) ? id : policy;
  }
  void add_isolation();

  // Ids of what add_isolation() adds, above all that are allotted.
  static constexpr std::uint32_t kFirstIsolating = 0x8000'0000;
  std::map<PolicyId, std::shared_ptr<const api::Policy>> policies;
  std::map<std::string, std::shared_ptr<const Space>> spaces;  // by namespace

  // Both sides' uids must agree where both are known: a pod of the same name may be another pod. No name:
  // none.
  PolicyMarks marks_of(const ObjectKey& pod, const std::string& uid) const {
    if (pod.second.empty()) return {};
    const auto space = spaces.find(pod.first);
    if (space == spaces.end()) return {};
    const auto known = space->second->pods.find(pod.second);
    if (known != space->second->pods.end()) {
      const auto& theirs = known->second.uid;
      if (theirs.empty() || uid.empty() || theirs == uid) return known->second.marks;
    }
    return {space->second->isolated, {}};
  }
};

}  // namespace podwire::control
