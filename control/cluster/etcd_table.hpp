// The cluster as its keys in etcd say, put together node by node. Takes a whole listing or events in any
// order, repeated or late, and tells which nodes changed. No I/O; one thread at a time.
#pragma once

#include <map>
#include <set>
#include <unordered_map>
#include <utility>

#include "control/cluster/etcd_records.hpp"

namespace podwire::control {

class EtcdTable {
 public:
  EtcdTable(std::string prefix, std::string own) : keys_(std::move(prefix)), own_(std::move(own)) {}

  const EtcdKeys& keys() const { return keys_; }

  // In place of everything; the change tells everything.
  ClusterChange replace(const std::vector<EtcdItem>& items);
  // What liveness alone changed is no change.
  ClusterChange apply(const std::vector<EtcdEvent>& events);
  // Whether an event took a prefix or its record from this node; asking forgets it.
  bool was_robbed() { return std::exchange(robbed_, false); }

  // The node that has this very prefix; empty: nobody.
  std::string owner(const std::string& domain, const IpPrefix& prefix) const;
  // All that anybody has of a domain, and what `node` has.
  std::vector<IpPrefix> taken(const std::string& domain) const;
  std::vector<IpPrefix> taken_by(const std::string& node, const std::string& domain) const;

  // Of the last change of a key; 0: it is not there.
  std::int64_t revision(const std::string& key) const;
  const std::string* instance(const std::string& node) const;  // of alive/NAME; null: none

  std::vector<NodeView> nodes() const;

 private:
  using PrefixKey = std::pair<std::string, IpPrefix>;  // domain's name, prefix
  struct Node {
    std::optional<NodeRecord> record;
    std::optional<std::string> instance;
    std::optional<std::int64_t> silent_since_s;
    std::set<PrefixKey> prefixes;
    bool empty() const { return !record && !instance && !silent_since_s && prefixes.empty(); }
  };
  struct Seen {
    std::int64_t revision = 0;
    bool there = false;
  };

  void take(const EtcdItem& item, bool erased, std::set<std::string>& changed);
  void take_prefix(const EtcdKeys::Parsed& key, const std::string& owner, std::set<std::string>& changed);
  ClusterNode view(const std::string& name, const Node& node) const;
  ClusterChange describe(const std::set<std::string>& changed) const;

  const EtcdKeys keys_;
  const std::string own_;
  std::map<std::string, Node> nodes_;
  std::map<PrefixKey, std::string> owners_;
  std::unordered_map<std::string, Seen> seen_;  // also of keys that are gone, until the next listing
  bool robbed_ = false;
};

}  // namespace podwire::control
