#include "control/state/outside.hpp"

#include <algorithm>

namespace podwire::control {
namespace {

constexpr const char* kManifestKind = "Address";
constexpr const char* kEgress = "egress";
constexpr const char* kFloating = "floating";

Result<std::vector<IpAddr>> read_addresses(const StoredManifest& row) {
  const auto what = "stored " + row.space + " address of " + row.name;
  PODWIRE_TRY(const Json body, parse_json(row.body, what));
  std::vector<IpAddr> addresses;
  PODWIRE_CHECK(read_value(body, what, addresses));
  return addresses;
}

StoredManifest row_of(const char* kind, const std::string& name, const std::vector<IpAddr>& addresses) {
  Json body = Json::array();
  for (const auto& address : addresses) body.push_back(to_string(address));
  return {kManifestKind, kind, name, body.dump()};
}

void note_difference(const char* kind, const OutsideAssignments::ByName& before,
                     const OutsideAssignments::ByName& after, std::vector<StoredManifest>& put,
                     std::vector<StoredManifest>& erased) {
  for (const auto& [name, addresses] : before) {
    if (!after.contains(name)) erased.push_back(row_of(kind, name, addresses));
  }
  for (const auto& [name, addresses] : after) {
    const auto at = before.find(name);
    if (at == before.end() || at->second != addresses) put.push_back(row_of(kind, name, addresses));
  }
}

// Who has it; empty: nobody.
std::string holder_of(const IpAddr& address, const OutsideAssignments::ByName& all, const std::string& but) {
  for (const auto& [name, addresses] : all) {
    if (name != but && std::find(addresses.begin(), addresses.end(), address) != addresses.end()) return name;
  }
  return {};
}

Result<void> check_prefixes(const IpAddr& address, const Config& config) {
  const auto taken = [&](const IpPrefix& prefix, const std::string& whose) {
    return conflict("address " + to_string(address) + " is in " + to_string(prefix) +
                    ", the pods' prefix of " + whose + "; choose one outside");
  };
  for (const auto& domain : config.domains) {
    for (const auto* prefixes : {&domain.prefixes, &domain.cluster_prefixes}) {
      for (const auto& prefix : *prefixes) {
        if (prefix.contains(address)) return taken(prefix, "domain \"" + domain.name + "\"");
      }
    }
  }
  for (const auto& peer : config.peers) {
    if (peer.address == address)
      return conflict("address " + to_string(address) + " is that of peer \"" + peer.name +
                      "\"; choose another");
    for (const auto& [domain, prefixes] : peer.domains) {
      for (const auto& prefix : prefixes) {
        if (prefix.contains(address))
          return taken(prefix, "peer \"" + peer.name + "\" in domain \"" + domain + "\"");
      }
    }
  }
  return {};
}

}  // namespace

Result<OutsideAssignments> load_outside(Store& store) {
  OutsideAssignments all;
  PODWIRE_TRY(const auto rows, store.manifests(kManifestKind));
  for (const auto& row : rows) {
    PODWIRE_TRY(auto addresses, read_addresses(row));
    (row.space == kEgress ? all.egress : all.floating)[row.name] = std::move(addresses);
  }
  return all;
}

Result<void> store_outside(Store& store, const OutsideAssignments& before, const OutsideAssignments& after) {
  std::vector<StoredManifest> put, erased;
  note_difference(kEgress, before.egress, after.egress, put, erased);
  note_difference(kFloating, before.floating, after.floating, put, erased);
  return store.change_manifests(put, erased);
}

std::string floating_name(const Attachment& attachment) {
  if (attachment.key.is_named_port()) return attachment.key.container_id;
  return attachment.pod_name.empty() ? "" : attachment.pod_namespace + "/" + attachment.pod_name;
}

Result<void> check_outside_address(const IpAddr& address, const std::string& kind, const std::string& name,
                                   const OutsideAssignments& all, const Config& config,
                                   const NodeUnderlay& node) {
  const auto text = "address " + to_string(address);
  const bool link_local = address.is_v4() ? address.v4().bytes[0] == 169 && address.v4().bytes[1] == 254
                                          : address.v6().is_link_local();
  const bool loopback = address.is_v4() ? address.v4().is_loopback() : address.v6().is_loopback();
  const bool beyond = address.is_v4() && address.v4().bytes[0] >= 224;
  if (address.is_zero() || address.is_multicast() || beyond || link_local || loopback)
    return invalid(text + " is no unicast address that others can reach; choose another");
  for (const auto& own : node.addresses) {
    if (own.address == address)
      return conflict(text + " is the node's own, which pods have by masquerade; choose one of their own");
  }
  for (const auto& route : node.routes) {
    if (route.gateway == address) return conflict(text + " is that of a router; choose another");
  }
  PODWIRE_CHECK(check_prefixes(address, config));
  if (const auto other = holder_of(address, all.floating, kind == kFloating ? name : ""); !other.empty())
    return conflict(text + " is the floating address of " + other +
                    "; choose another, or type: podwirectl address" + " delete " + other);
  if (kind == kEgress) return {};
  const auto other = holder_of(address, all.egress, "");
  if (other.empty()) return {};
  return conflict(text + " is the egress address of namespace " + other +
                  "; choose another, or type: podwirectl address delete " + other);
}

std::string outside_warning(const IpAddr& address, const NodeUnderlay& node) {
  std::string own, gateway;
  for (const auto& prefix : node.addresses) {
    if (prefix.address.is_v4() != address.is_v4()) continue;
    if (prefix.contains(address)) return {};
    own += (own.empty() ? "" : ", ") + to_string(prefix);
    if (gateway.empty()) gateway = to_string(prefix.address);
  }
  if (own.empty()) {
    return to_string(address) + ": this node has no IPv" + (address.is_v4() ? "4" : "6") +
           " address, so nothing will reach it and no answers will come back";
  }
  return to_string(address) + " is on no network of this node (" + own +
         "): routers must bring it here, as in: ip route add " + to_string(address) + " via " + gateway;
}

}  // namespace podwire::control
