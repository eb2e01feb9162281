#include "control/routing/mirror.hpp"

#include <linux/rtnetlink.h>

#include <algorithm>
#include <utility>

namespace podwire::control {
namespace {

using netlink::Route;
using netlink::RouteNextHop;

bool same_place(const Route& a, const Route& b) {
  return a.table == b.table && a.metric == b.metric;
}

std::vector<RouteNextHop> hops_of(const Route& route) {
  if (!route.next_hops.empty()) return route.next_hops;
  RouteNextHop hop;
  hop.gateway = route.gateway;
  hop.link = route.link;
  return {hop};
}

bool same_way(const RouteNextHop& a, const RouteNextHop& b) {
  return a.gateway == b.gateway && a.link == b.link;
}

bool same_ways(const Route& a, const Route& b) {
  const auto left = hops_of(a), right = hops_of(b);
  return a.type == b.type && std::equal(left.begin(), left.end(), right.begin(), right.end(), same_way);
}

// IPv6 has one route with all next hops where IPv4 has several; single ones of them may go.
void remove_hops(Route& from, const Route& gone) {
  auto left = hops_of(from);
  for (const auto& hop : hops_of(gone))
    std::erase_if(left, [&](const RouteNextHop& one) { return same_way(one, hop); });
  from.gateway.reset();
  from.link = 0;
  from.next_hops = std::move(left);
}

}  // namespace

RouteMirror::RouteMirror(std::vector<std::uint32_t> tables, PortId uplink)
    : tables_(std::move(tables)), uplink_(uplink) {}

bool RouteMirror::counts(const Route& route) const {
  const auto& address = route.destination.address;
  const bool special = address.is_multicast() || (address.is_v6() && address.v6().is_link_local());
  return route.protocol != netlink::kRouteProtocol && !special && rank(route.table) < tables_.size();
}

std::size_t RouteMirror::rank(std::uint32_t table) const {
  return static_cast<std::size_t>(std::find(tables_.begin(), tables_.end(), table) - tables_.begin());
}

void RouteMirror::touch(Entries::iterator at) {
  if (!std::exchange(at->second.dirty, true)) dirty_.push_back(at);
}

void RouteMirror::reset(unsigned link, std::vector<Route> routes) {
  link_ = link;
  for (auto at = entries_.begin(); at != entries_.end(); ++at) {
    at->second.kernel.clear();
    touch(at);
  }
  for (auto& route : routes) {
    if (!counts(route)) continue;
    const auto at = entries_.try_emplace(route.destination).first;
    touch(at);
    at->second.kernel.push_back(std::move(route));
  }
}

void RouteMirror::apply(netlink::RouteChange change) {
  auto& route = change.route;
  if (!counts(route)) return;
  const auto entry = entries_.try_emplace(route.destination).first;
  auto& kernel = entry->second.kernel;
  touch(entry);
  const auto same = [&](const Route& other) { return same_place(other, route); };
  if (route.destination.address.is_v6()) {
    const auto at = std::find_if(kernel.begin(), kernel.end(), same);
    if (!change.removed) {
      if (at != kernel.end()) {
        *at = std::move(route);
      } else {
        kernel.push_back(std::move(route));
      }
    } else if (at != kernel.end()) {
      remove_hops(*at, route);
      if (at->next_hops.empty()) kernel.erase(at);
    }
    return;
  }
  // A change that a list had already must change nothing: what is there goes first.
  std::erase_if(kernel, [&](const Route& other) { return same(other) && same_ways(other, route); });
  if (change.removed) return;
  auto at = std::find_if(kernel.begin(), kernel.end(), same);
  if (change.replaces && at != kernel.end()) {
    *at = std::move(route);
  } else {
    kernel.insert(change.appends ? kernel.end() : at, std::move(route));
  }
}

// By the route that the kernel takes: of the first table that has any, the one with the smallest metric.
std::vector<api::NextHop> RouteMirror::next_hops_of(const Entry& entry) const {
  const auto best =
      std::min_element(entry.kernel.begin(), entry.kernel.end(), [&](const Route& a, const Route& b) {
        return std::pair(rank(a.table), a.metric) < std::pair(rank(b.table), b.metric);
      });
  std::vector<api::NextHop> out;
  if (link_ == 0 || best == entry.kernel.end() || best->type != RTN_UNICAST) return out;
  constexpr std::size_t kMostHops = 64;  // of an api::Route
  for (const auto& hop : hops_of(*best)) {
    if (hop.link != link_ || out.size() == kMostHops) continue;
    api::NextHop next;
    next.port = uplink_;
    if (hop.gateway) next.address = *hop.gateway;
    next.weight = hop.weight;
    out.push_back(next);
  }
  return out;
}

RoutePatch RouteMirror::take() {
  RoutePatch patch;
  for (const auto at : std::exchange(dirty_, {})) {
    auto& [prefix, entry] = *at;
    auto next_hops = next_hops_of(entry);
    if (next_hops.empty() && entry.id) {
      patch.remove.push_back(entry.id);
      entry.id = RouteId();
    } else if (!next_hops.empty() && next_hops != entry.next_hops) {
      if (!entry.id) entry.id = RouteId(ids_.allot(prefix));
      patch.put.push_back({entry.id, kUnderlayDomain, prefix, next_hops, false});
    }
    entry.next_hops = std::move(next_hops);
    entry.dirty = false;
    if (entry.kernel.empty()) entries_.erase(at);
  }
  for (const auto id : patch.remove) ids_.release(id.value());
  return patch;
}

}  // namespace podwire::control
