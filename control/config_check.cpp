// The cross-checks of podwired.json: what is wrong only in the light of another field.
#include <algorithm>
#include <set>

#include "control/config.hpp"
#include "control/config_cluster.hpp"
#include "control/config_domain.hpp"
#include "control/state/joins.hpp"

namespace podwire::control {
namespace {

std::string at(const char* array, std::size_t index) {
  return std::string(array) + "[" + std::to_string(index) + "]";
}

Result<void> check_underlay(const UnderlayConfig& underlay) {
  for (const auto& a : underlay.addresses) {
    if (a.address.is_zero() || a.address.is_multicast()) {
      return invalid("underlay.addresses: " + to_string(a) + " is no unicast address");
    }
  }
  std::set<bool> families;
  for (const auto& g : underlay.gateways) {
    if (!families.insert(g.is_v4()).second) {
      return invalid("underlay.gateways: " + to_string(g) +
                     " is the second of its family; give at most one default gateway a family");
    }
    const bool has_address = std::any_of(underlay.addresses.begin(), underlay.addresses.end(),
                                         [&](const IpPrefix& a) { return a.address.is_v4() == g.is_v4(); });
    if (!underlay.addresses.empty() && !has_address) {
      return invalid("underlay.gateways: " + to_string(g) +
                     " has no address of its family in underlay.addresses");
    }
  }
  return {};
}

Result<void> check_host_prefix(const IpPrefix& prefix, const Config& config) {
  const auto refused = "host_services.prefixes: " + to_string(prefix);
  if (prefix != prefix.network())
    return invalid(refused + " has host bits set; did you mean " + to_string(prefix.network()) + "?");
  const auto& address = prefix.address;
  const bool loopback = address.is_v4() ? address.v4().is_loopback() : address.v6().is_loopback();
  const bool link_local6 = address.is_v6() && address.v6().is_link_local();
  if (address.is_zero() || address.is_multicast() || loopback || link_local6)
    return invalid(refused +
                   " cannot be routed to an interface; use one like 169.254.112.0/26 or fd00:70::/64");
  constexpr int kRoomBits = 6;  // of the node's addresses every one needs one, and one all together
  const int longest = address.bits() - kRoomBits;
  if (prefix.length > longest)
    return invalid(refused + " is too small; the longest that will do is /" + std::to_string(longest));
  const auto keep_apart = [&](const IpPrefix& other, const std::string& what) -> Result<void> {
    if (!prefix.overlaps(other)) return {};
    return invalid(refused + " overlaps " + what + " " + to_string(other) +
                   "; use addresses that nothing else has");
  };
  for (const auto& own : config.underlay.addresses)
    PODWIRE_CHECK(keep_apart(own.network(), "the underlay's"));
  for (const auto& domain : config.domains) {
    for (const auto& pods : domain.prefixes)
      PODWIRE_CHECK(keep_apart(pods, "domain \"" + domain.name + "\" with"));
  }
  for (const auto& peer : config.peers) {
    for (const auto& [name, prefixes] : peer.domains) {
      for (const auto& pods : prefixes) PODWIRE_CHECK(keep_apart(pods, "peer \"" + peer.name + "\" with"));
    }
  }
  return {};
}

Result<void> check_host_services(const Config& config) {
  if (!config.host_services.enabled) return {};
  const auto& prefixes = config.host_services.prefixes;
  if (prefixes.empty())
    return invalid("host_services.prefixes is empty; give one a family, or set host_services to null");
  std::set<bool> families;
  for (const auto& prefix : prefixes) {
    PODWIRE_CHECK(check_host_prefix(prefix, config));
    if (families.insert(prefix.address.is_v4()).second) continue;
    return invalid("host_services.prefixes: " + to_string(prefix) +
                   " is the second of its family; give at most one a family");
  }
  return {};
}

Result<void> check_prefixes(const DomainConfig& d, const std::string& path) {
  if (d.prefixes.empty())
    return invalid(path + ".prefixes is empty; give one IPv4 prefix, one IPv6 prefix or both");
  std::set<bool> families;
  for (std::size_t i = 0; i < d.prefixes.size(); ++i) {
    const auto& prefix = d.prefixes[i];
    const auto where = path + ".prefixes[" + std::to_string(i) + "]";
    if (prefix != prefix.network()) {
      return invalid(where + " is " + to_string(prefix) + ", has host bits set; did you mean " +
                     to_string(prefix.network()) + "?");
    }
    if (prefix.length == 0 || prefix.address.is_multicast())
      return invalid(where + " is " + to_string(prefix) + ", no unicast prefix");
    if (prefix.address.is_v6() && prefix.address.v6().is_link_local()) {
      return invalid(where + " is " + to_string(prefix) +
                     ", link-local; use a unique local prefix such as fd00:10:244:1::/64");
    }
    const int longest = prefix.address.bits() - 2;
    if (prefix.length > longest) {
      return invalid(where + " is " + to_string(prefix) +
                     ", has no room for a gateway and a pod; the longest that has is /" +
                     std::to_string(longest));
    }
    if (!families.insert(prefix.address.is_v4()).second) {
      return invalid(where + " is the second " + (prefix.address.is_v4() ? "IPv4" : "IPv6") +
                     " prefix of domain \"" + d.name + "\"; a domain has at most one a family");
    }
    const auto& gateway = d.gateways[i];
    const auto network = prefix.network().address;
    const bool broadcast =
        gateway.is_v4() &&
        (gateway.v4().to_u32() | ~(0xffffffffu << (32 - prefix.length))) == gateway.v4().to_u32();
    if (gateway == network || broadcast) {
      return invalid(path + ".gateways: " + to_string(gateway) + " is the network or broadcast address of " +
                     to_string(prefix));
    }
  }
  return {};
}

Result<void> check_pools(const DomainConfig& d, const std::string& path) {
  const auto inside = [&](const IpAddr& a) {
    return std::any_of(d.prefixes.begin(), d.prefixes.end(),
                       [&](const IpPrefix& p) { return p.contains(a); });
  };
  for (std::size_t i = 0; i < d.ranges.size(); ++i) {
    const auto& range = d.ranges[i];
    const auto& outside = !inside(range.start) ? range.start : range.end;
    if (!inside(outside)) {
      return invalid(path + ".ranges[" + std::to_string(i) + "]: " + to_string(outside) +
                     " is inside none of the domain's prefixes");
    }
  }
  for (std::size_t i = 0; i < d.exclude.size(); ++i) {
    const bool touches = std::any_of(d.prefixes.begin(), d.prefixes.end(),
                                     [&](const IpPrefix& p) { return p.overlaps(d.exclude[i]); });
    if (!touches) {
      return invalid(path + ".exclude[" + std::to_string(i) + "] is " + to_string(d.exclude[i]) +
                     ", inside none of the domain's prefixes");
    }
  }
  return {};
}

// The engine's own rules for a domain's DNS, told in the words of this file.
Result<void> check_dns(const DomainConfig& d, const std::string& path) {
  if (d.dns_servers.empty() && d.search_domains.empty()) return {};
  api::Domain domain;
  domain.id = DomainId(2);
  domain.name = "domain";
  domain.gateway_mac = kGatewayMac;
  domain.dns_servers = d.dns_servers;
  domain.search_domains = d.search_domains;
  api::Domain read;
  auto checked = api::read_value(to_json(domain), path, read);
  if (checked) return {};
  return invalid(path + ".dns: " + checked.error().message +
                 "; servers takes up to 8 addresses, search up to 8 domain names");
}

// Likewise for its masquerade; addresses that are left out are only known with the device's.
Result<void> check_masquerade(const DomainConfig& d, const Config& config, const std::string& path) {
  if (!d.masquerade) return {};
  api::Masquerade masquerade;
  masquerade.addresses = d.masquerade->addresses;
  if (masquerade.addresses.empty()) masquerade.addresses = {IpAddr(Ipv4{{192, 0, 2, 1}})};
  masquerade.ports = d.masquerade->ports;
  masquerade.except = d.masquerade->except;
  api::Masquerade read;
  PODWIRE_CHECK(api::read_value(to_json(masquerade), path + ".masquerade", read));
  for (const auto& address : d.masquerade->addresses) {
    const auto& own = config.underlay.addresses;
    const bool ours =
        std::any_of(own.begin(), own.end(), [&](const IpPrefix& a) { return a.address == address; });
    if (own.empty() || ours) continue;
    return invalid(path + ".masquerade.addresses: " + to_string(address) +
                   " is none of underlay.addresses; answers would not come to this node");
  }
  return {};
}

// Without tunnels an address alone tells whose it is.
Result<void> check_transport(const Config& config, const DomainConfig& d, const std::string& path) {
  if (d.transport == DomainTransport::kTunnel) {
    if (d.announce == DomainAnnounce::kPrefix) return {};
    return invalid(path + ".announce is for pods that are reached without tunnels; leave it out, or set " +
                   "transport to \"routed\" or \"subnet\"");
  }
  if (d.mode != api::DomainMode::kL3) {
    return invalid(path + ".transport: only domains of mode \"l3\" are routed; domain \"" + d.name +
                   "\" is \"l2\": leave transport out");
  }
  if (!config.underlay.host_interface) {
    return invalid(path + ".transport needs a host interface, whose routes the engine follows; " +
                   "underlay.host_interface is null");
  }
  for (const auto& prefix : d.prefixes) {
    for (const auto& own : config.underlay.addresses) {
      if (!prefix.contains(own.address)) continue;
      return invalid(path + ": prefix " + to_string(prefix) + " contains the underlay address " +
                     to_string(own) + "; pods need a prefix of their own");
    }
  }
  return {};
}

Result<void> check_routed_apart(const std::vector<DomainConfig>& domains) {
  struct Place {
    bool v6;
    IpPrefix prefix;
    std::size_t domain;
    auto operator<=>(const Place&) const = default;
  };
  std::vector<Place> places;
  for (std::size_t i = 0; i < domains.size(); ++i) {
    if (domains[i].transport == DomainTransport::kTunnel) continue;
    for (const auto& prefix : domains[i].prefixes) places.push_back({prefix.address.is_v6(), prefix, i});
  }
  std::sort(places.begin(), places.end());
  // What a prefix contains follows it at once.
  const auto clash = std::adjacent_find(places.begin(), places.end(), [](const Place& a, const Place& b) {
    return a.v6 == b.v6 && a.prefix.overlaps(b.prefix);
  });
  if (clash == places.end()) return {};
  const auto [one, other] =
      std::minmax(*clash, *(clash + 1), [](const Place& a, const Place& b) { return a.domain < b.domain; });
  return invalid(at("domains", other.domain) + ": prefix " + to_string(other.prefix) + " overlaps " +
                 to_string(one.prefix) + " of domain \"" + domains[one.domain].name +
                 "\"; without tunnels both cannot be routed, give one of them other addresses or the " +
                 "transport \"tunnel\"");
}

Result<void> check_routing(const RoutingConfig& routing) {
  constexpr std::uint32_t kLocalTable = 255;
  if (routing.tables.empty()) return invalid("routing.tables is empty; name a table, 254 is the main one");
  if (routing.announce_table == kLocalTable)
    return invalid("routing.announce_table is 255, the kernel's table of local addresses; choose another");
  for (std::size_t i = 0; i < routing.tables.size(); ++i) {
    const auto table = routing.tables[i];
    const auto path = at("routing.tables", i);
    if (table == 0 || table == kLocalTable) {
      return invalid(path + " is " + std::to_string(table) +
                     ", which is no table for routes to other machines; 254 is the main one");
    }
    if (std::find(routing.tables.begin(), routing.tables.begin() + static_cast<std::ptrdiff_t>(i), table) !=
        routing.tables.begin() + static_cast<std::ptrdiff_t>(i))
      return invalid(path + " is " + std::to_string(table) + ", which is listed already; list it once");
  }
  return {};
}

Result<void> check_domains(const Config& config) {
  if (config.domains.empty()) return invalid("domains is empty; a node needs at least one");
  if (config.domains.size() > 8190)
    return invalid("domains has " + std::to_string(config.domains.size()) +
                   " entries, at most 8190 are possible");
  const auto all = config.domains.items();
  std::set<std::string> names;
  std::set<Vni> vnis;
  const DomainConfig* host_domain = nullptr;
  for (std::size_t i = 0; i < all->size(); ++i) {
    const auto& d = (*all)[i];
    const auto path = at("domains", i);
    if (!names.insert(d.name).second)
      return invalid(path + ".name is \"" + d.name + "\", which an earlier domain has");
    if (!vnis.insert(d.vni).second) {
      return invalid(path + ".vni is " + std::to_string(d.vni.value()) +
                     ", which an earlier domain has; a VNI belongs to one domain");
    }
    PODWIRE_CHECK(check_domain(config, d, path));
    if (!d.host_access) continue;
    if (host_domain != nullptr) {
      return invalid(path + ".host_access: domain \"" + host_domain->name +
                     "\" has it already; the node can talk to one domain only");
    }
    if (!config.underlay.host_interface) {
      return invalid(path + ".host_access needs a host interface; underlay.host_interface is null");
    }
    host_domain = &d;
    for (const auto& prefix : d.prefixes) {
      for (const auto& own : config.underlay.addresses) {
        if (!prefix.overlaps(own)) continue;
        return invalid(path + ": prefix " + to_string(prefix) + " overlaps the underlay address " +
                       to_string(own));
      }
    }
  }
  return check_routed_apart(*all);
}

using DomainsByName = std::map<std::string, const DomainConfig*>;

Result<void> check_peer_prefixes(const Config& config, const DomainsByName& domains, const PeerConfig& peer,
                                 const std::string& path,
                                 std::map<std::string, std::map<IpPrefix, std::string>>& seen) {
  for (const auto& [name, prefixes] : peer.domains) {
    const auto found = domains.find(name);
    const auto where = path + ".domains." + name;
    if (found == domains.end())
      return invalid(where + ": this node has no such domain; " + config.domains_like(name));
    const auto* domain = found->second;
    for (const auto& prefix : prefixes) {
      if (prefix != prefix.network()) {
        return invalid(where + ".prefixes: " + to_string(prefix) + " has host bits set; did you mean " +
                       to_string(prefix.network()) + "?");
      }
      for (const auto& own : domain->prefixes) {
        if (!own.overlaps(prefix)) continue;
        return invalid(where + ".prefixes: " + to_string(prefix) + " overlaps this node's " + to_string(own) +
                       (domain->mode == api::DomainMode::kL2
                            ? "; in an l2 domain that spans nodes leave the peer's prefixes out"
                            : "; give every node a prefix of its own"));
      }
      const auto [it, fresh] = seen[name].emplace(prefix, peer.name);
      if (!fresh)
        return invalid(where + ".prefixes: peer \"" + it->second + "\" has " + to_string(prefix) +
                       " already");
    }
  }
  return {};
}

Result<void> check_peers(const Config& config) {
  std::set<std::string> names;
  std::set<std::pair<IpAddr, std::uint16_t>> addresses;
  std::map<std::string, std::map<IpPrefix, std::string>> seen;
  const auto domains = config.domains.items();
  DomainsByName by_name;
  for (const auto& domain : *domains) by_name[domain.name] = &domain;
  const auto peers = config.peers.items();
  for (std::size_t i = 0; i < peers->size(); ++i) {
    const auto& peer = (*peers)[i];
    const auto path = at("peers", i);
    if (!names.insert(peer.name).second)
      return invalid(path + ".name is \"" + peer.name + "\", which an earlier peer has");
    if (peer.name == config.node)
      return invalid(path + ".name is \"" + peer.name +
                     "\", this node's own name; leave it out of its peers");
    if (!addresses.emplace(peer.address, peer.udp_port.value_or(config.vxlan.port)).second) {
      return invalid(path + ".address is " + to_string(peer.address) + ", which an earlier peer has");
    }
    bool own_family = config.underlay.addresses.empty();
    for (const auto& own : config.underlay.addresses) {
      if (own.address == peer.address)
        return invalid(path + ".address is " + to_string(peer.address) + ", this node's own");
      own_family |= own.address.is_v4() == peer.address.is_v4();
    }
    if (!own_family) {
      return invalid(path + ".address is " + to_string(peer.address) +
                     ", but underlay.addresses has none of that family");
    }
    PODWIRE_CHECK(check_peer_prefixes(config, by_name, peer, path, seen));
  }
  return {};
}

// What podwirectl has joined is not known here.
Result<void> check_global(const Config& config) {
  const auto plan = plan_joins(config, {});
  if (plan.problems.empty()) return {};
  return invalid("domains: with \"global\": true every other l3 domain is reached, but " +
                 plan.problems.front());
}

}  // namespace

Result<void> check_domain(const Config& config, const DomainConfig& d, const std::string& path) {
  PODWIRE_CHECK(check_prefixes(d, path));
  PODWIRE_CHECK(check_pools(d, path));
  PODWIRE_CHECK(check_dns(d, path));
  PODWIRE_CHECK(check_masquerade(d, config, path));
  if (d.dscp && !d.trust_dscp)
    return invalid(path +
                   ".trust_dscp is false beside dscp; dscp marks every packet, so leave trust_dscp out");
  PODWIRE_CHECK(check_transport(config, d, path));
  if (d.mode == api::DomainMode::kL3 && d.learning)
    return invalid(path + ".learning is for mode \"l2\"; this domain is \"l3\"");
  if (d.mode == api::DomainMode::kL2 && d.global)
    return invalid(path + ".global is for mode \"l3\"; this domain is \"l2\"");
  return {};
}

Result<void> check_config(const Config& config) {
  PODWIRE_CHECK(check_underlay(config.underlay));
  PODWIRE_CHECK(check_domains(config));
  PODWIRE_CHECK(check_namespaces(config));
  PODWIRE_CHECK(check_cluster(config));
  PODWIRE_CHECK(check_peers(config));
  PODWIRE_CHECK(check_host_services(config));
  PODWIRE_CHECK(check_routing(config.routing));
  return check_global(config);
}

}  // namespace podwire::control
