// The verbs that list things: desired state with names in place of ids, merged with what the engine says.
#include <algorithm>
#include <map>

#include "control/api/daemon.hpp"
#include "control/api/paging.hpp"
#include "control/api/texts.hpp"

namespace podwire::control {
namespace {

// Null for a named port, which no container has.
Json attachment_json(const Attachment& a) {
  if (a.key.is_named_port()) return nullptr;
  return {{"container_id", a.key.container_id}, {"ifname", a.key.ifname}, {"network", a.key.network},
          {"pod_namespace", a.pod_namespace},   {"pod_name", a.pod_name}, {"netns", a.netns_path}};
}

Result<std::map<std::uint32_t, Attachment>> attachments_by_port(Daemon& daemon) {
  PODWIRE_TRY(auto all, daemon.store.list());
  std::map<std::uint32_t, Attachment> by_port;
  for (auto& a : all) by_port[a.port.value()] = std::move(a);
  return by_port;
}

Json published_json(const PublishedPort& port) {
  return {{"host_ip", port.host_ip ? to_string(*port.host_ip) : "all"},
          {"host_port", port.host_port},
          {"container_port", port.container_port},
          {"protocol", api::kServiceProtocolNames[static_cast<std::size_t>(port.protocol)]}};
}

// A port that should be in the engine and is not.
Json missing_port(const Attachment& a) {
  Json port = to_json(a);
  port.erase("addresses");
  port.erase("gateways");
  port.update({{"role", "pod"},
               {"link", "down"},
               {"last_error", "the engine does not have it; why is in: podwirectl status"}});
  return port;
}

// What the engine does not know of its port, or shows among the device's facts.
void add_intent(const Attachment& a, Json& port) {
  port["attachment"] = attachment_json(a);
  if (a.limits.from_pod) port["from_pod"] = api::to_json(*a.limits.from_pod);
  if (a.limits.to_pod) port["to_pod"] = api::to_json(*a.limits.to_pod);
  for (const auto& published : a.published_ports) port["published"].push_back(published_json(published));
  if (a.kind == api::PortKind::kTap) return;
  port["socket"] = a.socket.path;
  port["socket_mode"] = api::kSocketModeNames[static_cast<std::size_t>(a.socket.mode)];
}

Json endpoint_json(const Attachment& a, EndpointId id, const std::string& name, const MacAddr& mac,
                   const std::vector<IpPrefix>& addresses, const EndpointOptions& options) {
  Json plain = Json::array();
  for (const auto& address : addresses) plain.push_back(to_string(address.address));
  const bool named = a.key.is_named_port();
  const auto pod = pod_of(a);
  Json endpoint{{"id", id.value()},
                {"name", name},
                {"domain", a.domain},
                {"where", "port " + port_name(a)},
                {"mac", to_string(mac)},
                {"addresses", plain},
                {"container_id", named ? Json() : Json(a.key.container_id)},
                {"ifname", named ? Json() : Json(a.key.ifname)},
                {"pod", pod.empty() ? Json() : Json(pod)}};
  if (options.dhcp) endpoint["dhcp"] = true;
  if (!options.hostname.empty()) endpoint["hostname"] = options.hostname;
  for (const auto& pair : options.allowed_pairs) {
    endpoint["allowed_pairs"].push_back(to_string(pair.address) +
                                        (pair.mac.is_zero() ? "" : " with " + to_string(pair.mac)));
  }
  return endpoint;
}

std::uint32_t id_of(const Json& object) {
  const auto at = object.find("id");
  return at != object.end() && at->is_number_unsigned() ? at->get<std::uint32_t>() : 0;
}

std::string domain_name(const NodeObjects& node, DomainId id) {
  for (const auto& [name, known] : node.domains) {
    if (known == id) return name;
  }
  return id == kUnderlayDomain ? "underlay" : std::to_string(id.value());
}

std::string peer_name(const std::map<VtepId, std::string>& peers, VtepId id) {
  const auto at = peers.find(id);
  return at == peers.end() ? std::to_string(id.value()) : at->second;
}

std::string port_title(const NodeObjects& node, PortId id) {
  for (const auto& port : node.objects.ports) {
    if (port.id == id) return port.name;
  }
  return std::to_string(id.value());
}

// Where the underlay sends a packet for `address` first: to itself, or to the gateway of the longest matching
// route.
IpAddr next_hop_of(const NodeUnderlay& underlay, const IpAddr& address) {
  int best = -1;
  IpAddr hop = address;
  for (const auto& own : underlay.addresses) {
    if (own.network().contains(address)) best = std::max(best, own.length);
  }
  for (const auto& route : underlay.routes) {
    if (!route.prefix.contains(address) || route.prefix.length <= best) continue;
    best = route.prefix.length;
    hop = route.gateway.value_or(address);
  }
  return hop;
}

}  // namespace

Result<Json> ports_view(Daemon& daemon, const Json& params) {
  PODWIRE_TRY(const auto page, read_page(params));
  PODWIRE_TRY(Json status, query_all_ports(daemon.reconciler, "status"));
  PODWIRE_TRY(auto attachments, attachments_by_port(daemon));
  const auto node = daemon.reconciler.node();
  Json ports = Json::array();
  for (auto& port : status["ports"]) {
    if (!port.is_object()) continue;
    port["attachment"] = nullptr;
    if (const auto at = attachments.find(id_of(port)); at != attachments.end()) {
      add_intent(at->second, port);
      attachments.erase(at);
    }
    // People know domains by name.
    if (const auto domain = port.find("domain"); domain != port.end() && domain->is_number_unsigned()) {
      *domain = domain_name(node, DomainId(domain->get<std::uint16_t>()));
    }
    ports.push_back(std::move(port));
  }
  for (const auto& [id, attachment] : attachments) {
    if (attachment.state != AttachmentState::kReady) continue;
    ports.push_back(missing_port(attachment));
    add_intent(attachment, ports.back());
  }
  return make_page("ports", std::move(ports), page);
}

Result<Json> domains_view(Daemon& daemon, const Json& params) {
  PODWIRE_TRY(const auto page, read_page(params));
  PODWIRE_TRY(const auto usage, daemon.store.usage());
  PODWIRE_TRY(const auto groups, load_groups(daemon.store, daemon.config));
  std::map<std::string, std::vector<const PoolUsage*>> pools_of;
  for (const auto& pool : usage) pools_of[pool.domain].push_back(&pool);
  const auto spaces = daemon.namespaces == nullptr ? std::map<std::string, std::vector<std::string>>()
                                                   : daemon.namespaces->by_domain();
  const auto configured = daemon.config.domains.items();
  std::map<std::string, const DomainConfig*> config_of;
  for (const auto& one : *configured) config_of[one.name] = &one;
  const auto node = daemon.reconciler.node();
  Json domains = Json::array();
  std::size_t bytes = 0;
  for (const auto& domain : node.objects.domains) {
    // By id; what lies before the page is not looked at, nor what lies behind the first that it has no room
    // for.
    if (domain.id.value() <= page.after) continue;
    if (bytes > kMaxPageBytes || (page.limit != 0 && domains.size() > page.limit)) break;
    const auto known = config_of.find(domain.name);
    const auto* config = known == config_of.end() ? nullptr : known->second;
    Json entry = api::to_json(domain);
    entry["policy_default"] = config != nullptr && config->isolates_pods ? "deny" : "allow";
    entry["added"] = daemon.domains != nullptr && daemon.domains->is_added(domain.name);
    const auto own_spaces = spaces.find(domain.name);
    entry["namespaces"] = own_spaces == spaces.end() ? Json::array() : Json(own_spaces->second);
    entry["gateways"] = texts(domain.gateways);
    entry["prefixes"] = config == nullptr ? Json::array() : texts(config->prefixes);
    const auto reached = node.reaches.find(domain.name);
    entry["reaches"] = reached == node.reaches.end() ? Json::array() : Json(reached->second);
    entry["global"] = config != nullptr && is_global(*config, groups);
    // The scarcest pool decides how many pods still fit.
    const PoolUsage* scarcest = nullptr;
    Json pools = Json::array();
    for (const auto* pool : pools_of[domain.name]) {
      pools.push_back({{"prefix", to_string(pool->prefix)}, {"used", pool->used}, {"free", pool->free}});
      if (scarcest == nullptr || pool->free < scarcest->free) scarcest = pool;
    }
    entry["addresses_used"] = scarcest == nullptr ? 0 : scarcest->used;
    entry["addresses_free"] = scarcest == nullptr ? 0 : scarcest->free;
    entry["pools"] = pools;
    bytes += entry.dump(-1, ' ', false, Json::error_handler_t::replace).size();
    domains.push_back(std::move(entry));
  }
  return make_page("domains", std::move(domains), page);
}

Result<Json> endpoints_view(Daemon& daemon, const Json& params) {
  PODWIRE_TRY(const auto page, read_page(params));
  PODWIRE_TRY(const auto attachments, daemon.store.list());
  Json endpoints = Json::array();
  for (const auto& a : attachments) {
    if (a.state != AttachmentState::kReady) continue;
    endpoints.push_back(endpoint_json(a, a.endpoint, endpoint_name(a), a.mac, a.addresses, a.options));
    for (const auto& e : a.extra_endpoints)
      endpoints.push_back(endpoint_json(a, e.id, e.name, e.mac, e.addresses, e.options));
  }
  return make_page("endpoints", std::move(endpoints), page);
}

Result<Json> routes_view(Daemon& daemon, const Json& params) {
  PODWIRE_TRY(const auto page, read_page(params));
  auto node = daemon.reconciler.node();
  const auto remote = daemon.reconciler.remote();
  for (const auto& [id, vtep] : remote.vteps()) node.peers[vtep.name] = id;
  for (const auto& [id, route] : remote.routes()) {
    node.objects.routes.push_back(route);
    node.route_sources[id] = RouteSource::kPeer;
  }
  std::map<VtepId, std::string> peers;
  for (const auto& [name, id] : node.peers) peers[id] = name;
  Json routes = Json::array();
  auto all = node.objects.routes;
  const auto mirrored = daemon.reconciler.mirrored_routes();
  all.insert(all.end(), mirrored.begin(), mirrored.end());
  for (const auto& route : all) {
    Json hops = Json::array();
    for (const auto& hop : route.next_hops) {
      Json entry;
      if (hop.vtep) entry["peer"] = peer_name(peers, hop.vtep);
      if (hop.port) entry["port"] = port_title(node, hop.port);
      if (hop.into) entry["into"] = domain_name(node, hop.into);
      if (!hop.mac.is_zero()) entry["mac"] = to_string(hop.mac);
      if (!hop.address.is_zero()) entry["address"] = to_string(hop.address);
      entry["weight"] = hop.weight;
      hops.push_back(std::move(entry));
    }
    const auto source = node.route_sources.find(route.id);
    routes.push_back({{"id", route.id.value()},
                      {"domain", domain_name(node, route.domain)},
                      {"prefix", to_string(route.prefix)},
                      {"next_hops", hops},
                      {"blackhole", route.blackhole},
                      {"source", source == node.route_sources.end() ? to_text(RouteSource::kKernel)
                                                                    : to_text(source->second)}});
  }
  return make_page("routes", std::move(routes), page);
}

Result<Json> peers_view(Daemon& daemon, const Json& params) {
  PODWIRE_TRY(const auto page, read_page(params));
  std::map<std::string, Json> neighbors;  // by address
  if (daemon.reconciler.state().connected) {
    PODWIRE_TRY(const Json reply, daemon.reconciler.query("neighbors", Json::object()));
    const auto list = reply.find("neighbors");
    if (list == reply.end() || !list->is_array())
      return unavailable("the engine's answer to \"neighbors\" is malformed");
    for (const auto& neighbor : *list) {
      if (neighbor.is_object() && neighbor.contains("address"))
        neighbors[neighbor["address"].dump()] = neighbor;
    }
  }
  Json peers = Json::array();
  const auto add = [&](const PeerConfig& peer) {
    Json domains = Json::object();
    for (const auto& [name, prefixes] : peer.domains) domains[name] = {{"prefixes", texts(prefixes)}};
    const auto hop = next_hop_of(daemon.underlay.node(), peer.address);
    const auto at = neighbors.find(Json(to_string(hop)).dump());
    const bool known = at != neighbors.end();
    peers.push_back({{"name", peer.name},
                     {"address", to_string(peer.address)},
                     {"udp_port", peer.udp_port.value_or(daemon.config.vxlan.port)},
                     {"mac", to_string(peer.mac.value_or(kGatewayMac))},
                     {"domains", domains},
                     {"neighbor", to_string(hop)},
                     {"neighbor_state", known && at->second.contains("state") ? at->second["state"] : Json()},
                     {"neighbor_mac", known && at->second.contains("mac") ? at->second["mac"] : Json()}});
  };
  for (const auto& peer : daemon.config.peers) add(peer);
  if (daemon.remote_nodes != nullptr) {
    for (const auto& view : daemon.remote_nodes->nodes()) {
      const auto& record = view.node.record;
      if (view.address) add({view.node.name, *view.address, record.udp_port, record.mac, view.node.prefixes});
    }
  }
  return make_page("peers", std::move(peers), page);
}

Result<Json> stats_view(Daemon& daemon, const Json& params) {
  std::optional<bool> all;
  Page page;
  ObjectReader r(params, "params");
  r.optional("all", all);
  read_page(r, page);
  PODWIRE_CHECK(r.finish());
  PODWIRE_TRY(Json stats,
              query_all_ports(daemon.reconciler, "stats", all ? Json{{"all", *all}} : Json::object()));
  PODWIRE_TRY(const auto attachments, attachments_by_port(daemon));
  const auto node = daemon.reconciler.node();
  const auto ports = stats.find("ports");
  if (ports == stats.end() || !ports->is_array()) return stats;
  for (auto& port : *ports) {
    if (!port.is_object()) continue;
    const auto at = attachments.find(id_of(port));
    const auto pod = at == attachments.end() ? std::string() : pod_of(at->second);
    port["pod"] = pod.empty() ? Json() : Json(pod);
    if (at != attachments.end() && !at->second.key.is_named_port())
      port["container_id"] = at->second.key.container_id;
    if (const auto domain = port.find("domain"); domain != port.end() && domain->is_number_unsigned()) {
      *domain = domain_name(node, DomainId(domain->get<std::uint16_t>()));
    }
  }
  // Everything beside the ports is small, and comes with every page.
  stats.update(make_page("ports", std::move(*ports), page));
  return stats;
}

}  // namespace podwire::control
