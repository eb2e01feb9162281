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
// New ones that go to the engine at once: they surely fit a message.
constexpr std::size_t kEndpointsAtATime = 1000;

}  // namespace

RemoteEndpoints::RemoteEndpoints(const Config& config, Store& store, SharedStore& cluster,
                                 EngineReconciler& reconciler, Located located,
                                 std::chrono::milliseconds retry)
    : config_(config),
      store_(store),
      reconciler_(reconciler),
      located_(std::move(located)),
      prefix_(cluster.prefix() + kEndpointSection),
      rows_(store, kEndpointKind, "the other nodes' endpoints",
            [this](const auto& names) { return bodies(names); }) {
  cluster.follow(kEndpointSection, *this);
  retries_.start(retry, [this] { try_again(); });
}

Result<void> RemoteEndpoints::load(const NodeObjects& node) {
  PODWIRE_TRY(const auto rows, store_.manifests(kEndpointKind));
  PODWIRE_TRY(const auto attachments, store_.list());
  const std::lock_guard lock(mutex_);
  domains_ = node.domains;
  for (const auto& a : attachments) {
    const auto domain = domain_id(a.domain);
    const auto add = [&](const MacAddr& mac, const std::vector<IpPrefix>& addresses) {
      local_macs_.emplace(domain, mac);
      for (const auto& address : addresses) local_addresses_.emplace(domain, address.address);
    };
    add(a.mac, a.addresses);
    for (const auto& e : a.extra_endpoints) add(e.mac, e.addresses);
  }
  for (const auto& row : rows) {
    const auto place = parse_endpoint_place(row.space + "/" + row.name);
    if (!place) continue;
    put(*place, nodes_[place->node].endpoints[place->number], 0, parse_endpoint_record(row.body));
  }
  return {};  // settled when the nodes are known
}

RemoteEndpoints::Entry* RemoteEndpoints::find(const EndpointPlace& place) {
  const auto node = nodes_.find(place.node);
  if (node == nodes_.end()) return nullptr;
  const auto at = node->second.endpoints.find(place.number);
  return at == node->second.endpoints.end() ? nullptr : &at->second;
}

// 0: this node has no such domain.
DomainId RemoteEndpoints::domain_id(const std::string& name) const {
  const auto at = domains_.find(name);
  return at == domains_.end() ? DomainId() : at->second;
}

void RemoteEndpoints::put(const EndpointPlace& place, Entry& entry, std::int64_t revision,
                          Result<EndpointRecord> record) {
  if (entry.record) release(place, entry);
  entry.revision = revision;
  if (record) {
    entry.record = std::move(*record);
  } else {
    entry.record.reset();
    faults_[place].problem = record.error().message;
  }
}

void RemoteEndpoints::erase(const EndpointPlace& place) {
  const auto node = nodes_.find(place.node);
  if (node == nodes_.end()) return;
  node->second.endpoints.erase(place.number);
  faults_.erase(place);
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

// Whether the engine is to know the endpoints of a domain.
bool RemoteEndpoints::is_programmed(const std::string& domain) {
  const auto known = is_programmed_.find(domain);
  if (known != is_programmed_.end()) return known->second;
  const auto config = config_.find_domain(domain);
  return is_programmed_[domain] =
             config != nullptr && config->mode == api::DomainMode::kL2 && domains_.contains(domain);
}

// As this node's engine has it; null: that need not know it.
SharedEndpoint RemoteEndpoints::object_of(const EndpointPlace& place, const Node& node,
                                          const EndpointRecord& record) {
  const auto vtep = node.vtep->value();
  if (vtep < kFirstVtep || vtep > kLastVtep || !is_programmed(record.domain)) return nullptr;
  constexpr std::size_t kLongestObjectName = 255;  // of an api::Endpoint
  auto name = to_text(place);
  if (!record.pod_name.empty()) name += " " + record.pod_namespace + "/" + record.pod_name;
  RemoteEndpoint out;
  out.id = EndpointId(kFirstVtep + ((vtep - kFirstVtep) << 16) + place.number);
  out.name = name.substr(0, kLongestObjectName);
  out.domain = domain_id(record.domain);
  out.vtep = *node.vtep;
  out.mac = record.mac;
  out.addresses = record.addresses;
  return std::make_shared<const RemoteEndpoint>(std::move(out));
}

// Where there are many, what changes comes first, all at once, so that two can change places; those that are
// new go in pieces then: in none of them is half a change.
void RemoteEndpoints::program(std::span<Turn> turns) {
  if (turns.size() <= kEndpointsAtATime) return program_at_once(turns);
  const auto fresh =
      std::stable_partition(turns.begin(), turns.end(), [](const Turn& turn) { return turn.was != nullptr; });
  const auto changed = static_cast<std::size_t>(fresh - turns.begin());
  program_at_once(turns.first(changed));
  for (auto left = turns.subspan(changed); !left.empty();) {
    const auto some = std::min(left.size(), kEndpointsAtATime);
    program_at_once(left.first(some));
    left = left.subspan(some);
  }
}

void RemoteEndpoints::program_at_once(std::span<Turn> turns) {
  RemoteChange change;
  for (const auto& turn : turns) {
    const auto& now = turn.entry->programmed;
    if (turn.was && (!now || now->id != turn.was->id)) change.gone_endpoints.insert(turn.was->id);
    if (now && (now != turn.was || turn.entry->displaced)) change.endpoints.push_back(now);
  }
  const auto done = change.empty() ? Result<void>() : reconciler_.change_remote(std::move(change));
  if (done) {
    for (auto& turn : turns) turn.entry->displaced = false;
    return;
  }
  if (turns.size() > 1) {
    // Each half for itself, so that one that the engine refuses costs no other.
    program_at_once(turns.first(turns.size() / 2));
    program_at_once(turns.subspan(turns.size() / 2));
    return;
  }
  auto& turn = turns.front();
  turn.entry->programmed = turn.was;
  turn.problem = done.error().message;
  again_.insert(turn.place);
}

// Under the mutex; who is told takes no locks that lead back here.
void RemoteEndpoints::tell_located() {
  PodPlaces places;
  for (const auto& pod : std::exchange(moved_, {})) {
    auto& addresses = places[pod];
    const auto at = pods_.find(pod);
    if (at == pods_.end()) continue;
    for (const auto& [node, number] : at->second) {
      const auto& record = *nodes_.at(*node).endpoints.at(number).record;
      for (const auto& address : record.addresses) addresses.emplace_back(record.domain, address);
    }
    std::sort(addresses.begin(), addresses.end());
    addresses.erase(std::unique(addresses.begin(), addresses.end()), addresses.end());
  }
  if (!places.empty() && located_) moved_ = located_(places);
}

// For the disk.
std::vector<std::optional<std::string>> RemoteEndpoints::bodies(const std::vector<LateRows::Name>& names) {
  const std::lock_guard lock(mutex_);
  std::vector<std::optional<std::string>> out;
  for (const auto& [node, number] : names) {
    const auto place = parse_endpoint_place(node + "/" + number);
    const auto* const entry = place ? find(*place) : nullptr;
    const bool there = entry != nullptr && entry->record;
    out.push_back(there ? std::optional<std::string>(to_value(*entry->record)) : std::nullopt);
  }
  return out;
}

// An ADD that was undone is none that this node's endpoints are told of.
void RemoteEndpoints::find_displaced(std::vector<EndpointPlace>& places) {
  for (const auto id : reconciler_.returnable_endpoints()) {
    const auto offset = id.value() - kFirstVtep;
    for (auto& [name, node] : nodes_) {
      if (node.vtep != VtepId(kFirstVtep + (offset >> 16))) continue;
      const auto at = node.endpoints.find(offset & 0xffff);
      if (at == node.endpoints.end()) continue;
      at->second.displaced = true;
      places.push_back({name, at->first});
    }
  }
}

void RemoteEndpoints::try_again() {
  const std::lock_guard lock(mutex_);
  std::vector<EndpointPlace> some;
  auto at = again_.upper_bound(last_again_);
  for (std::size_t i = 0; i < std::min(kEndpointsAgain, again_.size()); ++i, ++at) {
    if (at == again_.end()) at = again_.begin();
    some.push_back(last_again_ = *at);
  }
  find_displaced(some);
  if (!some.empty()) settle(some);
  tell_located();
}

void RemoteEndpoints::nodes_changed(const std::vector<RemoteNodes::Reached>& nodes) {
  const std::lock_guard lock(mutex_);
  std::vector<EndpointPlace> touched;
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
    for (const auto& [number, entry] : node.endpoints) touched.push_back({reached.name, number});
  }
  if (touched.empty()) return;
  settle(touched);
  tell_located();
}

void RemoteEndpoints::local_changed(const std::vector<EndpointRecord>& endpoints) {
  const std::lock_guard lock(mutex_);
  std::set<MacKey> macs;
  std::set<AddressKey> addresses;
  for (const auto& endpoint : endpoints) {
    const auto domain = domain_id(endpoint.domain);
    macs.emplace(domain, endpoint.mac);
    for (const auto& address : endpoint.addresses) addresses.emplace(domain, address);
  }
  if (macs == local_macs_ && addresses == local_addresses_) return;
  std::vector<EndpointPlace> touched;
  const auto touch = [&](const auto& owners, const auto& keys) {
    for (const auto& key : keys) {
      const auto at = owners.find(key);
      if (at != owners.end()) touched.push_back({*at->second.node, at->second.number});
    }
  };
  touch(macs_, macs);
  touch(addresses_, addresses);
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
  settle(touched);
  tell_located();
}

std::vector<std::string> RemoteEndpoints::problems() const {
  constexpr std::size_t kMost = 50;
  const std::lock_guard lock(mutex_);
  std::vector<std::string> out;
  for (const auto& [place, fault] : faults_) {
    if (out.size() == kMost) {
      out.push_back("... and " + std::to_string(faults_.size() - kMost) +
                    " more endpoints of other nodes are left out");
      break;
    }
    out.push_back("endpoint " + std::to_string(place.number) + " of node \"" + place.node +
                  "\" is left out: " + fault.problem + "; see " + prefix_ + to_text(place) +
                  " in the cluster's store");
  }
  return out;
}

}  // namespace podwire::control
