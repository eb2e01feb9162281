#include "control/state/desired.hpp"

#include <algorithm>
#include <set>

namespace podwire::control {
namespace {

IpPrefix host_prefix(const IpAddr& address) {
  return {address, address.bits()};
}

// Collects the objects, allotting ids by name as it goes.
class Builder {
 public:
  Builder(const Config& config, const NodeUnderlay& underlay, Store& store, const DomainGroups* groups)
      : config_(config), underlay_(underlay), store_(store), groups_(groups) {}

  Result<NodeObjects> build() {
    out_.addresses = underlay_.own_addresses();
    add_host_services(config_.host_services, out_);
    PODWIRE_CHECK(add_ports());
    PODWIRE_CHECK(add_local_vteps());
    PODWIRE_CHECK(add_peer_vteps());
    PODWIRE_CHECK(add_domains());
    PODWIRE_CHECK(add_underlay_routes());
    for (const auto& domain : config_.domains) PODWIRE_CHECK(add_peer_routes(domain));
    for (const auto& domain : config_.domains) {
      if (domain.host_access) PODWIRE_CHECK(add_host_routes(domain));
    }
    PODWIRE_CHECK(add_own_routes());
    PODWIRE_CHECK(add_join_routes());
    PODWIRE_CHECK(allot_route_ids());
    PODWIRE_CHECK(store_.keep_ids("vtep", vtep_names_));
    PODWIRE_CHECK(store_.keep_ids("domain", domain_names_));
    PODWIRE_CHECK(store_.keep_ids("route", route_names_));
    return std::move(out_);
  }

 private:
  Result<void> add_ports();
  Result<void> add_local_vteps();
  Result<void> add_peer_vteps();
  Result<void> add_domains();
  Result<void> check_own_addresses(const DomainConfig& domain) const;
  Result<api::Masquerade> masquerade_of(const DomainConfig& domain);
  Result<void> add_underlay_routes();
  Result<void> add_peer_routes(const DomainConfig& domain);
  bool is_reached_plainly(const DomainConfig& domain, const PeerConfig& peer) const;
  Result<void> add_host_routes(const DomainConfig& domain);
  Result<void> add_own_routes();
  Result<void> add_join_routes();
  void add_route(const std::string& domain, const IpPrefix& prefix, const api::NextHop& hop,
                 RouteSource source);
  Result<void> allot_route_ids();

  const Config& config_;
  const NodeUnderlay& underlay_;
  Store& store_;
  const DomainGroups* const groups_;  // null: the store's
  NodeObjects out_;
  std::vector<std::string> vtep_names_, domain_names_;
  // Of out_.objects.routes, in their order; the ids of all come at once.
  std::vector<std::string> route_names_;
  std::vector<RouteSource> route_sources_;
  std::set<std::string> known_routes_;
  // Looked for once: thousands of domains may masquerade.
  std::optional<std::vector<IpPrefix>> all_pods_;
};

Result<void> Builder::add_ports() {
  PODWIRE_TRY(const auto uplink, store_.id_for("port", "uplink"));
  api::Port port;
  port.id = out_.uplink = PortId(static_cast<std::uint16_t>(uplink));
  port.name = "uplink";
  port.kind = api::PortKind::kPhysical;
  port.role = api::PortRole::kUplink;
  port.domain = kUnderlayDomain;
  port.devargs = underlay_.devargs;
  port.queues = underlay_.queues;
  port.mtu = config_.underlay.mtu.value_or(0);
  port.vlan = config_.underlay.vlan;
  out_.objects.ports.push_back(port);
  if (!config_.underlay.host_interface || underlay_.mac.is_zero()) return {};
  PODWIRE_TRY(const auto host, store_.id_for("port", "host"));
  api::Port tap;
  tap.id = out_.host = PortId(static_cast<std::uint16_t>(host));
  tap.name = "host";
  tap.kind = api::PortKind::kTap;
  tap.role = api::PortRole::kHost;
  tap.domain = kUnderlayDomain;
  tap.mac = underlay_.mac;
  tap.mtu = underlay_.mtu;
  out_.objects.ports.push_back(tap);
  return {};
}

Result<void> Builder::add_local_vteps() {
  for (const bool v4 : {true, false}) {
    const auto* own = underlay_.first_of_family(v4);
    if (own == nullptr) continue;
    // Packets to a peer leave from the local VTEP of the same family and port, so each port in use needs one.
    std::set<std::uint16_t> udp_ports{config_.vxlan.port};
    for (const auto& peer : config_.peers) {
      if (peer.address.is_v4() == v4) udp_ports.insert(peer.udp_port.value_or(config_.vxlan.port));
    }
    for (const auto udp_port : udp_ports) {
      api::Vtep vtep;
      vtep.name = std::string("local/") + (v4 ? "v4" : "v6") + "/" + std::to_string(udp_port);
      PODWIRE_TRY(const auto id, store_.id_for("vtep", vtep.name));
      vtep_names_.push_back(vtep.name);
      vtep.id = VtepId(id);
      vtep.local = true;
      vtep.address = own->address;
      vtep.udp_port = udp_port;
      vtep.mac = config_.vxlan.mac.value_or(derived_mac(config_.node, own->address));
      out_.objects.vteps.push_back(vtep);
    }
  }
  return {};
}

Result<void> Builder::add_peer_vteps() {
  for (const auto& peer : config_.peers) {
    if (underlay_.first_of_family(peer.address.is_v4()) == nullptr) {
      const char* const family = peer.address.is_v4() ? "IPv4" : "IPv6";
      return invalid("peer \"" + peer.name + "\" has the " + family + " address " + to_string(peer.address) +
                     ", but this node has no " + family +
                     " underlay address; add one to the underlay device or to underlay.addresses");
    }
    for (const auto& own : underlay_.addresses) {
      if (own.address == peer.address) {
        return invalid("peer \"" + peer.name + "\" has the address " + to_string(peer.address) +
                       ", which is this node's own; leave this node out of its peers");
      }
    }
    api::Vtep vtep;
    vtep.name = peer.name;
    const auto key = "peer/" + peer.name;
    PODWIRE_TRY(const auto id, store_.id_for("vtep", key));
    vtep_names_.push_back(key);
    vtep.id = out_.peers[peer.name] = VtepId(id);
    vtep.address = peer.address;
    vtep.udp_port = peer.udp_port.value_or(config_.vxlan.port);
    vtep.mac = peer.mac.value_or(kGatewayMac);
    out_.objects.vteps.push_back(vtep);
  }
  return {};
}

Result<void> Builder::add_domains() {
  const auto all = config_.domains.items();
  for (const auto& config : *all) domain_names_.push_back(config.name);
  PODWIRE_TRY(const auto ids, store_.ids_for("domain", domain_names_));
  for (std::size_t number = 0; number < all->size(); ++number) {
    const auto& config = (*all)[number];
    api::Domain domain;
    domain.id = out_.domains[config.name] = DomainId(static_cast<std::uint16_t>(ids[number]));
    if (config.isolates_pods) out_.isolating.insert(domain.id);
    if (config.flow_limit != 0) out_.flow_limits[domain.id] = config.flow_limit;
    domain.name = config.name;
    domain.vni = config.vni;
    domain.mode = config.mode;
    domain.gateway_mac = kGatewayMac;
    for (std::size_t i = 0; i < config.prefixes.size(); ++i) {
      domain.gateways.push_back({config.gateways[i], config.prefixes[i].length});
    }
    domain.mtu = domain_mtu(config, config_, underlay_);
    domain.learning = config.learning;
    domain.dns_servers = config.dns_servers;
    domain.search_domains = config.search_domains;
    domain.host_access = config.host_access && out_.host;
    domain.routed = config.transport != DomainTransport::kTunnel;
    PODWIRE_CHECK(check_own_addresses(config));
    domain.stateful = config.stateful;
    domain.dscp = config.dscp;
    domain.trust_dscp = config.trust_dscp;
    if (config.masquerade) {
      PODWIRE_TRY(domain.masquerade, masquerade_of(config));
    }
    if (config.mode == api::DomainMode::kL2 && config.flood_peers) {
      for (const auto& peer : config_.peers) {
        if (peer.domains.contains(config.name)) domain.flood.push_back(out_.peers[peer.name]);
      }
    }
    out_.objects.domains.push_back(domain);
  }
  std::sort(out_.objects.domains.begin(), out_.objects.domains.end(),
            [](const api::Domain& a, const api::Domain& b) { return a.id < b.id; });
  return {};
}

// The addresses may be the device's, which the configuration does not tell.
Result<void> Builder::check_own_addresses(const DomainConfig& domain) const {
  if (domain.transport == DomainTransport::kTunnel) return {};
  for (const auto& own : out_.addresses) {
    for (const auto& prefix : domain.prefixes) {
      if (!prefix.contains(own)) continue;
      return invalid("domain \"" + domain.name + "\": prefix " + to_string(prefix) +
                     " contains this node's own address " + to_string(own) +
                     "; pods need a prefix of their own");
    }
  }
  return {};
}

// Pods see each other as they are, in whatever domain and on whatever node.
Result<api::Masquerade> Builder::masquerade_of(const DomainConfig& domain) {
  const auto where = "domain \"" + domain.name + "\": masquerade";
  api::Masquerade out;
  out.addresses = domain.masquerade->addresses;
  out.ports = domain.masquerade->ports;
  for (const auto& address : out.addresses) {
    const auto& own = out_.addresses;
    if (std::find(own.begin(), own.end(), address) != own.end()) continue;
    return invalid(where + ".addresses: " + to_string(address) +
                   " is none of this node's; answers would not come here");
  }
  if (out.addresses.empty()) {
    for (const bool v4 : {true, false}) {
      if (const auto* first = underlay_.first_of_family(v4)) out.addresses.push_back(first->address);
    }
  }
  if (out.addresses.empty()) return invalid(where + " needs an address of this node, which has none");
  if (!all_pods_) all_pods_ = all_pods(config_);
  out.except = *all_pods_;
  if (!domain.masquerade->except.empty()) {
    const auto& own = domain.masquerade->except;
    out.except.insert(out.except.end(), own.begin(), own.end());
    out.except = covering(std::move(out.except));
  }
  return out;
}

// One that is there already stays.
void Builder::add_route(const std::string& domain, const IpPrefix& prefix, const api::NextHop& hop,
                        RouteSource source) {
  // No domain's name is empty, so the underlay's routes keep apart from theirs.
  auto name = domain + "/" + to_string(prefix);
  if (!known_routes_.insert(name).second) return;
  route_names_.push_back(std::move(name));
  route_sources_.push_back(source);
  api::Route route;
  route.domain = domain.empty() ? kUnderlayDomain : out_.domains[domain];
  route.prefix = prefix;
  route.next_hops.push_back(hop);
  out_.objects.routes.push_back(route);
}

Result<void> Builder::allot_route_ids() {
  PODWIRE_TRY(const auto ids, store_.ids_for("route", route_names_));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    out_.objects.routes[i].id = RouteId(ids[i]);
    out_.route_sources[RouteId(ids[i])] = route_sources_[i];
  }
  return {};
}

Result<void> Builder::add_underlay_routes() {
  const auto source = underlay_.from_kernel ? RouteSource::kKernel : RouteSource::kConfig;
  for (const auto& address : underlay_.addresses) {
    if (address.length == address.address.bits()) continue;  // no neighbours
    add_route("", address.network(), {.vtep = {}, .port = out_.uplink, .into = {}, .mac = {}, .address = {}},
              source);
  }
  for (const auto& route : underlay_.routes) {
    api::NextHop hop;
    hop.port = out_.uplink;
    if (route.gateway) hop.address = *route.gateway;
    add_route("", route.prefix.network(), hop, source);
  }
  return {};
}

Result<void> Builder::add_peer_routes(const DomainConfig& domain) {
  for (const auto& peer : config_.peers) {
    const auto at = peer.domains.find(domain.name);
    if (at == peer.domains.end()) continue;
    if (domain.transport == DomainTransport::kRouted) continue;  // the kernel's routes lead there
    api::NextHop hop;
    const bool plain = is_reached_plainly(domain, peer);
    if (plain) {
      hop.port = out_.uplink;
      hop.address = peer.address;
    } else {
      hop.vtep = out_.peers[peer.name];
    }
    for (const auto& prefix : at->second)
      add_route(plain ? std::string() : domain.name, prefix, hop, RouteSource::kPeer);
  }
  return {};
}

bool Builder::is_reached_plainly(const DomainConfig& domain, const PeerConfig& peer) const {
  if (domain.transport != DomainTransport::kSubnet) return domain.transport == DomainTransport::kRouted;
  const auto& all = underlay_.addresses;
  return std::any_of(all.begin(), all.end(), [&](const IpPrefix& own) {
    return own.length < own.address.bits() && own.contains(peer.address);
  });
}

Result<void> Builder::add_host_routes(const DomainConfig& domain) {
  if (!out_.host) return {};
  for (const auto& own : underlay_.addresses) {
    for (const auto& prefix : domain.prefixes) {
      if (!prefix.contains(own.address)) continue;
      return invalid("domain \"" + domain.name + "\": prefix " + to_string(prefix) +
                     " contains this node's own address " + to_string(own.address) +
                     "; pods need a prefix of their own");
    }
    api::NextHop hop;
    hop.port = out_.host;
    add_route(domain.name, host_prefix(own.address), hop, RouteSource::kBuiltin);
  }
  for (const auto& peer : config_.peers) {
    if (!peer.domains.contains(domain.name) || is_reached_plainly(domain, peer)) continue;
    api::NextHop hop;
    hop.vtep = out_.peers[peer.name];
    add_route(domain.name, host_prefix(peer.address), hop, RouteSource::kBuiltin);
  }
  return {};
}

// The engine knows those of the node's addresses that a VTEP has, or that a domain leads to the host port.
// Services' answers to the others' would leave by the uplink.
Result<void> Builder::add_own_routes() {
  const bool known = std::any_of(config_.domains.begin(), config_.domains.end(),
                                 [](const DomainConfig& domain) { return domain.host_access; });
  if (!out_.host || known) return {};
  for (const auto& own : underlay_.addresses) {
    const bool v4 = own.address.is_v4();
    const bool link_local = !v4 && own.address.v6().is_link_local();
    if (link_local || underlay_.first_of_family(v4)->address == own.address) continue;
    api::NextHop hop;
    hop.port = out_.host;
    add_route("", host_prefix(own.address), hop, RouteSource::kBuiltin);
  }
  return {};
}

// From each domain to the prefixes of those that it reaches.
Result<void> Builder::add_join_routes() {
  DomainGroups stored;
  if (groups_ == nullptr) {
    PODWIRE_TRY(stored, load_groups(store_, config_));
  }
  auto plan = plan_joins(config_, groups_ != nullptr ? *groups_ : stored);
  const auto all = config_.domains.items();
  std::map<std::string, const DomainConfig*> domains;
  for (const auto& domain : *all) domains[domain.name] = &domain;
  for (const auto& [name, others] : plan.reaches) {
    for (const auto& other : others) {
      api::NextHop hop;
      hop.into = out_.domains[other];
      for (const auto& prefix : prefixes_of(config_, *domains.at(other)))
        add_route(name, prefix, hop, RouteSource::kJoin);
    }
  }
  out_.reaches = std::move(plan.reaches);
  out_.join_problems = std::move(plan.problems);
  return {};
}

}  // namespace

Result<NodeObjects> node_objects(const Config& config, const NodeUnderlay& underlay, Store& store,
                                 const DomainGroups* groups) {
  return Builder(config, underlay, store, groups).build();
}

}  // namespace podwire::control
