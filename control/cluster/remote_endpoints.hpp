// The endpoints of the cluster's other nodes, as they tell of them (endpoint_records.hpp). In domains of mode
// l2 they become endpoints of this node's engine, so that their MACs need not be flooded to and ARP and ND
// are answered at home; in all domains network policies learn where pods are. What a record says is checked
// first: an address that its node has not leased, or a MAC that somebody else has, would take traffic away
// from others; who has it already keeps it. The last state is kept on disk for a start without the store
// (late_rows.hpp). A change costs what it touches; a listing is taken in as it comes. Changes come on the
// cluster's thread, those of this node's own endpoints on another, and a thread of its own tries again what
// the engine, the disk or the policies refused; everything is thread-safe.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <span>
#include <unordered_map>

#include "control/cluster/buried_keys.hpp"
#include "control/cluster/endpoint_records.hpp"
#include "control/cluster/late_rows.hpp"
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
  bool takes_parts() const override { return true; }
  void begin_listing() override;
  void list_part(const std::vector<EtcdItem>& items) override;
  void changed(const std::vector<EtcdEvent>& events) override;

  // Some of what was refused, in turn. Its own thread does so every `retry`.
  void try_again();

  // Endpoints that are left out, a sentence each.
  std::vector<std::string> problems() const;

 private:
  struct Entry {
    std::int64_t revision = 0;
    std::uint32_t listing = 0;  // the last one that it was in, or came after
    bool located = false;       // its pod's addresses are told
    bool waiting = false;       // left out because somebody else has what it says is its
    bool displaced = false;     // the engine has it no more: a pod of this node took its place, and is gone
    bool settling = false;      // has its turn now
    std::optional<EndpointRecord> record;  // none: the value is no such record
    SharedEndpoint programmed;             // null: the engine has none of it
  };
  struct Node {
    std::optional<VtepId> vtep;
    DomainPrefixes prefixes;
    std::map<std::uint32_t, Entry> endpoints;
  };
  // Of an entry. The name is its node's, which stays as long as the entry does.
  struct Spot {
    const std::string* node;
    std::uint32_t number;
    bool is(const EndpointPlace& place) const { return number == place.number && *node == place.node; }
  };
  struct Fault {
    std::string problem, said;  // what is wrong with it, and what of that has been said
  };
  // One that may be another for the engine now.
  struct Turn {
    EndpointPlace place;
    Spot spot;
    const Node* node;
    Entry* entry;
    SharedEndpoint was, wanted;
    int number = 0;
    std::string problem;
  };
  using Places = std::set<EndpointPlace>;
  struct PodHash {
    std::size_t operator()(const std::pair<std::string, std::string>& pod) const noexcept {
      return std::hash<std::string>{}(pod.first) * 31 + std::hash<std::string>{}(pod.second);
    }
  };

  Entry* find(const EndpointPlace& place);
  DomainId domain_id(const std::string& name) const;
  void put(const EndpointPlace& place, Entry& entry, std::int64_t revision, Result<EndpointRecord> record);
  void erase(const EndpointPlace& place);
  std::vector<EndpointPlace> list_some(const std::vector<EtcdItem>& items);
  void take_in(const std::vector<EndpointPlace>& gone, std::vector<EndpointPlace> changed);
  std::string fault_of(const EndpointPlace& place, const Node& node, const EndpointRecord& record) const;
  bool is_programmed(const std::string& domain);
  SharedEndpoint object_of(const EndpointPlace& place, const Node& node, const EndpointRecord& record);
  void release(const EndpointPlace& place, Entry& entry);
  void wait(const EndpointPlace& place, Entry& entry);
  void settle(const std::vector<EndpointPlace>& touched);
  std::vector<Turn> turns_of(const std::vector<EndpointPlace>& touched);
  void judge(Turn& turn);
  void grant(Turn& turn);
  void program(std::span<Turn> turns);
  void program_at_once(std::span<Turn> turns);
  void finish(Turn& turn);
  void find_displaced(std::vector<EndpointPlace>& places);
  void tell_located();
  std::vector<std::optional<std::string>> bodies(const std::vector<LateRows::Name>& names);

  const Config& config_;
  Store& store_;
  EngineReconciler& reconciler_;
  const Located located_;
  const std::string prefix_;

  mutable std::mutex mutex_;
  std::map<std::string, DomainId> domains_;
  std::map<std::string, Node> nodes_;
  std::uint32_t listing_ = 0;  // counts them
  BuriedKeys buried_;
  std::unordered_map<MacKey, Spot, EndpointKeyHash> macs_;  // who has them, of those that are programmed
  std::unordered_map<AddressKey, Spot, EndpointKeyHash> addresses_;  // likewise
  std::set<MacKey> local_macs_;
  std::set<AddressKey> local_addresses_;
  std::map<MacKey, Places> mac_waiters_;  // who waits, by everything that they say is theirs
  std::map<AddressKey, Places> address_waiters_;
  Places freed_;                               // who waited for what is free now: for the next settle()
  std::map<EndpointPlace, Fault> faults_;      // of those with a problem
  Places again_;                               // that the engine did not take
  EndpointPlace last_again_;                   // the last of these that was tried again
  std::map<std::string, bool> is_programmed_;  // by domain, in one settle()
  std::unordered_map<std::pair<std::string, std::string>, std::vector<Spot>, PodHash> pods_;
  PodNames moved_;  // pods whose addresses are to be told
  PeriodicThread retries_;
  LateRows rows_;  // last: it writes what is left before the rest goes
};

}  // namespace podwire::control
