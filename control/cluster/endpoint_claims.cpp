// RemoteEndpoints: whose a MAC and an address are, and who waits for them.
#include <spdlog/spdlog.h>

#include <algorithm>

#include "control/cluster/remote_endpoints.hpp"

namespace podwire::control {
namespace {

// Who had what it asks for comes before others that want it, and who had its MAC before who has neither.
int turn_of(const RemoteEndpoint* had, const RemoteEndpoint* wanted) {
  if (had == nullptr || wanted == nullptr || had->domain != wanted->domain || had->mac != wanted->mac)
    return 2;
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
    if (at == owners.end() || !at->second.is(place)) return;
    owners.erase(at);
    if (const auto others = waiters.find(key); others != waiters.end())
      freed_.insert(others->second.begin(), others->second.end());
  };
  if (const auto domain = domain_id(record.domain)) {
    let_go(macs_, mac_waiters_, MacKey(domain, record.mac));
    for (const auto& address : record.addresses)
      let_go(addresses_, address_waiters_, AddressKey(domain, address));
  }
  entry.waiting = false;
  if (!std::exchange(entry.located, false)) return;
  const std::pair pod(record.pod_namespace, record.pod_name);
  const auto at = pods_.find(pod);
  std::erase_if(at->second, [&](const Spot& spot) { return spot.is(place); });
  if (at->second.empty()) pods_.erase(at);
  moved_.insert(pod);
}

void RemoteEndpoints::wait(const EndpointPlace& place, Entry& entry) {
  const auto& record = *entry.record;
  const auto domain = domain_id(record.domain);
  entry.waiting = true;
  mac_waiters_[{domain, record.mac}].insert(place);
  for (const auto& address : record.addresses) address_waiters_[{domain, address}].insert(place);
}

// Everything that may be another now, and who waited for something of it. What they had is released.
std::vector<RemoteEndpoints::Turn> RemoteEndpoints::turns_of(const std::vector<EndpointPlace>& touched) {
  std::vector<Turn> turns;
  turns.reserve(touched.size());
  const auto take = [&](const EndpointPlace& place) {
    const auto node = nodes_.find(place.node);
    if (node == nodes_.end()) return;
    const auto at = node->second.endpoints.find(place.number);
    if (at == node->second.endpoints.end() || std::exchange(at->second.settling, true)) return;
    auto& entry = at->second;
    turns.push_back({place,
                     {&node->first, place.number},
                     &node->second,
                     &entry,
                     std::exchange(entry.programmed, nullptr),
                     nullptr,
                     0,
                     {}});
    release(place, entry);
  };
  for (const auto& place : touched) take(place);
  while (!freed_.empty()) {
    for (const auto& place : std::exchange(freed_, {})) take(place);
  }
  return turns;
}

void RemoteEndpoints::settle(const std::vector<EndpointPlace>& touched) {
  is_programmed_.clear();
  auto turns = turns_of(touched);
  for (auto& turn : turns) {
    again_.erase(turn.place);
    judge(turn);
  }
  std::sort(turns.begin(), turns.end(), [](const Turn& a, const Turn& b) {
    return a.number != b.number ? a.number < b.number : a.place < b.place;
  });
  for (auto& turn : turns) {
    if (turn.problem.empty()) grant(turn);
  }
  program(turns);
  for (auto& turn : turns) finish(turn);
}

// What the engine should have of it, if nobody else has that, or what is wrong with it.
void RemoteEndpoints::judge(Turn& turn) {
  const auto& entry = *turn.entry;
  if (!entry.record) {
    const auto fault = faults_.find(turn.place);
    if (fault != faults_.end()) turn.problem = fault->second.problem;
  } else if (turn.node->vtep) {
    turn.problem = fault_of(turn.place, *turn.node, *entry.record);
    if (turn.problem.empty()) turn.wanted = object_of(turn.place, *turn.node, *entry.record);
    if (turn.was && turn.wanted && *turn.was == *turn.wanted) turn.wanted = turn.was;
  }
  turn.number = turn_of(turn.was.get(), turn.wanted.get());
}

// Of a sound one: what is free of what it wants is its, and its pod is where it says.
void RemoteEndpoints::grant(Turn& turn) {
  auto& entry = *turn.entry;
  if (!entry.record) return;
  const auto& record = *entry.record;
  if (turn.wanted) {
    const auto domain = turn.wanted->domain;
    const MacKey mac(domain, record.mac);
    std::string taken;
    if (local_macs_.contains(mac) || macs_.contains(mac)) taken = to_string(record.mac);
    for (const auto& address : record.addresses) {
      const AddressKey key(domain, address);
      if (local_addresses_.contains(key) || addresses_.contains(key)) taken = to_string(address);
    }
    if (!taken.empty()) {
      turn.problem =
          "it says that it has " + taken + ", which another endpoint of domain \"" + record.domain + "\" has";
      wait(turn.place, entry);
      return;
    }
    macs_.emplace(mac, turn.spot);
    for (const auto& address : record.addresses) addresses_.emplace(AddressKey(domain, address), turn.spot);
    entry.programmed = turn.wanted;
  }
  if (!turn.node->vtep || record.pod_name.empty()) return;
  entry.located = true;
  pods_[{record.pod_namespace, record.pod_name}].push_back(turn.spot);
  moved_.insert({record.pod_namespace, record.pod_name});
}

void RemoteEndpoints::finish(Turn& turn) {
  turn.entry->settling = false;
  if (turn.problem.empty()) {
    faults_.erase(turn.place);
    return;
  }
  auto& fault = faults_[turn.place];
  fault.problem = turn.problem;
  if (std::exchange(fault.said, turn.problem) != turn.problem)
    spdlog::warn("cluster: endpoint {} is left out: {}", to_text(turn.place), turn.problem);
}

}  // namespace podwire::control
