// Underlay: the VTEPs as workers see them. Gives every remote VTEP a stable slot, finds the way to it (local
// VTEP as source, underlay route, uplink, next hop), asks for the next hop's MAC and builds the outer
// headers. VTEPs that were only learned from traffic ("dynamic") get slots as well, a bounded number. So do
// the next hops of packets that leave without a tunnel: those of underlay routes, and hosts on link as they
// are asked for. Main thread only.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <vector>

#include "dataplane/tables/growing_table.hpp"
#include "dataplane/tables/intent.hpp"
#include "dataplane/tables/neighbors.hpp"
#include "dataplane/tables/snapshot.hpp"

namespace podwire::engine {

// Sends the question who has key.address; `mac` zero: to everybody.
using AskNeighbor = std::function<void(const NeighborKey& key, const MacAddr& mac)>;
// The entry of an open port, null when there is none.
using FindPort = std::function<const PortEntry*(PortId)>;

// Why packets to a VTEP can go, wait or not go.
enum class VtepReach : std::uint8_t { kGone, kNoSource, kNoRoute, kWaiting, kFailed, kResolved };

class Underlay : private NeighborActions {
 public:
  static constexpr std::size_t kMaxDynamic = 1024;
  // A slot that became free stays so for this long: packets and events that name it may still be on their
  // way.
  static constexpr std::uint64_t kSlotRestMs = 10'000;

  Underlay(const Intent& intent, FindPort find_port, AskNeighbor ask);

  // Slots for new VTEPs. Before anything that asks slot_of().
  void add_slots(const Changes& changes, std::uint64_t now_ms);
  std::uint32_t slot_of(VtepId vtep) const;
  // Finds the ways anew that `changes` may have changed. After ports have their entries.
  void update(const Changes& changes, std::uint64_t now_ms);
  // Empties the slots of VTEPs that are gone; returns them. When no table entry refers to them any longer.
  std::vector<std::uint32_t> remove_slots(const Changes& changes, std::uint64_t now_ms);

  // The slot of the remote VTEP at this address, made if there is none; 0 when there are too many dynamic
  // ones.
  std::uint32_t slot_at(const IpAddr& address, std::uint16_t udp_port, std::uint64_t now_ms);
  // Gives up dynamic VTEPs that `in_use(slot)` denies.
  void drop_dynamic(const std::function<bool(std::uint32_t)>& in_use, std::uint64_t now_ms);

  // The slot of a next hop for packets without a tunnel, made if there is none. Address zero of either
  // family: whoever is on link behind key.port; packets to that slot wait for the main thread to name the
  // host.
  std::uint32_t slot_to(const NeighborKey& key, std::uint64_t now_ms);
  std::uint32_t find_hop(const NeighborKey& key) const;  // 0: none
  // Gives up next hops that `wanted` denies.
  void drop_hops(const std::function<bool(const NeighborKey&)>& wanted, std::uint64_t now_ms);
  // Whether `slot` stands for all hosts on link behind the port that it leaves in `port`.
  bool is_on_link(std::uint32_t slot, PortId& port) const;

  // Changes nothing of permanent neighbours, which update() takes from `changes`.
  void learn_neighbor(const NeighborKey& key, const MacAddr& mac, bool solicited, std::uint64_t now_ms);
  void tick(std::uint64_t now_ms) { neighbors_.tick(now_ms); }
  const Neighbors& neighbors() const { return neighbors_; }

  VtepReach reach(std::uint32_t slot) const;
  // The next hop that packets to `slot` wait for; none when it has no way.
  std::optional<NeighborKey> next_hop(std::uint32_t slot) const;
  // Whether vteps, lookup tables or local VTEPs changed since the last call, so that a snapshot must be
  // published.
  bool take_publish_needed() { return std::exchange(publish_needed_, false); }
  // Next hops whose waiting packets may be able to go (or never will), since the last call.
  std::set<NeighborKey> take_settled() { return std::exchange(settled_, {}); }
  void fill(Snapshot& snapshot) const;
  Garbage take_garbage() { return std::exchange(garbage_, {}); }

 private:
  using Place = std::pair<IpAddr, std::uint16_t>;  // address and UDP port

  void ask(const NeighborKey& key, const MacAddr& mac) override { ask_(key, mac); }
  void changed(const NeighborKey& key, const Neighbor& neighbor) override;

  std::uint32_t allocate_slot(std::uint64_t now_ms);
  void free_slot(std::uint32_t slot, std::uint64_t now_ms);
  void describe(std::uint32_t slot, const api::Vtep& vtep);
  // Finds the way to the VTEP in `slot` anew.
  void resolve(std::uint32_t slot, std::uint64_t now_ms);
  void set_next_hop(std::uint32_t slot, const std::optional<NeighborKey>& key, std::uint64_t now_ms);
  void resolve_hop(std::uint32_t slot, std::uint64_t now_ms);
  void fix_neighbors(const Changes& changes, std::uint64_t now_ms);
  void fill_way(VtepEntry& entry, const api::Vtep& source, const NeighborKey& key) const;
  void fill_direct_way(VtepEntry& entry, const NeighborKey& key) const;
  const api::Vtep* source_for(const VtepEntry& entry) const;
  std::optional<NeighborKey> way_to(const IpAddr& address) const;
  void rebuild_lookups();
  static bool affects_all(const Changes& changes);
  void add_slots_within(const IpPrefix& prefix, std::set<std::uint32_t>& slots) const;

  const Intent& intent_;
  FindPort find_port_;
  AskNeighbor ask_;
  Neighbors neighbors_{*this};
  std::vector<VtepEntry> vteps_ = std::vector<VtepEntry>(1);  // slot 0 is never used
  std::vector<std::optional<NeighborKey>> next_hops_ = std::vector<std::optional<NeighborKey>>(1);
  std::unordered_map<VtepId, std::uint32_t> slots_;
  std::map<Place, std::uint32_t> dynamic_;
  std::map<Place, std::uint32_t> places_;        // every slot in use
  std::map<NeighborKey, std::uint32_t> hops_;    // of packets without a tunnel
  std::map<std::uint32_t, NeighborKey> hop_at_;  // the same by slot
  std::map<NeighborKey, std::set<std::uint32_t>> waiting_on_;
  std::deque<std::pair<std::uint32_t, std::uint64_t>> free_;  // slot, since when
  std::set<NeighborKey> settled_;
  std::unique_ptr<LookupTable<Key64>> vtep4_ = std::make_unique<LookupTable<Key64>>();
  std::unique_ptr<LookupTable<Key192>> vtep6_ = std::make_unique<LookupTable<Key192>>();
  Garbage garbage_;
  bool places_changed_ = false;
  bool publish_needed_ = false;
};

}  // namespace podwire::engine
