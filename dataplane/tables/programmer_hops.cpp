// The programmer's part in packets that leave on the underlay without a tunnel: a next hop for every route,
// and one for every host on link that a packet has asked for, a bounded number.
#include <algorithm>

#include "dataplane/headers/headers.hpp"
#include "dataplane/packet/access.hpp"
#include "dataplane/tables/programmer_state.hpp"

namespace podwire::engine {
namespace {

bool concerns_underlay(const Changes& changes) {
  const auto in_underlay = [](const std::optional<api::Route>& route) {
    return route && route->domain == kUnderlayDomain;
  };
  return std::any_of(changes.routes.begin(), changes.routes.end(), [&](const Change<api::Route>& change) {
    return in_underlay(change.before) || in_underlay(change.after);
  });
}

IpAddr destination_of(rte_mbuf* mbuf, const PacketMeta& meta) {
  if (meta.ether_type == ether_type::kIpv4)
    return IpAddr(header_unchecked<Ipv4Header>(mbuf, meta.l3_offset)->destination);
  return IpAddr(header_unchecked<Ipv6Header>(mbuf, meta.l3_offset)->destination);
}

}  // namespace

void Programmer::State::set_node_addresses() {
  const auto port = intent_.host_port();
  auto own = node_addresses(intent_);
  forwarding_.set_node_addresses(port ? own : std::vector<IpAddr>(), port, mac_of(port));
  if (own_ == nullptr ? own.empty() : own_->all() == own) return;
  auto next = own.empty() ? nullptr : std::make_unique<const OwnAddresses>(std::move(own));
  discard(garbage_, std::exchange(own_, std::move(next)));
  publish_needed_ = true;
}

void Programmer::State::add_hops(const Changes& changes, std::uint64_t now_ms) {
  for (const auto& change : changes.routes) {
    if (!change.after || change.after->domain != kUnderlayDomain) continue;
    for (const auto& hop : change.after->next_hops) {
      const auto* port = intent_.port(hop.port);
      if (port->role == api::PortRole::kUplink) underlay_.slot_to({hop.port, hop.address}, now_ms);
    }
  }
}

// Another route may lead to hosts that were on link: they are asked for anew.
void Programmer::State::remove_hops(const Changes& changes, std::uint64_t now_ms) {
  if (concerns_underlay(changes)) give_up_hops([](const auto&) { return false; }, now_ms);
}

void Programmer::State::give_up_hops(const std::function<bool(const Forwarding::Neighbor&)>& wanted,
                                     std::uint64_t now_ms) {
  forwarding_.drop_neighbors(wanted);
  std::set<NeighborKey> used;
  for (const auto& [address, neighbor] : forwarding_.neighbors()) used.insert(neighbor.at);
  underlay_.drop_hops([&](const NeighborKey& key) { return used.contains(key) || leads_there(key); }, now_ms);
  for (const auto id : forwarding_.take_resized_domains()) rebuild(id);
}

// Hops are few and routes may be many, so the hop is looked for among the routes and not the other way round.
bool Programmer::State::leads_there(const NeighborKey& key) const {
  const auto& routes = key.address.is_zero() ? intent_.routes_through(key.port)
                                             : intent_.routes_through(kUnderlayDomain, key.address);
  return std::any_of(routes.begin(), routes.end(), [&](RouteId id) {
    const auto& route = *intent_.route(id);
    return route.domain == kUnderlayDomain &&
           std::any_of(route.next_hops.begin(), route.next_hops.end(), [&](const api::NextHop& hop) {
             return hop.port == key.port && hop.address == key.address;
           });
  });
}

void Programmer::State::rebuild_routed() {
  std::vector<std::pair<IpPrefix, DomainId>> subnets;
  for (const auto& [id, domain] : intent_.domains()) {
    if (!domain.routed) continue;
    for (const auto& gateway : domain.gateways) subnets.emplace_back(gateway.network(), id);
  }
  if (subnets.empty() && !routed_) return;
  std::unique_ptr<RoutedPrefixes> next;
  if (!subnets.empty()) {
    next = std::make_unique<RoutedPrefixes>(subnets.size());
    for (const auto& [subnet, id] : subnets) next->add(subnet, id);
  }
  discard(garbage_, std::exchange(routed_, std::move(next)));
  publish_needed_ = true;
}

// Who does not answer makes room.
void Programmer::State::age_hops(std::uint64_t now_ms) {
  const auto failed = [&](const Forwarding::Neighbor& neighbor) {
    return underlay_.reach(underlay_.find_hop(neighbor.at)) == VtepReach::kFailed;
  };
  const auto& all = forwarding_.neighbors();
  if (std::any_of(all.begin(), all.end(), [&](const auto& one) { return failed(one.second); }))
    give_up_hops([&](const Forwarding::Neighbor& neighbor) { return !failed(neighbor); }, now_ms);
}

void Programmer::State::name_hop(rte_mbuf* mbuf, std::uint64_t now_ms) {
  auto meta = load_meta(mbuf);
  PortId port;
  if (!underlay_.is_on_link(meta.vtep, port)) return;
  const NeighborKey key{port, destination_of(mbuf, meta)};
  const auto& known = forwarding_.neighbors();
  if (!known.contains(key.address)) {
    if (known.size() >= Forwarding::kMaxNeighbors) {
      const auto oldest = std::min_element(known.begin(), known.end(), [](const auto& a, const auto& b) {
        return a.second.since_ms < b.second.since_ms;
      });
      const auto address = oldest->first;
      give_up_hops([&](const Forwarding::Neighbor& one) { return one.at.address != address; }, now_ms);
    }
    forwarding_.add_neighbor(key, underlay_.slot_to(key, now_ms), now_ms);
    for (const auto id : forwarding_.take_resized_domains()) rebuild(id);
    // Everybody's snapshot has the next hop before the table leads to it.
    if (publish()) environment_.publisher->synchronize();
    forwarding_.apply();
  }
  meta.vtep = underlay_.slot_to(known.at(key.address).at, now_ms);
  save_meta(mbuf, meta);
}

}  // namespace podwire::engine
