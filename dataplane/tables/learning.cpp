// What Forwarding learns from traffic: MACs, and the hosts on link in the underlay.
#include "dataplane/tables/forwarding.hpp"

namespace podwire::engine {

bool Forwarding::learn(const LearnedMac& seen) {
  const auto* domain = intent_.domain(seen.domain);
  if (domain == nullptr || !domain->learning) return false;
  if (seen.mac.is_zero() || seen.mac.is_multicast() || seen.mac == domain->gateway_mac) return false;
  if (intent_.endpoint_with(seen.domain, seen.mac) != nullptr) return false;  // configuration stands
  if (seen.port && !intent_.pod_ports(seen.domain).contains(seen.port))
    return false;  // it has moved meanwhile

  const auto* known = learned_.find(seen.domain, seen.mac);
  if (known != nullptr && known->port == seen.port && known->vtep == seen.vtep) {
    learned_.refresh(seen.domain, seen.mac, seen.seen_ms);
    return true;
  }
  if (known != nullptr) {
    adjacency_pool().release(known->slot);
    learned_.erase(seen.domain, seen.mac);
  } else if (learned_.in(seen.domain).size() >= domain->fdb_limit || learned_.size() >= LearnedMacs::kInAll) {
    return false;
  }
  Adjacency adjacency;
  adjacency.kind = seen.port ? Adjacency::Kind::kPort : Adjacency::Kind::kVtep;
  adjacency.learned = true;
  adjacency.port = seen.port;
  adjacency.vtep = seen.vtep;
  adjacency.mac = seen.mac;
  auto entry = seen;
  entry.slot = adjacency_pool().allocate(adjacency);
  learned_.add(entry);
  // Workers that still read a table that was replaced flood a little longer; the next flush publishes the new
  // one.
  if (fdb_.reserve(1, garbage_)) publish_needed_ = true;
  fdb_.put(fdb_key(entry.domain, entry.mac), entry.slot);
  return true;
}

void Forwarding::erase_learned(DomainId domain, const MacAddr& mac) {
  const auto* entry = learned_.find(domain, mac);
  if (entry == nullptr) return;
  fdb_.erase(fdb_key(domain, mac));
  adjacency_pool().release(entry->slot);
  learned_.erase(domain, mac);
}

void Forwarding::forget_learned(DomainId domain) {
  while (!learned_.in(domain).empty()) erase_learned(domain, MacAddr(learned_.in(domain).front().mac));
}

void Forwarding::forget_learned(DomainId domain, PortId port) {
  std::vector<MacAddr> gone;
  for (const auto& entry : learned_.in(domain)) {
    if (entry.port == port) gone.push_back(entry.mac);
  }
  for (const auto& mac : gone) erase_learned(domain, mac);
}

void Forwarding::forget_learned_behind(std::uint32_t vtep) {
  if (learned_.on_vtep(vtep) == 0) return;
  std::vector<std::pair<DomainId, MacAddr>> gone;
  for (const auto& [domain, entries] : learned_.all()) {
    for (const auto& entry : entries) {
      if (entry.vtep == vtep) gone.emplace_back(domain, entry.mac);
    }
  }
  for (const auto& [domain, mac] : gone) erase_learned(domain, mac);
}

void Forwarding::age(std::uint64_t now_ms) {
  std::vector<std::pair<DomainId, MacAddr>> gone;
  for (const auto& [domain, entries] : learned_.all()) {
    const auto* object = intent_.domain(domain);
    const std::uint64_t limit_ms = object == nullptr ? 0 : std::uint64_t{object->fdb_ageing_s} * 1000;
    for (const auto& entry : entries) {
      if (now_ms - entry.seen_ms < limit_ms) break;  // the rest was seen later
      gone.emplace_back(domain, entry.mac);
    }
  }
  for (const auto& [domain, mac] : gone) erase_learned(domain, mac);
}

void Forwarding::set_node_addresses(std::vector<IpAddr> addresses, PortId host_port, const MacAddr& mac) {
  Adjacency adjacency;
  adjacency.kind = Adjacency::Kind::kPort;
  adjacency.port = host_port;
  adjacency.mac = mac;
  const bool same_place = node_slot_ != 0 && adjacencies().at(node_slot_) == adjacency;
  if (addresses == node_addresses_ && (same_place || addresses.empty())) return;
  for (const auto& all : {node_addresses_, addresses}) {
    for (const auto& address : all) dirty_prefixes_.push_back(host_prefix(kUnderlayDomain, address));
  }
  node_addresses_ = std::move(addresses);
  if (same_place) return;
  if (node_slot_ != 0) adjacency_pool().release(node_slot_);
  node_slot_ = node_addresses_.empty() ? 0 : adjacency_pool().allocate(adjacency);
}

void Forwarding::add_neighbor(const NeighborKey& at, std::uint32_t slot, std::uint64_t now_ms) {
  Adjacency adjacency;
  adjacency.kind = Adjacency::Kind::kUnderlay;
  adjacency.learned = true;
  adjacency.port = at.port;
  adjacency.vtep = slot;
  neighbors_[at.address] = {at, adjacency_pool().allocate(adjacency), now_ms};
  dirty_prefixes_.push_back(host_prefix(kUnderlayDomain, at.address));
  reserve_room();
}

void Forwarding::drop_neighbors(const std::function<bool(const Neighbor&)>& wanted) {
  for (auto it = neighbors_.begin(); it != neighbors_.end();) {
    if (wanted(it->second)) {
      ++it;
      continue;
    }
    adjacency_pool().release(it->second.adjacency);
    dirty_prefixes_.push_back(host_prefix(kUnderlayDomain, it->first));
    it = neighbors_.erase(it);
  }
  if (!dirty_prefixes_.empty()) apply();
}

}  // namespace podwire::engine
