#include "control/cluster/remote_nodes.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "control/cluster/etcd_records.hpp"

namespace podwire::control {
namespace {

constexpr const char* kKind = "ClusterNode";
// Ids of their own, far above those of what the configuration names.
constexpr std::uint32_t kFirstId = 0x20000000;

StoredManifest stored_node(const ClusterNode& node) {
  Json prefixes = Json::object();
  for (const auto& [domain, list] : node.prefixes) {
    prefixes[domain] = Json::array();
    for (const auto& prefix : list) prefixes[domain].push_back(to_string(prefix));
  }
  return {kKind, "", node.name, Json{{"record", to_value(node.record)}, {"prefixes", prefixes}}.dump()};
}

Result<ClusterNode> read_stored(const StoredManifest& row) {
  ClusterNode node;
  node.name = row.name;
  PODWIRE_TRY(const Json body, parse_json(row.body, "stored node " + row.name));
  std::string record;
  ObjectReader r(body, "stored node " + row.name);
  r.required("record", record);
  const Json* prefixes = r.find("prefixes");
  PODWIRE_CHECK(r.finish());
  PODWIRE_TRY(node.record, parse_node_record(record));
  if (prefixes == nullptr || !prefixes->is_object()) return node;
  for (const auto& [domain, list] : prefixes->items())
    PODWIRE_CHECK(podwire::read_value(list, domain, node.prefixes[domain]));
  return node;
}

bool is_inside(const IpPrefix& prefix, const std::vector<IpPrefix>& ranges) {
  return std::any_of(ranges.begin(), ranges.end(), [&](const IpPrefix& range) {
    return range.overlaps(prefix) && range.length <= prefix.length;
  });
}

bool overlaps_any(const IpPrefix& prefix, const std::vector<IpPrefix>& others) {
  return std::any_of(others.begin(), others.end(),
                     [&](const IpPrefix& other) { return other.overlaps(prefix); });
}

}  // namespace

Result<void> RemoteNodes::load(const NodeObjects& node) {
  {
    const std::lock_guard lock(mutex_);
    domains_ = node.domains;
    own_addresses_ = node.addresses;
  }
  PODWIRE_TRY(const auto rows, store_.manifests(kKind));
  ClusterChange last;
  std::vector<std::string> vteps, routes;
  for (const auto& row : rows) {
    auto read = read_stored(row);
    if (!read) {
      spdlog::warn("cluster: {}", read.error().message);
      continue;
    }
    vteps.push_back(read->name);
    for (const auto& [domain, prefixes] : read->prefixes) {
      for (const auto& prefix : prefixes) routes.push_back(domain + "/" + to_string(prefix));
      for (const auto& address : read->record.addresses)
        routes.push_back(domain + "/" + to_string(IpPrefix{address, address.bits()}));
    }
    last.put.push_back(std::move(*read));
  }
  PODWIRE_CHECK(store_.keep_ids("cluster_vtep", vteps));
  PODWIRE_CHECK(store_.keep_ids("cluster_route", routes));
  const std::lock_guard lock(mutex_);
  take_in(last);
  return {};
}

std::optional<IpAddr> RemoteNodes::reachable_address(const ClusterNode& node) const {
  for (const bool v4 : {true, false}) {
    const auto of_family = [v4](const IpAddr& a) { return a.is_v4() == v4; };
    if (std::none_of(own_addresses_.begin(), own_addresses_.end(), of_family)) continue;
    const auto& theirs = node.record.addresses;
    const auto at = std::find_if(theirs.begin(), theirs.end(), of_family);
    if (at != theirs.end()) return *at;
  }
  return std::nullopt;
}

// Why nothing of it can be programmed; empty: it can.
std::string RemoteNodes::fault_of(const ClusterNode& node, const std::optional<IpAddr>& address) const {
  if (!address)
    return "it has no underlay address of a family that this node has; give both nodes one of the same";
  const auto text = to_string(*address);
  if (std::find(own_addresses_.begin(), own_addresses_.end(), *address) != own_addresses_.end())
    return "it says that it has " + text + ", which is this node's; give every node an address of its own";
  if (node.record.udp_port != config_.vxlan.port) {
    return "it takes VXLAN at UDP port " + std::to_string(node.record.udp_port) + ", this node at " +
           std::to_string(config_.vxlan.port) + "; set the same vxlan.port on all nodes";
  }
  for (const auto& peer : config_.peers) {
    if (peer.name == node.name || peer.address == *address)
      return "peers of podwired.json has its name or its address " + text + "; take it out of there";
  }
  const auto holder = addresses_.find(*address);
  if (holder != addresses_.end() && holder->second != node.name)
    return "it says that it has " + text + ", as node \"" + holder->second +
           "\" does; give every node an address of its own, or forget the one that is gone";
  return {};
}

void RemoteNodes::add_domain(const DomainConfig& domain, const std::vector<IpPrefix>& prefixes,
                             Share& share) const {
  const auto id = domains_.find(domain.name);
  if (id == domains_.end()) return;
  if (domain.mode == api::DomainMode::kL2) {
    if (domain.flood_peers && !prefixes.empty()) share.flooded.insert(id->second);
    return;
  }
  const auto add = [&](const IpPrefix& prefix) {
    api::Route route;
    route.domain = id->second;
    route.prefix = prefix;
    route.next_hops.emplace_back();
    share.routes.emplace(domain.name + "/" + to_string(prefix), route);
  };
  for (const auto& prefix : prefixes) {
    const bool has_hosts = prefix.length <= prefix.address.bits() - 2;
    if (!has_hosts || !is_inside(prefix, cluster_.find_domain(domain.name)->prefixes) ||
        overlaps_any(prefix, domain.prefixes)) {
      if (share.problem.empty()) {
        share.problem =
            "its prefix " + to_string(prefix) + " of domain \"" + domain.name +
            "\" is outside of this node's prefixes for it, or this node's own; compare the domain in " +
            "podwired.json of both";
      }
      continue;
    }
    add(prefix);
  }
  const auto& address = share.vtep->address;
  // As of the node itself: pods reach the other nodes' own addresses, and are reached from them.
  const bool reaches_hosts = domain.host_access && config_.underlay.host_interface;
  if (reaches_hosts && !prefixes.empty()) add({address, address.bits()});
}

RemoteNodes::Share RemoteNodes::share_of(const ClusterNode& node) const {
  Share share;
  const auto address = reachable_address(node);
  share.problem = fault_of(node, address);
  if (!share.problem.empty()) return share;
  api::Vtep vtep;
  vtep.name = node.name;
  vtep.address = *address;
  vtep.udp_port = node.record.udp_port;
  vtep.mac = node.record.mac;
  share.vtep = vtep;
  for (const auto& domain : config_.domains) {
    const auto at = node.prefixes.find(domain.name);
    if (at != node.prefixes.end()) add_domain(domain, at->second, share);
  }
  return share;
}

Result<void> RemoteNodes::allot_ids(Shares& shares) {
  std::vector<std::string> vteps, routes;
  for (const auto& [name, share] : shares) {
    if (share.vtep) vteps.push_back(name);
    for (const auto& [key, route] : share.routes) routes.push_back(key);
  }
  PODWIRE_TRY(const auto vtep_ids, store_.ids_for("cluster_vtep", vteps));
  PODWIRE_TRY(const auto route_ids, store_.ids_for("cluster_route", routes));
  auto vtep_id = vtep_ids.begin();
  auto route_id = route_ids.begin();
  for (auto& [name, share] : shares) {
    if (!share.vtep) continue;
    share.vtep->id = VtepId(kFirstId + *vtep_id++);
    for (auto& [key, route] : share.routes) {
      route.id = RouteId(kFirstId + *route_id++);
      route.next_hops.front().vtep = share.vtep->id;
    }
  }
  return {};
}

void RemoteNodes::add_difference(const Share& before, const Share& after, RemoteChange& change) {
  if (after.vtep && after.vtep != before.vtep) change.vteps.push_back(*after.vtep);
  if (before.vtep && !after.vtep) change.gone_vteps.insert(before.vtep->id);
  for (const auto& [key, route] : after.routes) {
    const auto at = before.routes.find(key);
    if (at == before.routes.end() || at->second != route) change.routes.push_back(route);
  }
  for (const auto& [key, route] : before.routes) {
    if (!after.routes.contains(key)) change.gone_routes.insert(route.id);
  }
  for (const auto domain : after.flooded) {
    if (!before.flooded.contains(domain)) change.flooded.insert({domain, after.vtep->id});
  }
  for (const auto domain : before.flooded) {
    if (!after.flooded.contains(domain)) change.unflooded.insert({domain, before.vtep->id});
  }
}

// Takes the change into known_; returns the nodes whose share may be another now.
std::vector<std::string> RemoteNodes::settle(const ClusterChange& change) {
  std::set<std::string> touched(change.gone.begin(), change.gone.end());
  std::set<std::string> present;
  for (const auto& node : change.put) {
    present.insert(node.name);
    auto& known = known_[node.name];
    if (known.node == node) continue;
    known.node = node;
    touched.insert(node.name);
  }
  for (auto& [name, known] : known_) {
    if (change.everything && !present.contains(name)) touched.insert(name);
    if (!known.share.problem.empty()) touched.insert(name);  // what was in its way may have gone
  }
  std::vector<std::string> names;
  for (const auto& name : touched) {
    if (known_.contains(name)) names.push_back(name);
  }
  return names;
}

// The engine first: what is on disk is for a start without the store, which tells everything again.
void RemoteNodes::change(const ClusterChange& change) {
  const std::lock_guard lock(mutex_);
  std::vector<StoredManifest> put, erased;
  std::set<std::string> present;
  for (const auto& node : change.put) {
    present.insert(node.name);
    const auto at = known_.find(node.name);
    if (at == known_.end() || at->second.node != node) put.push_back(stored_node(node));
  }
  for (const auto& [name, known] : known_) {
    if (change.everything && !present.contains(name)) erased.push_back({kKind, "", name, ""});
  }
  for (const auto& name : change.gone) erased.push_back({kKind, "", name, ""});
  take_in(change);
  if (put.empty() && erased.empty()) return;
  if (auto kept = store_.change_manifests(put, erased); !kept)
    spdlog::error("cluster: the other nodes' state could not be kept: {}", kept.error().message);
}

void RemoteNodes::take_in(const ClusterChange& change) {
  std::set<std::string> gone(change.gone.begin(), change.gone.end());
  if (change.everything) {
    for (const auto& [name, known] : known_) gone.insert(name);
    for (const auto& node : change.put) gone.erase(node.name);
  }
  const auto names = settle(change);
  if (names.empty()) return;
  // Addresses first, so that one that moved from a node to another is free.
  Shares before, after;
  for (const auto& name : names) {
    before[name] = known_[name].share;
    if (before[name].vtep) addresses_.erase(before[name].vtep->address);
  }
  for (const auto& name : names) {
    if (gone.contains(name)) continue;
    after[name] = share_of(known_[name].node);
    if (after[name].vtep) addresses_[after[name].vtep->address] = name;
  }
  if (auto allotted = allot_ids(after); !allotted) {
    spdlog::error("cluster: {}", allotted.error().message);
    return;
  }
  for (const auto& name : names) {
    auto& share = known_[name].share;
    const auto problem = share.problem;
    share = after.contains(name) ? after[name] : Share{};
    if (share.problem != problem && !share.problem.empty())
      spdlog::warn("cluster: node \"{}\" is left out, wholly or in part: {}", name, share.problem);
  }
  program(names, before);
  if (told_) {
    std::vector<Reached> reached;
    for (const auto& name : names) {
      const auto& [node, share] = known_[name];
      reached.push_back(
          {name, share.vtep ? std::optional<VtepId>(share.vtep->id) : std::nullopt, node.prefixes});
    }
    told_(reached);
  }
  for (const auto& name : gone) known_.erase(name);
}

void RemoteNodes::program(const std::vector<std::string>& names, const std::map<std::string, Share>& before) {
  RemoteChange whole;
  for (const auto& name : names) add_difference(before.at(name), known_[name].share, whole);
  // What went from one node to another has not gone.
  for (const auto& vtep : whole.vteps) whole.gone_vteps.erase(vtep.id);
  for (const auto& route : whole.routes) whole.gone_routes.erase(route.id);
  if (whole.empty()) return;
  auto done = reconciler_.change_remote(whole);
  if (done) return;
  spdlog::warn("cluster: the engine refused a change: {}; trying node by node", done.error().message);
  for (const auto& name : names) {
    RemoteChange single;
    add_difference(before.at(name), known_[name].share, single);
    if (single.empty()) continue;
    auto one = reconciler_.change_remote(std::move(single));
    if (one) continue;
    spdlog::error("cluster: node \"{}\": {}", name, one.error().message);
    known_[name].share = before.at(name);
    known_[name].share.problem = one.error().message;
  }
}

std::vector<RemoteNodes::View> RemoteNodes::nodes() const {
  const std::lock_guard lock(mutex_);
  std::vector<View> out;
  for (const auto& [name, known] : known_) {
    const auto& vtep = known.share.vtep;
    out.push_back(
        {known.node, vtep ? std::optional<IpAddr>(vtep->address) : std::nullopt, known.share.problem});
  }
  return out;
}

std::vector<std::string> RemoteNodes::problems() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> out;
  for (const auto& [name, known] : known_) {
    if (!known.share.problem.empty())
      out.push_back("node \"" + name +
                    "\" of the cluster is left out, wholly or in part: " + known.share.problem);
  }
  return out;
}

}  // namespace podwire::control
