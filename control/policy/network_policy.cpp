#include "control/policy/fields.hpp"
#include "control/policy/objects.hpp"

namespace podwire::control {
namespace {

Result<PolicyPort> read_policy_port(const Json& value, const std::string& path) {
  PolicyPort out;
  ObjectReader r(value, path);
  const Json* protocol = r.find("protocol");
  const Json* port = r.find("port");
  const Json* end = r.find("endPort");
  PODWIRE_CHECK(r.finish());
  if (protocol != nullptr && !protocol->is_null()) {
    PODWIRE_TRY(out.protocol, read_protocol(*protocol, path + ".protocol"));
  }
  const bool has_port = port != nullptr && !port->is_null();
  const bool has_end = end != nullptr && !end->is_null();
  if (has_port && port->is_string()) {
    out.name = port->get<std::string>();
    PODWIRE_CHECK(check_port_name(path + ".port", out.name));
    if (has_end)
      return invalid(path + ".endPort goes with a port's number, not with the name \"" + out.name + "\"");
    return out;
  }
  if (!has_port) {
    if (has_end) return invalid(path + ".endPort needs port, the first of the range");
    return out;
  }
  PODWIRE_TRY(const auto first, read_integer(*port, path + ".port", 1, 65535));
  auto last = first;
  if (has_end) {
    PODWIRE_TRY(last, read_integer(*end, path + ".endPort", first, 65535));
  }
  out.range = {static_cast<std::uint16_t>(first), static_cast<std::uint16_t>(last)};
  return out;
}

// Host bits are cleared, as the API server's parser allows them.
Result<api::PolicyBlock> read_block(const Json& value, const std::string& path) {
  api::PolicyBlock block;
  ObjectReader r(value, path);
  r.required("cidr", block.prefix);
  const Json* except = r.find("except");
  PODWIRE_CHECK(r.finish());
  block.prefix = block.prefix.network();
  if (except == nullptr || except->is_null()) return block;
  PODWIRE_CHECK(podwire::read_value(*except, path + ".except", block.except));
  for (auto& hole : block.except) {
    hole = hole.network();
    if (hole.length > block.prefix.length && block.prefix.contains(hole.address)) continue;
    return invalid(path + ".except: " + to_string(hole) + " must be smaller than " + to_string(block.prefix) +
                   " and lie in it");
  }
  return block;
}

Result<PolicyPeer> read_peer(const Json& value, const std::string& path) {
  PolicyPeer peer;
  ObjectReader r(value, path);
  const Json* pods = r.find("podSelector");
  const Json* namespaces = r.find("namespaceSelector");
  const Json* block = r.find("ipBlock");
  PODWIRE_CHECK(r.finish());
  if (pods != nullptr && !pods->is_null())
    PODWIRE_CHECK(read_selector(*pods, path + ".podSelector", peer.pods.emplace()));
  if (namespaces != nullptr && !namespaces->is_null())
    PODWIRE_CHECK(read_selector(*namespaces, path + ".namespaceSelector", peer.namespaces.emplace()));
  const bool selects = peer.pods || peer.namespaces;
  if (block != nullptr && !block->is_null()) {
    if (selects) return invalid(path + ": ipBlock stands alone; make it a peer of its own");
    PODWIRE_TRY(peer.block, read_block(*block, path + ".ipBlock"));
  } else if (!selects) {
    return invalid(
        path + " names no peer; give podSelector, namespaceSelector or ipBlock ({} selects all of a kind)");
  }
  return peer;
}

// An absent, null or empty array: nothing is restricted.
template <class T>
Result<void> read_array(const Json* value, const std::string& path,
                        Result<T> (*read)(const Json&, const std::string&), std::vector<T>& out) {
  if (value == nullptr || value->is_null()) return {};
  if (!value->is_array()) return invalid(path + " must be an array, not " + json_type_name(*value));
  for (std::size_t i = 0; i < value->size(); ++i) {
    PODWIRE_TRY(auto element, read((*value)[i], path + "[" + std::to_string(i) + "]"));
    out.push_back(std::move(element));
  }
  return {};
}

Result<PeerRule> read_rule(const Json& value, const std::string& path, const char* peers_key) {
  PeerRule rule;
  ObjectReader r(value, path);
  const Json* peers = r.find(peers_key);
  const Json* ports = r.find("ports");
  PODWIRE_CHECK(r.finish());
  PODWIRE_CHECK(read_array(peers, path + "." + peers_key, read_peer, rule.peers));
  PODWIRE_CHECK(read_array(ports, path + ".ports", read_policy_port, rule.ports));
  return rule;
}
Result<PeerRule> read_ingress_rule(const Json& value, const std::string& path) {
  return read_rule(value, path, "from");
}
Result<PeerRule> read_egress_rule(const Json& value, const std::string& path) {
  return read_rule(value, path, "to");
}

// Ingress unless the policy says otherwise, and egress when it has rules for it (defaulting of the API).
Result<void> take_types(const Json* types, const std::string& path, std::vector<PeerRule> ingress,
                        std::vector<PeerRule> egress, NetworkPolicy& out) {
  std::vector<std::string> names;
  if (types != nullptr && !types->is_null()) PODWIRE_CHECK(podwire::read_value(*types, path, names));
  bool has_ingress = names.empty(), has_egress = names.empty() && !egress.empty();
  for (const auto& name : names) {
    if (name != "Ingress" && name != "Egress")
      return invalid(path + " has \"" + name.substr(0, 64) + "\", must be Ingress, Egress or both");
    (name == "Ingress" ? has_ingress : has_egress) = true;
  }
  if (has_ingress) out.ingress = std::move(ingress);
  if (has_egress) out.egress = std::move(egress);
  return {};
}

}  // namespace

Result<NetworkPolicy> read_network_policy(const PolicyManifest& manifest) {
  NetworkPolicy policy;
  policy.key = manifest.key;
  const auto path = to_text(manifest) + ": spec";
  static const Json kNone = Json::object();
  const Json* spec = member(manifest.body, "spec");
  ObjectReader r(spec == nullptr ? kNone : *spec, path);
  const Json* selector = r.find("podSelector");
  const Json* ingress = r.find("ingress");
  const Json* egress = r.find("egress");
  const Json* types = r.find("policyTypes");
  PODWIRE_CHECK(r.finish());
  if (selector != nullptr) PODWIRE_CHECK(read_selector(*selector, path + ".podSelector", policy.pods));
  std::vector<PeerRule> in, out;
  PODWIRE_CHECK(read_array(ingress, path + ".ingress", read_ingress_rule, in));
  PODWIRE_CHECK(read_array(egress, path + ".egress", read_egress_rule, out));
  PODWIRE_CHECK(take_types(types, path + ".policyTypes", std::move(in), std::move(out), policy));
  return policy;
}

}  // namespace podwire::control
