// Ports and endpoints that a person (or an orchestrator of VMs) adds by name, without CNI: the verbs
// port_add, port_del, endpoint_add and endpoint_del. They stay until they are deleted, over restarts of
// daemon, engine and machine. Thread-safe; one change at a time.
#pragma once

#include <mutex>

#include "control/config.hpp"
#include "control/state/reconciler.hpp"
#include "control/state/store.hpp"

namespace podwire::control {

class NamedPorts {
 public:
  // All three must outlive it.
  NamedPorts(const Config& config, Store& store, Reconciler& reconciler)
      : config_(config), store_(store), reconciler_(reconciler) {}

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
  Result<std::string> domain_of(const std::string& wanted) const;
  Result<void> take_down(const Attachment& attachment);
  // The attachment behind a port's name.
  Result<Attachment> port_named(const std::string& name);

  const Config& config_;
  Store& store_;
  Reconciler& reconciler_;
  std::mutex mutex_;
};

// A named port, or the interface of a container, as port_add replies it.
Json to_json(const Attachment& attachment);

}  // namespace podwire::control
