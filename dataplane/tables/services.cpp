#include "dataplane/tables/services.hpp"

namespace podwire::engine {
namespace {

bool is_host_route(const api::Route& route) {
  return route.prefix.length == route.prefix.address.bits();
}

// Only what node_addresses() looks at.
bool may_change_addresses(const Changes& changes) {
  return !changes.vteps.empty() || !changes.domains.empty() || !changes.routes.empty() ||
         !changes.ports.empty();
}

}  // namespace

std::vector<IpAddr> node_addresses(const Intent& intent) {
  std::set<IpAddr> all;
  for (const auto id : intent.local_vteps()) all.insert(intent.vtep(id)->address);
  for (const auto& [id, domain] : intent.domains()) {
    if (domain.masquerade)
      all.insert(domain.masquerade->addresses.begin(), domain.masquerade->addresses.end());
  }
  if (intent.host_port()) {
    for (const auto id : intent.routes_through(intent.host_port())) {
      const auto& route = *intent.route(id);
      if (is_host_route(route)) all.insert(route.prefix.address);
    }
  }
  return {all.begin(), all.end()};
}

bool Services::update(const Intent& intent, const Changes& changes) {
  for (const auto& change : changes.services) {
    if (!change.after) {
      entries_.erase(change.before->id);
      continue;
    }
    auto& entry = entries_[change.after->id];
    entry = make_service_entry(*change.after, entry.get());
  }
  bool different = !changes.services.empty();
  if (entries_.empty()) {
    discard(garbage_, std::exchange(table_, nullptr));
    return different;
  }
  if (table_ == nullptr || may_change_addresses(changes)) {
    auto addresses = node_addresses(intent);
    different = different || addresses != node_addresses_;
    node_addresses_ = std::move(addresses);
  }
  if (!different) return false;
  std::vector<ServiceTable::Item> items;
  items.reserve(entries_.size());
  for (const auto& [id, entry] : entries_) items.push_back({intent.service(id), entry});
  discard(garbage_, std::exchange(table_, std::make_unique<const ServiceTable>(items, node_addresses_)));
  return true;
}

}  // namespace podwire::engine
