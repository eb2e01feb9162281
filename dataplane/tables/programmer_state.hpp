// Programmer::State: the parts of the programmer and the order in which they follow a change. Private to
// tables/.
#pragma once

#include <map>
#include <optional>
#include <set>

#include "dataplane/tables/advertiser.hpp"
#include "dataplane/tables/denial_log.hpp"
#include "dataplane/tables/forwarding.hpp"
#include "dataplane/tables/intent.hpp"
#include "dataplane/tables/neighbor_prober.hpp"
#include "dataplane/tables/outside_addresses.hpp"
#include "dataplane/tables/own_addresses.hpp"
#include "dataplane/tables/parking.hpp"
#include "dataplane/tables/policy_tables.hpp"
#include "dataplane/tables/prober.hpp"
#include "dataplane/tables/programmer.hpp"
#include "dataplane/tables/routed_prefixes.hpp"
#include "dataplane/tables/rule_set.hpp"
#include "dataplane/tables/services.hpp"
#include "dataplane/tables/shaping.hpp"
#include "dataplane/tables/underlay.hpp"

namespace podwire::engine {

using Descriptors = std::map<PortId, std::vector<UniqueFd>>;

// Duplicates of a tap's queue descriptors, in order.
Result<std::vector<UniqueFd>> duplicate_queues(const api::Port& port, const Port& device);

class Programmer::State final : private Topology {
 public:
  State(ProgrammerEnvironment environment, std::uint64_t now_ms);
  ~State() override;

  Result<std::uint64_t> apply(const api::ObjectSet& put, const api::IdSet& remove, Descriptors descriptors,
                              std::uint64_t now_ms);
  void replace_begin() { replace_.emplace(); }
  void replace_abort() { replace_.reset(); }
  Result<void> replace_chunk(api::ObjectSet put, std::vector<UniqueFd> fds);
  Result<std::uint64_t> replace_commit(std::uint64_t now_ms);

  // programmer_events.cpp
  void on_event(const Event& event, std::uint64_t now_ms);
  void flush();
  void tick(std::uint64_t now_ms);

  // programmer_views.cpp
  Result<Json> dump(const Json& params) const;
  Result<Json> fdb(const Json& params, std::uint64_t now_ms) const;
  Result<Json> neighbors(const Json& params, std::uint64_t now_ms) const;
  Result<std::vector<UniqueFd>> port_descriptors(PortId id) const;
  ObjectCounts counts() const;

  // programmer_probes.cpp
  Result<Json> probe(const Json& params, std::uint64_t now_ms);
  Result<Json> probe_results(const Json& params, std::uint64_t now_ms) const;
  Json unknown_vnis(std::uint64_t now_ms) const { return probes_.unknown_vnis(now_ms); }

  std::uint64_t generation() const { return generation_; }
  const Intent& intent() const { return intent_; }
  std::uint32_t policy_slot(PolicyId id) const { return policies_.slot_of(id); }
  const Port* device(PortId id) const;

 private:
  using Devices = std::map<PortId, std::unique_ptr<Port>>;
  struct Replace {
    api::ObjectSet put;
    Descriptors descriptors;
  };
  struct Closing {
    std::unique_ptr<Port> device;
    std::uint64_t ports_generation;  // the first without it
  };

  // programmer_rules.cpp
  using RuleSets = std::map<DomainId, std::shared_ptr<const RuleSet>>;
  Result<RuleSets> compile_rules(const Changes& changes);
  void install_rules(const Changes& changes, RuleSets fresh);
  bool senders_rules_allow(const FlowKey& original, const FlowKey& reply) const;
  void sweep_rules(const Changes& changes);

  // programmer_policies.cpp
  std::vector<DomainPrefix> addresses_concerned(const Changes& changes) const;
  void sweep(const Changes& changes);
  bool rules_allow(const FlowKey& original, const FlowKey& reply) const;
  bool policies_allow(const FlowKey& original, const FlowKey& reply, PortId owner) const;
  // Whether a connection that was cut may go on, whoever cut it.
  bool may_go_on(const FlowKey& original, const FlowKey& reply, PortId owner) const;
  void sweep_services(const Changes& changes);      // programmer_services.cpp
  void sweep_translations(const Changes& changes);  // programmer_outside.cpp
  void sweep_joins(const Changes& changes);         // programmer_joins.cpp

  MacAddr mac_of(PortId port) const override;
  std::uint32_t slot_of(VtepId vtep) const override { return underlay_.slot_of(vtep); }
  std::uint32_t slot_to(PortId port, const IpAddr& address) const override {
    return underlay_.find_hop({port, address});
  }

  // programmer_hops.cpp
  // What the node itself answers for is behind the host port, not on link, and no packet from the uplink
  // comes from there.
  void set_node_addresses();
  void add_hops(const Changes& changes, std::uint64_t now_ms);
  void remove_hops(const Changes& changes, std::uint64_t now_ms);
  void give_up_hops(const std::function<bool(const Forwarding::Neighbor&)>& wanted, std::uint64_t now_ms);
  void age_hops(std::uint64_t now_ms);
  bool leads_there(const NeighborKey& key) const;  // some route of the underlay does
  // Gives a parked packet for a host on link that host's own next hop.
  void name_hop(rte_mbuf* mbuf, std::uint64_t now_ms);

  // programmer_ports.cpp
  Result<Devices> open_devices(const Changes& changes, Descriptors& descriptors) const;
  Result<std::unique_ptr<Port>> open_device(const Change<api::Port>& change, std::vector<UniqueFd> fds) const;
  void install_devices(Devices devices);
  void remove_devices(const Changes& changes);
  void close_devices(int timeout_ms);
  void forget_connections(const Changes& changes);

  void commit(const Changes& changes, Devices devices, std::uint64_t now_ms);
  void add_structure(const Changes& changes, std::uint64_t now_ms);
  void forget_learned(const Changes& changes);
  void remove_structure(const Changes& changes, std::uint64_t now_ms);
  void announce(const Changes& changes) const;
  std::set<PortId> affected_ports(const Changes& changes) const;
  std::set<DomainId> affected_domains(const Changes& changes) const;
  void rebuild(PortId id);
  void rebuild(DomainId id);
  void rebuild_vnis();
  void rebuild_routed();  // programmer_hops.cpp
  const PortEntry* port_entry(PortId id) const;
  // Publishes when something has changed since the last time; returns whether it did.
  bool publish();

  void serve_learn(const Event& event, std::uint64_t now_ms);
  // Sends, keeps or drops a packet that a worker parked.
  void dispatch(rte_mbuf* mbuf);
  void drop_parked(rte_mbuf* mbuf, const PacketMeta& meta, DropReason reason);
  void release_settled();

  ProgrammerEnvironment environment_;
  Intent intent_;
  Devices devices_;
  std::vector<Closing> closing_;
  NeighborProber prober_;
  Advertiser advertiser_;
  Prober probes_;
  Underlay underlay_;
  Forwarding forwarding_;
  PolicyTables policies_;
  DenialLog denials_;
  Parking parking_;
  Shaping shaping_;
  std::optional<Replace> replace_;

  std::vector<std::unique_ptr<const PortEntry>> port_entries_;      // by id
  std::vector<std::unique_ptr<const DomainEntry>> domain_entries_;  // by id
  std::unique_ptr<LookupTable<Key64>> vnis_ = std::make_unique<LookupTable<Key64>>();
  std::unique_ptr<RoutedPrefixes> routed_;  // null: no domain is reached without tunnels
  RuleSets rule_sets_;                      // of the stateful domains
  std::uint32_t rules_generation_ = 0;
  Services services_;
  OutsideAddresses outside_;
  std::unique_ptr<const OwnAddresses> own_;  // null: the node has none that is known
  std::set<PortId> lease_news_;  // ports whose leases have changed since they were last advertised
  Garbage garbage_;
  bool publish_needed_ = true;
  std::uint64_t generation_ = 0;
  std::uint64_t ports_generation_ = 0;
  std::uint64_t next_second_ms_ = 0;
};

}  // namespace podwire::engine
