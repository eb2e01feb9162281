// The endpoints of the cluster's other nodes, as they tell of them (endpoint_records.hpp). In domains of mode
// l2 they become endpoints of this node's engine, so that their MACs need not be flooded to and ARP and ND
// are answered at home; in all domains network policies learn where pods are. What a record says is checked
// first: an address that its node has not leased, or a MAC that somebody else has, would take traffic away
// from others; who has it already keeps it. The last state is kept on disk for a start without the store. A
// change costs what it touches. Changes come on the cluster's thread, those of this node's own endpoints on
// another, and a thread of its own tries again what the engine, the disk or the policies refused; everything
// is thread-safe.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <set>

#include "control/cluster/buried_keys.hpp"
#include "control/cluster/endpoint_records.hpp"
#include "control/cluster/periodic_thread.hpp"
#include "control/cluster/remote_nodes.hpp"
#include "control/cluster/shared_store.hpp"

namespace podwire::control {

// Where pods of other nodes are, by namespace and name: addresses with the domain that they are of, sorted;
// none: nobody tells any more.
using PodPlaces = std::map<std::pair<std::string, std::string>, std::vector<std::pair<std::string, IpAddr>>>;
using PodNames = std::set<std::pair<std::string, std::string>>;

class RemoteEndpoints final : public SharedSection {
 public:
  // All must outlive it. `config` is this node's, with what it leased. `located` is called with pods whose
  // addresses changed, on the thread that brought the change; those that it returns it is told of again.
  using Located = std::function<PodNames(const PodPlaces& changed)>;
  RemoteEndpoints(const Config& config, Store& store, SharedStore& cluster, EngineReconciler& reconciler,
                  Located located, std::chrono::milliseconds retry = std::chrono::milliseconds(2000));

  // What was known when the daemon last ran: before RemoteNodes::load, and so before the reconciler's
  // set_node(node).
  Result<void> load(const NodeObjects& node);
  // Nodes that are new, others or gone. Called by RemoteNodes.
  void nodes_changed(const std::vector<RemoteNodes::Reached>& nodes);
  // All endpoints of this node.
  void local_changed(const std::vector<EndpointRecord>& endpoints);

  Result<void> listed(const std::vector<EtcdItem>& items) override;
  void changed(const std::vector<EtcdEvent>& events) override;

  // Some of what was refused, in turn. Its own thread does so every `retry`.
  void try_again();

  // Endpoints that are left out, a sentence each.
  std::vector<std::string> problems() const;

 private:
  struct Entry {
    std::int64_t revision = 0;
    std::optional<EndpointRecord> record;  // none: the value is no such record
    std::string problem;
    std::optional<api::Endpoint> programmed;
    bool located = false;    // its pod's addresses are told
    bool waiting = false;    // left out because somebody else has what it says is its
    bool displaced = false;  // the engine has it no more: a pod of this node took its place, and is gone
    std::string refused;     // why the engine did not take it; said once
  };
  struct Node {
    std::optional<VtepId> vtep;
    DomainPrefixes prefixes;
    std::map<std::uint32_t, Entry> endpoints;
  };
  using Places = std::set<EndpointPlace>;
  using MacKey = std::pair<std::string, MacAddr>;     // domain
  using AddressKey = std::pair<std::string, IpAddr>;  // domain
  using Before = std::map<EndpointPlace, std::optional<api::Endpoint>>;

  Entry* find(const EndpointPlace& place);
  void put(const EndpointPlace& place, const EtcdItem& item);
  void erase(const EndpointPlace& place);
  void take_in(const Places& gone, Places changed);
  std::string fault_of(const EndpointPlace& place, const Node& node, const EndpointRecord& record) const;
  std::optional<api::Endpoint> object_of(const EndpointPlace& place, const Node& node,
                                         const EndpointRecord& record) const;
  void release(const EndpointPlace& place, Entry& entry);
  void wait(const EndpointPlace& place, Entry& entry);
  void settle(Places touched);
  std::optional<api::Endpoint> judge(const EndpointPlace& place, Entry& entry) const;
  void grant(const EndpointPlace& place, Entry& entry, std::optional<api::Endpoint> object);
  void program(const std::vector<EndpointPlace>& places, const Before& before);
  void find_displaced(Places& places);
  void tell_located();
  void keep(const Places& touched);

  const Config& config_;
  Store& store_;
  EngineReconciler& reconciler_;
  const Located located_;
  const std::string prefix_;

  mutable std::mutex mutex_;
  std::map<std::string, DomainId> domains_;
  std::map<std::string, Node> nodes_;
  BuriedKeys buried_;
  std::map<MacKey, EndpointPlace> macs_;           // who has them, of those that are programmed
  std::map<AddressKey, EndpointPlace> addresses_;  // likewise
  std::set<MacKey> local_macs_;
  std::set<AddressKey> local_addresses_;
  std::map<MacKey, Places> mac_waiters_;  // who waits, by everything that they say is theirs
  std::map<AddressKey, Places> address_waiters_;
  Places freed_;              // who waited for what is free now: for the next settle()
  Places faulty_;             // with a problem
  Places again_;              // that the engine did not take
  EndpointPlace last_again_;  // the last of these that was tried again
  Places unsaved_;            // not on disk as they are
  std::map<std::pair<std::string, std::string>, Places> pods_;
  PodNames moved_;  // pods whose addresses are to be told
  PeriodicThread retries_;
};

}  // namespace podwire::control
