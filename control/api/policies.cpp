#include "control/api/policies.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <set>

#include "control/manifest/manifest.hpp"
#include "control/state/joins.hpp"

namespace podwire::control {
namespace {

// Policies last: their selectors are looked up once, when all that they may select is there.
constexpr const char* kManifestKinds[] = {"Namespace", "Pod", "NetworkPolicy"};

StoredManifest stored(const PolicyManifest& manifest) {
  return {manifest.kind, manifest.key.first, manifest.key.second, manifest.body.dump()};
}

Result<std::vector<PolicyManifest>> read_policy_manifests(const std::string& text, const std::string& what) {
  PODWIRE_TRY(const auto manifests, read_manifests(text, what));
  std::vector<PolicyManifest> objects;
  std::set<ManifestKey> seen;
  for (const auto& manifest : manifests) {
    auto object = read_policy_manifest(manifest);
    if (!object) return invalid(what + ": " + object.error().message);
    if (!seen.insert(key_of(*object)).second)
      return invalid(what + ": " + to_text(*object) + " stands in it twice; which one is meant?");
    objects.push_back(std::move(*object));
  }
  if (objects.empty()) return invalid(what + " holds no objects");
  return objects;
}

}  // namespace

ManifestKey key_of(const PolicyManifest& manifest) {
  return {manifest.kind, manifest.key.first, manifest.key.second};
}

Result<void> Policies::load() {
  const std::lock_guard lock(mutex_);
  for (const char* const kind : kManifestKinds) {
    PODWIRE_TRY(const auto rows, store_.manifests(kind));
    for (const auto& row : rows) bodies_[{kind, row.space, row.name}] = row.body;
  }
  PODWIRE_TRY(setting_, setting_for(config_));
  PODWIRE_TRY(model_, model_for(*setting_));
  PODWIRE_TRY(snapshot_, compile(model_, setting_->config));
  PODWIRE_CHECK(store_.keep_ids("identity", model_.identity_names()));
  PODWIRE_CHECK(store_.keep_ids("policy", model_.policy_names()));
  return reconciler_.set_policies(snapshot_);
}

Result<void> Policies::give(const std::shared_ptr<const PolicySnapshot>& snapshot, Source source) {
  return source == Source::kPerson ? reconciler_.set_policies(snapshot)
                                   : reconciler_.follow_policies(snapshot);
}

Result<void> Policies::rebuild_for(const Config& config, Source source) {
  const std::lock_guard lock(mutex_);
  PODWIRE_TRY(auto setting, setting_for(config));
  PODWIRE_TRY(auto next, model_for(*setting));
  PODWIRE_TRY(auto snapshot, compile(next, config));
  if (!snapshot->policies.empty() || !snapshot_->policies.empty()) {
    PODWIRE_CHECK(give(snapshot, source));
    snapshot_ = std::move(snapshot);
  }
  setting_ = std::move(setting);
  model_ = std::move(next);
  return {};
}

Result<std::shared_ptr<const Policies::Setting>> Policies::setting_for(const Config& config) const {
  auto setting = std::make_shared<Setting>(Setting{config, {}, {}});
  if (config.domains.size() > 1 && namespaces_ != nullptr) {
    PODWIRE_TRY(const auto groups, load_groups(store_, config));
    setting->reaches = plan_joins(config, groups).reaches;
    for (const auto& [domain, spaces] : namespaces_->by_domain()) setting->homes.insert(domain);
    if (!setting->homes.empty()) setting->homes.insert(config.default_domain()->name);
  }
  return std::shared_ptr<const Setting>(std::move(setting));
}

// Of what is applied.
Result<PolicyModel> Policies::model_for(const Setting& setting) const {
  const auto& config = setting.config;
  PolicyModel model;
  if (config.domains.size() > 1 && namespaces_ != nullptr) {
    // The model outlives `setting`.
    model.set_meets([namespaces = namespaces_, fallback = config.default_domain()->name,
                     reaches = setting.reaches](const auto& one, const auto& other) {
      const auto home = namespaces->domain_of(one).value_or(fallback);
      const auto away = namespaces->domain_of(other).value_or(fallback);
      if (home == away) return true;
      const auto at = reaches.find(home);
      return at != reaches.end() && std::binary_search(at->second.begin(), at->second.end(), away);
    });
  }
  model.expect(SIZE_MAX);
  for (const char* const kind : kManifestKinds) {
    for (auto at = bodies_.lower_bound({kind, "", ""}); at != bodies_.end(); ++at) {
      const auto& [of_kind, space, name] = at->first;
      if (of_kind != kind) break;
      PODWIRE_TRY(auto body, parse_json(at->second, "stored " + of_kind + " " + name));
      PODWIRE_CHECK(put_into({of_kind, {space, name}, std::move(body)}, model, setting));
    }
  }
  return model;
}

Result<std::shared_ptr<const PolicySnapshot>> Policies::compile(PolicyModel& model, const Config& config) {
  PODWIRE_TRY(auto made,
              model.compile([this](const auto& noun, const auto& names) { return allot(noun, names); }));
  const bool isolates = std::any_of(config.domains.begin(), config.domains.end(),
                                    [](const DomainConfig& domain) { return domain.isolates_pods; });
  if (!isolates) return made;
  auto more = std::make_shared<PolicySnapshot>(*made);
  more->add_isolation();
  return std::shared_ptr<const PolicySnapshot>(std::move(more));
}

// Where the pods of a namespace are, unless their network configuration says otherwise.
std::string Policies::domain_of(const std::string& space, const Config& config) const {
  if (namespaces_ != nullptr) {
    if (auto named = namespaces_->domain_of(space)) return *named;
  }
  const auto fallback = config.default_domain();
  return fallback == nullptr ? "" : fallback->name;
}

// Whether an address of `domain` is one to pods of `home`. A further interface in another tenant's domain has
// one that may be somebody else's at home; domains that no namespace leads to are no tenant's.
bool Policies::may_be_met(const std::string& home, const std::string& domain, const Setting& setting) {
  if (domain == home || !setting.homes.contains(domain)) return true;
  const auto at = setting.reaches.find(home);
  return at != setting.reaches.end() && std::binary_search(at->second.begin(), at->second.end(), domain);
}

Result<void> Policies::put_into(const PolicyManifest& manifest, PolicyModel& model,
                                const Setting& setting) const {
  if (manifest.kind == "Namespace") {
    PODWIRE_TRY(auto facts, read_namespace(manifest));
    model.put(std::move(facts));
  } else if (manifest.kind == "Pod") {
    PODWIRE_TRY(auto pod, read_pod(manifest));
    const auto located = located_.find(manifest.key);
    const auto home = domain_of(manifest.key.first, setting.config);
    if (located != located_.end() && !pod.host_network) {
      pod.addresses.clear();
      for (const auto& [domain, address] : located->second) {
        if (may_be_met(home, domain, setting)) pod.addresses.push_back(address);
      }
      std::sort(pod.addresses.begin(), pod.addresses.end());
      pod.addresses.erase(std::unique(pod.addresses.begin(), pod.addresses.end()), pod.addresses.end());
    }
    // Who has an address of this node's prefixes is known better here, and at once when it changes. Nodes
    // share those of mode l2.
    const auto domain = setting.config.find_domain(home);
    if (domain != nullptr && domain->mode == api::DomainMode::kL3) {
      std::erase_if(pod.addresses, [&](const IpAddr& address) {
        return std::any_of(domain->prefixes.begin(), domain->prefixes.end(),
                           [&](const IpPrefix& prefix) { return prefix.contains(address); });
      });
    }
    model.put(std::move(pod));
  } else {
    PODWIRE_TRY(auto policy, read_network_policy(manifest));
    model.put(std::move(policy));
  }
  return {};
}

Result<void> Policies::take_into(const Change& change, PolicyModel& model) const {
  model.expect(change.put.size() + change.erased.size());
  for (const auto& manifest : change.erased) {
    if (manifest.kind == "Namespace") {
      model.erase_namespace(manifest.key.second);
    } else if (manifest.kind == "Pod") {
      model.erase_pod(manifest.key);
    } else {
      model.erase_policy(manifest.key);
    }
  }
  for (const char* const kind : kManifestKinds) {
    for (const auto& manifest : change.put) {
      if (manifest.kind == kind) PODWIRE_CHECK(put_into(manifest, model, *setting_));
    }
  }
  return {};
}

Result<void> Policies::take_over(const Change& change, Source source) {
  PolicyModel next = model_;
  PODWIRE_CHECK(take_into(change, next));
  return commit(std::move(next), change, source);
}

// The engine first: what it refuses is not kept, and what is answered is both in force and kept.
Result<void> Policies::commit(PolicyModel next, const Change& change, Source source) {
  PODWIRE_TRY(auto snapshot, compile(next, setting_->config));
  PODWIRE_CHECK(give(snapshot, source));
  std::vector<StoredManifest> put, erased;
  for (const auto& manifest : change.put) put.push_back(stored(manifest));
  for (const auto& manifest : change.erased) erased.push_back(stored(manifest));
  if (auto kept = store_.change_manifests(put, erased); !kept) {
    auto undone = reconciler_.set_policies(snapshot_);
    if (undone) return kept.error();
    return Error{kept.error().code, kept.error().message + "; undoing it: " + undone.error().message};
  }
  snapshot_ = std::move(snapshot);
  model_ = std::move(next);
  for (const auto& manifest : change.erased) bodies_.erase(key_of(manifest));
  for (const auto& manifest : change.put) bodies_[key_of(manifest)] = manifest.body.dump();
  forget_ids();
  return {};
}

// The change is in force and kept by now, so a failure here is not its failure: what could not be forgotten
// is tried again with the next change, and when podwired starts.
void Policies::forget_ids() {
  stale_identities_ |= model_.lost_identities();
  stale_policies_ |= model_.lost_policies();
  const auto forget = [this](bool& stale, const std::string& noun, const std::vector<std::string>& kept) {
    if (!stale) return;
    const auto done = store_.keep_ids(noun, kept);
    stale = !done;
    if (!done) spdlog::warn("policy: ids of {} objects that are gone: {}", noun, done.error().message);
  };
  forget(stale_identities_, "identity", model_.identity_names());
  forget(stale_policies_, "policy", model_.policy_names());
}

Result<Policies::Change> Policies::read_change(const Json& params, bool erases, std::string& name) const {
  std::optional<std::string> text;
  std::string what = "manifests";
  ObjectReader r(params, "params");
  r.optional("manifests", text);
  r.optional("what", what);
  if (erases) r.optional("name", name);
  PODWIRE_CHECK(r.finish());
  if (erases && text.has_value() == !name.empty())
    return invalid("params must have exactly one of name (NAMESPACE/NAME of a policy) and manifests");
  Change change;
  if (!text) {
    if (!erases) return invalid("params.manifests is missing; it is the text of the manifests");
    const auto slash = name.find('/');
    const ObjectKey key = slash == name.npos ? ObjectKey{"default", name}
                                             : ObjectKey{name.substr(0, slash), name.substr(slash + 1)};
    change.erased.push_back({"NetworkPolicy", key, Json::object()});
    return change;
  }
  PODWIRE_TRY(auto objects, read_policy_manifests(*text, what));
  (erases ? change.erased : change.put) = std::move(objects);
  return change;
}

Result<Json> Policies::apply(const Json& params) {
  std::string unused;
  PODWIRE_TRY(const auto change, read_change(params, false, unused));
  std::vector<StoredManifest> objects;
  for (const auto& manifest : change.put) objects.push_back(stored(manifest));
  if (sharing_ != nullptr) PODWIRE_CHECK(sharing_->check(objects));
  PODWIRE_TRY(auto reply, apply_here(change));
  if (sharing_ != nullptr) PODWIRE_CHECK(sharing_->publish(objects));
  return reply;
}

Result<Json> Policies::apply_here(const Change& change) {
  const std::lock_guard lock(mutex_);
  Json applied = Json::array();
  for (const auto& manifest : change.put) {
    const auto before = bodies_.find(key_of(manifest));
    const char* const what = before == bodies_.end()                  ? "created"
                             : before->second == manifest.body.dump() ? "unchanged"
                                                                      : "configured";
    applied.push_back({{"kind", manifest.kind}, {"name", to_text(manifest.key)}, {"change", what}});
  }
  PODWIRE_CHECK(take_over(change, Source::kPerson));
  PODWIRE_TRY(auto unenforced, not_enforced());
  return Json{{"applied", std::move(applied)},
              {"not_enforced", std::move(unenforced)},
              {"policies_changed", model_.policies_recompiled()}};
}

Result<Json> Policies::remove(const Json& params) {
  std::string name;
  PODWIRE_TRY(auto change, read_change(params, true, name));
  if (sharing_ != nullptr) PODWIRE_CHECK(sharing_->check({}));
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(change.erased, [this](const PolicyManifest& m) {
      const auto key = key_of(m);
      return !bodies_.contains(key) && (sharing_ == nullptr || !sharing_->has(key));
    });
    if (!change.erased.empty()) PODWIRE_CHECK(take_over(change, Source::kPerson));
  }
  Json deleted = Json::array();
  std::vector<StoredManifest> gone;
  for (const auto& manifest : change.erased) {
    deleted.push_back(to_text(manifest));
    gone.push_back({manifest.kind, manifest.key.first, manifest.key.second, ""});
  }
  if (sharing_ != nullptr) PODWIRE_CHECK(sharing_->publish(gone));
  return Json{{"deleted", std::move(deleted)}};
}

// Pods that a policy selects where nothing tracks connections; the first of them, as a reply is one line.
Result<Json> Policies::not_enforced() {
  constexpr std::size_t kMostNamed = 200;  // of some 700 bytes each
  std::size_t unnamed = 0;
  Json out = Json::array();
  if (snapshot_->policies.empty()) return out;
  std::set<std::string> stateless;
  for (const auto& domain : config_.domains) {
    if (!domain.stateful) stateless.insert(domain.name);
  }
  if (stateless.empty()) return out;
  PODWIRE_TRY(const auto attachments, store_.list());
  for (const auto& a : attachments) {
    if (a.state != AttachmentState::kReady || !stateless.contains(a.domain)) continue;
    const auto marks = snapshot_->marks_of({a.pod_namespace, a.pod_name}, a.pod_uid);
    if (!marks.policy) continue;
    if (out.size() == kMostNamed) {
      ++unnamed;
      continue;
    }
    out.push_back("pod " + a.pod_namespace + "/" + a.pod_name + " (" +
                  snapshot_->policies.at(marks.policy)->name + "): its domain \"" + a.domain +
                  "\" is stateless; set \"stateful\": true for it in podwired.json and restart podwired");
  }
  if (unnamed != 0) out.push_back("and " + std::to_string(unnamed) + " other pods");
  return out;
}

}  // namespace podwire::control
