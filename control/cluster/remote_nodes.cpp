#include "control/cluster/remote_nodes.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "control/cluster/etcd_records.hpp"

namespace podwire::control {
namespace {

constexpr const char* kKind = "ClusterNode";
// Ids of their own, far above those of what the configuration names.
constexpr std::uint32_t kFirstId = 0x20000000;
constexpr std::size_t kAgainAtOnce = 64;

std::string body_of(const ClusterNode& node) {
  Json prefixes = Json::object();
  for (const auto& [domain, list] : node.prefixes) {
    prefixes[domain] = Json::array();
    for (const auto& prefix : list) prefixes[domain].push_back(to_string(prefix));
  }
  return Json{{"record", to_value(node.record)}, {"prefixes", prefixes}}.dump();
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

}  // namespace

RemoteNodes::RemoteNodes(const Config& config, const Config& cluster, Store& store,
                         EngineReconciler& reconciler)
    : shares_(config, cluster),
      store_(store),
      reconciler_(reconciler),
      rows_(store, kKind, "the other nodes' state", [this](const auto& names) { return bodies(names); }) {}

Result<void> RemoteNodes::load(const NodeObjects& node, const NodeUnderlay& underlay) {
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
      for (const auto& prefix : prefixes) {
        routes.push_back(domain + "/" + to_string(prefix));
        routes.push_back("/" + to_string(prefix));
      }
      for (const auto& address : read->record.addresses)
        routes.push_back(domain + "/" + to_string(IpPrefix{address, address.bits()}));
    }
    last.put.push_back(std::move(*read));
  }
  PODWIRE_CHECK(store_.keep_ids("cluster_vtep", vteps));
  PODWIRE_CHECK(store_.keep_ids("cluster_route", routes));
  const std::lock_guard lock(mutex_);
  shares_.set_node(node, underlay);
  take_in(settle(last, false));
  return {};
}

Result<bool> RemoteNodes::any_v6_only(Store& store, const Cluster& cluster) {
  PODWIRE_TRY(const auto rows, store.manifests(kKind));
  for (const auto& row : rows) {
    const auto node = read_stored(row);
    if (node && has_v6_only(node->record)) return true;
  }
  const auto views = cluster.nodes();
  return std::any_of(views.begin(), views.end(),
                     [](const NodeView& view) { return has_v6_only(view.node.record); });
}

// Of all that has none from `before`; `lacking` are the nodes that need one.
Result<void> RemoteNodes::allot_ids(Shares& shares, const Shares& before, Names& lacking) {
  std::vector<std::string> vteps, routes;
  std::vector<VtepId*> vtep_ids;
  std::vector<RouteId*> route_ids;
  for (auto& [name, share] : shares) {
    const auto& former = before.at(name);
    if (share.vtep && former.vtep) share.vtep->id = former.vtep->id;
    if (share.vtep && !former.vtep) {
      vteps.push_back(name);
      vtep_ids.push_back(&share.vtep->id);
      lacking.insert(name);
    }
    for (auto& [key, route] : share.routes) {
      const auto at = former.routes.find(key);
      if (at != former.routes.end()) {
        route.id = at->second.id;
        continue;
      }
      routes.push_back(key);
      route_ids.push_back(&route.id);
      lacking.insert(name);
    }
  }
  if (lacking.empty()) return {};
  PODWIRE_TRY(const auto for_vteps, store_.ids_for("cluster_vtep", vteps));
  PODWIRE_TRY(const auto for_routes, store_.ids_for("cluster_route", routes));
  for (std::size_t i = 0; i < for_vteps.size(); ++i) *vtep_ids[i] = VtepId(kFirstId + for_vteps[i]);
  for (std::size_t i = 0; i < for_routes.size(); ++i) *route_ids[i] = RouteId(kFirstId + for_routes[i]);
  return {};
}

void RemoteNodes::claim(const ClusterNode& node) {
  for (const auto& address : node.record.addresses) claims_[address].insert(node.name);
}

void RemoteNodes::unclaim(const ClusterNode& node) {
  for (const auto& address : node.record.addresses) {
    const auto at = claims_.find(address);
    if (at == claims_.end()) continue;
    at->second.erase(node.name);
    if (at->second.empty()) claims_.erase(at);
  }
}

// Takes the change into known_; returns the nodes whose share may be another now. `keep`: on disk.
RemoteNodes::Names RemoteNodes::settle(const ClusterChange& change, bool keep) {
  Names touched(change.gone.begin(), change.gone.end());
  if (change.everything) {
    for (const auto& [name, known] : known_) touched.insert(name);
    for (const auto& node : change.put) touched.erase(node.name);
  }
  std::erase_if(touched, [this](const std::string& name) { return !known_.contains(name); });
  for (const auto& name : touched) {
    unclaim(known_[name].node);
    gone_.insert(name);
    if (keep) rows_.note({"", name});
  }
  for (const auto& node : change.put) {
    auto& known = known_[node.name];
    const bool was_gone = gone_.erase(node.name) != 0;
    if (known.node == node && !was_gone) continue;
    unclaim(known.node);
    known.node = node;
    claim(node);
    touched.insert(node.name);
    if (keep) rows_.note({"", node.name});
  }
  return touched;
}

// Some of those that were refused, in turn; by themselves, so that they keep nobody else waiting.
RemoteNodes::Names RemoteNodes::some_again() {
  Names some;
  auto at = again_.upper_bound(last_again_);
  for (std::size_t i = 0; i < std::min(kAgainAtOnce, again_.size()); ++i, ++at) {
    if (at == again_.end()) at = again_.begin();
    some.insert(last_again_ = *at);
  }
  return some;
}

void RemoteNodes::change(const ClusterChange& change) {
  const bool nothing = !change.everything && change.put.empty() && change.gone.empty();
  std::unique_lock lock(mutex_, std::defer_lock);
  // Who only asks to try again has other things to do than to wait for a long change.
  if (!nothing) {
    lock.lock();
  } else if (!lock.try_lock()) {
    return;
  }
  take_in(nothing ? some_again() : settle(change, true));
}

// For the disk.
std::vector<std::optional<std::string>> RemoteNodes::bodies(const std::vector<LateRows::Name>& names) const {
  const std::lock_guard lock(mutex_);
  std::vector<std::optional<std::string>> out;
  for (const auto& [space, name] : names) {
    const auto at = known_.find(name);
    const bool gone = at == known_.end() || gone_.contains(name);
    out.push_back(gone ? std::nullopt : std::optional<std::string>(body_of(at->second.node)));
  }
  return out;
}

// What they have, their tunnels' addresses free for others; who wants one of these is of `names` too.
RemoteNodes::Shares RemoteNodes::release(Names& names) {
  Shares before;
  std::vector<std::string> left(names.begin(), names.end());
  while (!left.empty()) {
    const auto name = std::move(left.back());
    left.pop_back();
    const auto& share = before[name] = known_[name].share;
    if (!share.vtep) continue;
    addresses_.erase(share.vtep->address);
    const auto claims = claims_.find(share.vtep->address);
    if (claims == claims_.end()) continue;
    for (const auto& other : claims->second) {
      if (names.insert(other).second) left.push_back(other);
    }
  }
  return before;
}

// Of those that are not gone. Who had an address comes before others that want it.
RemoteNodes::Shares RemoteNodes::shares_of(const Names& names, const Shares& before) {
  Shares after;
  const auto add = [&](const std::string& name, const std::optional<IpAddr>& address) {
    const auto holder = address ? addresses_.find(*address) : addresses_.end();
    auto share = shares_.of(known_[name].node, holder == addresses_.end() ? std::string() : holder->second);
    if (share.vtep) addresses_[share.vtep->address] = name;
    after.emplace(name, std::move(share));
  };
  for (const bool had : {true, false}) {
    for (const auto& name : names) {
      if (gone_.contains(name)) continue;
      const auto address = shares_.address_of(known_[name].node);
      const auto& former = before.at(name).vtep;
      const bool has_it = former && address && former->address == *address;
      if (has_it == had) add(name, address);
    }
  }
  return after;
}

// Who gets none keeps what it had.
void RemoteNodes::give_ids(Shares& shares, const Shares& before) {
  Names lacking;
  if (const auto allotted = allot_ids(shares, before, lacking); !allotted) {
    for (const auto& name : lacking) {
      auto& share = shares[name] = before.at(name);
      share.problem = "what it is to the engine could not be kept on disk (" + allotted.error().message +
                      "); this is tried again";
      again_.insert(name);
    }
  }
  for (auto& [name, share] : shares) {
    for (auto& [key, route] : share.routes) {
      auto& hop = route.next_hops.front();
      if (!hop.port) hop.vtep = share.vtep->id;
    }
  }
}

// `names`: whose share may be another now.
void RemoteNodes::take_in(Names names) {
  if (names.empty()) return;
  const auto before = release(names);
  auto after = shares_of(names, before);
  const auto wanted = after;
  for (const auto& name : names) again_.erase(name);
  give_ids(after, before);
  for (const auto& name : names) {
    auto& share = known_[name].share;
    const auto problem = share.problem;
    share = after.contains(name) ? std::move(after[name]) : RemoteShare();
    if (share.problem != problem && !share.problem.empty())
      spdlog::warn("cluster: node \"{}\" is left out, wholly or in part: {}", name, share.problem);
  }
  program(before);
  if (told_) {
    std::vector<Reached> reached;
    for (const auto& name : names) {
      auto& known = known_[name];
      const auto vtep = known.share.vtep ? std::optional<VtepId>(known.share.vtep->id) : std::nullopt;
      const bool same = known.told && known.told->vtep == vtep && known.told->prefixes == known.node.prefixes;
      if (same) continue;
      known.told = Reached{name, vtep, known.node.prefixes};
      reached.push_back(*known.told);
    }
    if (!reached.empty()) told_(reached);
  }
  for (const auto& [name, share] : wanted) {
    if (share.vtep) addresses_.erase(share.vtep->address);
  }
  for (const auto& name : names) {
    const auto& share = known_[name].share;
    if (share.vtep) addresses_[share.vtep->address] = name;
    if (!gone_.contains(name) || again_.contains(name)) continue;
    known_.erase(name);
    gone_.erase(name);
  }
}

// `before`: what the engine has of the nodes that have changed.
void RemoteNodes::program(const Shares& before) {
  RemoteChange whole;
  for (const auto& [name, share] : before) add_difference(share, known_[name].share, whole);
  // What went from one node to another has not gone.
  for (const auto& vtep : whole.vteps) whole.gone_vteps.erase(vtep.id);
  for (const auto& route : whole.routes) whole.gone_routes.erase(route.id);
  if (whole.empty()) return;
  const auto done = reconciler_.change_remote(std::move(whole));
  if (done) return;
  spdlog::debug("cluster: the engine refused a change: {}; trying node by node", done.error().message);
  program_singly(before);
}

// One that the engine refuses keeps what it had, less what others have got of that by now.
void RemoteNodes::program_singly(const Shares& before) {
  std::map<RouteId, std::string> holders;
  for (const auto& [name, share] : before) {
    for (const auto& [key, route] : share.routes) holders[route.id] = name;
  }
  Names refused;
  for (const auto& [name, former] : before) {
    auto& share = known_[name].share;
    RemoteChange single;
    add_difference(former, share, single);
    std::erase_if(single.gone_routes, [&](RouteId id) { return holders[id] != name; });
    const auto done = single.empty() ? Result<void>() : reconciler_.change_remote(std::move(single));
    if (done) {
      for (const auto& [key, route] : share.routes) holders[route.id] = name;
      continue;
    }
    if (former.problem != done.error().message)
      spdlog::error("cluster: node \"{}\": {}", name, done.error().message);
    share = former;
    share.problem = done.error().message;
    refused.insert(name);
  }
  for (const auto& name : refused) {
    std::erase_if(known_[name].share.routes,
                  [&](const auto& route) { return holders[route.second.id] != name; });
    again_.insert(name);
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

std::string RemoteNodes::node_with(const IpAddr& address) const {
  const std::lock_guard lock(mutex_);
  const auto at = claims_.find(address);
  return at == claims_.end() ? std::string() : *at->second.begin();
}

std::vector<std::string> RemoteNodes::problems() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> out;
  std::string over_v6;
  std::size_t others = 0;
  for (const auto& [name, known] : known_) {
    const auto& share = known.share;
    if (!share.problem.empty())
      out.push_back("node \"" + name + "\" of the cluster is left out, wholly or in part: " + share.problem);
    if (!share.vtep || share.vtep->address.is_v4()) continue;
    others += over_v6.empty() ? 0 : 1;
    if (over_v6.empty()) over_v6 = name;
  }
  if (const auto advice = shares_.v6_advice(); !advice.empty() && !over_v6.empty()) {
    out.push_back("node \"" + over_v6 + "\"" +
                  (others == 0 ? "" : " (and " + std::to_string(others) + " others)") +
                  " of the cluster is reached " + advice);
  }
  return out;
}

}  // namespace podwire::control
