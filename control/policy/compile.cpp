// PolicyModel: from what has changed to the engine's policies.
#include "control/policy/model.hpp"

namespace podwire::control {
namespace {

constexpr std::size_t kLongestName = 255;

std::string isolation_name(const std::string& space) {
  return space + "|";
}

// Persistent: the same policies, for the same named ports where these matter, keep their id.
std::string set_name(const PolicyIdentity& identity, bool with_ports) {
  std::string name = identity.space + "/";
  for (const auto& policy : identity.selected_by) name += policy + ",";
  return with_ports ? name + identity.name.substr(identity.name.rfind('|')) : name;
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

// Addresses of pods elsewhere mean others where they are met.
std::shared_ptr<const PolicyIdentity> PolicyModel::as_seen_from(
    const std::string& space, std::shared_ptr<const PolicyIdentity> identity) const {
  if (!meets_ || identity->addresses.empty() || meets_(space, identity->space)) return identity;
  auto bare = std::make_shared<PolicyIdentity>(*identity);
  bare->addresses.clear();
  return bare;
}

void PolicyModel::resolve_peers(const std::string& space, const Space& home, const PolicyPeer& peer,
                                PolicyPeers& out) const {
  for (const auto& [name, identity] : home.identities) {
    if (!peer.pods || peer.pods->matches(identity->labels))
      out.identities.push_back(as_seen_from(space, identity));
  }
}

PolicyPeers PolicyModel::resolve_peers(const NetworkPolicy& policy,
                                       const std::vector<PolicyPeer>& peers) const {
  PolicyPeers out;
  out.any = peers.empty();
  for (const auto& peer : peers) {
    if (peer.block) {
      out.blocks.push_back(*peer.block);
    } else if (!peer.namespaces) {
      resolve_peers(policy.key.first, *spaces_.at(policy.key.first), peer, out);
    } else {
      for (const auto& [name, home] : spaces_) {
        if (peer.namespaces->matches(home->facts.labels)) resolve_peers(policy.key.first, *home, peer, out);
      }
    }
  }
  return out;
}

std::shared_ptr<const ResolvedPolicy> PolicyModel::resolve(
    std::shared_ptr<const NetworkPolicy> policy) const {
  auto out = std::make_shared<ResolvedPolicy>();
  const auto side = [&](const std::optional<std::vector<PeerRule>>& rules,
                        std::optional<std::vector<ResolvedRule>>& to) {
    if (!rules) return;
    to.emplace();
    for (const auto& rule : *rules) to->push_back({resolve_peers(*policy, rule.peers), rule.ports});
  };
  side(policy->ingress, out->ingress);
  side(policy->egress, out->egress);
  if (has_named_ports(policy->egress)) {
    for (const auto& [space_name, home] : spaces_) {
      for (const auto& [name, identity] : home->identities) {
        if (!identity->ports.empty()) out->all_named.push_back(as_seen_from(policy->key.first, identity));
      }
    }
  }
  out->policy = std::move(policy);
  return out;
}

// Of what has changed: nobody else's from here on.
void PolicyModel::own_stale() {
  for (const auto& [name, home] : spaces_) {
    if (!home->marks) edit(name);
  }
}

Result<void> PolicyModel::allot_identities(const Allot& allot) {
  std::vector<std::string> names;
  std::vector<Space*> homes;
  for (const auto& [space_name, home] : spaces_) {
    if (home->marks) continue;
    for (const auto& [name, identity] : home->identities) {
      if (identity->id) continue;
      names.push_back(name);
      homes.push_back(home.get());
    }
  }
  if (names.empty()) return {};
  PODWIRE_TRY(const auto ids, allot("identity", names));
  for (std::size_t i = 0; i < names.size(); ++i) edit(*homes[i], names[i]).id = IdentityId(ids[i]);
  return {};
}

void PolicyModel::resolve_dirty() {
  if (all_dirty_) {
    for (const auto& [name, home] : spaces_) {
      for (const auto& [policy_name, policy] : home->policies) dirty_.insert(policy->key);
    }
  }
  for (const auto& key : dirty_) {
    auto& home = edit(key.first);
    home.resolved[key.second] = resolve(home.policies.at(key.second));
  }
  dirty_.clear();
  all_dirty_ = false;
}

PolicyModel::WantedSets PolicyModel::wanted_sets(Space& home) {
  WantedSets wanted;
  if (home.policies.empty()) return wanted;
  wanted[isolation_name(home.facts.name)];
  for (auto& [name, identity] : home.identities) {
    if (identity->selected_by.empty()) continue;
    if (identity->set_name.empty()) {
      bool named = false;
      for (const auto& policy : identity->selected_by)
        named |= has_named_ports(home.policies.at(policy)->ingress);
      auto text = set_name(*identity, named);
      edit(home, name).set_name = std::move(text);
    }
    auto& set = wanted[identity->set_name];
    if (set.identity != nullptr) continue;
    set.identity = identity.get();
    for (const auto& policy : identity->selected_by) set.members.push_back(home.resolved.at(policy));
  }
  return wanted;
}

Result<void> PolicyModel::render(Space& home, WantedSets wanted,
                                 const std::map<std::string, std::uint32_t>& fresh) {
  lost_policies_ |=
      std::erase_if(home.sets, [&](const auto& set) { return !wanted.contains(set.first); }) > 0;
  for (auto& [name, entry] : wanted) {
    auto& set = home.sets[name];
    if (set && set->members == entry.members) continue;
    ++recompiled_;
    const auto id = set ? set->policy->id : PolicyId(fresh.at(name));
    auto policy = std::make_shared<api::Policy>();
    if (entry.identity == nullptr) {
      *policy = {id, home.facts.name + "/ (labels of the pod not known)", api::PolicySide{},
                 api::PolicySide{}};
    } else {
      *policy = render_policy(id, shown_name(home.facts.name, entry.identity->selected_by), entry.members,
                              entry.identity->ports);
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

std::shared_ptr<const PolicySnapshot::Space> PolicyModel::marks_of(const Space& home) {
  auto out = std::make_shared<PolicySnapshot::Space>();
  for (const auto& [name, pod] : home.pods) {
    PolicyMarks marks;
    if (!pod.identity.empty()) {
      const auto& identity = *home.identities.at(pod.identity);
      marks.identity = identity.id;
      if (!identity.selected_by.empty()) marks.policy = home.sets.at(identity.set_name)->policy->id;
    }
    out->pods.emplace(name, PolicySnapshot::Pod{marks, pod.facts->uid});
  }
  if (!home.policies.empty()) out->isolated = home.sets.at(isolation_name(home.facts.name))->policy->id;
  return out;
}

Result<std::shared_ptr<const PolicySnapshot>> PolicyModel::compile(const Allot& allot) {
  own_stale();
  PODWIRE_CHECK(allot_identities(allot));
  resolve_dirty();
  std::vector<std::pair<Space*, WantedSets>> stale;
  std::vector<std::string> names;
  for (const auto& [name, home] : spaces_) {
    if (home->marks) continue;
    stale.emplace_back(home.get(), wanted_sets(*home));
    for (const auto& [set, entry] : stale.back().second) {
      if (!home->sets.contains(set)) names.push_back(set);
    }
  }
  std::map<std::string, std::uint32_t> fresh;
  if (!names.empty()) {
    PODWIRE_TRY(const auto ids, allot("policy", names));
    for (std::size_t i = 0; i < names.size(); ++i) fresh[names[i]] = ids[i];
  }
  recompiled_ = 0;
  for (auto& [home, wanted] : stale) {
    PODWIRE_CHECK(render(*home, std::move(wanted), fresh));
    home->marks = marks_of(*home);
  }
  auto snapshot = std::make_shared<PolicySnapshot>();
  for (const auto& [name, home] : spaces_) {
    snapshot->spaces.emplace(name, home->marks);
    for (const auto& [set_name, set] : home->sets) snapshot->policies.emplace(set->policy->id, set->policy);
  }
  return std::shared_ptr<const PolicySnapshot>(std::move(snapshot));
}

}  // namespace podwire::control
