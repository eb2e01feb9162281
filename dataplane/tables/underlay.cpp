#include "dataplane/tables/underlay.hpp"

#include <algorithm>

#include "dataplane/tables/vtep_header.hpp"

namespace podwire::engine {
namespace {

bool is_remote(const std::optional<api::Vtep>& vtep) {
  return vtep && !vtep->local;
}

std::uint64_t hash_of(const IpAddr& address) {
  return DomainHash()(DomainAddress{kUnderlayDomain, address});
}

}  // namespace

Underlay::Underlay(const Intent& intent, FindPort find_port, AskNeighbor ask)
    : intent_(intent), find_port_(std::move(find_port)), ask_(std::move(ask)) {}

void Underlay::add_slots(const Changes& changes, std::uint64_t now_ms) {
  for (const auto& change : changes.vteps) {
    if (!is_remote(change.after)) continue;
    const auto& vtep = *change.after;
    if (!slots_.contains(vtep.id)) {
      const auto learned = dynamic_.extract({vtep.address, vtep.udp_port});
      slots_[vtep.id] = learned.empty() ? allocate_slot(now_ms) : learned.mapped();
    }
    describe(slots_[vtep.id], vtep);
  }
  rebuild_lookups();
}

std::uint32_t Underlay::slot_of(VtepId vtep) const {
  const auto it = slots_.find(vtep);
  return it == slots_.end() ? 0 : it->second;
}

std::uint32_t Underlay::allocate_slot(std::uint64_t now_ms) {
  if (!free_.empty() && now_ms - free_.front().second >= kSlotRestMs) {
    const auto slot = free_.front().first;
    free_.pop_front();
    return slot;
  }
  vteps_.emplace_back();
  next_hops_.emplace_back();
  return static_cast<std::uint32_t>(vteps_.size() - 1);
}

void Underlay::free_slot(std::uint32_t slot, std::uint64_t now_ms) {
  set_next_hop(slot, {}, now_ms);
  const auto it = places_.find({vteps_[slot].address, vteps_[slot].udp_port});
  if (it != places_.end() && it->second == slot) places_.erase(it);
  vteps_[slot] = VtepEntry();
  free_.emplace_back(slot, now_ms);
  places_changed_ = true;
  publish_needed_ = true;
}

void Underlay::describe(std::uint32_t slot, const api::Vtep& vtep) {
  auto& entry = vteps_[slot];
  const auto former = entry.known ? places_.find(std::pair{entry.address, entry.udp_port}) : places_.end();
  const bool has_place = former != places_.end() && former->second == slot;
  const bool stays = has_place && former->first == std::pair{vtep.address, vtep.udp_port};
  if (has_place && !stays) places_.erase(former);
  entry.known = true;
  entry.id = vtep.id;
  entry.address = vtep.address;
  entry.udp_port = vtep.udp_port;
  entry.mac = vtep.mac;
  entry.v6 = vtep.address.is_v6();
  publish_needed_ = true;
  if (stays) return;  // the lookups are built of all places
  places_[{vtep.address, vtep.udp_port}] = slot;
  places_changed_ = true;
}

void Underlay::rebuild_lookups() {
  if (!std::exchange(places_changed_, false)) return;
  auto vtep4 = std::make_unique<LookupTable<Key64>>(places_.size());
  auto vtep6 = std::make_unique<LookupTable<Key192>>(places_.size());
  for (const auto& [place, slot] : places_) {
    const auto& [address, udp_port] = place;
    if (address.is_v4()) {
      vtep4->put(vtep4_key(address.v4(), udp_port), slot);
    } else {
      vtep6->put(vtep6_key(address.v6(), udp_port), slot);
    }
  }
  discard(garbage_, std::exchange(vtep4_, std::move(vtep4)));
  discard(garbage_, std::exchange(vtep6_, std::move(vtep6)));
  publish_needed_ = true;
}

bool Underlay::affects_all(const Changes& changes) {
  const auto any = [](const auto& list, auto&& test) {
    return std::any_of(list.begin(), list.end(), [&](const auto& change) {
      return (change.before && test(*change.before)) || (change.after && test(*change.after));
    });
  };
  return any(changes.ports, [](const api::Port& port) { return port.role == api::PortRole::kUplink; }) ||
         any(changes.vteps, [](const api::Vtep& vtep) { return vtep.local; });
}

// Of VTEPs at addresses of `prefix`: no others go by a route to it.
void Underlay::add_slots_within(const IpPrefix& prefix, std::set<std::uint32_t>& slots) const {
  const auto first = prefix.network().address;
  auto last = first.bytes();
  for (int bit = prefix.length; bit < first.bits(); ++bit)
    last[static_cast<std::size_t>(bit / 8)] |= static_cast<std::uint8_t>(0x80 >> bit % 8);
  // The families lie among each other there.
  for (auto it = places_.lower_bound({first, 0}); it != places_.end() && it->first.first.bytes() <= last;
       ++it) {
    if (prefix.contains(it->first.first)) slots.insert(it->second);
  }
}

void Underlay::update(const Changes& changes, std::uint64_t now_ms) {
  fix_neighbors(changes, now_ms);
  if (affects_all(changes)) {
    publish_needed_ = true;  // the list of local VTEPs may differ
    for (std::uint32_t slot = 1; slot < vteps_.size(); ++slot) {
      if (vteps_[slot].known) resolve(slot, now_ms);
    }
    return;
  }
  std::set<std::uint32_t> slots;
  for (const auto& change : changes.vteps) {
    if (is_remote(change.after)) slots.insert(slots_.at(change.after->id));
  }
  for (const auto& change : changes.routes) {
    for (const auto* const route :
         {change.before ? &*change.before : nullptr, change.after ? &*change.after : nullptr}) {
      if (route != nullptr && route->domain == kUnderlayDomain) add_slots_within(route->prefix, slots);
    }
  }
  for (const auto slot : slots) resolve(slot, now_ms);
}

std::vector<std::uint32_t> Underlay::remove_slots(const Changes& changes, std::uint64_t now_ms) {
  std::vector<std::uint32_t> gone;
  for (const auto& change : changes.vteps) {
    if (!is_remote(change.before) || is_remote(change.after)) continue;
    const auto it = slots_.find(change.before->id);
    gone.push_back(it->second);
    slots_.erase(it);
  }
  // A configured VTEP may have moved to where a dynamic one was.
  for (auto it = dynamic_.begin(); it != dynamic_.end();) {
    const auto at = places_.find(it->first);
    if (at != places_.end() && at->second == it->second) {
      ++it;
      continue;
    }
    gone.push_back(it->second);
    it = dynamic_.erase(it);
  }
  for (const auto slot : gone) free_slot(slot, now_ms);
  rebuild_lookups();
  return gone;
}

std::uint32_t Underlay::slot_at(const IpAddr& address, std::uint16_t udp_port, std::uint64_t now_ms) {
  if (const auto it = places_.find({address, udp_port}); it != places_.end()) return it->second;
  const auto& locals = intent_.local_vteps();
  const bool ours = std::any_of(locals.begin(), locals.end(),
                                [&](VtepId id) { return intent_.vtep(id)->address == address; });
  if (ours || address.is_zero() || address.is_multicast() || dynamic_.size() >= kMaxDynamic) return 0;
  const auto slot = allocate_slot(now_ms);
  api::Vtep vtep;
  vtep.address = address;
  vtep.udp_port = udp_port;
  describe(slot, vtep);
  dynamic_[{address, udp_port}] = slot;
  rebuild_lookups();
  resolve(slot, now_ms);
  return slot;
}

void Underlay::drop_dynamic(const std::function<bool(std::uint32_t)>& in_use, std::uint64_t now_ms) {
  for (auto it = dynamic_.begin(); it != dynamic_.end();) {
    if (in_use(it->second)) {
      ++it;
      continue;
    }
    free_slot(it->second, now_ms);
    it = dynamic_.erase(it);
  }
  rebuild_lookups();
}

void Underlay::learn_neighbor(const NeighborKey& key, const MacAddr& mac, bool solicited,
                              std::uint64_t now_ms) {
  neighbors_.learn(key, mac, solicited, now_ms);
}

void Underlay::changed(const NeighborKey& key, const Neighbor&) {
  settled_.insert(key);
  const auto it = waiting_on_.find(key);
  if (it == waiting_on_.end()) return;
  for (const auto slot : it->second) {
    auto entry = vteps_[slot];
    if (entry.direct) {
      fill_direct_way(entry, key);
    } else if (const auto* source = source_for(entry)) {
      fill_way(entry, *source, key);
    }
    if (entry == vteps_[slot]) continue;
    vteps_[slot] = entry;
    publish_needed_ = true;
  }
}

void Underlay::resolve(std::uint32_t slot, std::uint64_t now_ms) {
  if (vteps_[slot].direct) return resolve_hop(slot, now_ms);
  auto entry = vteps_[slot];
  const auto* source = source_for(entry);
  const auto key = source == nullptr ? std::nullopt : way_to(entry.address);
  set_next_hop(slot, key, now_ms);
  entry.has_source = source != nullptr;
  entry.resolved = false;
  entry.egress = PortId();
  entry.mtu = 0;  // no way, so no limit: what is wrong is for encap to say
  entry.header.fill(0);
  entry.header_bytes = 0;
  entry.l3_offset = 0;
  entry.checksum_base = 0;
  if (key) fill_way(entry, *source, *key);
  if (entry == vteps_[slot]) return;
  vteps_[slot] = entry;
  publish_needed_ = true;
}

void Underlay::set_next_hop(std::uint32_t slot, const std::optional<NeighborKey>& key, std::uint64_t now_ms) {
  auto& current = next_hops_[slot];
  if (current == key) return;
  // The new one first: when both are one neighbour's last and first user it must not be forgotten in between.
  if (key) {
    neighbors_.want(*key, now_ms);
    waiting_on_[*key].insert(slot);
  }
  if (current) {
    neighbors_.forget(*current);
    settled_.insert(*current);
    const auto it = waiting_on_.find(*current);
    it->second.erase(slot);
    if (it->second.empty()) waiting_on_.erase(it);
  }
  current = key;
}

void Underlay::fill_way(VtepEntry& entry, const api::Vtep& source, const NeighborKey& key) const {
  const auto* uplink = find_port_(key.port);
  const auto* neighbor = neighbors_.find(key);
  entry.egress = key.port;
  const std::uint16_t overhead = vxlan_overhead(entry.v6);
  entry.mtu = static_cast<std::uint16_t>(uplink->mtu > overhead ? uplink->mtu - overhead : 1);
  entry.resolved = neighbor != nullptr && neighbor->known();
  if (entry.resolved) build_header(entry, {uplink->mac, neighbor->mac, uplink->vlan, source.address});
}

const api::Vtep* Underlay::source_for(const VtepEntry& entry) const {
  for (const auto id : intent_.local_vteps()) {
    const auto* local = intent_.vtep(id);
    if (local->udp_port == entry.udp_port && local->address.is_v4() == entry.address.is_v4()) return local;
  }
  return nullptr;
}

// With several next hops every VTEP keeps to one of them, chosen by its address and their weights.
std::optional<NeighborKey> Underlay::way_to(const IpAddr& address) const {
  const auto* route = intent_.lookup(kUnderlayDomain, address);
  if (route == nullptr) return {};
  std::vector<const api::NextHop*> usable;
  std::uint64_t total = 0;
  for (const auto& hop : route->next_hops) {
    const auto* port = find_port_(hop.port);
    if (port == nullptr || port->role != api::PortRole::kUplink) continue;
    usable.push_back(&hop);
    total += hop.weight;
  }
  if (usable.empty()) return {};
  std::uint64_t pick = hash_of(address) % total;
  for (const auto* hop : usable) {
    if (pick < hop->weight) return NeighborKey{hop->port, hop->address.is_zero() ? address : hop->address};
    pick -= hop->weight;
  }
  return {};
}

VtepReach Underlay::reach(std::uint32_t slot) const {
  if (slot >= vteps_.size() || !vteps_[slot].known) return VtepReach::kGone;
  if (vteps_[slot].resolved) return VtepReach::kResolved;
  if (!vteps_[slot].has_source) return VtepReach::kNoSource;
  if (!next_hops_[slot]) return VtepReach::kNoRoute;
  const auto* neighbor = neighbors_.find(*next_hops_[slot]);
  return neighbor != nullptr && neighbor->state == NeighborState::kFailed ? VtepReach::kFailed
                                                                          : VtepReach::kWaiting;
}

std::optional<NeighborKey> Underlay::next_hop(std::uint32_t slot) const {
  return slot < next_hops_.size() ? next_hops_[slot] : std::nullopt;
}

void Underlay::fill(Snapshot& snapshot) const {
  snapshot.vteps = vteps_;
  snapshot.vtep4 = vtep4_.get();
  snapshot.vtep6 = vtep6_.get();
  for (const auto id : intent_.local_vteps()) {
    const auto* local = intent_.vtep(id);
    snapshot.local_vteps.push_back({local->address, local->udp_port, local->mac});
  }
}

}  // namespace podwire::engine
