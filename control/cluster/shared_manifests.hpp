// The objects that are applied on any node, in force on all: keeps this node's policies and services as the
// cluster's store has their manifests. Keys, below cluster.prefix:
//   manifests/KIND/NAMESPACE/NAME   the manifest in JSON as this node keeps it; a Namespace:
//   manifests/Namespace/NAME manifests/origin                random, made with the first object's store:
//   tells it from another store
// Who gives an object last has it. What the store has not is gone here too; but when a node meets a store for
// the first time (or one that has lost its data), what only this node has is given to it. While the store is
// away all stays as it was, from disk. What is read was written by anybody: what is no sound manifest changes
// nothing and is told, and what this node alone cannot do costs no other object. Thread-safe: the cluster's
// thread brings changes, requests publish, a thread of its own tries again what failed.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <span>

#include "control/cluster/buried_keys.hpp"
#include "control/cluster/manifest_sharing.hpp"
#include "control/cluster/periodic_thread.hpp"
#include "control/cluster/shared_store.hpp"

namespace podwire::control {

class SharedManifests final : public SharedSection, public ManifestSharing {
 public:
  static constexpr const char* kSection = "manifests/";
  // Of one manifest, in bytes.
  static constexpr std::size_t kMostBytes = 1024 * 1024;

  // All must outlive it. Follows the store from the cluster's start() on.
  SharedManifests(Store& store, SharedStore& cluster, std::vector<ManifestOwner*> owners,
                  std::chrono::milliseconds retry = std::chrono::milliseconds(2000));
  // This node is in no cluster, or one that shares nothing: what it has is its own again.
  static Result<void> part(Store& store);

  Result<void> listed(const std::vector<EtcdItem>& items) override;
  void changed(const std::vector<EtcdEvent>& events) override;

  Result<void> check(const std::vector<StoredManifest>& objects) override;
  bool has(const ManifestKey& key) const override;
  Result<void> publish(const std::vector<StoredManifest>& objects) override;

  // What of the others is not in force here, a sentence each, with what to do.
  std::vector<std::string> problems() const;

 private:
  struct Entry {
    std::string body;
    std::int64_t revision = 0;
    std::string problem;  // why the value is none; then there is no body
  };
  using Keys = std::set<ManifestKey>;

  std::string text_of(const ManifestKey& key) const;
  std::optional<ManifestKey> parse(const std::string& key) const;
  ManifestOwner* owner_of(const std::string& kind) const;
  static Entry entry_of(const EtcdItem& item);
  std::map<ManifestKey, std::string> bodies() const;  // of all owners
  // Under mutex_. Whether it is another object now.
  bool take(const ManifestKey& key, const EtcdItem& item, bool erased);
  Result<void> join(const EtcdItem& origin, std::map<ManifestKey, Entry>& table);
  using Revisions = std::map<std::string, std::int64_t>;  // of what was written, by key
  Result<Revisions> write(const std::vector<StoredManifest>& objects);
  bool take_back(std::span<const EtcdTransaction> steps, const std::map<std::string, std::string>& before);
  void settle(const Keys& keys);
  void try_again();

  Store& store_;
  SharedStore& cluster_;
  const std::vector<ManifestOwner*> owners_;
  const std::string prefix_;  // of all keys of the section

  std::mutex settling_;  // one at a time brings what is here to what the store has
  mutable std::mutex mutex_;
  std::map<ManifestKey, Entry> table_;  // the store's
  BuriedKeys buried_;
  std::set<std::string> strange_;            // keys of the section that name no object
  std::map<ManifestKey, LeftOut> left_out_;  // by the owners
  ManifestKey last_again_;                   // the last of these that was tried again
  PeriodicThread retries_;
};

}  // namespace podwire::control
