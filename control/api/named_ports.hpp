// Ports and endpoints that a person (or an orchestrator of VMs) adds by name, without CNI: the verbs
// port_add, port_del, endpoint_add and endpoint_del. They stay until they are deleted, over restarts of
// daemon, engine and machine. Thread-safe; one change at a time.
#pragma once

#include <mutex>

#include "control/config.hpp"
#include "control/state/namespace_domains.hpp"
#include "control/state/reconciler.hpp"
#include "control/state/store.hpp"

namespace podwire::control {

class NamedPorts {
 public:
  // All must outlive it. `namespaces`: which domain a port joins by its pod's namespace; null: none does.
  NamedPorts(const Config& config, Store& store, Reconciler& reconciler,
             const NamespaceDomains* namespaces = nullptr)
      : config_(config), store_(store), reconciler_(reconciler), namespaces_(namespaces) {}

  // {name, kind, socket, socket_mode, domain, mac, mtu, queues, addresses, hostname, dhcp, allowed_pairs,
  // ring_size, buffer_size, secret, memif_id, iommu}; the first three are required. Replies what it got, or
  // undoes everything.
  Result<Json> add_port(const Json& params);
  // {name}. Replies {deleted}: false when there was none.
  Result<Json> delete_port(const Json& params);
  // {name, port, mac, addresses, hostname, dhcp, allowed_pairs}; the first two are required.
  Result<Json> add_endpoint(const Json& params);
  Result<Json> delete_endpoint(const Json& params);

 private:
  // `space`: of the pod that the port is; may be empty.
  Result<std::string> domain_of(const std::string& wanted, const std::string& space) const;
  Result<void> take_down(const Attachment& attachment);
  // The attachment behind a port's name.
  Result<Attachment> port_named(const std::string& name);

  const Config& config_;
  Store& store_;
  Reconciler& reconciler_;
  const NamespaceDomains* const namespaces_;
  std::mutex mutex_;
};

// A named port, or the interface of a container, as port_add replies it.
Json to_json(const Attachment& attachment);

}  // namespace podwire::control
