#include "dataplane/tables/forwarding.hpp"

#include <algorithm>
#include <cassert>

namespace podwire::engine {
namespace {

Key64 key4(const DomainPrefix& key) {
  return fib4_key(key.domain, key.prefix.address.v4().to_u32(), key.prefix.length);
}
Key192 key6(const DomainPrefix& key) {
  return fib6_key(key.domain, key.prefix.address.v6(), key.prefix.length);
}

bool same_place(const api::Endpoint& a, const api::Endpoint& b) {
  return a.port == b.port && a.vtep == b.vtep && a.mac == b.mac;
}

}  // namespace

Forwarding::Forwarding(const Intent& intent, const Topology& topology)
    : intent_(intent), topology_(topology) {
  Adjacency gateway;
  gateway.kind = Adjacency::Kind::kGateway;
  gateway_slot_ = adjacency_pool().allocate(gateway);
  Adjacency on_link;
  on_link.kind = Adjacency::Kind::kOnLink;
  on_link_slot_ = adjacency_pool().allocate(on_link);
}

void Forwarding::prepare(const Changes& changes) {
  std::set<RouteId> routes;
  for (const auto& change : changes.domains) prepare_domain(change);
  for (const auto& change : changes.endpoints) prepare_endpoint(change, routes);
  for (const auto& change : changes.ports) {
    if (!change.before || !change.after || change.before->mac == change.after->mac) continue;
    const auto& through = intent_.routes_through(change.after->id);
    routes.insert(through.begin(), through.end());
  }
  for (const auto& change : changes.vteps) {
    if (!change.before || !change.after || change.before->mac == change.after->mac) continue;
    const auto& through = intent_.routes_through(change.after->id);
    routes.insert(through.begin(), through.end());
  }
  for (const auto& change : changes.routes) {
    if (change.before) {
      dirty_prefixes_.push_back({change.before->domain, change.before->prefix});
      drop_compiled(change.before->id);
    }
    if (change.after) routes.insert(change.after->id);
  }
  for (const auto id : routes) {
    const auto* route = intent_.route(id);
    if (route == nullptr) continue;
    compile(*route);
    dirty_prefixes_.push_back({route->domain, route->prefix});
  }
  reserve_room();
}

void Forwarding::prepare_domain(const Change<api::Domain>& change) {
  if (change.before && change.after && change.before->routed && !change.after->routed) {
    leaving_underlay_.push_back({IpAddr(Ipv4{}), 0});
    leaving_underlay_.push_back({IpAddr(Ipv6{}), 0});
  }
  for (const auto* domain :
       {change.before ? &*change.before : nullptr, change.after ? &*change.after : nullptr}) {
    if (domain == nullptr) continue;
    for (const auto& gateway : domain->gateways) {
      dirty_prefixes_.push_back(host_prefix(domain->id, gateway.address));
      dirty_prefixes_.push_back({domain->id, gateway.network()});
    }
  }
}

void Forwarding::prepare_endpoint(const Change<api::Endpoint>& change, std::set<RouteId>& routes) {
  const auto note = [&](const api::Endpoint& endpoint) {
    dirty_macs_.emplace_back(endpoint.domain, endpoint.mac);
    for (const auto& address : endpoint.addresses) {
      dirty_prefixes_.push_back(host_prefix(endpoint.domain, address));
      const auto& through = intent_.routes_through(endpoint.domain, address);
      routes.insert(through.begin(), through.end());
    }
  };
  if (change.before) note(*change.before);
  if (change.after) note(*change.after);
  if (change.before && change.after && same_place(*change.before, *change.after)) return;
  if (change.before) {
    const auto it = endpoint_slots_.find(change.before->id);
    adjacency_pool().release(it->second);
    endpoint_slots_.erase(it);
  }
  if (!change.after) return;
  const auto& endpoint = *change.after;
  Adjacency adjacency;
  adjacency.kind = endpoint.port ? Adjacency::Kind::kPort : Adjacency::Kind::kVtep;
  adjacency.port = endpoint.port;
  if (endpoint.vtep) adjacency.vtep = topology_.slot_of(endpoint.vtep);
  adjacency.mac = endpoint.mac;
  adjacency.endpoint = endpoint.id;
  endpoint_slots_[endpoint.id] = adjacency_pool().allocate(adjacency);
}

Adjacency Forwarding::compile_hop(const api::Route& route, const api::NextHop& hop) const {
  Adjacency adjacency;
  adjacency.route = route.id;
  if (hop.vtep) {
    adjacency.kind = Adjacency::Kind::kVtep;
    adjacency.vtep = topology_.slot_of(hop.vtep);
    adjacency.mac = hop.mac.is_zero() ? intent_.vtep(hop.vtep)->mac : hop.mac;
    return adjacency;
  }
  if (hop.into) {
    adjacency.kind = Adjacency::Kind::kInto;
    adjacency.vtep = hop.into.value();
    return adjacency;
  }
  adjacency.port = hop.port;
  if (route.domain == kUnderlayDomain) {
    if (const auto slot = topology_.slot_to(hop.port, hop.address)) {
      adjacency.kind = Adjacency::Kind::kUnderlay;
      adjacency.vtep = slot;
      return adjacency;
    }
  }
  if (hop.address.is_zero()) {
    adjacency.kind = Adjacency::Kind::kPort;
    adjacency.mac = topology_.mac_of(hop.port);
    return adjacency;
  }
  const auto* endpoint = intent_.endpoint_with(route.domain, hop.address);
  if (endpoint != nullptr && endpoint->port == hop.port) {
    adjacency.kind = Adjacency::Kind::kPort;
    adjacency.mac = endpoint->mac;
  }
  return adjacency;
}

void Forwarding::compile(const api::Route& route) {
  Adjacency top;
  top.route = route.id;
  std::vector<std::pair<Adjacency, std::uint32_t>> hops;
  for (const auto& hop : route.next_hops) {
    const auto adjacency = compile_hop(route, hop);
    if (adjacency.kind != Adjacency::Kind::kNone) hops.emplace_back(adjacency, hop.weight);
  }
  if (route.blackhole) {
    top.kind = Adjacency::Kind::kBlackhole;
  } else if (hops.empty()) {
    top.kind =
        Adjacency::Kind::kOnLink;  // a gateway that nobody is: unreachable, as a host is that nobody is
  } else if (hops.size() == 1) {
    top = hops.front().first;
  }
  if (hops.size() <= 1) {
    const auto it = compiled_routes_.find(route.id);
    const bool same = it != compiled_routes_.end() && adjacencies().at(it->second.slot) == top;
    if (same) return;
    drop_compiled(route.id);
    compiled_routes_[route.id].slot = adjacency_pool().allocate(top);
    return;
  }
  drop_compiled(route.id);
  auto& compiled = compiled_routes_[route.id];
  std::vector<std::pair<std::uint32_t, std::uint32_t>> weighted;
  for (const auto& [adjacency, weight] : hops) {
    compiled.path_slots.push_back(adjacency_pool().allocate(adjacency));
    weighted.emplace_back(compiled.path_slots.back(), weight);
  }
  compiled.paths = memory_->paths.allocate(expand_weights(weighted));
  publish_needed_ = true;
  top.kind = Adjacency::Kind::kMultipath;
  top.paths_first = compiled.paths.first;
  top.paths_count = compiled.paths.count;
  compiled.slot = adjacency_pool().allocate(top);
}

void Forwarding::drop_compiled(RouteId route) {
  const auto it = compiled_routes_.find(route);
  if (it == compiled_routes_.end()) return;
  adjacency_pool().release(it->second.slot);
  for (const auto slot : it->second.path_slots) adjacency_pool().release(slot);
  if (it->second.paths.count != 0) memory_->paths.release(it->second.paths);
  compiled_routes_.erase(it);
}

void Forwarding::reserve_room() {
  std::size_t more4 = 0;
  std::size_t more6 = 0;
  for (const auto& key : dirty_prefixes_) {
    expect_length(key);
    // What is there already keeps its place.
    if (table_value(key) == 0) ++(key.prefix.address.is_v4() ? more4 : more6);
  }
  const auto more_macs = static_cast<std::size_t>(std::ranges::count_if(
      dirty_macs_, [this](const auto& one) { return fdb_.find(fdb_key(one.first, one.second)) == 0; }));
  const bool grown =
      fdb_.reserve(more_macs, garbage_) | fib4_.reserve(more4, garbage_) | fib6_.reserve(more6, garbage_);
  publish_needed_ = publish_needed_ || grown;
}

void Forwarding::expect_length(const DomainPrefix& key) {
  if (winner(key) == 0) return;
  auto& lengths = lengths_[key.domain];
  const auto length = static_cast<std::size_t>(key.prefix.length);
  const bool v4 = key.prefix.address.is_v4();
  if ((v4 ? lengths.v4[length] : lengths.v6[length]) != 0) return;
  if (v4) {
    lengths.coming4.set(length);
  } else {
    lengths.coming6.set(length);
  }
  resized_.insert(key.domain);
}

std::uint32_t Forwarding::underlay_winner(const IpPrefix& prefix) const {
  if (const auto* route = intent_.route_for(kUnderlayDomain, prefix))
    return compiled_routes_.at(route->id).slot;
  if (prefix.length != prefix.address.bits()) return 0;
  if (std::binary_search(node_addresses_.begin(), node_addresses_.end(), prefix.address)) return node_slot_;
  const auto it = neighbors_.find(prefix.address);
  return it == neighbors_.end() ? 0 : it->second.adjacency;
}

std::uint32_t Forwarding::winner(const DomainPrefix& key) const {
  if (key.domain == kUnderlayDomain) return underlay_winner(key.prefix);
  const auto* domain = intent_.domain(key.domain);
  if (domain == nullptr) return 0;
  const auto& address = key.prefix.address;
  if (key.prefix.length == address.bits()) {
    for (const auto& gateway : domain->gateways) {
      if (gateway.address == address) return gateway_slot_;
    }
    if (const auto* endpoint = intent_.endpoint_with(key.domain, address))
      return endpoint_slots_.at(endpoint->id);
  }
  if (const auto* route = intent_.route_for(key.domain, key.prefix))
    return compiled_routes_.at(route->id).slot;
  for (const auto& gateway : domain->gateways) {
    if (gateway.network() == key.prefix) return on_link_slot_;
  }
  return 0;
}

void Forwarding::apply() {
  for (const auto& key : dirty_prefixes_) refresh(key);
  for (const auto& [domain, mac] : dirty_macs_) refresh_mac(domain, mac);
  for (const auto& key : dirty_prefixes_) {
    const auto it = lengths_.find(key.domain);
    if (it == lengths_.end()) continue;
    it->second.coming4.reset();
    it->second.coming6.reset();
    if (key.domain != kUnderlayDomain && intent_.domain(key.domain) == nullptr) lengths_.erase(it);
  }
  clear_work_list(dirty_prefixes_);
  clear_work_list(dirty_macs_);
  invalidate_underlay();
  adjacency_pool().invalidate_released();
}

std::uint32_t Forwarding::table_value(const DomainPrefix& key) const {
  return key.prefix.address.is_v4() ? fib4_.find(key4(key)) : fib6_.find(key6(key));
}

void Forwarding::refresh(const DomainPrefix& key) {
  const auto before = table_value(key);
  const auto after = winner(key);
  if (before == after) return;
  const bool v4 = key.prefix.address.is_v4();
  const bool is_long = v4 && key.prefix.length > LongPrefixes::kShort;
  auto& long_prefixes = *long_prefixes_;
  if (is_long && before == 0) long_prefixes.add(key.domain, key.prefix.address.v4().to_u32());
  if (after == 0) {
    v4 ? fib4_.erase(key4(key)) : fib6_.erase(key6(key));
  } else {
    v4 ? fib4_.put(key4(key), after) : fib6_.put(key6(key), after);
  }
  if (is_long && after == 0) long_prefixes.remove(key.domain, key.prefix.address.v4().to_u32());
  if ((before == 0) != (after == 0)) count_length(key, after != 0);
  // Connections that went the former way look it up again; the others are left alone.
  if (const auto former = before != 0 ? before : cover_of(key)) {
    invalidate(former);
  } else if (const auto* domain = intent_.domain(key.domain); domain != nullptr && domain->routed) {
    leaving_underlay_.push_back(key.prefix);
  }
}

// One look at all of the underlay's routes, however many prefixes there are.
void Forwarding::invalidate_underlay() {
  const auto prefixes = std::exchange(leaving_underlay_, {});
  if (prefixes.empty()) return;
  constexpr std::size_t kCompared = 16;
  const auto concerns = [&](const IpPrefix& other) {
    return prefixes.size() > kCompared ||
           std::any_of(prefixes.begin(), prefixes.end(),
                       [&](const IpPrefix& prefix) { return prefix.overlaps(other); });
  };
  for (const auto id : intent_.underlay_routes()) {
    if (concerns(intent_.route(id)->prefix)) invalidate(compiled_routes_.at(id).slot);
  }
  for (const auto& [address, neighbor] : neighbors_) {
    if (concerns({address, address.bits()})) invalidate(neighbor.adjacency);
  }
  if (node_slot_ != 0) invalidate(node_slot_);
}

std::uint32_t Forwarding::cover_of(const DomainPrefix& key) const {
  const auto it = lengths_.find(key.domain);
  if (it == lengths_.end()) return 0;
  const bool v4 = key.prefix.address.is_v4();
  for (int length = key.prefix.length - 1; length >= 0; --length) {
    const auto index = static_cast<std::size_t>(length);
    if ((v4 ? it->second.v4[index] : it->second.v6[index]) == 0) continue;
    const IpPrefix shorter{key.prefix.address, length};
    if (const auto slot = table_value({key.domain, shorter.network()})) return slot;
  }
  return 0;
}

void Forwarding::invalidate(std::uint32_t slot) {
  adjacency_pool().invalidate(slot);
  const auto& adjacency = adjacencies().at(slot);
  if (adjacency.kind != Adjacency::Kind::kMultipath) return;
  const auto& paths = memory_->paths.paths();  // connections remember the one of them that they take
  for (std::uint32_t i = 0; i < adjacency.paths_count; ++i)
    adjacency_pool().invalidate(paths[adjacency.paths_first + i]);
}

void Forwarding::count_length(const DomainPrefix& key, bool added) {
  auto& lengths = lengths_[key.domain];
  const auto length = static_cast<std::size_t>(key.prefix.length);
  auto& count = key.prefix.address.is_v4() ? lengths.v4[length] : lengths.v6[length];
  if (added) {
    ++count;
  } else if (--count == 0) {
    resized_.insert(key.domain);
  }
}

void Forwarding::refresh_mac(DomainId domain, const MacAddr& mac) {
  const auto key = fdb_key(domain, mac);
  if (const auto* endpoint = intent_.endpoint_with(domain, mac)) {
    fdb_.put(key, endpoint_slots_.at(endpoint->id));
    if (const auto* entry = learned_.find(domain, mac)) {
      adjacency_pool().release(entry->slot);
      learned_.erase(domain, mac);
    }
  } else if (learned_.find(domain, mac) == nullptr) {
    fdb_.erase(key);
  }
}

void Forwarding::fill_lengths(DomainEntry& entry) const {
  entry.fib4_lengths = 0;
  entry.fib6_lengths.reset();
  entry.fib6_lengths_descending.clear();
  const auto it = lengths_.find(entry.id);
  if (it == lengths_.end()) return;
  const auto& lengths = it->second;
  for (std::size_t length = 0; length < lengths.v4.size(); ++length) {
    if (lengths.v4[length] != 0 || lengths.coming4[length]) entry.fib4_lengths |= std::uint64_t{1} << length;
  }
  for (std::size_t length = lengths.v6.size(); length-- > 0;) {
    if (lengths.v6[length] == 0 && !lengths.coming6[length]) continue;
    entry.fib6_lengths.set(length);
    entry.fib6_lengths_descending.push_back(static_cast<std::uint8_t>(length));
  }
}

void Forwarding::fill_tables(Snapshot& snapshot) const {
  snapshot.fdb = fdb_.get();
  snapshot.fib4 = fib4_.get();
  snapshot.fib6 = fib6_.get();
  snapshot.long_prefixes = long_prefixes_.get();
  snapshot.adjacencies = adjacencies().base();
  snapshot.paths = memory_->paths.paths();
}

void Forwarding::retire(Publisher& publisher) {
  auto slots = memory_->adjacencies.take_released();
  auto regions = memory_->paths.take_released();
  if (slots.empty() && regions.empty() && garbage_.empty()) return;
  publisher.retire([memory = std::weak_ptr<Memory>(memory_), slots = std::move(slots),
                    regions = std::move(regions), garbage = std::exchange(garbage_, {})] {
    const auto alive = memory.lock();
    if (!alive) return;
    alive->adjacencies.recycle(slots);
    alive->paths.recycle(regions);
  });
}

}  // namespace podwire::engine
