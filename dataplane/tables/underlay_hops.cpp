// The underlay's next hops for packets that leave without a tunnel, and those whose MAC is given.
#include "dataplane/tables/underlay.hpp"
#include "dataplane/tables/vtep_header.hpp"

namespace podwire::engine {

std::uint32_t Underlay::slot_to(const NeighborKey& key, std::uint64_t now_ms) {
  if (const auto slot = find_hop(key)) return slot;
  const auto slot = allocate_slot(now_ms);
  auto& entry = vteps_[slot];
  entry = VtepEntry();
  entry.known = entry.direct = true;
  entry.has_source = true;  // the packets have their own
  entry.address = key.address;
  hops_[key] = slot;
  hop_at_[slot] = key;
  publish_needed_ = true;
  resolve_hop(slot, now_ms);
  return slot;
}

std::uint32_t Underlay::find_hop(const NeighborKey& key) const {
  const auto it = hops_.find(key);
  return it == hops_.end() ? 0 : it->second;
}

void Underlay::drop_hops(const std::function<bool(const NeighborKey&)>& wanted, std::uint64_t now_ms) {
  const bool pending = places_changed_;
  for (auto it = hops_.begin(); it != hops_.end();) {
    if (wanted(it->first)) {
      ++it;
      continue;
    }
    hop_at_.erase(it->second);
    free_slot(it->second, now_ms);
    it = hops_.erase(it);
  }
  places_changed_ = pending;  // no VTEP was among them
}

bool Underlay::is_on_link(std::uint32_t slot, PortId& port) const {
  const auto it = hop_at_.find(slot);
  if (it == hop_at_.end() || !it->second.address.is_zero()) return false;
  port = it->second.port;
  return true;
}

// One that only changes its id or MAC is not released in between: nothing waits for it then.
void Underlay::fix_neighbors(const Changes& changes, std::uint64_t now_ms) {
  for (const auto& change : changes.neighbors) {
    if (!change.before) continue;
    for (const auto& address : change.before->addresses) {
      const auto* const still = intent_.endpoint_with(kUnderlayDomain, address);
      if (still != nullptr && still->port == change.before->port) continue;
      neighbors_.release({change.before->port, address}, now_ms);
    }
  }
  for (const auto& change : changes.neighbors) {
    if (!change.after) continue;
    for (const auto& address : change.after->addresses)
      neighbors_.fix({change.after->port, address}, change.after->mac, now_ms);
  }
}

void Underlay::resolve_hop(std::uint32_t slot, std::uint64_t now_ms) {
  const auto& key = hop_at_.at(slot);
  auto entry = vteps_[slot];
  const auto* uplink = find_port_(key.port);
  const bool usable = uplink != nullptr && uplink->role == api::PortRole::kUplink;
  const bool asks = usable && !key.address.is_zero();
  set_next_hop(slot, asks ? std::optional(key) : std::nullopt, now_ms);
  entry.resolved = false;
  entry.egress = PortId();
  entry.mtu = 0;
  if (usable) fill_direct_way(entry, key);
  if (entry == vteps_[slot]) return;
  vteps_[slot] = entry;
  publish_needed_ = true;
}

void Underlay::fill_direct_way(VtepEntry& entry, const NeighborKey& key) const {
  const auto* uplink = find_port_(key.port);
  const auto* neighbor = neighbors_.find(key);
  entry.egress = key.port;
  entry.mtu = uplink->mtu;
  entry.v6 = key.address.is_v6();
  entry.resolved = neighbor != nullptr && neighbor->known();
  if (entry.resolved) build_direct_header(entry, {uplink->mac, neighbor->mac, uplink->vlan, {}});
}

}  // namespace podwire::engine
