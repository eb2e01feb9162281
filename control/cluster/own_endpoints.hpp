// Tells the other nodes of this node's endpoints: keeps what the cluster's store has of them
// (endpoint_records.hpp) as this node's own state says. Nobody waits for it: whoever changes an endpoint
// wakes its thread, which compares and writes what differs; what the store did not take is tried again every
// few seconds, and compared anew after every interruption. Thread-safe.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <mutex>

#include "control/cluster/endpoint_records.hpp"
#include "control/cluster/periodic_thread.hpp"
#include "control/cluster/shared_store.hpp"
#include "control/config.hpp"
#include "control/state/store.hpp"

namespace podwire::control {

class OwnEndpoints final : public SharedSection {
 public:
  // All must outlive it. `config` is this node's, with what it leased. `local`, unless empty, is called with
  // every endpoint of this node, on this object's thread, whenever they have been looked at.
  using Local = std::function<void(const std::vector<EndpointRecord>& endpoints)>;
  OwnEndpoints(const Config& config, Store& store, SharedStore& cluster, Local local = {},
               std::chrono::milliseconds again = std::chrono::milliseconds(3000));
  ~OwnEndpoints() override { thread_.stop(); }

  // An endpoint of this node may be new, another or gone. Returns at once.
  void wake() {
    stale_ = true;
    thread_.wake();
  }

  Result<void> listed(const std::vector<EtcdItem>& items) override;
  void changed(const std::vector<EtcdEvent>& events) override;

 private:
  bool is_own(const DomainConfig& domain, const IpAddr& address) const;
  Result<std::map<std::string, std::string>> wanted() const;  // value by key
  void publish();

  const Config& config_;
  Store& store_;
  SharedStore& cluster_;
  const Local local_;
  const std::string prefix_;  // of this node's keys
  std::mutex mutex_;
  bool known_ = false;                         // what the store has
  std::map<std::string, std::string> stored_;  // value by key
  std::atomic<bool> stale_{true};              // to be compared
  PeriodicThread thread_;
};

}  // namespace podwire::control
