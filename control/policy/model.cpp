#include "control/policy/model.hpp"

#include <algorithm>

namespace podwire::control {
namespace {

// Beyond it everything is resolved anew: looking for what a change touches costs about as much.
constexpr std::size_t kManyChanges = 64;

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

bool any_peer_of(const NetworkPolicy& policy, const auto& holds) {
  const auto in = [&](const std::optional<std::vector<PeerRule>>& rules) {
    return rules && std::any_of(rules->begin(), rules->end(), [&](const PeerRule& rule) {
             return std::any_of(rule.peers.begin(), rule.peers.end(), holds);
           });
  };
  return in(policy.ingress) || in(policy.egress);
}

// Whether a rule names an identity in a namespace with these labels.
bool reaches(const NetworkPolicy& policy, const PolicyIdentity& identity, const Labels& space_labels) {
  if (!identity.ports.empty() && has_named_ports(policy.egress)) return true;
  return any_peer_of(policy, [&](const PolicyPeer& peer) {
    if (peer.block) return false;
    const bool home =
        peer.namespaces ? peer.namespaces->matches(space_labels) : identity.space == policy.key.first;
    return home && (!peer.pods || peer.pods->matches(identity.labels));
  });
}

}  // namespace

void PolicyModel::expect(std::size_t changes) {
  all_dirty_ |= changes > kManyChanges;
  lost_identities_ = lost_policies_ = false;
}

// For writing: its own copy when another model shares it.
PolicyModel::Space& PolicyModel::edit(const std::string& name) {
  auto& entry = spaces_[name];
  if (!entry) {
    entry = std::make_shared<Space>();
    entry->facts = implied_namespace(name);
  } else if (entry.use_count() > 1) {
    entry = std::make_shared<Space>(*entry);
  }
  entry->marks = nullptr;
  return *entry;
}

PolicyIdentity& PolicyModel::edit(Space& space, const std::string& identity) {
  auto& entry = space.identities.at(identity);
  if (entry.use_count() > 1) entry = std::make_shared<PolicyIdentity>(*entry);
  return *entry;
}

const PolicyModel::Space* PolicyModel::find_space(const std::string& name) const {
  const auto at = spaces_.find(name);
  return at == spaces_.end() ? nullptr : at->second.get();
}

void PolicyModel::put(NamespaceFacts facts) {
  auto& changed = edit(facts.name);
  const auto before = std::move(changed.facts);
  changed.facts = std::move(facts);
  if (changed.identities.empty() || all_dirty_ || before == changed.facts) return;
  const auto differs = [&](const PolicyPeer& peer) {
    return peer.namespaces &&
           peer.namespaces->matches(before.labels) != peer.namespaces->matches(changed.facts.labels);
  };
  for (const auto& [name, other] : spaces_) {
    for (const auto& [policy_name, policy] : other->policies) {
      if (any_peer_of(*policy, differs)) dirty_.insert(policy->key);
    }
  }
}

void PolicyModel::erase_namespace(const std::string& name) {
  if (find_space(name) != nullptr) put(implied_namespace(name));
}

void PolicyModel::put(PodFacts pod) {
  const auto identity = pod.host_network ? std::string() : identity_name(pod);
  const auto* known = find_space(pod.key.first);
  const auto before = known == nullptr ? decltype(known->pods.begin()){} : known->pods.find(pod.key.second);
  const bool replaces = known != nullptr && before != known->pods.end();
  if (replaces && *before->second.facts == pod) return;
  const PodEntry gone = replaces ? before->second : PodEntry{};
  auto& home = edit(pod.key.first);
  if (!identity.empty()) join(home, pod, identity);  // first, so that an identity that stays is not made anew
  part(home, gone);
  auto name = pod.key.second;
  home.pods[std::move(name)] = {std::make_shared<const PodFacts>(std::move(pod)), identity};
}

void PolicyModel::erase_pod(const ObjectKey& key) {
  const auto* known = find_space(key.first);
  if (known == nullptr || !known->pods.contains(key.second)) return;
  auto& home = edit(key.first);
  const auto gone = std::move(home.pods.at(key.second));
  home.pods.erase(key.second);
  part(home, gone);
}

void PolicyModel::join(Space& home, const PodFacts& pod, const std::string& name) {
  const bool is_new = !home.identities.contains(name);
  if (is_new) {
    auto made = std::make_shared<PolicyIdentity>();
    made->name = name;
    made->space = pod.key.first;
    made->labels = pod.labels;
    made->ports = pod.ports;
    for (const auto& [policy_name, policy] : home.policies) {
      if (policy->pods.matches(pod.labels)) made->selected_by.insert(policy_name);
    }
    home.identities[name] = std::move(made);
  }
  auto& identity = edit(home, name);
  ++identity.pods;
  bool more = is_new;
  for (const auto& address : pod.addresses) more |= identity.addresses[address]++ == 0;
  if (more) touch(home, identity);
}

void PolicyModel::part(Space& home, const PodEntry& entry) {
  if (entry.identity.empty()) return;
  auto& identity = edit(home, entry.identity);
  bool fewer = --identity.pods == 0;
  for (const auto& address : entry.facts->addresses) {
    const auto at = identity.addresses.find(address);
    if (--at->second != 0) continue;
    identity.addresses.erase(at);
    fewer = true;
  }
  if (fewer) touch(home, identity);
  if (identity.pods != 0) return;
  home.identities.erase(entry.identity);
  lost_identities_ = true;
}

// Marks the policies whose rules name it.
void PolicyModel::touch(const Space& home, const PolicyIdentity& identity) {
  if (all_dirty_) return;
  for (const auto& [name, other] : spaces_) {
    for (const auto& [policy_name, policy] : other->policies) {
      if (reaches(*policy, identity, home.facts.labels)) dirty_.insert(policy->key);
    }
  }
}

void PolicyModel::put(NetworkPolicy policy) {
  const auto key = policy.key;
  auto& home = edit(key.first);
  auto& entry = home.policies[key.second];
  if (entry && *entry == policy) return;
  entry = std::make_shared<const NetworkPolicy>(std::move(policy));
  dirty_.insert(key);
  for (const auto& [name, identity] : home.identities) {
    const bool selected = entry->pods.matches(identity->labels);
    if (selected != identity->selected_by.contains(key.second)) {
      auto& changed = edit(home, name);
      if (selected) {
        changed.selected_by.insert(key.second);
      } else {
        changed.selected_by.erase(key.second);
      }
      changed.set_name.clear();
    } else if (selected && !identity->ports.empty()) {
      edit(home, name).set_name.clear();  // whether ports by name matter may have changed
    }
  }
}

void PolicyModel::erase_policy(const ObjectKey& key) {
  const auto* known = find_space(key.first);
  if (known == nullptr || !known->policies.contains(key.second)) return;
  auto& home = edit(key.first);
  home.policies.erase(key.second);
  home.resolved.erase(key.second);
  dirty_.erase(key);
  for (const auto& [name, identity] : home.identities) {
    if (!identity->selected_by.contains(key.second)) continue;
    auto& changed = edit(home, name);
    changed.selected_by.erase(key.second);
    changed.set_name.clear();
  }
}

std::vector<std::string> PolicyModel::identity_names() const {
  std::vector<std::string> names;
  for (const auto& [space_name, home] : spaces_) {
    for (const auto& [name, identity] : home->identities) names.push_back(name);
  }
  return names;
}

std::vector<std::string> PolicyModel::policy_names() const {
  std::vector<std::string> names;
  for (const auto& [space_name, home] : spaces_) {
    for (const auto& [name, set] : home->sets) names.push_back(name);
  }
  return names;
}

std::vector<std::shared_ptr<const NetworkPolicy>> PolicyModel::policies() const {
  std::vector<std::shared_ptr<const NetworkPolicy>> all;
  for (const auto& [name, home] : spaces_) {
    for (const auto& [policy_name, policy] : home->policies) all.push_back(policy);
  }
  return all;
}

std::shared_ptr<const PodFacts> PolicyModel::find_pod(const ObjectKey& key) const {
  const auto* home = find_space(key.first);
  if (home == nullptr || !home->pods.contains(key.second)) return nullptr;
  return home->pods.at(key.second).facts;
}

std::set<std::string> PolicyModel::selecting(const ObjectKey& pod) const {
  const auto* home = find_space(pod.first);
  if (home == nullptr || !home->pods.contains(pod.second)) return {};
  const auto& identity = home->pods.at(pod.second).identity;
  return identity.empty() ? std::set<std::string>{} : home->identities.at(identity)->selected_by;
}

}  // namespace podwire::control
