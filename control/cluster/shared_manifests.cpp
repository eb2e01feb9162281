#include "control/cluster/shared_manifests.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "control/cluster/random_id.hpp"

namespace podwire::control {
namespace {

constexpr const char* kOriginFact = "cluster_manifests";
constexpr const char* kOriginKey = "origin";
constexpr const char* kNamespace = "Namespace";  // objects of this kind are in no namespace
// What etcd takes at once is 128 operations and 1.5 MiB, unless it is told otherwise.
constexpr std::size_t kStepOperations = 100;
constexpr std::size_t kStepBytes = 1200 * 1024;
constexpr std::size_t kManifestsAgain = 64;

// Puts and deletes in as few transactions as hold them.
class Steps {
 public:
  void put(const std::string& key, const std::string& body, bool only_new = false) {
    auto& step = room_for(key.size() + body.size());
    if (only_new) step.conditions.push_back({key, 0});
    step.puts.push_back({key, body});
  }
  void erase(const std::string& key) { room_for(key.size()).erased.push_back(key); }
  const std::vector<EtcdTransaction>& all() const { return steps_; }

 private:
  EtcdTransaction& room_for(std::size_t bytes) {
    const bool full = steps_.empty() || bytes_ + bytes > kStepBytes ||
                      steps_.back().puts.size() + steps_.back().erased.size() >= kStepOperations;
    if (full) {
      steps_.emplace_back();
      bytes_ = 0;
    }
    bytes_ += bytes;
    return steps_.back();
  }

  std::vector<EtcdTransaction> steps_;
  std::size_t bytes_ = 0;  // of the last
};

// Of a key that anybody may have written.
std::string shown(std::string key) {
  std::replace_if(
      key.begin(), key.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return key.substr(0, 400);
}

}  // namespace

SharedManifests::SharedManifests(Store& store, SharedStore& cluster, std::vector<ManifestOwner*> owners,
                                 std::chrono::milliseconds retry)
    : store_(store), cluster_(cluster), owners_(std::move(owners)), prefix_(cluster.prefix() + kSection) {
  cluster_.follow(kSection, *this);
  retries_.start(retry, [this] { try_again(); });
}

Result<void> SharedManifests::part(Store& store) {
  return store.set_fact(kOriginFact, std::nullopt);
}

std::string SharedManifests::text_of(const ManifestKey& key) const {
  const auto& [kind, space, name] = key;
  return prefix_ + kind + "/" + (kind == kNamespace ? "" : space + "/") + name;
}

std::optional<ManifestKey> SharedManifests::parse(const std::string& key) const {
  if (!key.starts_with(prefix_)) return std::nullopt;
  std::vector<std::string> parts{""};
  for (const char c : key.substr(prefix_.size())) {
    if (c == '/')
      parts.emplace_back();
    else
      parts.back() += c;
  }
  if (parts.size() == 2 && parts[0] == kNamespace) parts.insert(parts.begin() + 1, "");
  if (parts.size() != 3 || owner_of(parts[0]) == nullptr) return std::nullopt;
  ManifestKey out{parts[0], parts[1], parts[2]};
  // An object has one key, not several spellings of it.
  return text_of(out) == key ? std::optional<ManifestKey>(out) : std::nullopt;
}

ManifestOwner* SharedManifests::owner_of(const std::string& kind) const {
  for (auto* const owner : owners_) {
    const auto kinds = owner->kinds();
    if (std::find(kinds.begin(), kinds.end(), kind) != kinds.end()) return owner;
  }
  return nullptr;
}

SharedManifests::Entry SharedManifests::entry_of(const EtcdItem& item) {
  if (item.value.empty()) return {"", item.mod_revision, "it is empty"};
  if (item.value.size() <= kMostBytes) return {item.value, item.mod_revision, ""};
  return {"", item.mod_revision,
          "it has " + std::to_string(item.value.size()) + " bytes, at most " + std::to_string(kMostBytes) +
              " are read"};
}

std::map<ManifestKey, std::string> SharedManifests::bodies() const {
  std::map<ManifestKey, std::string> all;
  for (auto* const owner : owners_) all.merge(owner->bodies());
  return all;
}

// What only this node has is given to a store that it meets for the first time. Nobody else's object is
// overwritten: theirs was there first. Without an origin, or an empty one, nobody has shared anything yet.
Result<void> SharedManifests::join(const EtcdItem& origin, std::map<ManifestKey, Entry>& table) {
  PODWIRE_TRY(const auto known, store_.get_fact(kOriginFact));
  std::string now = origin.value;
  if (known && !now.empty() && *known == now) return {};
  if (now.empty()) {
    PODWIRE_TRY(now, random_id());
    const auto key = prefix_ + kOriginKey;
    PODWIRE_TRY(const bool ours, cluster_.write({{{key, origin.mod_revision}}, {{key, now}}, {}}));
    if (!ours) return unavailable("another node began to share manifests meanwhile; reading theirs");
  }
  Steps steps;
  std::size_t given = 0;
  for (auto& [key, body] : bodies()) {
    if (table.contains(key)) continue;
    if (body.size() > kMostBytes) {
      spdlog::warn("cluster: {} is too large to be shared, and given up", text_of(key));
      continue;
    }
    steps.put(text_of(key), body, true);
    table[key].body = body;
    ++given;
  }
  for (const auto& step : steps.all()) {
    PODWIRE_TRY(const bool done, cluster_.write(step));
    if (!done) return unavailable("another node gave the same manifests meanwhile; reading theirs");
  }
  if (given != 0) spdlog::info("cluster: {} manifests that only this node had are given to all", given);
  return store_.set_fact(kOriginFact, now);
}

Result<void> SharedManifests::listed(const std::vector<EtcdItem>& items) {
  std::map<ManifestKey, Entry> table;
  std::set<std::string> strange;
  EtcdItem origin;
  for (const auto& item : items) {
    if (item.key == prefix_ + kOriginKey)
      origin = item;
    else if (const auto key = parse(item.key))
      table[*key] = entry_of(item);
    else
      strange.insert(item.key);
  }
  PODWIRE_CHECK(join(origin, table));
  const auto here = bodies();
  Keys differing;
  for (const auto& [key, entry] : table) {
    const auto at = here.find(key);
    if (!entry.problem.empty() || at == here.end() || at->second != entry.body) differing.insert(key);
  }
  for (const auto& [key, body] : here) {
    if (!table.contains(key)) differing.insert(key);
  }
  {
    const std::lock_guard lock(mutex_);
    table_ = std::move(table);
    strange_ = std::move(strange);
    buried_.clear();
    for (const auto& [key, left_out] : left_out_) differing.insert(key);
  }
  settle(differing);
  return {};
}

void SharedManifests::changed(const std::vector<EtcdEvent>& events) {
  Keys keys;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& event : events) {
      if (event.item.key == prefix_ + kOriginKey) continue;
      const auto key = parse(event.item.key);
      if (key) {
        if (take(*key, event.item, event.erased)) keys.insert(*key);
      } else if (event.erased) {
        strange_.erase(event.item.key);
      } else {
        strange_.insert(event.item.key);
      }
    }
  }
  settle(keys);
}

bool SharedManifests::take(const ManifestKey& key, const EtcdItem& item, bool erased) {
  const auto at = table_.find(key);
  const bool known = at != table_.end();
  const bool late =
      known ? item.mod_revision <= at->second.revision : buried_.is_late(item.key, item.mod_revision);
  if (late) return false;
  if (erased) {
    buried_.bury(item.key, item.mod_revision);
    if (known) table_.erase(at);
    return true;  // what was published here and not told yet is gone as well
  }
  auto fresh = entry_of(item);
  const bool same = known && at->second.body == fresh.body && at->second.problem == fresh.problem;
  table_[key] = std::move(fresh);
  return !same || left_out_.contains(key);
}

// The one way in which the store's objects come here: as the store has them by now, whoever asked for it.
void SharedManifests::settle(const Keys& keys) {
  if (keys.empty()) return;
  const std::lock_guard settling(settling_);
  std::map<ManifestOwner*, std::vector<StoredManifest>> wanted;
  std::map<ManifestKey, LeftOut> left_out;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& key : keys) {
      const auto& [kind, space, name] = key;
      const auto at = table_.find(key);
      if (at != table_.end() && !at->second.problem.empty())
        left_out[key] = {at->second.problem, true};
      else
        wanted[owner_of(kind)].push_back({kind, space, name, at == table_.end() ? "" : at->second.body});
    }
  }
  for (const auto& [owner, objects] : wanted) left_out.merge(owner->follow(objects));
  const std::lock_guard lock(mutex_);
  for (const auto& key : keys) {
    const auto before = left_out_.extract(key);
    const auto now = left_out.find(key);
    if (now == left_out.end()) continue;
    if (before.empty() || before.mapped() != now->second)
      spdlog::warn("cluster: {} is left out: {}", shown(text_of(key)), now->second.why);
    left_out_[key] = std::move(now->second);
  }
}

// Some of those that failed, in turn.
void SharedManifests::try_again() {
  Keys keys;
  {
    const std::lock_guard lock(mutex_);
    auto at = left_out_.upper_bound(last_again_);
    for (std::size_t i = 0; i < left_out_.size() && keys.size() < kManifestsAgain; ++i, ++at) {
      if (at == left_out_.end()) at = left_out_.begin();
      if (!at->second.malformed) keys.insert(last_again_ = at->first);
    }
  }
  settle(keys);
}

Result<void> SharedManifests::check(const std::vector<StoredManifest>& objects) {
  for (const auto& object : objects) {
    if (object.body.size() <= kMostBytes) continue;
    return invalid(object.kind + " " + object.name + " has " + std::to_string(object.body.size()) +
                   " bytes as JSON, at most " + std::to_string(kMostBytes) + " can be shared; split it");
  }
  auto ready = cluster_.ready();
  if (ready) return {};
  return Error{ready.error().code, "nothing was changed, because the other nodes cannot be told: " +
                                       ready.error().message + "; then try again"};
}

bool SharedManifests::has(const ManifestKey& key) const {
  const std::lock_guard lock(mutex_);
  return table_.contains(key);
}

// What differs from the store's, in as many transactions as it takes. If one fails, those before it are taken
// back.
Result<SharedManifests::Revisions> SharedManifests::write(const std::vector<StoredManifest>& objects) {
  Steps steps;
  std::map<std::string, std::string> before;  // by key; empty: it was not there
  {
    const std::lock_guard lock(mutex_);
    for (const auto& object : objects) {
      const auto at = table_.find(key_of(object));
      const bool there = at != table_.end();
      const auto key = text_of(key_of(object));
      const bool sound = there && at->second.problem.empty();
      if (there ? sound && at->second.body == object.body : object.body.empty()) continue;
      before[key] = there ? at->second.body : "";
      if (object.body.empty())
        steps.erase(key);
      else
        steps.put(key, object.body);
    }
  }
  Revisions revisions;
  for (std::size_t done = 0; done < steps.all().size(); ++done) {
    const auto& step = steps.all()[done];
    const auto written = cluster_.write(step);
    if (written) {
      for (const auto& put : step.puts) revisions[put.key] = *written;
      for (const auto& key : step.erased) revisions[key] = *written;
      continue;
    }
    const bool undone = take_back({steps.all().data(), done}, before);
    return Error{
        written.error().code,
        "the cluster's store did not confirm the change (" + written.error().message + "); " +
            (undone ? "it is taken back here, and comes again if only the store's answer was lost"
                    : "it is taken back here, but a part of it is in the store and will be in force on "
                      "all nodes") +
            ": try again when the store answers"};
  }
  return revisions;
}

bool SharedManifests::take_back(std::span<const EtcdTransaction> steps,
                                const std::map<std::string, std::string>& before) {
  Steps undo;
  const auto restore = [&](const std::string& key) {
    const auto& body = before.at(key);
    if (body.empty())
      undo.erase(key);
    else
      undo.put(key, body);
  };
  for (const auto& step : steps) {
    for (const auto& put : step.puts) restore(put.key);
    for (const auto& key : step.erased) restore(key);
  }
  return std::all_of(undo.all().begin(), undo.all().end(),
                     [this](const EtcdTransaction& step) { return static_cast<bool>(cluster_.write(step)); });
}

// While it was under way the store may have told of the same objects, from before this change or after it,
// and these are in force here by now: so what is here is brought to what the store has at last, on success
// too.
Result<void> SharedManifests::publish(const std::vector<StoredManifest>& objects) {
  Keys keys;
  for (const auto& object : objects) keys.insert(key_of(object));
  const auto written = write(objects);
  if (written) {
    const std::lock_guard lock(mutex_);
    for (const auto& object : objects) {
      const auto at = written->find(text_of(key_of(object)));
      if (at != written->end())
        take(key_of(object), {at->first, object.body, at->second}, object.body.empty());
    }
  }
  settle(keys);
  if (!written) return written.error();
  return {};
}

std::vector<std::string> SharedManifests::problems() const {
  constexpr std::size_t kMost = 50;
  std::vector<std::string> out;
  const std::lock_guard lock(mutex_);
  const std::size_t all = left_out_.size() + strange_.size();
  for (const auto& [key, left_out] : left_out_) {
    if (out.size() >= kMost) break;
    out.push_back("key " + shown(text_of(key)) + " of the cluster's store is left out: " + left_out.why +
                  (left_out.malformed ? "; apply the object anew or delete it, on any node"
                                      : "; it is tried again every few seconds"));
  }
  for (const auto& key : strange_) {
    if (out.size() >= kMost) break;
    out.push_back(
        "key " + shown(key) +
        " of the cluster's store names no object that this podwired knows; delete it with etcdctl, or "
        "update podwired");
  }
  if (all > out.size())
    out.push_back("... and " + std::to_string(all - out.size()) +
                  " more keys of the cluster's store are left out");
  return out;
}

}  // namespace podwire::control
