#include "control/cluster/remote_endpoints.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

namespace podwire::control {
namespace {

constexpr const char* kEndpointKind = "ClusterEndpoint";
// Of a node's VTEP (remote_nodes.cpp), whose endpoints' ids follow from its own.
constexpr std::uint32_t kFirstVtep = 0x20000000;
constexpr std::uint32_t kLastVtep = kFirstVtep + 0xd000;

StoredManifest row_of(const EndpointPlace& place, const std::string& body) {
  return {kEndpointKind, place.node, std::to_string(place.number), body};
}

}  // namespace

RemoteEndpoints::RemoteEndpoints(const Config& config, Store& store, SharedStore& cluster,
                                 EngineReconciler& reconciler, Located located)
    : config_(config),
      store_(store),
      reconciler_(reconciler),
      located_(std::move(located)),
      prefix_(cluster.prefix() + kEndpointSection) {
  cluster.follow(kEndpointSection, *this);
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
  waiting_.erase(place);
  faulty_.erase(place);
  if (node->second.endpoints.empty() && !node->second.vtep) nodes_.erase(node);
}

// What it has is free for others.
void RemoteEndpoints::release(const EndpointPlace& place, Entry& entry) {
  if (!entry.record) return;
  const auto& record = *entry.record;
  const auto let_go = [&](auto& owners, const auto& key) {
    const auto at = owners.find(key);
    if (at != owners.end() && at->second == place) owners.erase(at);
  };
  let_go(macs_, MacKey(record.domain, record.mac));
  for (const auto& address : record.addresses) let_go(addresses_, AddressKey(record.domain, address));
  if (!std::exchange(entry.located, false)) return;
  const std::pair pod(record.pod_namespace, record.pod_name);
  const auto at = pods_.find(pod);
  at->second.erase(place);
  if (at->second.empty()) pods_.erase(at);
  moved_.insert(pod);
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

// Everything that may be another now, and what waited for something of it.
void RemoteEndpoints::settle(Places touched) {
  touched.insert(waiting_.begin(), waiting_.end());
  std::map<EndpointPlace, std::optional<api::Endpoint>> before;
  for (const auto& place : touched) {
    auto* const entry = find(place);
    if (entry == nullptr) continue;
    before[place] = std::exchange(entry->programmed, std::nullopt);
    release(place, *entry);
  }
  std::vector<EndpointPlace> places;
  for (const auto& [place, was] : before) {
    places.push_back(place);
    auto& node = nodes_.at(place.node);
    auto& entry = *find(place);
    waiting_.erase(place);
    const auto told = entry.problem;
    if (entry.record) {
      const auto& record = *entry.record;
      entry.problem = node.vtep ? fault_of(place, node, record) : "";
      auto object = node.vtep && entry.problem.empty() ? object_of(place, node, record) : std::nullopt;
      if (object) {
        const MacKey mac(record.domain, record.mac);
        std::string taken;
        if (local_macs_.contains(mac) || macs_.contains(mac)) taken = to_string(record.mac);
        for (const auto& address : record.addresses) {
          const AddressKey key(record.domain, address);
          if (local_addresses_.contains(key) || addresses_.contains(key)) taken = to_string(address);
        }
        if (taken.empty()) {
          macs_[mac] = place;
          for (const auto& address : record.addresses) addresses_[{record.domain, address}] = place;
          entry.programmed = std::move(object);
        } else {
          entry.problem = "it says that it has " + taken + ", which another endpoint of domain \"" +
                          record.domain + "\" has";
          waiting_.insert(place);
        }
      }
      if (node.vtep && entry.problem.empty() && !record.pod_name.empty()) {
        entry.located = true;
        pods_[{record.pod_namespace, record.pod_name}].insert(place);
        moved_.insert({record.pod_namespace, record.pod_name});
      }
    }
    if (entry.problem.empty())
      faulty_.erase(place);
    else if (faulty_.insert(place).second || told != entry.problem)
      spdlog::warn("cluster: endpoint {} is left out: {}", to_text(place), entry.problem);
  }
  program(places, before);
}

void RemoteEndpoints::program(const std::vector<EndpointPlace>& places,
                              const std::map<EndpointPlace, std::optional<api::Endpoint>>& before) {
  RemoteChange change;
  for (const auto& place : places) {
    const auto& now = find(place)->programmed;
    const auto& was = before.at(place);
    if (was && (!now || now->id != was->id)) change.gone_endpoints.insert(was->id);
    if (now && now != was) change.endpoints.push_back(*now);
  }
  if (change.empty()) return;
  const auto done = reconciler_.change_remote(change);
  if (done) return;
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
  if (!places.empty() && located_) located_(places);
}

// The engine first: what is on disk is for a start without the store, which tells everything again.
void RemoteEndpoints::keep(const Places& touched) {
  std::vector<StoredManifest> put, erased;
  for (const auto& place : touched) {
    const auto* const entry = find(place);
    if (entry != nullptr && entry->record)
      put.push_back(row_of(place, to_value(*entry->record)));
    else
      erased.push_back(row_of(place, ""));
  }
  if (put.empty() && erased.empty()) return;
  if (auto kept = store_.change_manifests(put, erased); !kept)
    spdlog::error("cluster: the other nodes' endpoints could not be kept: {}", kept.error().message);
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
  take_away(gone);
  settle(changed);
  tell_located();
  changed.insert(gone.begin(), gone.end());
  keep(changed);
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
  take_away(gone);
  settle(changed);
  tell_located();
  changed.insert(gone.begin(), gone.end());
  keep(changed);
}

// What is no more: as without a record, then forgotten.
void RemoteEndpoints::take_away(const Places& gone) {
  for (const auto& place : gone) {
    auto& entry = *find(place);
    release(place, entry);
    entry.record.reset();
    entry.problem.clear();
  }
  settle(gone);
  for (const auto& place : gone) erase(place);
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
