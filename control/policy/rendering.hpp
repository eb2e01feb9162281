// One set of network policies as the engine's policy. Pure.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "control/policy/objects.hpp"

namespace podwire::control {

// What selectors see of pods that are alike.
struct PolicyIdentity {
  IdentityId id;
  std::string name;  // canonical: namespace, labels and ports
  std::string space;
  Labels labels;
  std::vector<PodPort> ports;
  std::size_t pods = 0;
  std::map<IpAddr, std::size_t> addresses;  // of pods elsewhere, and how many claim each
  std::set<std::string> selected_by;        // policies of its namespace
  std::string set_name;                     // of those; empty: to be made anew
};

// Whom a rule names.
struct PolicyPeers {
  bool any = false;
  std::vector<std::shared_ptr<const PolicyIdentity>> identities;
  std::vector<api::PolicyBlock> blocks;
};

struct ResolvedRule {
  PolicyPeers peers;
  std::vector<PolicyPort> ports;  // none: everything
};

// A network policy with its selectors looked up.
struct ResolvedPolicy {
  std::shared_ptr<const NetworkPolicy> policy;
  std::optional<std::vector<ResolvedRule>> ingress, egress;
  // For ports by name towards anybody: every identity that has named ports.
  std::vector<std::shared_ptr<const PolicyIdentity>> all_named;
};

struct RenderedPolicy {
  std::vector<std::shared_ptr<const ResolvedPolicy>> members;
  std::shared_ptr<const api::Policy> policy;
};

bool has_named_ports(const std::optional<std::vector<PeerRule>>& rules);

// The union of `members`, for pods whose named ports are `ports`. A port that is given by name is that of the
// destination: of the selected pod for ingress, of each peer for egress; a block has no names.
api::Policy render_policy(PolicyId id, std::string name,
                          const std::vector<std::shared_ptr<const ResolvedPolicy>>& members,
                          const std::vector<PodPort>& ports);

// Refuses what does not fit a message to the engine.
Result<void> check_size(const api::Policy& policy);

}  // namespace podwire::control
