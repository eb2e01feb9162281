// Forwarding: the tables that change in place while workers read them (FDB, FIB4, FIB6), their adjacencies,
// multipath groups, and the learned MACs. Follows the objects of Intent in the order that programmer.hpp
// describes:
//   prepare(changes)  writes new adjacencies and paths, which nothing points to yet, and makes room in the
//   tables (the caller publishes a snapshot that has everything the new entries refer to) apply() changes the
//   entries retire(publisher) after the last publication: what was replaced is reused once no worker can see
//   it
// Main thread only.
#pragma once

#include <array>
#include <bitset>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <unordered_map>
#include <vector>

#include "dataplane/tables/adjacency_pool.hpp"
#include "dataplane/tables/growing_table.hpp"
#include "dataplane/tables/intent.hpp"
#include "dataplane/tables/learned_macs.hpp"
#include "dataplane/tables/long_prefixes.hpp"
#include "dataplane/tables/neighbors.hpp"
#include "dataplane/tables/path_arena.hpp"
#include "dataplane/tables/publisher.hpp"

namespace podwire::engine {

// What forwarding must know of ports and VTEPs.
class Topology {
 public:
  virtual ~Topology() = default;
  virtual MacAddr mac_of(PortId port) const = 0;  // of the interface behind it
  virtual std::uint32_t slot_of(VtepId vtep) const = 0;
  // Of a next hop of the underlay, without a tunnel (Underlay::slot_to).
  virtual std::uint32_t slot_to(PortId port, const IpAddr& address) const = 0;
};

class Forwarding {
 public:
  Forwarding(const Intent& intent, const Topology& topology);

  // `changes` are in `intent` already, VTEPs have their slots and ports their MACs.
  void prepare(const Changes& changes);
  void apply();
  void retire(Publisher& publisher);

  // Since the last call: whether a table was replaced or paths were added, so that a snapshot must be
  // published.
  bool take_publish_needed() { return std::exchange(publish_needed_, false); }
  // Domains whose set of prefix lengths changed since the last call (or will, with apply()).
  std::set<DomainId> take_resized_domains() { return std::exchange(resized_, {}); }
  void fill_lengths(DomainEntry& entry) const;
  void fill_tables(Snapshot& snapshot) const;

  // Addresses that the underlay's packets reach through `host_port`. In force with the next apply().
  void set_node_addresses(std::vector<IpAddr> addresses, PortId host_port, const MacAddr& mac);

  // Hosts on link in the underlay, which packets without a tunnel go to through `slot` of the next hops.
  // Added ones are in the tables with the next apply(), after whose announcement a snapshot must be
  // published.
  struct Neighbor {
    NeighborKey at;
    std::uint32_t adjacency = 0;
    std::uint64_t since_ms = 0;
  };
  static constexpr std::size_t kMaxNeighbors = 1024;
  void add_neighbor(const NeighborKey& at, std::uint32_t slot, std::uint64_t now_ms);
  // Gives up those that `wanted` denies, at once.
  void drop_neighbors(const std::function<bool(const Neighbor&)>& wanted);
  const std::map<IpAddr, Neighbor>& neighbors() const { return neighbors_; }

  // Notes that seen.mac is behind seen.port or seen.vtep. Learns nothing that contradicts configuration or
  // exceeds the limits. Returns whether it is known now.
  bool learn(const LearnedMac& seen);
  void forget_learned(DomainId domain);
  void forget_learned(DomainId domain, PortId port);
  void forget_learned_behind(std::uint32_t vtep);
  // Forgets what was not seen within the domain's fdb_ageing_s.
  void age(std::uint64_t now_ms);
  const LearnedMacs& learned() const { return learned_; }

  const AdjacencyPool& adjacencies() const { return memory_->adjacencies; }

 private:
  // Outlives this object while the publisher still holds something to recycle.
  struct Memory {
    AdjacencyPool adjacencies;
    PathArena paths;
  };
  struct CompiledRoute {
    std::uint32_t slot = 0;
    std::vector<std::uint32_t> path_slots;
    PathArena::Region paths;
  };
  struct Lengths {
    std::array<std::uint32_t, 33> v4{};  // entries of this length
    std::array<std::uint32_t, 129> v6{};
    std::bitset<33> coming4;  // will have entries with apply()
    std::bitset<129> coming6;
  };

  void prepare_endpoint(const Change<api::Endpoint>& change, std::set<RouteId>& routes);
  void prepare_domain(const Change<api::Domain>& change);
  void compile(const api::Route& route);
  std::uint32_t underlay_winner(const IpPrefix& prefix) const;
  // What `hop` of `route` means now; kind kNone when nobody has its address.
  Adjacency compile_hop(const api::Route& route, const api::NextHop& hop) const;
  void drop_compiled(RouteId route);
  void reserve_room();
  void expect_length(const DomainPrefix& key);

  // The adjacency that (domain, prefix) or (domain, MAC) shall have, 0 for none.
  std::uint32_t winner(const DomainPrefix& key) const;
  void refresh(const DomainPrefix& key);
  void refresh_mac(DomainId domain, const MacAddr& mac);
  std::uint32_t table_value(const DomainPrefix& key) const;
  void count_length(const DomainPrefix& key, bool added);
  // The slot that addresses of `key` would get if it were not there; 0 for none.
  std::uint32_t cover_of(const DomainPrefix& key) const;
  void invalidate(std::uint32_t slot);
  // Domains that go on with the underlay's routes have got some of their own, or do so no longer.
  void invalidate_underlay();
  void erase_learned(DomainId domain, const MacAddr& mac);

  AdjacencyPool& adjacency_pool() { return memory_->adjacencies; }

  const Intent& intent_;
  const Topology& topology_;
  std::shared_ptr<Memory> memory_ = std::make_shared<Memory>();
  GrowingTable<Key64> fdb_;
  GrowingTable<Key64> fib4_;
  GrowingTable<Key192> fib6_;
  std::unique_ptr<LongPrefixes> long_prefixes_ = std::make_unique<LongPrefixes>();
  Garbage garbage_;
  std::uint32_t gateway_slot_;
  std::uint32_t on_link_slot_;
  std::unordered_map<EndpointId, std::uint32_t> endpoint_slots_;
  std::unordered_map<RouteId, CompiledRoute> compiled_routes_;
  std::unordered_map<DomainId, Lengths> lengths_;
  std::map<IpAddr, Neighbor> neighbors_;
  std::vector<IpAddr> node_addresses_;  // sorted
  std::uint32_t node_slot_ = 0;         // where they are; 0: nowhere
  LearnedMacs learned_;

  std::vector<DomainPrefix> dirty_prefixes_;
  std::vector<std::pair<DomainId, MacAddr>> dirty_macs_;
  std::set<DomainId> resized_;
  std::vector<IpPrefix>
      leaving_underlay_;  // prefixes that connections may have left by the underlay's routes
  bool publish_needed_ = false;
};

}  // namespace podwire::engine
