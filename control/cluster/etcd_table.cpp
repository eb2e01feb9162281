#include "control/cluster/etcd_table.hpp"

#include <spdlog/spdlog.h>

namespace podwire::control {

ClusterChange EtcdTable::replace(const std::vector<EtcdItem>& items) {
  nodes_.clear();
  owners_.clear();
  seen_.clear();
  robbed_ = false;
  std::set<std::string> changed;
  for (const auto& item : items) take(item, false, changed);
  auto change = describe(changed);
  change.everything = true;
  change.gone.clear();
  return change;
}

ClusterChange EtcdTable::apply(const std::vector<EtcdEvent>& events) {
  std::set<std::string> changed;
  for (const auto& event : events) take(event.item, event.erased, changed);
  return describe(changed);
}

void EtcdTable::take(const EtcdItem& item, bool erased, std::set<std::string>& changed) {
  const auto key = keys_.parse(item.key);
  if (!key) return;
  auto& seen = seen_[item.key];
  if (item.mod_revision <= seen.revision) return;  // told before, or overtaken
  seen = {item.mod_revision, !erased};
  if (key->kind == EtcdKeys::Kind::kPrefix) {
    take_prefix(*key, erased ? std::string() : parse_owner(item.value), changed);
    return;
  }
  auto& node = nodes_[key->name];
  if (key->kind == EtcdKeys::Kind::kAlive) {
    node.instance = erased ? std::nullopt : std::optional<std::string>(item.value);
  } else if (key->kind == EtcdKeys::Kind::kSilent) {
    node.silent_since_s = erased ? std::nullopt : parse_silence(item.value);
  } else {
    auto record = erased ? Result<NodeRecord>(not_found("erased")) : parse_node_record(item.value);
    if (!erased && !record) spdlog::warn("cluster: {} is left out: {}", item.key, record.error().message);
    node.record = record ? std::optional<NodeRecord>(*record) : std::nullopt;
    changed.insert(key->name);
    robbed_ |= key->name == own_ && !node.record;
  }
  if (node.empty()) nodes_.erase(key->name);
}

void EtcdTable::take_prefix(const EtcdKeys::Parsed& key, const std::string& owner,
                            std::set<std::string>& changed) {
  const PrefixKey prefix{key.name, key.prefix};
  if (const auto before = owners_.find(prefix); before != owners_.end()) {
    if (before->second == owner) return;
    changed.insert(before->second);
    robbed_ |= before->second == own_;
    const auto node = nodes_.find(before->second);
    node->second.prefixes.erase(prefix);
    if (node->second.empty()) nodes_.erase(node);
    owners_.erase(before);
  }
  if (owner.empty()) return;
  owners_[prefix] = owner;
  nodes_[owner].prefixes.insert(prefix);
  changed.insert(owner);
}

ClusterNode EtcdTable::view(const std::string& name, const Node& node) const {
  ClusterNode out;
  out.name = name;
  if (node.record) out.record = *node.record;
  for (const auto& [domain, prefix] : node.prefixes) out.prefixes[domain].push_back(prefix);
  return out;
}

// A node without a record cannot be reached, whatever it has.
ClusterChange EtcdTable::describe(const std::set<std::string>& changed) const {
  ClusterChange change;
  for (const auto& name : changed) {
    if (name == own_) continue;
    const auto at = nodes_.find(name);
    if (at != nodes_.end() && at->second.record) {
      change.put.push_back(view(name, at->second));
    } else {
      change.gone.push_back(name);
    }
  }
  return change;
}

std::string EtcdTable::owner(const std::string& domain, const IpPrefix& prefix) const {
  const auto at = owners_.find({domain, prefix});
  return at == owners_.end() ? std::string() : at->second;
}

std::vector<IpPrefix> EtcdTable::taken(const std::string& domain) const {
  std::vector<IpPrefix> out;
  for (auto at = owners_.lower_bound({domain, IpPrefix{}}); at != owners_.end() && at->first.first == domain;
       ++at)
    out.push_back(at->first.second);
  return out;
}

std::vector<IpPrefix> EtcdTable::taken_by(const std::string& node, const std::string& domain) const {
  std::vector<IpPrefix> out;
  const auto at = nodes_.find(node);
  if (at == nodes_.end()) return out;
  for (const auto& [name, prefix] : at->second.prefixes) {
    if (name == domain) out.push_back(prefix);
  }
  return out;
}

std::int64_t EtcdTable::revision(const std::string& key) const {
  const auto at = seen_.find(key);
  return at == seen_.end() || !at->second.there ? 0 : at->second.revision;
}

const std::string* EtcdTable::instance(const std::string& node) const {
  const auto at = nodes_.find(node);
  return at == nodes_.end() || !at->second.instance ? nullptr : &*at->second.instance;
}

std::vector<NodeView> EtcdTable::nodes() const {
  std::vector<NodeView> out;
  for (const auto& [name, node] : nodes_)
    out.push_back(
        {view(name, node), node.instance.has_value(), node.instance ? std::nullopt : node.silent_since_s});
  return out;
}

}  // namespace podwire::control
