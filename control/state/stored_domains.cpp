#include "control/state/stored_domains.hpp"

#include "control/config_domain.hpp"

#include <algorithm>
#include <set>

namespace podwire::control {
namespace {

constexpr const char* kDomainKind = "Domain";
constexpr std::size_t kMostDomains = 8190;

// Collects domains that are added, so that many cost no more than each its own.
class Additions {
 public:
  explicit Additions(Config& config)
      : config_(config), domains_(*config.domains.items()), peers_(*config.peers.items()) {
    for (const auto& domain : domains_) note(domain);
  }
  Result<void> add(const AddedDomain& added);
  void commit() {
    config_.domains = std::move(domains_);
    config_.peers = std::move(peers_);
  }

 private:
  void note(const DomainConfig& domain) {
    names_.insert(domain.name);
    owners_[domain.vni] = domain.name;
  }
  Result<void> check(const AddedDomain& added) const;

  Config& config_;
  std::vector<DomainConfig> domains_;
  std::vector<PeerConfig> peers_;
  std::set<std::string> names_;
  std::map<Vni, std::string> owners_;
};

Result<void> Additions::check(const AddedDomain& added) const {
  const auto& name = added.domain.name;
  const auto what = "domain \"" + name + "\"";
  if (config_.cluster.mode == ClusterMode::kFlannel) {
    return invalid(what + " cannot be added: a Flannel cluster has one network, which all its pods are in; " +
                   "for tenants use cluster mode etcd, or none");
  }
  if (config_.cluster.mode == ClusterMode::kEtcd) {
    return invalid(what +
                   " cannot be added while podwired runs: with the cluster's store every node must be " +
                   "told the same domains from its start; add it to podwired.json of all nodes");
  }
  if (domains_.size() >= kMostDomains) {
    return Error{ErrorCode::kExhausted, what + ": there are " + std::to_string(domains_.size()) +
                                            " domains already, the most that are possible; delete one"};
  }
  if (names_.contains(name)) return conflict("there is a " + what + " already");
  if (const auto owner = owners_.find(added.domain.vni); owner != owners_.end()) {
    return conflict(what + ": VNI " + std::to_string(added.domain.vni.value()) + " is that of domain \"" +
                    owner->second + "\"; a VNI belongs to one domain");
  }
  const auto& host = config_.host_services;
  for (const auto& taken : host.enabled ? host.prefixes : std::vector<IpPrefix>{}) {
    for (const auto& prefix : added.domain.prefixes) {
      if (!taken.overlaps(prefix)) continue;
      return conflict(what + ": prefix " + to_string(prefix) + " overlaps " + to_string(taken) +
                      " of host_services; use addresses that nothing else has");
    }
  }
  return check_domain(config_, added.domain, what);
}

// Of one peer, which `prefixes` are to be added to.
Result<void> check_peer(const AddedDomain& added, const std::string& peer,
                        const std::vector<IpPrefix>& prefixes) {
  const auto where = "domain \"" + added.domain.name + "\": peers." + peer;
  for (const auto& prefix : prefixes) {
    if (prefix != prefix.network()) {
      return invalid(where + ": " + to_string(prefix) + " has host bits set; did you mean " +
                     to_string(prefix.network()) + "?");
    }
    for (const auto& own : added.domain.prefixes) {
      if (!own.overlaps(prefix)) continue;
      return invalid(where + ": " + to_string(prefix) + " overlaps this node's " + to_string(own) +
                     (added.domain.mode == api::DomainMode::kL2
                          ? "; in an l2 domain that spans nodes give the peer without prefix"
                          : "; give every node a prefix of its own"));
    }
    for (const auto& [other, theirs] : added.peers) {
      if (other != peer && std::find(theirs.begin(), theirs.end(), prefix) != theirs.end())
        return invalid(where + ": peer \"" + other + "\" has " + to_string(prefix) + " too");
    }
  }
  return {};
}

Result<void> Additions::add(const AddedDomain& added) {
  PODWIRE_CHECK(check(added));
  std::vector<PeerConfig*> peers;
  for (const auto& [name, prefixes] : added.peers) {
    const auto peer =
        std::find_if(peers_.begin(), peers_.end(), [&](const PeerConfig& one) { return one.name == name; });
    if (peer == peers_.end()) {
      return not_found("domain \"" + added.domain.name + "\": there is no peer \"" + name.substr(0, 64) +
                       "\"; see: podwirectl peer");
    }
    PODWIRE_CHECK(check_peer(added, name, prefixes));
    peers.push_back(&*peer);
  }
  for (auto* const peer : peers) peer->domains[added.domain.name] = added.peers.at(peer->name);
  note(added.domain);
  domains_.push_back(added.domain);
  return {};
}

Result<AddedDomain> read_kept(const StoredManifest& row) {
  const auto what = "stored domain \"" + row.name + "\"";
  PODWIRE_TRY(const Json body, parse_json(row.body, what));
  PODWIRE_TRY(auto read, read_added_domain(body, what));
  if (read.domain.name != row.name) return invalid(what + " has the name \"" + read.domain.name + "\"");
  return read;
}

}  // namespace

Result<AddedDomain> read_added_domain(const Json& document, const std::string& path) {
  if (!document.is_object()) return invalid(path + " must be an object, not " + json_type_name(document));
  AddedDomain out;
  out.document = document;
  Json own = document;
  own.erase("peers");
  PODWIRE_CHECK(read_domain_config(own, path, out.domain));
  if (out.domain.host_access)
    return invalid(path + ".host_access: only a domain of podwired.json can have it; leave it out");
  if (out.domain.transport != DomainTransport::kTunnel)
    return invalid(path + ".transport: a domain without tunnels must stand in podwired.json; leave it out");
  const auto peers = document.find("peers");
  if (peers == document.end() || peers->is_null()) return out;
  if (!peers->is_object())
    return invalid(path + ".peers must be an object such as {\"node2\": [\"10.1.2.0/24\"]}, not " +
                   json_type_name(*peers));
  for (const auto& [name, prefixes] : peers->items())
    PODWIRE_CHECK(podwire::read_value(prefixes, path + ".peers." + name, out.peers[name]));
  return out;
}

Result<void> add_domain(const AddedDomain& added, Config& config) {
  Additions additions(config);
  PODWIRE_CHECK(additions.add(added));
  additions.commit();
  return {};
}

void remove_domain(const std::string& name, Config& config) {
  auto domains = *config.domains.items();
  std::erase_if(domains, [&](const DomainConfig& domain) { return domain.name == name; });
  config.domains = std::move(domains);
  auto peers = *config.peers.items();
  std::size_t changed = 0;
  for (auto& peer : peers) changed += peer.domains.erase(name);
  if (changed != 0) config.peers = std::move(peers);
}

Result<std::set<std::string>> kept_domain_names(Store& store) {
  PODWIRE_TRY(const auto rows, store.manifests(kDomainKind));
  std::set<std::string> names;
  for (const auto& row : rows) names.insert(row.name);
  return names;
}

Result<void> keep_domain(Store& store, const AddedDomain& added) {
  return store.change_manifests({{kDomainKind, "", added.domain.name, added.document.dump()}}, {});
}

Result<void> forget_domain(Store& store, const std::string& name) {
  // Last the row: whoever undoes a deletion that failed has the domain still kept.
  PODWIRE_CHECK(store.forget_pools(name));
  return store.change_manifests({}, {{kDomainKind, "", name, ""}});
}

Result<std::vector<std::string>> add_kept_domains(Store& store, Config& config) {
  PODWIRE_TRY(const auto rows, store.manifests(kDomainKind));
  std::vector<std::string> problems;
  std::set<std::string> configured;
  for (const auto& domain : config.domains) configured.insert(domain.name);
  Additions additions(config);
  for (const auto& row : rows) {
    const auto& name = row.name;
    const auto added = read_kept(row);
    if (!added) {
      problems.push_back("domain \"" + name + "\", which podwirectl added, cannot be read and is left out: " +
                         added.error().message + "; type: podwirectl domain del " + name +
                         ", and add it again");
    } else if (configured.contains(name)) {
      problems.push_back("domain \"" + name + "\" was added by podwirectl and stands in podwired.json now, " +
                         "which counts; type: podwirectl domain del " + name);
    } else if (auto fits = additions.add(*added); !fits) {
      problems.push_back("a domain that podwirectl added is left out: " + fits.error().message +
                         "; change podwired.json, or type: podwirectl domain del " + name);
    }
  }
  additions.commit();
  return problems;
}

}  // namespace podwire::control
