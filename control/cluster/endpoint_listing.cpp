// RemoteEndpoints: what the store tells of them, in a listing and since.
#include "control/cluster/remote_endpoints.hpp"

namespace podwire::control {

void RemoteEndpoints::begin_listing() {
  const std::lock_guard lock(mutex_);
  buried_.clear();
  ++listing_;
}

// Notes what the store has; returns what is another here now.
std::vector<EndpointPlace> RemoteEndpoints::list_some(const std::vector<EtcdItem>& items) {
  std::vector<EndpointPlace> changed;
  for (const auto& item : items) {
    const auto place = parse_endpoint_place(item.key.substr(prefix_.size()));
    if (!place) continue;
    auto& entry = nodes_[place->node].endpoints[place->number];
    entry.listing = listing_;
    auto record = parse_endpoint_record(item.value);
    if (entry.record && record && *record == *entry.record) {
      entry.revision = item.mod_revision;
      continue;
    }
    put(*place, entry, item.mod_revision, std::move(record));
    changed.push_back(*place);
  }
  return changed;
}

void RemoteEndpoints::list_part(const std::vector<EtcdItem>& items) {
  const std::lock_guard lock(mutex_);
  take_in({}, list_some(items));
}

Result<void> RemoteEndpoints::listed(const std::vector<EtcdItem>& items) {
  const std::lock_guard lock(mutex_);
  auto changed = list_some(items);
  std::vector<EndpointPlace> gone;
  for (const auto& [name, node] : nodes_) {
    for (const auto& [number, entry] : node.endpoints) {
      if (entry.listing != listing_) gone.push_back({name, number});
    }
  }
  take_in(gone, std::move(changed));
  return {};
}

void RemoteEndpoints::changed(const std::vector<EtcdEvent>& events) {
  const std::lock_guard lock(mutex_);
  Places gone, changed;
  for (const auto& event : events) {
    const auto& item = event.item;
    const auto place = parse_endpoint_place(item.key.substr(prefix_.size()));
    if (!place) continue;
    auto* entry = find(*place);
    const bool late = entry != nullptr ? item.mod_revision <= entry->revision
                                       : buried_.is_late(item.key, item.mod_revision);
    if (late) continue;
    gone.erase(*place);
    changed.erase(*place);
    if (event.erased) {
      buried_.bury(item.key, item.mod_revision);
      if (entry == nullptr) continue;
      gone.insert(*place);
      entry->revision = item.mod_revision;
    } else {
      if (entry == nullptr) entry = &nodes_[place->node].endpoints[place->number];
      entry->listing = listing_;
      put(*place, *entry, item.mod_revision, parse_endpoint_record(item.value));
      changed.insert(*place);
    }
  }
  take_in({gone.begin(), gone.end()}, {changed.begin(), changed.end()});
}

// All at once, so that who waits gets nothing that somebody has before and after. What is no more is settled
// as without a record, then forgotten.
void RemoteEndpoints::take_in(const std::vector<EndpointPlace>& gone, std::vector<EndpointPlace> changed) {
  for (const auto& place : gone) {
    auto& entry = *find(place);
    release(place, entry);
    entry.record.reset();
    faults_.erase(place);
  }
  changed.insert(changed.end(), gone.begin(), gone.end());
  settle(changed);
  for (const auto& place : gone) erase(place);
  tell_located();
  for (const auto& place : changed) rows_.note({place.node, std::to_string(place.number)});
}

}  // namespace podwire::control
