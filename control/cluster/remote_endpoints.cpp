#include "control/cluster/remote_endpoints.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

namespace podwire::control {
namespace {

constexpr const char* kEndpointKind = "ClusterEndpoint";
// Of a node's VTEP (remote_nodes.cpp), whose endpoints' ids follow from its own.
constexpr std::uint32_t kFirstVtep = 0x20000000;
constexpr std::uint32_t kLastVtep = kFirstVtep + 0xd000;
constexpr std::size_t kEndpointsAgain = 64;

StoredManifest row_of(const EndpointPlace& place, const std::string& body) {
  return {kEndpointKind, place.node, std::to_string(place.number), body};
}

}  // namespace

RemoteEndpoints::RemoteEndpoints(const Config& config, Store& store, SharedStore& cluster,
                                 EngineReconciler& reconciler, Located located,
                                 std::chrono::milliseconds retry)
    : config_(config),
      store_(store),
      reconciler_(reconciler),
      located_(std::move(located)),
      prefix_(cluster.prefix() + kEndpointSection) {
  cluster.follow(kEndpointSection, *this);
  retries_.start(retry, [this] { try_again(); });
}

Result<void> RemoteEndpoints::load(const NodeObjects& node) {
  PODWIRE_TRY(const auto rows, store_.manifests(kEndpointKind));
  PODWIRE_TRY(const auto attachments, store_.list());
  const std::lock_guard lock(mutex_);
  domains_ = node.domains;
  for (const auto& a : attachments) {
    const auto add = [&](const MacAddr& mac, const std::vector<IpPrefix>& addresses) {
      local_macs_.emplace(a.domain, mac);
      for (const auto& address : addresses) local_addresses_.emplace(a.domain, address.address);
    };
    add(a.mac, a.addresses);
    for (const auto& e : a.extra_endpoints) add(e.mac, e.addresses);
  }
  for (const auto& row : rows) {
    const auto place = parse_endpoint_place(row.space + "/" + row.name);
    if (place) put(*place, {"", row.body, 0});
  }
  return {};  // settled when the nodes are known
}

RemoteEndpoints::Entry* RemoteEndpoints::find(const EndpointPlace& place) {
  const auto node = nodes_.find(place.node);
  if (node == nodes_.end()) return nullptr;
  const auto at = node->second.endpoints.find(place.number);
  return at == node->second.endpoints.end() ? nullptr : &at->second;
}

void RemoteEndpoints::put(const EndpointPlace& place, const EtcdItem& item) {
  auto& entry = nodes_[place.node].endpoints[place.number];
  if (entry.record) release(place, entry);
  entry.revision = item.mod_revision;
  auto record = parse_endpoint_record(item.value);
  entry.problem = record ? "" : record.error().message;
  entry.record = record ? std::optional<EndpointRecord>(std::move(*record)) : std::nullopt;
}

void RemoteEndpoints::erase(const EndpointPlace& place) {
  const auto node = nodes_.find(place.node);
  if (node == nodes_.end()) return;
  node->second.endpoints.erase(place.number);
  faulty_.erase(place);
  again_.erase(place);
  if (node->second.endpoints.empty() && !node->second.vtep) nodes_.erase(node);
}

// Why it cannot be taken; empty: it can.
std::string RemoteEndpoints::fault_of(const EndpointPlace& place, const Node& node,
                                      const EndpointRecord& record) const {
  const auto prefixes = node.prefixes.find(record.domain);
  for (const auto& address : record.addresses) {
    const bool leased = prefixes != node.prefixes.end() &&
                        std::any_of(prefixes->second.begin(), prefixes->second.end(),
                                    [&](const IpPrefix& p) { return p.contains(address); });
    if (!leased)
      return "its address " + to_string(address) + " is outside of what node \"" + place.node +
             "\" has of domain \"" + record.domain + "\"";
  }
  return {};
}

// As this node's engine has it; none: that need not know it.
std::optional<api::Endpoint> RemoteEndpoints::object_of(const EndpointPlace& place, const Node& node,
                                                        const EndpointRecord& record) const {
  const auto domain = config_.find_domain(record.domain);
  const auto id = domains_.find(record.domain);
  if (domain == nullptr || domain->mode != api::DomainMode::kL2 || id == domains_.end()) return std::nullopt;
  const auto vtep = node.vtep->value();
  if (vtep < kFirstVtep || vtep > kLastVtep) return std::nullopt;
  api::Endpoint out;
  out.id = EndpointId(kFirstVtep + ((vtep - kFirstVtep) << 16) + place.number);
  out.name =
      to_text(place) + (record.pod_name.empty() ? "" : " " + record.pod_namespace + "/" + record.pod_name);
  out.name = out.name.substr(0, 255);
  out.domain = id->second;
  out.vtep = *node.vtep;
  out.mac = record.mac;
  out.addresses = record.addresses;
  return out;
}

void RemoteEndpoints::program(const std::vector<EndpointPlace>& places, const Before& before) {
  RemoteChange change;
  for (const auto& place : places) {
    const auto& now = find(place)->programmed;
    const auto& was = before.at(place);
    if (was && (!now || now->id != was->id)) change.gone_endpoints.insert(was->id);
    if (now && (now != was || find(place)->displaced)) change.endpoints.push_back(*now);
  }
  const auto done = change.empty() ? Result<void>() : reconciler_.change_remote(change);
  if (done) {
    for (const auto& place : places) {
      auto& entry = *find(place);
      entry.refused.clear();
      entry.displaced = false;
    }
    return;
  }
  if (places.size() > 1) {
    // Each half for itself, so that one that the engine refuses costs no other.
    const auto half = places.begin() + static_cast<std::ptrdiff_t>(places.size() / 2);
    program({places.begin(), half}, before);
    program({half, places.end()}, before);
    return;
  }
  auto& entry = *find(places.front());
  entry.programmed = before.at(places.front());
  entry.problem = done.error().message;
  faulty_.insert(places.front());
  again_.insert(places.front());
  if (std::exchange(entry.refused, entry.problem) != entry.problem)
    spdlog::warn("cluster: endpoint {} is left out: {}", to_text(places.front()), entry.problem);
}

// Under the mutex; who is told takes no locks that lead back here.
void RemoteEndpoints::tell_located() {
  PodPlaces places;
  for (const auto& pod : std::exchange(moved_, {})) {
    auto& addresses = places[pod];
    const auto at = pods_.find(pod);
    if (at == pods_.end()) continue;
    for (const auto& place : at->second) {
      const auto& record = *find(place)->record;
      for (const auto& address : record.addresses) addresses.emplace_back(record.domain, address);
    }
    std::sort(addresses.begin(), addresses.end());
    addresses.erase(std::unique(addresses.begin(), addresses.end()), addresses.end());
  }
  if (!places.empty() && located_) moved_ = located_(places);
}

// The engine first: what is on disk is for a start without the store, which tells everything again.
void RemoteEndpoints::keep(const Places& touched) {
  unsaved_.insert(touched.begin(), touched.end());
  if (unsaved_.empty()) return;
  std::vector<StoredManifest> put, erased;
  for (const auto& place : unsaved_) {
    const auto* const entry = find(place);
    if (entry != nullptr && entry->record)
      put.push_back(row_of(place, to_value(*entry->record)));
    else
      erased.push_back(row_of(place, ""));
  }
  if (auto kept = store_.change_manifests(put, erased); !kept) {
    spdlog::error("cluster: the other nodes' endpoints could not be kept, trying again: {}",
                  kept.error().message);
    return;
  }
  unsaved_.clear();
}

// An ADD that was undone is none that this node's endpoints are told of.
void RemoteEndpoints::find_displaced(Places& places) {
  for (const auto id : reconciler_.returnable_endpoints()) {
    const auto offset = id.value() - kFirstVtep;
    for (auto& [name, node] : nodes_) {
      if (node.vtep != VtepId(kFirstVtep + (offset >> 16))) continue;
      const auto at = node.endpoints.find(offset & 0xffff);
      if (at == node.endpoints.end()) continue;
      at->second.displaced = true;
      places.insert({name, at->first});
    }
  }
}

void RemoteEndpoints::try_again() {
  const std::lock_guard lock(mutex_);
  Places some;
  auto at = again_.upper_bound(last_again_);
  for (std::size_t i = 0; i < std::min(kEndpointsAgain, again_.size()); ++i, ++at) {
    if (at == again_.end()) at = again_.begin();
    some.insert(last_again_ = *at);
  }
  find_displaced(some);
  if (!some.empty()) settle(std::move(some));
  tell_located();
  keep({});
}

void RemoteEndpoints::nodes_changed(const std::vector<RemoteNodes::Reached>& nodes) {
  const std::lock_guard lock(mutex_);
  Places touched;
  for (const auto& reached : nodes) {
    auto& node = nodes_[reached.name];
    const bool same = node.vtep == reached.vtep && node.prefixes == reached.prefixes;
    node.vtep = reached.vtep;
    node.prefixes = reached.prefixes;
    if (node.endpoints.empty() && !node.vtep) {
      nodes_.erase(reached.name);
      continue;
    }
    if (same) continue;
    for (const auto& [number, entry] : node.endpoints) touched.insert({reached.name, number});
  }
  if (touched.empty()) return;
  settle(std::move(touched));
  tell_located();
}

void RemoteEndpoints::local_changed(const std::vector<EndpointRecord>& endpoints) {
  std::set<MacKey> macs;
  std::set<AddressKey> addresses;
  for (const auto& endpoint : endpoints) {
    macs.emplace(endpoint.domain, endpoint.mac);
    for (const auto& address : endpoint.addresses) addresses.emplace(endpoint.domain, address);
  }
  const std::lock_guard lock(mutex_);
  if (macs == local_macs_ && addresses == local_addresses_) return;
  Places touched;
  for (const auto& mac : macs) {
    const auto at = macs_.find(mac);
    if (at != macs_.end()) touched.insert(at->second);
  }
  for (const auto& address : addresses) {
    const auto at = addresses_.find(address);
    if (at != addresses_.end()) touched.insert(at->second);
  }
  const auto free = [this](const auto& before, const auto& now, const auto& waiters) {
    for (const auto& key : before) {
      const auto waiting = now.contains(key) ? waiters.end() : waiters.find(key);
      if (waiting != waiters.end()) freed_.insert(waiting->second.begin(), waiting->second.end());
    }
  };
  free(local_macs_, macs, mac_waiters_);
  free(local_addresses_, addresses, address_waiters_);
  local_macs_ = std::move(macs);
  local_addresses_ = std::move(addresses);
  settle(std::move(touched));
  tell_located();
}

Result<void> RemoteEndpoints::listed(const std::vector<EtcdItem>& items) {
  const std::lock_guard lock(mutex_);
  buried_.clear();
  Places gone, changed;
  for (const auto& [name, node] : nodes_) {
    for (const auto& [number, entry] : node.endpoints) gone.insert({name, number});
  }
  for (const auto& item : items) {
    const auto place = parse_endpoint_place(item.key.substr(prefix_.size()));
    if (!place) continue;
    gone.erase(*place);
    auto* const entry = find(*place);
    const auto record = parse_endpoint_record(item.value);
    if (entry != nullptr && entry->record && record && *record == *entry->record) {
      entry->revision = item.mod_revision;
      continue;
    }
    put(*place, item);
    changed.insert(*place);
  }
  take_in(gone, std::move(changed));
  return {};
}

void RemoteEndpoints::changed(const std::vector<EtcdEvent>& events) {
  const std::lock_guard lock(mutex_);
  Places gone, changed;
  for (const auto& event : events) {
    const auto place = parse_endpoint_place(event.item.key.substr(prefix_.size()));
    if (!place) continue;
    auto* const entry = find(*place);
    const bool late = entry != nullptr ? event.item.mod_revision <= entry->revision
                                       : buried_.is_late(event.item.key, event.item.mod_revision);
    if (late) continue;
    gone.erase(*place);
    changed.erase(*place);
    if (event.erased) {
      buried_.bury(event.item.key, event.item.mod_revision);
      if (entry == nullptr) continue;
      gone.insert(*place);
      entry->revision = event.item.mod_revision;
    } else {
      put(*place, event.item);
      changed.insert(*place);
    }
  }
  take_in(gone, std::move(changed));
}

// All at once, so that who waits gets nothing that somebody has before and after. What is no more is settled
// as without a record, then forgotten.
void RemoteEndpoints::take_in(const Places& gone, Places changed) {
  for (const auto& place : gone) {
    auto& entry = *find(place);
    release(place, entry);
    entry.record.reset();
    entry.problem.clear();
  }
  changed.insert(gone.begin(), gone.end());
  settle(changed);
  for (const auto& place : gone) erase(place);
  tell_located();
  keep(changed);
}

std::vector<std::string> RemoteEndpoints::problems() const {
  constexpr std::size_t kMost = 50;
  const std::lock_guard lock(mutex_);
  std::vector<std::string> out;
  for (const auto& place : faulty_) {
    if (out.size() == kMost) {
      out.push_back("... and " + std::to_string(faulty_.size() - kMost) +
                    " more endpoints of other nodes are left out");
      break;
    }
    const auto& entry = nodes_.at(place.node).endpoints.at(place.number);
    out.push_back("endpoint " + std::to_string(place.number) + " of node \"" + place.node +
                  "\" is left out: " + entry.problem + "; see " + prefix_ + to_text(place) +
                  " in the cluster's store");
  }
  return out;
}

}  // namespace podwire::control
