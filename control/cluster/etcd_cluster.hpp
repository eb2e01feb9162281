// The cluster in etcd. Two threads of its own: one lists, claims and then watches, anew whenever that ends;
// the other keeps this node's liveness key alive, notices when the store is gone, and looks after nodes that
// have fallen silent. What this node leased is also in its own state, so that it comes up, and goes on,
// without the store.
#pragma once

#include <atomic>
#include <mutex>

#include "control/cluster/etcd_pages.hpp"
#include "control/cluster/etcd_sections.hpp"
#include "control/cluster/etcd_table.hpp"
#include "control/cluster/silence.hpp"
#include "control/cluster/store_threads.hpp"
#include "control/config.hpp"
#include "control/state/store.hpp"

namespace podwire::control {

struct EtcdTimes {
  int lease_s = 15;                            // how long a node that is gone counts as alive
  std::chrono::milliseconds beat{5000};        // the liveness key is kept alive so often
  std::chrono::milliseconds first_retry{200};  // doubles up to the longest, each spread by half
  std::chrono::milliseconds longest_retry{2000};
  SilenceLimits silence;
};

class EtcdCluster final : public Cluster, public SharedStore {
 public:
  // Both references must outlive it. `config`: as configured, before anything is leased.
  EtcdCluster(const Config& config, Store& store, EtcdOptions options, EtcdTimes times = {});
  ~EtcdCluster() override { EtcdCluster::stop(); }

  Result<DomainPrefixes> lease_prefixes() override;
  void start(const NodeRecord& own, Changed changed) override;
  void stop() override;
  std::vector<NodeView> nodes() const override;
  Result<void> forget(const std::string& name) override;
  std::vector<std::string> problems() const override;
  SharedStore* shared_store() override { return this; }

  const std::string& prefix() const override { return table_.keys().all(); }
  void follow(const std::string& section, SharedSection& by) override;
  Result<void> ready() override;
  Result<std::int64_t> write(const EtcdTransaction& transaction) override;

 private:
  using Clock = std::chrono::steady_clock;

  Result<DomainPrefixes> saved_prefixes() const;
  Result<void> save_prefixes(const DomainPrefixes& prefixes);
  Result<std::string> instance();
  Result<void> list();
  Result<IpPrefix> lease_one(const DomainConfig& domain, const IpPrefix& range);
  Error used_up(const DomainConfig& domain, const IpPrefix& range) const;

  // Of the store: what tells of nodes; that and what is shared, but for endpoints; the endpoints, which are
  // most of it.
  std::vector<EtcdSpan> node_spans() const;
  std::vector<EtcdSpan> spans_without_endpoints() const;
  EtcdSpan endpoint_span() const;

  // The watching thread.
  Result<void> session();
  Result<std::int64_t> take_listing();
  Result<std::size_t> take_endpoints(EtcdPages& pages);
  Result<void> claim_name();
  Result<void> claim_prefixes();
  bool take(const std::vector<EtcdEvent>& events);
  // The beating thread.
  void beat();
  void look_after_silent();
  Result<void> note_silence(EtcdClient& client, const std::string& name);

  Result<std::vector<EtcdItem>> list_nodes(EtcdClient& client) const;
  Result<EtcdTable> list_with(EtcdClient& client) const;
  Result<void> forget_with(EtcdClient& client, const EtcdTable& now, const std::string& name);
  void note_failure(const Error& error);

  const Config& config_;
  Store& store_;
  const EtcdTimes times_;
  EtcdClient client_, beat_client_, admin_client_;
  std::string instance_;
  DomainPrefixes own_;
  NodeRecord record_;
  Changed changed_;
  EtcdSections sections_;

  mutable std::mutex mutex_;
  EtcdTable table_;
  std::optional<Clock::time_point> failing_since_ = Clock::now();  // none: the store answers
  std::optional<Error> last_failure_;                              // since the store answered
  std::vector<std::string> claims_lost_;
  SilenceWatch silence_;  // the beating thread's

  std::mutex admin_mutex_;
  std::atomic<std::int64_t> lease_{0};
  StoreThreads threads_;
};

}  // namespace podwire::control
