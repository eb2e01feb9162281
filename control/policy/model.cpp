#include "control/policy/model.hpp"

#include <algorithm>

namespace podwire::control {
namespace {

// Beyond it everything is resolved anew: looking for what a change touches costs about as much.
constexpr std::size_t kManyChanges = 64;
constexpr std::size_t kLongestName = 255;

// Distinct for distinct identities: none of the separators occurs in labels and names.
std::string identity_name(const PodFacts& pod) {
  std::string name = pod.key.first + "|";
  for (const auto& [key, value] : pod.labels) name += key + "=" + value + ",";
  name += "|";
  for (const auto& port : pod.ports) {
    name += port.name + ":" + api::kRuleProtocolNames[static_cast<std::size_t>(port.protocol)] + ":" +
            std::to_string(port.port) + ",";
  }
  return name;
}

std::string isolation_name(const std::string& space) {
  return space + "|";
}

// "shop/web,default-deny", cut where it gets too long.
std::string shown_name(const std::string& space, const std::set<std::string>& policies) {
  std::string name = space + "/";
  std::size_t shown = 0;
  for (const auto& policy : policies) {
    const auto rest = ",+" + std::to_string(policies.size() - shown);
    if (name.size() + 1 + policy.size() + rest.size() > kLongestName)
      return name.substr(0, kLongestName - rest.size()) + rest;
    name += (shown++ == 0 ? "" : ",") + policy;
  }
  return name;
}

}  // namespace

void PolicyModel::expect(std::size_t changes) {
  all_dirty_ |= changes > kManyChanges;
}

PolicyModel::Space& PolicyModel::space(const std::string& name) {
  const auto [at, added] = spaces_.try_emplace(name);
  if (added) at->second.facts = implied_namespace(name);
  return at->second;
}

// For writing: its own copy when another model shares it.
PolicyIdentity& PolicyModel::edit(const std::string& identity) {
  auto& entry = identities_.at(identity);
  if (entry.use_count() > 1) entry = std::make_shared<PolicyIdentity>(*entry);
  return *entry;
}

void PolicyModel::put(NamespaceFacts facts) {
  auto& changed = space(facts.name);
  const auto before = std::move(changed.facts);
  changed.facts = std::move(facts);
  if (changed.identities.empty() || all_dirty_ || before == changed.facts) return;
  const auto differs = [&](const std::optional<std::vector<PeerRule>>& rules) {
    return rules && std::any_of(rules->begin(), rules->end(), [&](const PeerRule& rule) {
             return std::any_of(rule.peers.begin(), rule.peers.end(), [&](const PolicyPeer& peer) {
               return peer.namespaces && peer.namespaces->matches(before.labels) !=
                                             peer.namespaces->matches(changed.facts.labels);
             });
           });
  };
  for (const auto& [name, other] : spaces_) {
    for (const auto& [policy_name, policy] : other.policies) {
      if (differs(policy->ingress) || differs(policy->egress)) dirty_.insert(policy->key);
    }
  }
}

void PolicyModel::erase_namespace(const std::string& name) {
  if (spaces_.contains(name)) put(implied_namespace(name));
}

void PolicyModel::put(PodFacts pod) {
  const auto identity = pod.host_network ? std::string() : identity_name(pod);
  const auto key = pod.key;
  const auto before = pods_.find(key);
  if (before != pods_.end()) {
    if (*before->second.facts == pod) return;
    const auto gone = std::move(before->second);
    pods_.erase(before);
    if (!identity.empty()) join(pod, identity);  // first, so that an identity that stays is not made anew
    part(gone);
  } else if (!identity.empty()) {
    join(pod, identity);
  }
  pods_[key] = {std::make_shared<const PodFacts>(std::move(pod)), identity};
}

void PolicyModel::erase_pod(const ObjectKey& key) {
  const auto at = pods_.find(key);
  if (at == pods_.end()) return;
  const auto gone = std::move(at->second);
  pods_.erase(at);
  part(gone);
}

void PolicyModel::join(const PodFacts& pod, const std::string& name) {
  const bool is_new = !identities_.contains(name);
  if (is_new) {
    auto made = std::make_shared<PolicyIdentity>();
    made->name = name;
    made->space = pod.key.first;
    made->labels = pod.labels;
    made->ports = pod.ports;
    auto& home = space(pod.key.first);
    home.identities.insert(name);
    for (const auto& [policy_name, policy] : home.policies) {
      if (policy->pods.matches(pod.labels)) made->selected_by.insert(policy_name);
    }
    identities_[name] = std::move(made);
  }
  auto& identity = edit(name);
  ++identity.pods;
  bool more = is_new;
  for (const auto& address : pod.addresses) more |= identity.addresses[address]++ == 0;
  if (more) touch(identity);
}

void PolicyModel::part(const PodEntry& entry) {
  if (entry.identity.empty()) return;
  auto& identity = edit(entry.identity);
  bool fewer = --identity.pods == 0;
  for (const auto& address : entry.facts->addresses) {
    const auto at = identity.addresses.find(address);
    if (--at->second != 0) continue;
    identity.addresses.erase(at);
    fewer = true;
  }
  if (fewer) touch(identity);
  if (identity.pods != 0) return;
  space(identity.space).identities.erase(identity.name);
  identities_.erase(std::string(identity.name));
}

// Marks the policies whose rules name it.
void PolicyModel::touch(const PolicyIdentity& identity) {
  if (all_dirty_) return;
  for (const auto& [name, other] : spaces_) {
    for (const auto& [policy_name, policy] : other.policies) {
      if (reaches(*policy, identity)) dirty_.insert(policy->key);
    }
  }
}

bool PolicyModel::reaches(const NetworkPolicy& policy, const PolicyIdentity& identity) const {
  if (!identity.ports.empty() && has_named_ports(policy.egress)) return true;
  const auto& labels = spaces_.at(identity.space).facts.labels;
  const auto names = [&](const PolicyPeer& peer) {
    if (peer.block) return false;
    const bool home = peer.namespaces ? peer.namespaces->matches(labels) : identity.space == policy.key.first;
    return home && (!peer.pods || peer.pods->matches(identity.labels));
  };
  for (const auto* rules : {&policy.ingress, &policy.egress}) {
    if (!*rules) continue;
    for (const auto& rule : **rules) {
      if (std::any_of(rule.peers.begin(), rule.peers.end(), names)) return true;
    }
  }
  return false;
}

void PolicyModel::put(NetworkPolicy policy) {
  const auto key = policy.key;
  auto& home = space(key.first);
  auto& entry = home.policies[key.second];
  if (entry && *entry == policy) return;
  entry = std::make_shared<const NetworkPolicy>(std::move(policy));
  dirty_.insert(key);
  for (const auto& name : home.identities) {
    const auto& identity = *identities_.at(name);
    const bool selected = entry->pods.matches(identity.labels);
    if (selected != identity.selected_by.contains(key.second)) {
      auto& changed = edit(name);
      if (selected) {
        changed.selected_by.insert(key.second);
      } else {
        changed.selected_by.erase(key.second);
      }
      changed.set_name.clear();
    } else if (selected && !identity.ports.empty()) {
      edit(name).set_name.clear();  // whether ports by name matter may have changed
    }
  }
}

void PolicyModel::erase_policy(const ObjectKey& key) {
  auto& home = space(key.first);
  if (home.policies.erase(key.second) == 0) return;
  for (const auto& name : home.identities) {
    if (!identities_.at(name)->selected_by.contains(key.second)) continue;
    auto& changed = edit(name);
    changed.selected_by.erase(key.second);
    changed.set_name.clear();
  }
  resolved_.erase(key);
  dirty_.erase(key);
}

PolicyPeers PolicyModel::resolve_peers(const NetworkPolicy& policy,
                                       const std::vector<PolicyPeer>& peers) const {
  PolicyPeers out;
  out.any = peers.empty();
  const auto add = [&](const Space& home, const PolicyPeer& peer) {
    for (const auto& name : home.identities) {
      const auto& identity = identities_.at(name);
      if (!peer.pods || peer.pods->matches(identity->labels)) out.identities.push_back(identity);
    }
  };
  for (const auto& peer : peers) {
    if (peer.block) {
      out.blocks.push_back(*peer.block);
    } else if (!peer.namespaces) {
      add(spaces_.at(policy.key.first), peer);
    } else {
      for (const auto& [name, home] : spaces_) {
        if (peer.namespaces->matches(home.facts.labels)) add(home, peer);
      }
    }
  }
  return out;
}

std::shared_ptr<const ResolvedPolicy> PolicyModel::resolve(const NetworkPolicy& policy) const {
  auto out = std::make_shared<ResolvedPolicy>();
  out->policy = spaces_.at(policy.key.first).policies.at(policy.key.second);
  const auto side = [&](const std::optional<std::vector<PeerRule>>& rules,
                        std::optional<std::vector<ResolvedRule>>& to) {
    if (!rules) return;
    to.emplace();
    for (const auto& rule : *rules) to->push_back({resolve_peers(policy, rule.peers), rule.ports});
  };
  side(policy.ingress, out->ingress);
  side(policy.egress, out->egress);
  if (has_named_ports(policy.egress)) {
    for (const auto& [name, identity] : identities_) {
      if (!identity->ports.empty()) out->all_named.push_back(identity);
    }
  }
  return out;
}

Result<void> PolicyModel::allot_identities(const Allot& allot) {
  std::vector<std::string> names;
  for (const auto& [name, identity] : identities_) {
    if (!identity->id) names.push_back(name);
  }
  if (names.empty()) return {};
  PODWIRE_TRY(const auto ids, allot("identity", names));
  for (std::size_t i = 0; i < names.size(); ++i) edit(names[i]).id = IdentityId(ids[i]);
  return {};
}

void PolicyModel::resolve_dirty() {
  if (all_dirty_) {
    for (const auto& [name, home] : spaces_) {
      for (const auto& [policy_name, policy] : home.policies) dirty_.insert(policy->key);
    }
  }
  for (const auto& key : dirty_) resolved_[key] = resolve(*spaces_.at(key.first).policies.at(key.second));
  dirty_.clear();
  all_dirty_ = false;
}

// Persistent: the same policies for the same named ports keep their id.
std::string PolicyModel::set_name(const PolicyIdentity& identity) const {
  std::string name = identity.space + "/";
  bool named = false;
  const auto& policies = spaces_.at(identity.space).policies;
  for (const auto& policy : identity.selected_by) {
    name += policy + ",";
    named |= has_named_ports(policies.at(policy)->ingress);
  }
  return named ? name + identity.name.substr(identity.name.rfind('|')) : name;
}

Result<void> PolicyModel::render_sets(const Allot& allot) {
  struct Wanted {
    const PolicyIdentity* identity = nullptr;  // null: the isolation of a namespace
    std::string shown;
    std::vector<std::shared_ptr<const ResolvedPolicy>> members;
  };
  std::map<std::string, Wanted> wanted;
  for (const auto& [space_name, home] : spaces_) {
    if (home.policies.empty()) continue;
    wanted[isolation_name(space_name)].shown = space_name + "/ (labels of the pod not known)";
    for (const auto& name : home.identities) {
      if (identities_.at(name)->selected_by.empty()) continue;
      if (identities_.at(name)->set_name.empty()) edit(name).set_name = set_name(*identities_.at(name));
      auto& entry = wanted[identities_.at(name)->set_name];
      if (entry.identity != nullptr) continue;
      entry.identity = identities_.at(name).get();
      for (const auto& policy : entry.identity->selected_by)
        entry.members.push_back(resolved_.at({space_name, policy}));
    }
  }
  std::vector<std::string> fresh;
  for (const auto& [name, entry] : wanted) {
    if (!sets_.contains(name)) fresh.push_back(name);
  }
  std::map<std::string, std::uint32_t> ids;
  if (!fresh.empty()) {
    PODWIRE_TRY(const auto allotted, allot("policy", fresh));
    for (std::size_t i = 0; i < fresh.size(); ++i) ids[fresh[i]] = allotted[i];
  }
  std::erase_if(sets_, [&](const auto& set) { return !wanted.contains(set.first); });
  recompiled_ = 0;
  for (auto& [name, entry] : wanted) {
    auto& set = sets_[name];
    if (set && set->members == entry.members) continue;
    ++recompiled_;
    const auto id = set ? set->policy->id : PolicyId(ids.at(name));
    auto policy = std::make_shared<api::Policy>();
    if (entry.identity == nullptr) {
      *policy = {id, entry.shown.substr(0, kLongestName), api::PolicySide{}, api::PolicySide{}};
    } else {
      *policy = render_policy(id, shown_name(entry.identity->space, entry.identity->selected_by),
                              entry.members, entry.identity->ports);
    }
    PODWIRE_CHECK(check_size(*policy));
    // What came out the same is the same, so that nobody sends it again.
    const bool same = set && *set->policy == *policy;
    set = std::make_shared<const RenderedPolicy>(
        RenderedPolicy{std::move(entry.members),
                       same ? set->policy : std::shared_ptr<const api::Policy>(std::move(policy))});
  }
  return {};
}

std::shared_ptr<const PolicySnapshot> PolicyModel::snapshot() const {
  auto out = std::make_shared<PolicySnapshot>();
  for (const auto& [name, set] : sets_) out->policies.emplace(set->policy->id, set->policy);
  for (const auto& [key, entry] : pods_) {
    PolicyMarks marks;
    if (!entry.identity.empty()) {
      const auto& identity = *identities_.at(entry.identity);
      marks.identity = identity.id;
      if (!identity.selected_by.empty()) marks.policy = sets_.at(identity.set_name)->policy->id;
    }
    out->pods.emplace(key, PolicySnapshot::Pod{marks, entry.facts->uid});
  }
  for (const auto& [name, home] : spaces_) {
    if (!home.policies.empty()) out->isolated.emplace(name, sets_.at(isolation_name(name))->policy->id);
  }
  return out;
}

Result<std::shared_ptr<const PolicySnapshot>> PolicyModel::compile(const Allot& allot) {
  PODWIRE_CHECK(allot_identities(allot));
  resolve_dirty();
  PODWIRE_CHECK(render_sets(allot));
  return snapshot();
}

std::vector<std::string> PolicyModel::identity_names() const {
  std::vector<std::string> names;
  for (const auto& [name, identity] : identities_) names.push_back(name);
  return names;
}

std::vector<std::string> PolicyModel::policy_names() const {
  std::vector<std::string> names;
  for (const auto& [name, set] : sets_) names.push_back(name);
  return names;
}

std::vector<std::shared_ptr<const NetworkPolicy>> PolicyModel::policies() const {
  std::vector<std::shared_ptr<const NetworkPolicy>> all;
  for (const auto& [name, home] : spaces_) {
    for (const auto& [policy_name, policy] : home.policies) all.push_back(policy);
  }
  return all;
}

std::shared_ptr<const PodFacts> PolicyModel::find_pod(const ObjectKey& key) const {
  const auto at = pods_.find(key);
  return at == pods_.end() ? nullptr : at->second.facts;
}

std::set<std::string> PolicyModel::selecting(const ObjectKey& pod) const {
  const auto at = pods_.find(pod);
  if (at == pods_.end() || at->second.identity.empty()) return {};
  return identities_.at(at->second.identity)->selected_by;
}

}  // namespace podwire::control
