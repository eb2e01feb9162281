// A Flannel cluster of which this node is one: its lease in Flannel's own schema, and the other nodes' leases
// as nodes. Two threads of its own: one lists and then watches the leases, anew whenever that ends; the other
// keeps this node's lease. What this node leased is also in its own state, so that it comes up, and goes on,
// without the store. As in Flannel, and unlike Podwire's own schema, a node whose lease has run out is gone.
#pragma once

#include <atomic>
#include <map>
#include <mutex>

#include "control/cluster/cluster.hpp"
#include "control/cluster/etcd_client.hpp"
#include "control/cluster/flannel_records.hpp"
#include "control/cluster/store_threads.hpp"
#include "control/state/store.hpp"

namespace podwire::control {

struct FlannelTimes {
  int lease_s = 86400;                         // Flannel's
  std::chrono::milliseconds beat{30000};       // the lease is kept alive so often
  std::chrono::milliseconds first_retry{200};  // doubles up to the longest
  std::chrono::milliseconds longest_retry{2000};
};

class FlannelCluster final : public Cluster {
 public:
  // Both references must outlive it. `underlay`: this node's addresses there; of each family the first is the
  // one that its lease names.
  FlannelCluster(const Config& config, Store& store, EtcdOptions options, const std::vector<IpAddr>& underlay,
                 FlannelTimes times = {});
  ~FlannelCluster() override { FlannelCluster::stop(); }

  // kInvalid: Flannel's configuration and podwired.json do not agree, with what to change.
  Result<DomainPrefixes> lease_prefixes() override;
  void start(const NodeRecord& own, Changed changed) override;
  void stop() override;
  std::vector<NodeView> nodes() const override;
  Result<void> forget(const std::string& name) override;
  std::vector<std::string> problems() const override;

  // The MAC that this node's lease names, for config.vxlan.mac.
  MacAddr mac() const { return mac_; }
  // After lease_prefixes(): whether nodes of this one's subnets are reached without tunnels.
  bool direct_routing() const { return network_.direct_routing; }
  // After lease_prefixes(): writes cluster.subnet_file.
  Result<void> write_subnet_file(std::uint16_t mtu) const;

 private:
  struct Held {  // one key below subnets/
    FlannelSubnet subnet;
    std::optional<FlannelLease> lease;  // none: not one that can be reached
    EtcdItem item;
  };

  std::string root() const;
  Result<void> load_network();
  Result<void> check_network() const;
  Result<void> save() const;
  Result<bool> load_saved();
  Result<std::int64_t> list();
  void take(const EtcdItem& item, bool erased);
  FlannelLease own_lease() const;
  bool is_ours(const Held& held) const;
  bool suits(const FlannelSubnet& subnet) const;
  Result<void> lease_one();
  Result<void> choose();
  Result<bool> claim(const Held* former);

  Result<void> session();
  bool on_events(const std::vector<EtcdEvent>& events);
  void tell(const std::vector<std::string>& keys, bool everything);
  void beat();
  Result<bool> keep();

  void note_failure(const Error& error);

  const Config& config_;
  Store& store_;
  const FlannelTimes times_;
  EtcdClient client_, beat_client_;
  std::optional<IpAddr> public_v4_, public_v6_;
  MacAddr mac_;
  FlannelNetwork network_;
  std::optional<FlannelSubnet> own_;
  Changed changed_;

  mutable std::mutex mutex_;
  std::map<std::string, Held> held_;  // by the last part of the key
  std::string last_failure_, lost_;
  std::atomic<std::int64_t> lease_{0};  // 0: none, or the key is reserved for good
  StoreThreads threads_;
};

}  // namespace podwire::control
