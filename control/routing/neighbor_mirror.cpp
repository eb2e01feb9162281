#include "control/routing/neighbor_mirror.hpp"

#include <linux/neighbour.h>

#include "control/node/host_routes.hpp"

namespace podwire::control {

bool NeighborMirror::counts(const netlink::Neighbor& neighbor) const {
  const auto& address = neighbor.address;
  const auto& mac = neighbor.mac;
  if (!neighbor.permanent() || (neighbor.flags & NTF_PROXY) != 0) return false;
  if (mac.is_zero() || mac.is_multicast() || mac == link_.mac || mac == kHostServiceMac) return false;
  return !address.is_zero() && !address.is_multicast() && !own_.contains(address);
}

void NeighborMirror::reset(const netlink::Link& link, std::set<IpAddr> own,
                           const std::vector<netlink::Neighbor>& all) {
  link_ = link;
  own_ = std::move(own);
  for (auto& [address, entry] : entries_) {
    entry.kernel = MacAddr();
    dirty_.insert(address);
  }
  for (const auto& neighbor : all) apply({.removed = false, .neighbor = neighbor});
}

bool NeighborMirror::matters(const netlink::NeighborChange& change) const {
  const auto& neighbor = change.neighbor;
  if (link_.index == 0 || neighbor.link != link_.index) return false;
  return (!change.removed && counts(neighbor)) || entries_.contains(neighbor.address);
}

// One that is permanent no longer (somebody changed its state, or put another one in its place) has gone.
void NeighborMirror::apply(const netlink::NeighborChange& change) {
  if (!matters(change)) return;
  const auto& neighbor = change.neighbor;
  const bool there = !change.removed && counts(neighbor);
  entries_[neighbor.address].kernel = there ? neighbor.mac : MacAddr();
  dirty_.insert(neighbor.address);
}

NeighborPatch NeighborMirror::take() {
  NeighborPatch patch;
  for (const auto& address : dirty_) {
    const auto at = entries_.find(address);
    auto& entry = at->second;
    if (entry.kernel.is_zero()) {
      if (entry.id) patch.remove.push_back(entry.id);
      entries_.erase(at);
      continue;
    }
    if (entry.kernel == entry.engine) continue;
    if (!entry.id) entry.id = EndpointId(ids_.allot({address, address.bits()}));
    entry.engine = entry.kernel;
    api::Endpoint endpoint;
    endpoint.id = entry.id;
    endpoint.name = "neighbor " + to_string(address);
    endpoint.domain = kUnderlayDomain;
    endpoint.port = uplink_;
    endpoint.mac = entry.kernel;
    endpoint.addresses = {address};
    patch.put.push_back(std::move(endpoint));
  }
  for (const auto id : patch.remove) ids_.release(id.value());
  dirty_.clear();
  return patch;
}

}  // namespace podwire::control
