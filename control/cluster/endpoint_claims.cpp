// RemoteEndpoints: whose a MAC and an address are, and who waits for them.
#include <spdlog/spdlog.h>

#include <algorithm>

#include "control/cluster/remote_endpoints.hpp"

namespace podwire::control {
namespace {

// Who had what it asks for comes before others that want it, and who had its MAC before who has neither.
int turn_of(const std::optional<api::Endpoint>& had, const std::optional<api::Endpoint>& wanted) {
  if (!had || !wanted || had->domain != wanted->domain || had->mac != wanted->mac) return 2;
  const auto& before = had->addresses;
  return std::all_of(
             wanted->addresses.begin(), wanted->addresses.end(),
             [&](const IpAddr& a) { return std::find(before.begin(), before.end(), a) != before.end(); })
             ? 0
             : 1;
}

}  // namespace

// What it has is free for others, and it waits for nothing.
void RemoteEndpoints::release(const EndpointPlace& place, Entry& entry) {
  if (!entry.record) return;
  const auto& record = *entry.record;
  const auto let_go = [&](auto& owners, auto& waiters, const auto& key) {
    const auto waiting = waiters.find(key);
    if (entry.waiting && waiting != waiters.end()) {
      waiting->second.erase(place);
      if (waiting->second.empty()) waiters.erase(waiting);
    }
    const auto at = owners.find(key);
    if (at == owners.end() || at->second != place) return;
    owners.erase(at);
    if (const auto others = waiters.find(key); others != waiters.end())
      freed_.insert(others->second.begin(), others->second.end());
  };
  let_go(macs_, mac_waiters_, MacKey(record.domain, record.mac));
  for (const auto& address : record.addresses)
    let_go(addresses_, address_waiters_, AddressKey(record.domain, address));
  entry.waiting = false;
  if (!std::exchange(entry.located, false)) return;
  const std::pair pod(record.pod_namespace, record.pod_name);
  const auto at = pods_.find(pod);
  at->second.erase(place);
  if (at->second.empty()) pods_.erase(at);
  moved_.insert(pod);
}

void RemoteEndpoints::wait(const EndpointPlace& place, Entry& entry) {
  const auto& record = *entry.record;
  entry.waiting = true;
  mac_waiters_[{record.domain, record.mac}].insert(place);
  for (const auto& address : record.addresses) address_waiters_[{record.domain, address}].insert(place);
}

// Everything that may be another now, and who waited for something of it.
void RemoteEndpoints::settle(Places touched) {
  Before before;
  for (touched.merge(std::exchange(freed_, {})); !touched.empty(); touched = std::exchange(freed_, {})) {
    for (const auto& place : touched) {
      auto* const entry = find(place);
      if (entry == nullptr || before.contains(place)) continue;
      before[place] = std::exchange(entry->programmed, std::nullopt);
      release(place, *entry);
    }
  }
  std::vector<EndpointPlace> places;
  struct Turn {
    std::optional<api::Endpoint> object;
    std::string told;
  };
  std::map<std::pair<int, EndpointPlace>, Turn> turns;
  for (const auto& [place, was] : before) {
    places.push_back(place);
    again_.erase(place);
    auto& entry = *find(place);
    auto told = entry.problem;
    auto object = judge(place, entry);
    const auto number = turn_of(was, object);
    turns[{number, place}] = {std::move(object), std::move(told)};
  }
  for (auto& [number_and_place, turn] : turns) {
    const auto& place = number_and_place.second;
    auto& entry = *find(place);
    if (entry.problem.empty()) grant(place, entry, std::move(turn.object));
    if (entry.problem.empty())
      faulty_.erase(place);
    else if (faulty_.insert(place).second || turn.told != entry.problem)
      spdlog::warn("cluster: endpoint {} is left out: {}", to_text(place), entry.problem);
  }
  program(places, before);
}

// What the engine should have of it, if nobody else has that; sets the problem.
std::optional<api::Endpoint> RemoteEndpoints::judge(const EndpointPlace& place, Entry& entry) const {
  if (!entry.record) return std::nullopt;
  const auto& node = nodes_.at(place.node);
  entry.problem = node.vtep ? fault_of(place, node, *entry.record) : "";
  return node.vtep && entry.problem.empty() ? object_of(place, node, *entry.record) : std::nullopt;
}

// Of a sound one: what is free of `object` is its, and its pod is where it says.
void RemoteEndpoints::grant(const EndpointPlace& place, Entry& entry, std::optional<api::Endpoint> object) {
  if (!entry.record) return;
  const auto& record = *entry.record;
  if (object) {
    const MacKey mac(record.domain, record.mac);
    std::string taken;
    if (local_macs_.contains(mac) || macs_.contains(mac)) taken = to_string(record.mac);
    for (const auto& address : record.addresses) {
      const AddressKey key(record.domain, address);
      if (local_addresses_.contains(key) || addresses_.contains(key)) taken = to_string(address);
    }
    if (!taken.empty()) {
      entry.problem =
          "it says that it has " + taken + ", which another endpoint of domain \"" + record.domain + "\" has";
      wait(place, entry);
      return;
    }
    macs_[mac] = place;
    for (const auto& address : record.addresses) addresses_[{record.domain, address}] = place;
    entry.programmed = std::move(object);
  }
  if (!nodes_.at(place.node).vtep || record.pod_name.empty()) return;
  entry.located = true;
  pods_[{record.pod_namespace, record.pod_name}].insert(place);
  moved_.insert({record.pod_namespace, record.pod_name});
}

}  // namespace podwire::control
